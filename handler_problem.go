package maskstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// problem is a problem document: https://www.rfc-editor.org/rfc/rfc9457. Its type is about:blank, so its title is
// the status's; code tells one problem from another.
type problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail"`
	Instance string `json:"instance,omitempty"`
	Code     string `json:"code"`

	Field      string    `json:"field,omitempty"`      // of bad input, as the client knows it
	Creator    string    `json:"creator,omitempty"`    // of upload_open: whose upload it is
	Until      time.Time `json:"until,omitzero"`       // of upload_open: when it can be taken over
	Verdicts   []Verdict `json:"verdicts,omitempty"`   // of incomplete
	Unexpected []string  `json:"unexpected,omitempty"` // of incomplete
}

// httpError is an error that says itself how it is answered. err, which may be nil, is for the log.
type httpError struct {
	status              int
	code, field, detail string
	err                 error
}

func (e *httpError) Error() string {
	if e.err != nil {
		return e.detail + ": " + e.err.Error()
	}
	return e.detail
}

func (e *httpError) Unwrap() error { return e.err }

// incompleteError carries what Complete found to the problem document.
type incompleteError struct {
	done *Completion
	error
}

func (e *incompleteError) Unwrap() error { return e.error }

const (
	invalidCode    = "invalid_argument"
	internalDetail = "the server failed; its log says why"
)

func badInput(field, problem, want string) error {
	return badInputError(inputError(field, problem, want))
}

// badInputError answers an input error with 400.
func badInputError(err error) *httpError {
	var input *InputError
	errors.As(err, &input)
	return &httpError{status: http.StatusBadRequest, code: invalidCode, field: input.Field, detail: input.Error()}
}

func tooLarge(limit int64) error {
	return &httpError{
		status: http.StatusRequestEntityTooLarge, code: "body_too_large", field: "body",
		detail: fmt.Sprintf("the body has more than %d bytes", limit),
	}
}

// problemKinds says how the errors of groups are answered, the first that fits. None of a storage's own words is
// among the details: they can tell of the server's inside.
var problemKinds = []struct {
	kind         error
	status       int
	code, detail string
}{
	{ErrIncomplete, http.StatusConflict, "incomplete", "no upload of the group has been completed yet"},
	{ErrUploadOpen, http.StatusConflict, "upload_open", "another upload of the group is open"},
	{ErrSuperseded, http.StatusConflict, "superseded", "another upload of the group took this one's place"},
	{ErrDeleted, http.StatusGone, "deleted", "the group was deleted; its ID is free again when its last URL has expired"},
	{ErrInvalidManifest, http.StatusInternalServerError, "invalid_manifest", "the group's metadata.json cannot be read"},
	{ErrThrottled, http.StatusServiceUnavailable, "throttled", "the storage asks to slow down"},
	{ErrUnavailable, http.StatusServiceUnavailable, "unavailable", "the storage does not answer"},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, "unavailable", "the storage took too long"},
	{context.Canceled, http.StatusServiceUnavailable, "unavailable", "the request was cancelled"},
	{ErrAccessDenied, http.StatusBadGateway, "storage_failed", "the storage refuses the server"},
	{ErrUnauthenticated, http.StatusBadGateway, "storage_failed", "the storage refuses the server"},
	{ErrExpired, http.StatusBadGateway, "storage_failed", "the storage refuses the server"},
	{ErrClockSkew, http.StatusBadGateway, "storage_failed", "the storage refuses the server"},
	{ErrNoSuchBucket, http.StatusBadGateway, "storage_failed", "the storage is not set up for the server"},
	{ErrWrongRegion, http.StatusBadGateway, "storage_failed", "the storage is not set up for the server"},
	{ErrBadResponse, http.StatusBadGateway, "storage_failed", "the storage's answer makes no sense"},
	{ErrNotFound, http.StatusNotFound, "not_found", "there is no such group"},
	{ErrPreconditionFailed, http.StatusConflict, "precondition_failed", "the group exists already"},
}

// problemOf says how err is answered. What is neither the client's fault nor of a known kind is a 500.
func problemOf(err error) *problem {
	p := &problem{Status: http.StatusInternalServerError, Code: "internal", Detail: internalDetail}
	var (
		own   *httpError
		input *InputError
		open  *UploadOpenError
		part  *incompleteError
	)
	switch {
	case errors.As(err, &own):
		p.Status, p.Code, p.Field, p.Detail = own.status, own.code, own.field, own.detail
	case errors.As(err, &input):
		if field, ok := clientField(input.Field); ok {
			asked := InputError{field, input.Problem, input.Want}
			p.Status, p.Code, p.Field, p.Detail = http.StatusBadRequest, invalidCode, field, asked.Error()
		}
	default:
		for _, k := range problemKinds {
			if errors.Is(err, k.kind) {
				p.Status, p.Code, p.Detail = k.status, k.code, k.detail
				break
			}
		}
	}
	if errors.As(err, &open) {
		p.Creator, p.Until = open.Creator, open.Until.UTC()
		p.Detail += ", " + open.Error()
	}
	if errors.As(err, &part) {
		bad := 0
		for _, v := range part.done.Verdicts {
			if v.Problem != "" {
				bad++
			}
		}
		p.Verdicts, p.Unexpected = part.done.Verdicts, part.done.Unexpected
		p.Detail = fmt.Sprintf("%d of %d masks are not there as declared", bad, len(p.Verdicts))
	}
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	return p
}

// clientField gives the client's name of an input that groups name. Others, such as a TTL, are the server's own.
func clientField(field string) (string, bool) {
	switch {
	case field == "annotation" || field == "group":
		return field + "_id", true
	case strings.HasPrefix(field, "masks") || strings.HasPrefix(field, "metadata."):
		return field, true
	}
	return "", false
}
