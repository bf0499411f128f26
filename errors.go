package maskstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// Error is the error of every storage, group and client call of this package.
//
// Kind is one of the package's sentinels, so errors.Is(err, ErrNotFound) works; errors.As reaches the cause
// below it, such as smithy's APIError. Errors of a context are returned as Err with Kind nil, so that
// errors.Is(err, context.Canceled) holds. No Error holds a credential or a signature.
type Error struct {
	Op   string // the method that failed, such as "Put"
	Key  string // the key, prefix or group that it was about; empty where there is none
	Kind error  // a sentinel of this package, or nil
	Err  error  // the cause, or nil
}

const errorPrefix = "maskstore: "

// Error gives method, key, kind and cause, as far as they are set.
func (e *Error) Error() string {
	parts := make([]string, 0, 4)
	op := e.Op
	if e.Key != "" {
		op = strings.TrimSpace(fmt.Sprintf("%s %q", op, e.Key))
	}
	if op != "" {
		parts = append(parts, op)
	}
	if e.Kind != nil {
		parts = append(parts, e.Kind.Error())
	}
	if e.Err != nil {
		parts = append(parts, strings.ReplaceAll(e.Err.Error(), errorPrefix, "")) // it stands once, before all
	}
	return errorPrefix + strings.Join(parts, ": ")
}

// Format prints Error for every verb: the cause may hold more than it says.
func (e *Error) Format(f fmt.State, verb rune) {
	if verb == 'v' {
		verb = 's'
	}
	fmt.Fprintf(f, fmt.FormatString(f, verb), e.Error())
}

// MarshalText marshals Error.
func (e *Error) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// Unwrap gives the kind and the cause.
func (e *Error) Unwrap() []error {
	var errs []error
	if e.Kind != nil {
		errs = append(errs, e.Kind)
	}
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	return errs
}

// InputError says which input was wrong and what would be right. It is the cause of every error of kind
// ErrInvalidKey and ErrInvalidArgument.
type InputError struct {
	Field   string // the parameter or field, as the caller knows it: "TTL", "masks[3].label"
	Problem string // what is wrong with it
	Want    string // what would be right; may be empty
}

// Error gives all three.
func (e *InputError) Error() string {
	s := e.Field + " " + e.Problem
	if e.Want != "" {
		s += "; want " + e.Want
	}
	return s
}

// kind is a sentinel; also is an error of the standard library that it means as well.
type kind struct {
	text string
	also error
}

func (k *kind) Error() string { return k.text }
func (k *kind) Unwrap() error { return k.also }

// The kinds of Error. Those of a group's rules are told under Group.
var (
	// ErrInvalidKey: the key or prefix breaks the rules of ValidKey; nothing was sent.
	ErrInvalidKey error = &kind{"invalid key", fs.ErrInvalid}
	// ErrInvalidArgument: another input is wrong (errors.As gives an *InputError); nothing was stored.
	ErrInvalidArgument error = &kind{"invalid argument", fs.ErrInvalid}
	// ErrNotFound: no object lies at the key, or the group has no manifest. It is fs.ErrNotExist too.
	ErrNotFound error = &kind{"not found", fs.ErrNotExist}
	// ErrNoSuchBucket: the bucket itself is missing.
	ErrNoSuchBucket error = &kind{"no such bucket", nil}
	// ErrAccessDenied: the server, or the authorization hook, refuses. It is fs.ErrPermission too.
	ErrAccessDenied error = &kind{"access denied", fs.ErrPermission}
	// ErrUnauthenticated: the credentials are unknown, or a request carries none. It is fs.ErrPermission too.
	ErrUnauthenticated error = &kind{"unauthenticated", fs.ErrPermission}
	// ErrExpired: the credentials, the signed URL, or the lease of a Group.Upload have expired.
	ErrExpired error = &kind{"expired", nil}
	// ErrClockSkew: the server's clock and this machine's, or that of whoever signed, are too far apart for a signature. It is
	// ErrExpired too where a signed URL has expired by the server's clock alone.
	ErrClockSkew error = &kind{"clocks differ", nil}
	// ErrPreconditionFailed: IfMatch or NoOverwrite did not hold; nothing was changed.
	ErrPreconditionFailed error = &kind{"precondition failed", nil}
	// ErrWrongRegion: the bucket lies in another region; the cause names it where the server does.
	ErrWrongRegion error = &kind{"wrong region", nil}
	// ErrThrottled: the server still asked to slow down after the last retry.
	ErrThrottled error = &kind{"throttled", nil}
	// ErrUnavailable: the server could not be reached, or failed, up to the last retry; or what others do is in the way for now.
	ErrUnavailable error = &kind{"unavailable", nil}
	// ErrBadResponse: the server's answer makes no sense, such as a success without an ETag.
	ErrBadResponse error = &kind{"bad response", nil}
	// ErrInvalidRange: GetOptions.Offset lies at or past the object's end.
	ErrInvalidRange error = &kind{"invalid range", nil}
	// ErrTooLarge: more bytes than the service, or a limit of this package, allows.
	ErrTooLarge error = &kind{"too large", nil}
	// ErrChecksum: the content is not the one that its SHA-256 or size promises.
	ErrChecksum error = &kind{"content differs from its checksum or size", nil}
	// ErrNotPNG: the content is not a PNG image of sane dimensions.
	ErrNotPNG error = &kind{"not a PNG image", nil}
	// ErrInvalidManifest: metadata.json is not one that this package can read.
	ErrInvalidManifest error = &kind{"invalid manifest", nil}
	// ErrInvalidJournal: a record of a Journal is not one that this package can read; nothing was sent.
	ErrInvalidJournal error = &kind{"invalid journal", nil}
	// ErrIncomplete: the group has no committed revision yet, or masks are still missing.
	ErrIncomplete error = &kind{"incomplete", nil}
	// ErrUploadOpen: another upload of the group is open (errors.As gives an *UploadOpenError).
	ErrUploadOpen error = &kind{"another upload is open", nil}
	// ErrSuperseded: another upload took this one's place.
	ErrSuperseded error = &kind{"superseded by another upload", nil}
	// ErrReplaced: a mask is no longer the one that the manifest names. Group.Upload of the masks repairs it (see Group.Masks).
	ErrReplaced error = &kind{"a mask was replaced", nil}
	// ErrDeleted: the group was deleted. It is fs.ErrNotExist too.
	ErrDeleted error = &kind{"deleted", fs.ErrNotExist}
	// ErrUnsupported is errors.ErrUnsupported: the storage cannot do that.
	ErrUnsupported = errors.ErrUnsupported
)

// KeyErrors gives the errors of single keys in err, in their order: the partial failures of Delete, UploadAll,
// DownloadAll and DeletePrefix. Where err is nil there are none.
func KeyErrors(err error) []*Error {
	if e, ok := err.(*Error); ok && e.Key != "" {
		return []*Error{e}
	}
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		var all []*Error
		for _, sub := range e.Unwrap() {
			all = append(all, KeyErrors(sub)...)
		}
		return all
	case interface{ Unwrap() error }:
		return KeyErrors(e.Unwrap())
	}
	return nil
}

// opError wraps err for op and key. A nil err stays nil, an *Error keeps its kind and gets what it lacks, and an
// error of a context gets no kind.
func opError(op, key string, kind, err error) error {
	if err == nil && kind == nil {
		return nil
	}
	if isContextError(err) {
		kind = nil
	}
	if e, ok := err.(*Error); ok {
		wrapped := *e
		wrapped.Op = op
		if wrapped.Key == "" {
			wrapped.Key = key
		}
		if wrapped.Kind == nil {
			wrapped.Kind = kind
		}
		return &wrapped
	}
	return &Error{Op: op, Key: key, Kind: kind, Err: err}
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// inputError is an Error of kind ErrInvalidArgument; its caller fills in Op and Key by opError.
func inputError(field, problem, want string) error {
	return &Error{Kind: ErrInvalidArgument, Err: &InputError{Field: field, Problem: problem, Want: want}}
}
