package maskstore

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/smithy-go"
)

const (
	firstPause   = 200 * time.Millisecond
	longestPause = 10 * time.Second
	// longestWait is the longest that a server may ask to wait; with more, the attempts end.
	longestWait = time.Minute
	// maxErrorBody is how much is read of an error's answer.
	maxErrorBody = 64 << 10
)

// HTTPError is a server's refusal of a signed request.
type HTTPError struct {
	Request    string // method and URL, without the signature
	StatusCode int    // 300 to 599
	Code       string // S3's error code; empty where the answer has none, as that of a proxy
}

// Error gives request, status and code.
func (e *HTTPError) Error() string {
	s := fmt.Sprintf("%s: %d %s", e.Request, e.StatusCode, http.StatusText(e.StatusCode))
	if e.Code != "" {
		s += ", " + e.Code
	}
	return s
}

// ErrorCode gives Code; with ErrorMessage and ErrorFault it makes a smithy.APIError.
func (e *HTTPError) ErrorCode() string { return e.Code }

// ErrorMessage gives the status. The server's own words may repeat the request, its signature included.
func (e *HTTPError) ErrorMessage() string { return http.StatusText(e.StatusCode) }

// ErrorFault says whose fault the status is.
func (e *HTTPError) ErrorFault() smithy.ErrorFault {
	if e.StatusCode >= 500 {
		return smithy.FaultServer
	}
	return smithy.FaultClient
}

// failure is what became of an attempt that failed.
type failure struct {
	err       error         // an *Error, without Op and Key
	again     bool          // another attempt may succeed
	maybeDone bool          // the server may have done it all the same
	status    int           // of the answer; 0: none
	after     time.Duration // how long the server asks to wait
}

// retry calls once until it succeeds, or fails for good, or attempts (0: DefaultAttempts) are used up. Whether a URL still
// works the server knows, by its clock; ours only says when to stop trying again.
func retry(ctx context.Context, u SignedURL, attempts int, once func() *failure) error {
	attempts = cmp.Or(attempts, DefaultAttempts)
	var last error // of the attempt before
	for n := 1; ; n++ {
		if n > 1 && hasExpired(u) {
			return &Error{Kind: ErrExpired, Err: fmt.Errorf("%v worked until %s", u, u.Expires.UTC().Format(time.RFC3339))}
		}
		f := once()
		switch {
		case f == nil:
			return nil
		case ctx.Err() != nil:
			if e, ok := f.err.(*Error); ok && e.Kind == nil && isContextError(e) {
				return e // of attempts within this one
			}
			return ended(ctx, last)
		case errors.Is(f.err, ErrAccessDenied) && hasExpired(u):
			return &Error{Kind: ErrExpired, Err: f.err}
		case !f.again || n >= attempts || f.after > longestWait:
			return f.err
		}
		last = f.err
		timer := time.NewTimer(max(pause(n), f.after))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ended(ctx, last)
		}
	}
}

// hasExpired tells it by our own clock.
func hasExpired(u SignedURL) bool { return !u.Expires.IsZero() && !time.Now().Before(u.Expires) }

// ended is the error of a context that ended before another attempt did, and says what the last one failed with.
func ended(ctx context.Context, last error) error {
	if last == nil {
		return &Error{Err: ctx.Err()}
	}
	return &Error{Err: fmt.Errorf("%w; before that: %s", ctx.Err(), strings.TrimPrefix(last.Error(), "maskstore: "))}
}

// pause is how long to wait after the nth attempt; half of it is random, so that clients do not come back together.
func pause(n int) time.Duration {
	d := min(firstPause<<min(n-1, 10), longestPause)
	return d/2 + rand.N(d/2+1)
}

// noAnswer is a failure without an answer, or with one that broke off.
func noAnswer(u SignedURL, err error) *failure {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // which, unlike e, does not print the URL, unless the client's own transport gave it
	}
	_, query, _ := strings.Cut(u.URL, "?")
	final := isNoTLS(err)
	return &failure{
		err:       &Error{Kind: ErrUnavailable, Err: fmt.Errorf("%v: %w", u, hide(err, secretsIn(query, u.Header)))},
		again:     !final,
		maybeDone: !final && !isNoConnection(err),
	}
}

// isNoConnection tells errors of a request that was never sent.
func isNoConnection(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "dial"
}

// isNoTLS tells errors of a TLS connection that no other attempt mends: a certificate that is not trusted, and a server
// that speaks plain HTTP, or no HTTP at all.
func isNoTLS(err error) bool {
	_, distrusted := errors.AsType[*tls.CertificateVerificationError](err)
	_, plain := errors.AsType[tls.RecordHeaderError](err)
	return distrusted || plain || errors.Is(err, http.ErrSchemeMismatch)
}

// badAnswer is a success that makes no sense.
func badAnswer(u SignedURL, problem string) *failure {
	return &failure{err: &Error{Kind: ErrBadResponse, Err: fmt.Errorf("%v: the answer %s", u, problem)}}
}

// refused is the failure that an answer other than 2xx tells. Of its body only the code is kept: a message may repeat
// the request, its signature included.
func refused(u SignedURL, resp *http.Response) *failure {
	var doc struct {
		XMLName               xml.Name `xml:"Error"`
		Code, Message, Region string
	}
	if xml.NewDecoder(io.LimitReader(resp.Body, maxErrorBody)).Decode(&doc) != nil || !isErrorCode(doc.Code) {
		doc.Code, doc.Message, doc.Region = "", "", ""
	}
	status := resp.StatusCode
	region := cmp.Or(resp.Header.Get("X-Amz-Bucket-Region"), doc.Region)
	again := status >= 500 && !isLasting(status) ||
		status == http.StatusRequestTimeout || status == http.StatusTooManyRequests ||
		doc.Code == "RequestTimeout" || isConflict(doc.Code)
	kind := refusedKind(u, status, doc.Code, strings.ToLower(doc.Message))
	if doc.Code == "" && region != "" && (status == http.StatusMovedPermanently || status == http.StatusBadRequest) {
		kind = ErrWrongRegion // the answer to a HEAD has no code
	}
	if kind == nil {
		if kind = ErrBadResponse; again || status >= 500 {
			kind = ErrUnavailable
		}
	}
	var cause error = &HTTPError{Request: u.String(), StatusCode: status, Code: doc.Code}
	switch clocks := clocksOf(resp.Header); {
	case kind == ErrWrongRegion && region != "":
		cause = inRegion(region, cause)
	case kind == ErrClockSkew && clocks.ahead.Abs() > maxClockSkew: // else it is the clock of whoever signed
		cause = fmt.Errorf("%v: %w", clocks, cause)
	case kind == ErrExpired && doc.Code == "AccessDenied" && clocks.ahead < 0 && clocks.ours.Before(u.Expires):
		kind, cause = ErrClockSkew, fmt.Errorf("%v: %w: %w", clocks, ErrExpired, cause) // it may be old all the same
	}
	return &failure{
		err:       &Error{Kind: kind, Err: cause},
		again:     again,
		maybeDone: status >= 500,
		status:    status,
		after:     retryAfter(resp.Header, time.Now()),
	}
}

// recheck lets a body that the server has refused for its checksum or size be sent again where, read once more, it is what
// it says: then it was damaged on its way.
func (f *failure) recheck(ctx context.Context, body *Body) *failure {
	if errors.Is(f.err, ErrChecksum) && body.Open != nil {
		_, err := body.hash(ctx)
		if f.again = err == nil; err != nil && !errors.Is(err, ErrChecksum) {
			f.err = &Error{Kind: ErrChecksum, Err: fmt.Errorf("%w; its body cannot be read again: %w", f.err, err)}
		}
	}
	return f
}

// isLasting tells failures of a server that no other attempt mends: what it does not implement, and a disk that is full.
func isLasting(status int) bool {
	return status == http.StatusNotImplemented || status == http.StatusInsufficientStorage
}

// isConflict tells the codes of a request that met another one of its key, and may be made again.
func isConflict(code string) bool {
	return code == "ConditionalRequestConflict" || code == "OperationAborted"
}

func inRegion(region string, err error) error {
	return fmt.Errorf("the bucket's region is %s: %w", region, err)
}

// isErrorCode tells a code such as SlowDown from whatever else a server writes.
func isErrorCode(code string) bool {
	return code != "" && len(code) <= 64 && code[0] >= 'A' && code[0] <= 'Z' &&
		strings.IndexFunc(code, func(r rune) bool { return r > 'z' || !isAlphanumeric(byte(r)) }) < 0
}

// refusedKind gives the kind of a refusal, or nil.
func refusedKind(u SignedURL, status int, code, message string) error {
	if kind := kindOfCode(code, message); kind != nil {
		return kind
	}
	switch {
	case status == http.StatusNotFound && code == "" && u.Method != http.MethodHead:
		return ErrBadResponse // a proxy's, which does not know the server: nothing of the object
	case status == http.StatusNotFound && u.Header.Get("If-Match") != "" && u.Method == http.MethodPut:
		return ErrPreconditionFailed // the object that was to be replaced is gone
	case status == http.StatusTooManyRequests:
		return ErrThrottled
	case status == http.StatusRequestTimeout:
		return ErrUnavailable
	case status == http.StatusUnauthorized:
		return ErrUnauthenticated
	case status == http.StatusForbidden:
		return ErrAccessDenied
	case status == http.StatusNotFound:
		return ErrNotFound
	case status == http.StatusPreconditionFailed:
		return ErrPreconditionFailed
	case status == http.StatusRequestedRangeNotSatisfiable:
		return ErrInvalidRange
	case status == http.StatusRequestEntityTooLarge:
		return ErrTooLarge
	case status == http.StatusNotImplemented:
		return ErrUnsupported
	}
	return nil
}

// kindOfCode gives the kind that an error code alone tells, by its message in lower case where it has two meanings, or
// nil. The codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
func kindOfCode(code, message string) error {
	switch code {
	case "AccessDenied":
		// The beginnings, as S3 and MinIO have them: a denial may go on with names of users and policies.
		if strings.HasPrefix(message, "request has expired") {
			return ErrExpired
		}
		if strings.HasPrefix(message, "request is not valid yet") || strings.HasPrefix(message, "request is not yet valid") {
			return ErrClockSkew
		}
		return ErrAccessDenied
	case "ExpiredToken":
		return ErrExpired
	case "RequestTimeTooSkewed":
		return ErrClockSkew
	case "InvalidAccessKeyId", "InvalidToken":
		return ErrUnauthenticated
	case "BadDigest", "InvalidDigest", "IncompleteBody", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch":
		return ErrChecksum
	case "EntityTooLarge":
		return ErrTooLarge
	case "NoSuchBucket":
		return ErrNoSuchBucket
	case "NoSuchUpload":
		return ErrNotFound
	case "PreconditionFailed":
		return ErrPreconditionFailed
	case "InvalidRange":
		return ErrInvalidRange
	case "EntityTooSmall", "InvalidPart", "InvalidPartOrder",
		"XMinioObjectExistsAsDirectory": // of a MinIO that was killed as it completed the upload, and had moved its data
		return ErrInvalidArgument
	case "InvalidRequest":
		if strings.Contains(message, "larger than the maximum") {
			return ErrTooLarge // of the source of a copy
		}
	case "NotImplemented":
		return ErrUnsupported
	case "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed":
		return ErrWrongRegion
	case "AuthorizationQueryParametersError":
		if strings.Contains(message, "region") {
			return ErrWrongRegion
		}
	case "InternalError", "ServiceUnavailable", "RequestTimeout", "ConditionalRequestConflict", "OperationAborted":
		return ErrUnavailable
	case "SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException", "RequestLimitExceeded":
		return ErrThrottled
	}
	return nil
}

// retryAfter reads the header of that name, seconds or a date; what it cannot read is 0. So is the minute that MinIO asks to
// wait whenever it answers 503 or 429: it does so too where it was started a moment ago, and is ready in the next.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if value == "60" && h.Get("Server") == "MinIO" {
		return 0
	}
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(date.Sub(now), 0)
	}
	return 0
}

// discard closes an answer, and reads its rest where that is short, so that the connection can be used again.
func discard(resp *http.Response) {
	io.CopyN(io.Discard, resp.Body, maxErrorBody)
	resp.Body.Close()
}
