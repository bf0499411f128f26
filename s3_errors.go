package maskstore

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// parseBase64 reads a checksum header. What is none, such as that of an object uploaded in parts, is zero.
func parseBase64(value string) (sum SHA256) {
	data, err := base64.StdEncoding.DecodeString(value)
	if err == nil && len(data) == len(sum) {
		copy(sum[:], data)
	}
	return sum
}

// hidingClient is the SDK's client. The SDK signs in a header, which no error of net/http shows; one of the transport that
// S3Options.HTTPClient brings may.
type hidingClient struct{ *http.Client }

func (c hidingClient) Do(req *http.Request) (*http.Response, error) {
	resp, err := c.Client.Do(req)
	if err != nil {
		err = hide(err, secretsIn("", req.Header)) // its query is not signed
	}
	return resp, err
}

// sdkError gives an error of the SDK its kind; errors.As still reaches the SDK's own.
func (s *S3) sdkError(ctx context.Context, err error) error {
	if err == nil {
		return nil // also where ctx has ended since
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	status, header := 0, http.Header{}
	if answer, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && answer.Response != nil {
		status, header = answer.HTTPStatusCode(), answer.Response.Header
	}
	if status == 0 {
		if _, credErr := s.keys(ctx); credErr != nil {
			return credErr
		}
	}
	code, message := "", ""
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		code, message = api.ErrorCode(), strings.ToLower(api.ErrorMessage())
	}
	kind := refusedKind(SignedURL{}, status, code, message)
	if kind == nil {
		kind = ErrBadResponse
		if status == 0 || status >= 500 {
			kind = ErrUnavailable
		}
	}
	if code == "NoSuchUpload" {
		err = noUploadError{err}
	}
	return s.explain(kind, status, code, header, err)
}

// noUploadError is errNoUpload, in place of the many words of the server's own, which errors.As still reaches.
type noUploadError struct{ cause error }

func (noUploadError) Error() string   { return errNoUpload.Error() }
func (e noUploadError) Unwrap() error { return e.cause }

// uploadError is the sdkError of a call for one upload in parts. Only a code tells that the upload is gone: a proxy that
// does not know where the server is answers 404 as well, and the parts stay.
func (s *S3) uploadError(ctx context.Context, err error) error {
	mapped := s.sdkError(ctx, err)
	api, ok := errors.AsType[smithy.APIError](err)
	if e, _ := mapped.(*Error); e != nil && e.Kind == ErrNotFound && !(ok && api.ErrorCode() == "NoSuchUpload") {
		return &Error{Kind: ErrBadResponse, Err: e.Err}
	}
	return mapped
}

// isFinal tells errors that the SDK takes for a broken connection and that no other attempt mends: those of TLS, and the
// 400 without a code of a server that wants TLS.
func isFinal(err error) bool {
	answer, ok := errors.AsType[*smithyhttp.ResponseError](err)
	_, coded := errors.AsType[smithy.APIError](err)
	return isNoTLS(err) || ok && answer.HTTPStatusCode() == http.StatusBadRequest && !coded
}

// sdkFailure is the failure of one attempt by the SDK.
func (s *S3) sdkFailure(ctx context.Context, err error) *failure {
	status := 0
	if answer, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		status = answer.HTTPStatusCode()
	}
	mapped := s.sdkError(ctx, err)
	again := !isFinal(err) && !isLasting(status) && (errors.Is(mapped, ErrUnavailable) || errors.Is(mapped, ErrThrottled))
	return &failure{err: mapped, again: again, maybeDone: (status < 300 || status >= 500) && !isNoConnection(err)}
}

// explain gives a refusal of our own request its kind, and says what only we know: when, for which region and with whose
// keys it was signed.
func (s *S3) explain(kind error, status int, code string, header http.Header, err error) error {
	region, clocks := header.Get("X-Amz-Bucket-Region"), clocksOf(header)
	switch {
	case region != "" && region != s.region && (status == http.StatusBadRequest || status/100 == 3):
		// Whatever the code: to a PUT MinIO answers MissingFields, and to a HEAD there is none.
		kind, err = ErrWrongRegion, inRegion(region, err)
	case kind == ErrWrongRegion && code == "" && region == s.region && status == http.StatusBadRequest:
		kind = ErrBadResponse // to a HEAD, such as of an object that is encrypted by a client's key
	case kind == ErrClockSkew || kind == ErrExpired && code == "AccessDenied",
		kind == ErrAccessDenied && code == "" && clocks.ahead.Abs() > maxClockSkew: // to a HEAD there is no code
		kind, err = ErrClockSkew, fmt.Errorf("%v: %w", clocks, err)
	case code == "SignatureDoesNotMatch":
		kind = ErrUnauthenticated
	}
	return &Error{Kind: kind, Err: err}
}

// clocks are this machine's, to the second, and the server's as its answer gives it.
type clocks struct {
	ours   time.Time
	server string
	ahead  time.Duration // how far ours is; 0 where the server gives none
}

func clocksOf(answer http.Header) clocks {
	c := clocks{ours: time.Now().UTC().Truncate(time.Second), server: answer.Get("Date")}
	if server, err := http.ParseTime(c.server); err == nil {
		c.ahead = c.ours.Sub(server)
	}
	return c
}

// String says what they show, and how far they are apart.
func (c clocks) String() string {
	way := "ahead"
	if c.ahead < 0 {
		way = "behind"
	}
	return fmt.Sprintf("this machine's clock says %s, the server's %s: it is %v %s",
		c.ours.Format(http.TimeFormat), c.server, c.ahead.Abs(), way)
}
