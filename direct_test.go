package maskstore

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const testSignature = "5ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2"

// scripted is a server that gives each request the next of its answers, and the last one again after that. It runs
// on pipes, so a synctest bubble can hold it: pauses cost no time, and can be measured.
type scripted struct {
	answers []answer

	mu      sync.Mutex
	bodies  []string // of the requests; "!" and the error where reading failed
	times   []time.Time
	headers []http.Header
}

type answer struct {
	status int
	code   string // of an XML error
	text   string // its message, or the whole body where there is no code
	header map[string]string
	lose   bool // the connection ends once the request's body was read
	short  bool // the connection ends within the answer's body
}

var stored = answer{status: 200, header: map[string]string{"ETag": `"e1"`}}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		body = []byte("!" + err.Error())
	}
	s.mu.Lock()
	a := s.answers[min(len(s.bodies), len(s.answers)-1)]
	s.bodies = append(s.bodies, string(body))
	s.times = append(s.times, time.Now())
	s.headers = append(s.headers, r.Header)
	s.mu.Unlock()
	if a.lose {
		panic(http.ErrAbortHandler)
	}
	if a.code != "" {
		a.text = "<?xml version=\"1.0\"?><Error><Code>" + a.code + "</Code><Message>" + a.text + " at " +
			strings.ReplaceAll(r.URL.String(), "&", "&amp;") + "</Message></Error>"
	}
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
	if a.short {
		w.Header().Set("Content-Length", fmt.Sprint(len(a.text)+1))
	}
	w.WriteHeader(a.status)
	io.WriteString(w, a.text)
}

// serve gives a client of the handler.
func serve(t *testing.T, h http.Handler) *http.Client {
	l := &pipeListener{make(chan net.Conn), make(chan struct{}), sync.Once{}}
	server := &http.Server{Handler: h}
	go server.Serve(l)
	transport := &http.Transport{DialContext: l.dial, MaxIdleConnsPerHost: 100}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
	})
	return &http.Client{Transport: transport}
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func signedTest(method string, header ...string) SignedURL {
	u := SignedURL{
		Method:  method,
		URL:     "http://s3.test/bucket/mask/a/g/0001_liver.png?X-Amz-Expires=600&X-Amz-Signature=" + testSignature,
		Header:  http.Header{},
		Expires: time.Now().Add(10 * time.Minute),
	}
	for i := 0; i < len(header); i += 2 {
		u.Header.Set(header[i], header[i+1])
	}
	return u
}

func TestDirectUpload(t *testing.T) {
	lost := answer{lose: true}
	slow := answer{status: 503, code: "SlowDown"}
	conflict := answer{status: 409, code: "ConditionalRequestConflict"}
	failed := answer{status: 412, code: "PreconditionFailed"}
	internal := answer{status: 500, code: "InternalError"}
	damaged := answer{status: 400, code: "XAmzContentChecksumMismatch"}
	tests := []struct {
		name     string
		answers  []answer
		want     DirectResult
		kind     error
		attempts int
	}{
		{"stored", []answer{stored}, DirectResult{ETag: "e1"}, nil, 1},
		{"503 twice", []answer{slow, slow, stored}, DirectResult{ETag: "e1"}, nil, 3},
		{"429", []answer{{status: 429}, stored}, DirectResult{ETag: "e1"}, nil, 2},
		{"408", []answer{{status: 408}, stored}, DirectResult{ETag: "e1"}, nil, 2},
		{"500", []answer{internal, stored}, DirectResult{ETag: "e1"}, nil, 2},
		{"502 of a proxy", []answer{{status: 502, text: "<html>Bad Gateway"}, stored}, DirectResult{ETag: "e1"}, nil, 2},
		{"400 RequestTimeout", []answer{{status: 400, code: "RequestTimeout"}, stored}, DirectResult{ETag: "e1"}, nil, 2},
		{"409 conflict", []answer{conflict, stored}, DirectResult{ETag: "e1"}, nil, 2},
		{"lost, not stored", []answer{lost, stored}, DirectResult{ETag: "e1"}, nil, 2},
		{"damaged", []answer{damaged, stored}, DirectResult{ETag: "e1"}, nil, 2},
		{"damaged, by its MD5", []answer{{status: 400, code: "BadDigest"}, stored}, DirectResult{ETag: "e1"}, nil, 2},
		{"cut short", []answer{{status: 400, code: "IncompleteBody"}, stored}, DirectResult{ETag: "e1"}, nil, 2},

		{"lost, then 412", []answer{lost, failed}, DirectResult{Unconfirmed: true}, nil, 2},
		{"500, then 412", []answer{internal, failed}, DirectResult{Unconfirmed: true}, nil, 2},
		{"lost, 503, then 412", []answer{lost, slow, failed}, DirectResult{Unconfirmed: true}, nil, 3},
		{"412 at once", []answer{failed}, DirectResult{}, ErrPreconditionFailed, 1},
		{"409, then 412", []answer{conflict, failed}, DirectResult{}, ErrPreconditionFailed, 2},
		{"429, then 412", []answer{{status: 429}, failed}, DirectResult{}, ErrPreconditionFailed, 2},
		{"404 of If-Match", []answer{{status: 404, code: "NoSuchKey"}}, DirectResult{}, ErrPreconditionFailed, 1},

		{"expired", []answer{{status: 403, code: "AccessDenied", text: "Request has expired"}}, DirectResult{}, ErrExpired, 1},
		{"too early", []answer{{status: 403, code: "AccessDenied", text: "Request is not valid yet"}}, DirectResult{}, ErrClockSkew, 1},
		{"denied", []answer{{status: 403, code: "AccessDenied", text: "Access Denied"}}, DirectResult{}, ErrAccessDenied, 1},
		{"signature", []answer{{status: 403, code: "SignatureDoesNotMatch"}}, DirectResult{}, ErrAccessDenied, 1},
		{"key", []answer{{status: 403, code: "InvalidAccessKeyId"}}, DirectResult{}, ErrUnauthenticated, 1},
		{"token", []answer{{status: 400, code: "ExpiredToken"}}, DirectResult{}, ErrExpired, 1},
		{"clock", []answer{{status: 403, code: "RequestTimeTooSkewed"}}, DirectResult{}, ErrClockSkew, 1},
		{"too large", []answer{{status: 400, code: "EntityTooLarge"}}, DirectResult{}, ErrTooLarge, 1},
		{"bucket", []answer{{status: 404, code: "NoSuchBucket"}}, DirectResult{}, ErrNoSuchBucket, 1},
		{"404 of a proxy", []answer{{status: 404, text: "default backend"}}, DirectResult{}, ErrBadResponse, 1},
		{"region", []answer{{status: 400, code: "AuthorizationHeaderMalformed"}}, DirectResult{}, ErrWrongRegion, 1},
		{"other conflict", []answer{{status: 409, code: "BucketNotEmpty"}}, DirectResult{}, ErrBadResponse, 1},
		{"header left out", []answer{{status: 400, code: "AccessDenied"}}, DirectResult{}, ErrAccessDenied, 1},
		{"unknown code", []answer{{status: 400, code: "InvalidRequest"}}, DirectResult{}, ErrBadResponse, 1},
		{"403 of a proxy", []answer{{status: 403, text: "<html>Go away"}}, DirectResult{}, ErrAccessDenied, 1},
		{"413 of a proxy", []answer{{status: 413}}, DirectResult{}, ErrTooLarge, 1},
		{"501", []answer{{status: 501, code: "NotImplemented"}}, DirectResult{}, ErrUnsupported, 1},
		{"endless error", []answer{{status: 400, text: strings.Repeat("<Error>", 1<<20)}}, DirectResult{}, ErrBadResponse, 1},
		{"the signature as a code", []answer{{status: 400, code: testSignature}}, DirectResult{}, ErrBadResponse, 1},

		{"redirect", []answer{{status: 307, header: map[string]string{"Location": "http://other.test/x"}}, stored}, DirectResult{}, ErrBadResponse, 1},
		{"redirect to a region", []answer{{status: 301, code: "PermanentRedirect", header: map[string]string{"Location": "/x"}}}, DirectResult{}, ErrWrongRegion, 1},
		{"no ETag", []answer{{status: 200}}, DirectResult{}, ErrBadResponse, 1},
		{"broken ETag", []answer{{status: 200, header: map[string]string{"ETag": `W/"x"`}}}, DirectResult{}, ErrBadResponse, 1},

		{"503 for good", []answer{slow}, DirectResult{}, ErrThrottled, 5},
		{"500 for good", []answer{internal}, DirectResult{}, ErrUnavailable, 5},
		{"409 for good", []answer{conflict}, DirectResult{}, ErrUnavailable, 5},
		{"lost for good", []answer{lost}, DirectResult{}, ErrUnavailable, 5},
		{"damaged for good", []answer{damaged}, DirectResult{}, ErrChecksum, 5},
		{"damaged, then 412", []answer{damaged, failed}, DirectResult{}, ErrPreconditionFailed, 2},
	}
	content := bytes.Repeat([]byte("mask"), 5000)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{answers: tt.answers}
				d := DirectUploader{Client: serve(t, s), MaxAttempts: 5}
				got, err := d.Upload(t.Context(), signedTest("PUT", "If-Match", `"e0"`, "Content-Type", "image/png"), BytesBody(content))
				if !errors.Is(err, tt.kind) || (err == nil) != (tt.kind == nil) {
					t.Errorf("got error %v, want %v", err, tt.kind)
				}
				if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, testSignature) {
					t.Errorf("the error holds the signature: %s", text)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(slices.Repeat([]string{string(content)}, tt.attempts), s.bodies); diff != "" {
					t.Errorf("bodies of the attempts:\n%s", diff)
				}
				for _, h := range s.headers {
					if h.Get("If-Match") != `"e0"` || h.Get("Content-Type") != "image/png" || h.Get("Content-Length") != "20000" {
						t.Errorf("sent %v", h)
					}
				}
			})
		})
	}
}

func TestHTTPErrorIsReachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := DirectUploader{Client: serve(t, &scripted{answers: []answer{{status: 403, code: "SignatureDoesNotMatch"}}})}
		_, err := d.Upload(t.Context(), signedTest("PUT"), BytesBody([]byte("x")))
		got, ok := errors.AsType[*HTTPError](err)
		want := HTTPError{"PUT http://s3.test/bucket/mask/a/g/0001_liver.png?[redacted]", 403, "SignatureDoesNotMatch"}
		if !ok || *got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func TestDirectUploadPauses(t *testing.T) {
	upload := func(t *testing.T, answers ...answer) ([]time.Duration, error) {
		s := &scripted{answers: answers}
		d := DirectUploader{Client: serve(t, s), MaxAttempts: len(answers)}
		_, err := d.Upload(t.Context(), signedTest("PUT"), BytesBody([]byte("x")))
		var gaps []time.Duration
		for i := range s.times[1:] {
			gaps = append(gaps, s.times[i+1].Sub(s.times[i]))
		}
		return gaps, err
	}
	wait := func(value string) answer {
		return answer{status: 503, header: map[string]string{"Retry-After": value}}
	}
	t.Run("grow", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			gaps, _ := upload(t, slices.Repeat([]answer{{status: 500}}, 10)...)
			for i, gap := range gaps {
				longest := min(firstPause<<i, longestPause)
				if gap < longest/2 || gap > longest {
					t.Errorf("pause %d was %v, want %v to %v", i+1, gap, longest/2, longest)
				}
			}
			if len(gaps) != 9 {
				t.Errorf("%d pauses, want 9", len(gaps))
			}
		})
	})
	t.Run("as long as the server asks", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			date := time.Now().Add(40 * time.Second).UTC().Format(http.TimeFormat)
			gaps, err := upload(t, wait("7"), wait(date), stored)
			if err != nil || len(gaps) != 2 || gaps[0] != 7*time.Second || gaps[1] != 33*time.Second {
				t.Errorf("pauses %v, %v; want 7s and, up to the date, 33s", gaps, err)
			}
		})
	})
	t.Run("not the minute that MinIO always asks", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			minio := wait("60")
			minio.header["Server"] = "MinIO"
			gaps, err := upload(t, minio, wait("60"), stored)
			if err != nil || len(gaps) != 2 || gaps[0] > firstPause || gaps[1] != time.Minute {
				t.Errorf("pauses %v, %v; want a first one of at most %v, then a minute", gaps, err, firstPause)
			}
		})
	})
	t.Run("no longer than a minute", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			if gaps, err := upload(t, wait("61"), stored); len(gaps) != 0 || !errors.Is(err, ErrUnavailable) ||
				time.Since(begin) != 0 {
				t.Errorf("pauses %v, %v", gaps, err)
			}
		})
	})
	t.Run("not past the URL's end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &scripted{answers: []answer{wait("30")}}
			d := DirectUploader{Client: serve(t, s)}
			u := signedTest("PUT")
			u.Expires = time.Now().Add(50 * time.Second)
			if _, err := d.Upload(t.Context(), u, BytesBody([]byte("x"))); !errors.Is(err, ErrExpired) || len(s.bodies) != 2 {
				t.Errorf("%v after %d attempts, want ErrExpired after 2", err, len(s.bodies))
			}
		})
	})
	t.Run("once, where the client's clock is ahead", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			u := signedTest("PUT")
			u.Expires = time.Now().Add(-time.Minute)
			d := DirectUploader{Client: serve(t, &scripted{answers: []answer{stored}})}
			if _, err := d.Upload(t.Context(), u, BytesBody([]byte("x"))); err != nil {
				t.Error(err)
			}
			for _, a := range []answer{wait("0"), {status: 403, code: "AccessDenied"}, {status: 403}} {
				d.Client = serve(t, &scripted{answers: []answer{a, stored}})
				if _, err := d.Upload(t.Context(), u, BytesBody([]byte("x"))); !errors.Is(err, ErrExpired) {
					t.Errorf("got %v, want ErrExpired", err)
				}
			}
		})
	})
	t.Run("until ctx ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			d := DirectUploader{Client: serve(t, &scripted{answers: []answer{wait("30")}})}
			_, err := d.Upload(ctx, signedTest("PUT"), BytesBody([]byte("x")))
			if e, ok := errors.AsType[*Error](err); !errors.Is(err, context.DeadlineExceeded) || !ok || e.Kind != nil ||
				time.Since(begin) != 10*time.Second {
				t.Errorf("%v after %v", err, time.Since(begin))
			}
		})
	})
}

// A server that never answers: the own timeout of the caller's client ends an attempt, not the call.
func TestDirectUploadTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		client := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			if n++; n == 1 {
				<-r.Context().Done()
				return
			}
			w.WriteHeader(http.StatusPreconditionFailed)
		}))
		client.Timeout = time.Minute
		got, err := (&DirectUploader{Client: client}).Upload(t.Context(), signedTest("PUT"), BytesBody([]byte("x")))
		if err != nil || !got.Unconfirmed {
			t.Errorf("got %+v, %v, want Unconfirmed", got, err)
		}
	})
}

// A body that is not what it says must not reach the server whole, whatever the signature binds.
func TestDirectUploadOfAWrongBody(t *testing.T) {
	content := strings.Repeat("mask", 5000)
	body := func(size int, sum SHA256, r func() io.Reader) Body {
		return Body{Open: func() (io.ReadCloser, error) { return io.NopCloser(r()), nil }, Size: int64(size), SHA256: sum}
	}
	reader := func() io.Reader { return strings.NewReader(content) }
	tests := []struct {
		name string
		body Body
		want error
		sent int
	}{
		{"shorter", body(len(content)+1, SHA256{}, reader), ErrChecksum, 1},
		{"longer", body(len(content)-1, SHA256{}, reader), ErrChecksum, 1},
		{"other content", body(len(content), SumSHA256(nil), reader), ErrChecksum, 1},
		{"other content, byte by byte", body(len(content), SumSHA256(nil), func() io.Reader { return iotest.OneByteReader(reader()) }), ErrChecksum, 1},
		{"other content, EOF with data", body(len(content), SumSHA256(nil), func() io.Reader { return iotest.DataErrReader(reader()) }), ErrChecksum, 1},
		{"breaks off", body(len(content), SHA256{}, func() io.Reader {
			return io.MultiReader(io.LimitReader(reader(), 100), iotest.ErrReader(errTest))
		}), errTest, 1},
		{"breaks off at its end", body(len(content), SHA256{}, func() io.Reader {
			return io.MultiReader(reader(), iotest.ErrReader(errTest))
		}), errTest, 1},
		{"does not open", Body{Open: func() (io.ReadCloser, error) { return nil, errTest }, Size: 1}, errTest, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{answers: []answer{stored}}
				d := DirectUploader{Client: serve(t, s)}
				got, err := d.Upload(t.Context(), signedTest("PUT"), tt.body)
				synctest.Wait()
				if !errors.Is(err, tt.want) || got != (DirectResult{}) {
					t.Errorf("got %+v, %v, want %v", got, err, tt.want)
				}
				if len(s.bodies) > tt.sent {
					t.Errorf("%d requests, want %d at most", len(s.bodies), tt.sent)
				}
				for _, b := range s.bodies {
					if !strings.HasPrefix(b, "!") {
						t.Errorf("the server got all %d bytes", len(b))
					}
				}
			})
		})
	}
}

// A body that a server refuses for its checksum, and that is not what it says by then, is not sent again.
func TestDirectUploadOfAChangedBody(t *testing.T) {
	gone := errors.New("gone")
	for name, again := range map[string]func() (io.ReadCloser, error){ // once the first attempt is refused
		"changed": func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("mAsk")), nil },
		"gone":    func() (io.ReadCloser, error) { return nil, gone },
	} {
		inBubble(t, name, func(t *testing.T) {
			body := BytesBody([]byte("mask"))
			opened, open := 0, body.Open
			body.Open = func() (io.ReadCloser, error) {
				if opened++; opened > 1 {
					return again()
				}
				return open()
			}
			s := &scripted{answers: []answer{{status: 400, code: "BadDigest"}}}
			d := DirectUploader{Client: serve(t, s)}
			_, err := d.Upload(t.Context(), signedTest("PUT"), body)
			if _, ok := errors.AsType[*HTTPError](err); !errors.Is(err, ErrChecksum) || !ok || len(s.bodies) != 1 || opened != 2 {
				t.Errorf("%v after %d requests, opened %d times", err, len(s.bodies), opened)
			}
			if errors.Is(err, gone) != (name == "gone") {
				t.Errorf("the cause: %v", err)
			}
		})
	}
}

func TestDirectUploadRefuses(t *testing.T) {
	change := func(f func(*SignedURL, *Body)) DirectItem {
		u, body := signedTest("PUT", "x-amz-checksum-sha256", SumSHA256([]byte("x")).Base64()), BytesBody([]byte("x"))
		u.ContentLength = 1
		f(&u, &body)
		return DirectItem{Key: "two", URL: u, Body: body}
	}
	good := change(func(*SignedURL, *Body) {})
	tests := []struct {
		name  string
		item  DirectItem
		d     DirectUploader
		field string
	}{
		{"size", change(func(u *SignedURL, b *Body) { u.ContentLength = 2 }), DirectUploader{}, "Body.Size"},
		{"hash", change(func(u *SignedURL, b *Body) { b.SHA256 = SumSHA256([]byte("y")) }), DirectUploader{}, "Body.SHA256"},
		{"broken header", change(func(u *SignedURL, b *Body) { u.Header.Set("x-amz-checksum-sha256", "AA==") }), DirectUploader{}, "SignedURL.Header"},
		{"GET", change(func(u *SignedURL, b *Body) { u.Method = "GET" }), DirectUploader{}, "SignedURL"},
		{"no URL", change(func(u *SignedURL, b *Body) { *u = SignedURL{} }), DirectUploader{}, "SignedURL"},
		{"no URL's form", change(func(u *SignedURL, b *Body) { u.URL = "http://a b/?X-Amz-Signature=" + testSignature }), DirectUploader{}, "SignedURL"},
		{"no body", change(func(u *SignedURL, b *Body) { b.Open = nil }), DirectUploader{}, "Body.Open"},
		{"attempts", good, DirectUploader{MaxAttempts: -1}, "MaxAttempts"},
		{"concurrency", good, DirectUploader{Concurrency: -1}, "Concurrency"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.d.Client = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
				t.Error("a request was sent")
				return nil, errTest
			})}
			_, err := tt.d.Upload(t.Context(), tt.item.URL, tt.item.Body)
			wantInputError(t, err, ErrInvalidArgument, tt.field)
			_, err = tt.d.UploadAll(t.Context(), []DirectItem{tt.item})
			wantInputError(t, err, ErrInvalidArgument, tt.field)
			if strings.Contains(fmt.Sprint(err), testSignature) {
				t.Error(err)
			}
		})
	}
	d := DirectUploader{}
	_, err := d.UploadAll(t.Context(), []DirectItem{good, good})
	wantInputError(t, err, ErrInvalidArgument, "Key")
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The hash that the URL binds holds for a body that does not say its own.
func TestDirectUploadChecksTheBoundHash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := BytesBody([]byte("y"))
		body.SHA256 = SHA256{}
		d := DirectUploader{Client: serve(t, &scripted{answers: []answer{stored}})}
		_, err := d.Upload(t.Context(), signedTest("PUT", "x-amz-checksum-sha256", SumSHA256([]byte("x")).Base64()), body)
		if !errors.Is(err, ErrChecksum) {
			t.Errorf("got %v, want ErrChecksum", err)
		}
	})
}

func TestNoAnswer(t *testing.T) {
	tests := []struct {
		name             string
		err              error
		again, maybeDone bool
	}{
		{"reset", &net.OpError{Op: "read", Err: errTest}, true, true},
		{"closed", io.EOF, true, true},
		{"the client's timeout", timeout{errTest}, true, true},
		{"no connection", &net.OpError{Op: "dial", Err: errTest}, true, false},
		{"no such host", &net.OpError{Op: "dial", Err: &net.DNSError{IsNotFound: true}}, true, false},
		{"certificate", &tls.CertificateVerificationError{Err: errTest}, false, false},
	}
	for _, tt := range tests {
		u := signedTest("PUT")
		f := noAnswer(u, &url.Error{Op: "Put", URL: u.URL, Err: tt.err})
		err := opError("Upload", "k", nil, f.err)
		if f.again != tt.again || f.maybeDone != tt.maybeDone || !errors.Is(err, ErrUnavailable) || !errors.Is(err, tt.err) {
			t.Errorf("%s: %+v", tt.name, f)
		}
		if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, testSignature) {
			t.Errorf("%s: %s", tt.name, text)
		}
	}
}

// The zero value, over TCP; a server that is not there is tried again, and the URL not printed.
func TestZeroDirectUploader(t *testing.T) {
	server := httptest.NewServer(&scripted{answers: []answer{{status: 503}, {lose: true}, stored}})
	u := SignedURL{Method: "PUT", URL: server.URL + "/b/k?X-Amz-Signature=" + testSignature}
	var d DirectUploader
	for _, content := range []string{"mask", ""} {
		if got, err := d.Upload(t.Context(), u, BytesBody([]byte(content))); err != nil || got.ETag != "e1" {
			t.Errorf("%q: got %+v, %v", content, got, err)
		}
	}
	server.Close()
	d.MaxAttempts = 2
	_, err := d.Upload(t.Context(), u, BytesBody([]byte("x")))
	if !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), testSignature) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}

func TestDirectUploadAll(t *testing.T) {
	for _, keepGoing := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			client := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if string(body) == "body 7" {
					w.WriteHeader(http.StatusPreconditionFailed)
					return
				}
				w.Header().Set("ETag", `"etag-`+string(body)[5:]+`"`)
			}))
			var events []Progress
			d := DirectUploader{
				Client: client, KeepGoing: keepGoing, Concurrency: 1, OnProgress: func(p Progress) { events = append(events, p) },
			}
			want := map[string]string{}
			var items []DirectItem
			for i := range 20 {
				key := fmt.Sprint("key", i)
				items = append(items, DirectItem{key, signedTest("PUT"), BytesBody(fmt.Appendf(nil, "body %d", i))})
				if i < 7 || i > 7 && keepGoing {
					want[key] = fmt.Sprint("etag-", i)
				}
			}
			etags, err := d.UploadAll(t.Context(), items)
			if failed := KeyErrors(err); len(failed) != 1 || failed[0].Key != "key7" || !errors.Is(err, ErrPreconditionFailed) {
				t.Errorf("got %v, want one of key7", err)
			}
			if diff := cmp.Diff(want, etags); diff != "" {
				t.Error(diff)
			}
			if p := events[7]; len(events) != len(want)+1 || p.Done != 8 || p.Total != 20 || p.Err == nil || p.Bytes != 42 {
				t.Errorf("%d events, the eighth %+v", len(events), p)
			}
		})
	}
}

// What a server writes beside an error is read as far as a code may stand.
func TestLongErrors(t *testing.T) {
	long := strings.Repeat("x", maxErrorBody)
	body := strings.NewReader("<Error><Message>" + long + "</Message><Code>SlowDown</Code></Error>")
	f := refused(SignedURL{}, &http.Response{StatusCode: http.StatusBadRequest, Body: io.NopCloser(body)})
	if body.Len() == 0 || !errors.Is(f.err, ErrBadResponse) {
		t.Errorf("%v; %d bytes were not read", f.err, body.Len())
	}
}
