package maskstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/smithy-go"
)

// inBubble runs a test in which pauses cost no time.
func inBubble(t *testing.T, name string, f func(*testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// s3Call is a method, of which only the error counts.
type s3Call struct {
	op   string
	call func(ctx context.Context, s *S3) error
}

func s3Calls() []s3Call {
	parts := []Part{{PartNumber: 1, Size: 1, ETag: "e"}}
	return []s3Call{
		{"Stat", func(ctx context.Context, s *S3) error { _, err := s.Stat(ctx, testKey); return err }},
		{"Get", func(ctx context.Context, s *S3) error { _, err := s.Get(ctx, testKey, nil); return err }},
		{"Put", func(ctx context.Context, s *S3) error {
			_, err := s.Put(ctx, testKey, strings.NewReader("x"), &PutOptions{Size: 1})
			return err
		}},
		{"Put", func(ctx context.Context, s *S3) error {
			_, err := s.Put(ctx, testKey, bytes.NewReader(make([]byte, 17<<20)), nil)
			return err
		}},
		{"Delete", func(ctx context.Context, s *S3) error { return s.Delete(ctx, testKey) }},
		{"Delete", func(ctx context.Context, s *S3) error { return s.Delete(ctx, testKey, testKey+"2") }},
		{"List", func(ctx context.Context, s *S3) error {
			for _, err := range s.List(ctx, "mask/", nil) {
				return err
			}
			return nil
		}},
		{"Copy", func(ctx context.Context, s *S3) error { _, err := s.Copy(ctx, testKey, testKey+"2", nil); return err }},
		{"CreateMultipartUpload", func(ctx context.Context, s *S3) error {
			_, err := s.CreateMultipartUpload(ctx, testKey, nil)
			return err
		}},
		{"UploadPart", func(ctx context.Context, s *S3) error {
			_, err := s.UploadPart(ctx, testKey, "id", 1, BytesBody([]byte("x")))
			return err
		}},
		{"CompleteMultipartUpload", func(ctx context.Context, s *S3) error {
			_, err := s.CompleteMultipartUpload(ctx, testKey, "id", parts, nil)
			return err
		}},
		{"AbortMultipartUpload", func(ctx context.Context, s *S3) error { return s.AbortMultipartUpload(ctx, testKey, "id") }},
		{"ListParts", func(ctx context.Context, s *S3) error {
			for _, err := range s.ListParts(ctx, testKey, "id") {
				return err
			}
			return nil
		}},
		{"ListMultipartUploads", func(ctx context.Context, s *S3) error {
			for _, err := range s.ListMultipartUploads(ctx, "mask/") {
				return err
			}
			return nil
		}},
	}
}

// Every method gives a refusal its kind, after as many attempts as may help.
func TestS3Refusals(t *testing.T) {
	region := map[string]string{"X-Amz-Bucket-Region": "us-west-2"}
	for _, test := range []struct {
		name     string
		answer   answer
		want     error
		says     string
		attempts int
	}{
		{"denied", answer{status: 403, code: "AccessDenied"}, ErrAccessDenied, "", 1},
		{"unknown key", answer{status: 403, code: "InvalidAccessKeyId"}, ErrUnauthenticated, "", 1},
		{"wrong secret", answer{status: 403, code: "SignatureDoesNotMatch"}, ErrUnauthenticated, "", 1},
		{"expired token", answer{status: 400, code: "ExpiredToken"}, ErrExpired, "", 1},
		{"no bucket", answer{status: 404, code: "NoSuchBucket"}, ErrNoSuchBucket, "", 1},
		{"redirect", answer{status: 301, code: "PermanentRedirect", header: region}, ErrWrongRegion, "us-west-2", 1},
		{"redirect with a location", answer{status: 307, code: "TemporaryRedirect", header: map[string]string{
			"X-Amz-Bucket-Region": "us-west-2", "Location": "http://other.test/"}}, ErrWrongRegion, "us-west-2", 1},
		{"region", answer{status: 400, code: "AuthorizationHeaderMalformed", header: region}, ErrWrongRegion, "us-west-2", 1},
		{"encrypted by a client's key", answer{
			status: 400, code: "InvalidRequest", header: map[string]string{"X-Amz-Bucket-Region": "eu-central-1"},
		}, ErrBadResponse, "", 1},
		{"clock", answer{status: 403, code: "RequestTimeTooSkewed", header: map[string]string{"Date": "Mon, 01 Jan 2035 00:00:00 GMT"}},
			ErrClockSkew, "Mon, 01 Jan 2035 00:00:00 GMT", 1},
		{"throttled", answer{status: 503, code: "SlowDown"}, ErrThrottled, "", 10},
		{"internal", answer{status: 500, code: "InternalError"}, ErrUnavailable, "", 10},
		{"bad gateway", answer{status: 502, text: "<html>Bad Gateway</html>"}, ErrUnavailable, "", 10},
		{"too many", answer{status: 429, text: "slow"}, ErrThrottled, "", 10},
		{"body too slow", answer{status: 400, code: "RequestTimeout"}, ErrUnavailable, "", 10},
		{"request too slow", answer{status: 408, text: "<html>slow</html>"}, ErrUnavailable, "", 10},
		{"conflict", answer{status: 409, code: "ConditionalRequestConflict"}, ErrUnavailable, "", 10},
		{"other operation", answer{status: 409, code: "OperationAborted"}, ErrUnavailable, "", 10},
		{"lost", answer{lose: true}, ErrUnavailable, "", 10},
		{"not implemented", answer{status: 501, code: "NotImplemented"}, ErrUnsupported, "", 1},
		{"wants TLS", answer{status: 400, text: "Client sent an HTTP request to an HTTPS server.", short: true}, ErrBadResponse, "", 1},
		{"nonsense", answer{status: 418, text: "I'm a teapot"}, ErrBadResponse, "", 1},
	} {
		for _, c := range s3Calls() {
			inBubble(t, test.name+" "+c.op, func(t *testing.T) {
				server := &scripted{answers: []answer{test.answer}}
				err := c.call(t.Context(), testS3(t, server))
				e, ok := errors.AsType[*Error](err)
				head := c.op == "Stat" // whose answer has no body, and so no code
				want, says := test.want, test.says
				if head {
					switch test.answer.code {
					case "NoSuchBucket":
						want = ErrNotFound
					case "InvalidAccessKeyId", "SignatureDoesNotMatch":
						want, says = ErrAccessDenied, "s3:ListBucket"
					case "SlowDown":
						want = nil // one of two kinds
					case "ExpiredToken":
						want = ErrBadResponse
					case "RequestTimeout", "ConditionalRequestConflict", "OperationAborted":
						return // without the code it may be anything
					}
				}
				if !ok || want != nil && e.Kind != want || !strings.Contains(err.Error(), says) {
					t.Errorf("%s, %s: %v; want %v that says %q", test.name, c.op, err, want, says)
				}
				if ok && (e.Op != c.op || e.Key == "") {
					t.Errorf("%s, %s: the error is of %s %q", test.name, c.op, e.Op, e.Key)
				}
				if n := len(server.bodies); n != test.attempts && !(c.op == "Put" && test.attempts > 1) {
					t.Errorf("%s, %s: %d attempts, want %d", test.name, c.op, n, test.attempts)
				}
				if text := err.Error(); strings.Contains(text, "X-Amz-Signature=") || strings.Contains(text, "topsecret") {
					t.Errorf("%s, %s: the error holds a secret: %v", test.name, c.op, err)
				}
				if _, ok := errors.AsType[smithy.APIError](err); !ok && test.answer.code != "" && !head {
					t.Errorf("%s, %s: no smithy.APIError in %v", test.name, c.op, err)
				}
			})
		}
	}
}

// A success that says nothing is none.
func TestS3EmptySuccess(t *testing.T) {
	for _, body := range []string{"", "  \n", "<html>ok</html>", "<Error><Code>InternalError</Code></Error>"} {
		for _, c := range s3Calls() {
			if c.op == "Delete" || c.op == "AbortMultipartUpload" {
				continue // whose answer may be empty
			}
			inBubble(t, c.op, func(t *testing.T) {
				server := &scripted{answers: []answer{{status: 200, text: body, header: map[string]string{"Content-Length": ""}}}}
				err := c.call(t.Context(), testS3(t, server))
				if !errors.Is(err, ErrBadResponse) && !errors.Is(err, ErrUnavailable) {
					t.Errorf("%s, answer %q: %v", c.op, body, err)
				}
			})
		}
	}
}

// The end of the context is the error, at whatever point it comes, and the last that is sent is what cleans up.
func TestS3ContextEnds(t *testing.T) {
	for _, c := range s3Calls() {
		inBubble(t, c.op, func(t *testing.T) {
			begun := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			err := c.call(ctx, testS3(t, &scripted{answers: []answer{{status: 503, code: "SlowDown"}}}))
			e, ok := errors.AsType[*Error](err)
			if took := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || !ok || e.Kind != nil || took != 3*time.Second {
				t.Errorf("%s during the pauses: %v, after %v", c.op, err, took)
			}
		})
		inBubble(t, c.op, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := c.call(ctx, testS3(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { // which never answers
				io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
			})))
			if e, ok := errors.AsType[*Error](err); !errors.Is(err, context.DeadlineExceeded) || !ok || e.Kind != nil {
				t.Errorf("%s during the request: %v", c.op, err)
			}
		})
		inBubble(t, c.op, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			server := &scripted{answers: []answer{stored}}
			err := c.call(ctx, testS3(t, server))
			if !errors.Is(err, context.Canceled) || len(server.bodies) > 0 {
				t.Errorf("%s after it: %v, %d requests", c.op, err, len(server.bodies))
			}
		})
	}
}

// A timeout of the network is the server's fault, not the context's.
func TestS3NetworkTimeout(t *testing.T) {
	for _, c := range s3Calls() {
		inBubble(t, c.op, func(t *testing.T) {
			o := testOptions()
			o.HTTPClient = &http.Client{
				Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, context.DeadlineExceeded }),
			}
			err := c.call(t.Context(), openS3(t, o))
			if e, ok := errors.AsType[*Error](err); !ok || e.Kind != ErrUnavailable {
				t.Errorf("%s: %v", c.op, err)
			}
		})
	}
}

// That a server speaks no TLS, or is not trusted, is told at once.
func TestS3WithoutTLS(t *testing.T) {
	nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request arrived") })
	secure, plain := httptest.NewUnstartedServer(nothing), httptest.NewServer(nothing)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	defer plain.Close()
	for name, endpoint := range map[string]string{
		"plain server": "https" + strings.TrimPrefix(plain.URL, "http"), "not trusted": secure.URL,
	} {
		for _, c := range s3Calls() {
			dials := 0
			transport := &http.Transport{DisableKeepAlives: true}
			transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				if dials++; dials > 1 {
					t.Errorf("%s, %s: tried again", name, c.op)
				}
				return new(net.Dialer).DialContext(ctx, network, address)
			}
			o := testOptions()
			o.Endpoint, o.HTTPClient = endpoint, &http.Client{Transport: transport}
			s := openS3(t, o)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if err := c.call(ctx, s); !errors.Is(err, ErrUnavailable) {
				t.Errorf("%s, %s: %v", name, c.op, err)
			}
			cancel()
		}
	}
}
