package maskstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// timeout is as a timeout of the network: it passes for the context's, and is none.
type timeout struct{ error }

func (timeout) Is(target error) bool { return target == context.DeadlineExceeded }

func TestKindsAreTheLibrarysToo(t *testing.T) {
	tests := []struct{ kind, also error }{
		{ErrInvalidKey, fs.ErrInvalid},
		{ErrInvalidArgument, fs.ErrInvalid},
		{ErrNotFound, fs.ErrNotExist},
		{ErrDeleted, fs.ErrNotExist},
		{ErrAccessDenied, fs.ErrPermission},
		{ErrUnauthenticated, fs.ErrPermission},
		{ErrUnsupported, errors.ErrUnsupported},
	}
	for _, tt := range tests {
		err := fmt.Errorf("caller: %w", &Error{Op: "Get", Key: "k", Kind: tt.kind, Err: errTest})
		if !errors.Is(err, tt.kind) || !errors.Is(err, tt.also) || !errors.Is(err, errTest) {
			t.Errorf("%v is not all of %v, %v and its cause", err, tt.kind, tt.also)
		}
		if errors.Is(err, ErrThrottled) || errors.Is(err, fs.ErrExist) {
			t.Errorf("%v is what it is not", err)
		}
	}
	if errors.Is(&Error{Kind: ErrNotFound}, ErrDeleted) {
		t.Error("kinds that mean the same error of the library are not each other")
	}
}

func TestOpError(t *testing.T) {
	tests := []struct {
		name string
		kind error
		err  error
		want *Error // nil: nil
		text string
	}{
		{"nothing", nil, nil, nil, ""},
		{"kind", ErrNotFound, nil, &Error{"Op", "k", ErrNotFound, nil}, `maskstore: Op "k": not found`},
		{"cause", nil, errTest, &Error{"Op", "k", nil, errTest}, `maskstore: Op "k": test error`},
		{"both", ErrAccessDenied, errTest, &Error{"Op", "k", ErrAccessDenied, errTest}, `maskstore: Op "k": access denied: test error`},
		{"canceled", ErrUnavailable, context.Canceled, &Error{"Op", "k", nil, context.Canceled}, `maskstore: Op "k": context canceled`},
		{"again", nil, &Error{"Put", "other", ErrThrottled, errTest}, &Error{"Op", "other", ErrThrottled, errTest}, `maskstore: Op "other": throttled: test error`},
		{"again, lacking", ErrNotFound, &Error{Err: errTest}, &Error{"Op", "k", ErrNotFound, errTest}, `maskstore: Op "k": not found: test error`},
		{"again, its own kind wins", ErrNotFound, &Error{Kind: ErrThrottled}, &Error{"Op", "k", ErrThrottled, nil}, `maskstore: Op "k": throttled`},
		{"again, canceled", ErrNotFound, &Error{"Put", "", nil, context.Canceled}, &Error{"Op", "k", nil, context.Canceled}, `maskstore: Op "k": context canceled`},
		{"again, a timeout of the network", nil, &Error{Kind: ErrUnavailable, Err: timeout{errTest}}, &Error{"Op", "k", ErrUnavailable, timeout{errTest}}, `maskstore: Op "k": unavailable: test error`},
		{
			"within another's text", nil, fmt.Errorf("read: %w", &Error{"Get", "a", ErrNotFound, nil}),
			&Error{"Op", "k", nil, fmt.Errorf("read: %w", &Error{"Get", "a", ErrNotFound, nil})},
			`maskstore: Op "k": read: Get "a": not found`,
		},
		{
			"input", nil, inputError("TTL", "is 0.5s", "1s or more"),
			&Error{"Op", "k", ErrInvalidArgument, &InputError{"TTL", "is 0.5s", "1s or more"}},
			`maskstore: Op "k": invalid argument: TTL is 0.5s; want 1s or more`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := opError("Op", "k", tt.kind, tt.err)
			if tt.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, err, cmp.Comparer(func(a, b error) bool {
				return fmt.Sprintf("%T %[1]v", a) == fmt.Sprintf("%T %[1]v", b)
			})); diff != "" {
				t.Error(diff)
			}
			if err.Error() != tt.text {
				t.Errorf("got %s, want %s", err, tt.text)
			}
		})
	}
	inner := &Error{Op: "Put", Err: errTest}
	opError("Op", "k", nil, inner)
	if diff := cmp.Diff("Put", inner.Op); diff != "" || inner.Key != "" {
		t.Error("the wrapped error was changed")
	}
}

func TestKeyErrors(t *testing.T) {
	a, b := &Error{Op: "Delete", Key: "a", Err: errTest}, &Error{Op: "Delete", Key: "b", Kind: ErrAccessDenied}
	nested := &Error{Op: "Delete", Key: "c", Err: a}
	tests := []struct {
		name string
		err  error
		want []string
	}{
		{"nil", nil, nil},
		{"none", errTest, nil},
		{"one", a, []string{"a"}},
		{"joined, in order", errors.Join(b, a), []string{"b", "a"}},
		{"wrapped", fmt.Errorf("x: %w", errors.Join(a, nil, errTest, b)), []string{"a", "b"}},
		{"in one without a key", &Error{Op: "DeletePrefix", Err: errors.Join(a, b)}, []string{"a", "b"}},
		{"the outer key counts", nested, []string{"c"}},
		{"joined twice", errors.Join(errors.Join(a), errors.Join(b)), []string{"a", "b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, e := range KeyErrors(tt.err) {
				got = append(got, e.Key)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestContextErrorsStayWhatTheyAre(t *testing.T) {
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
		err := opError("Get", "k", ErrUnavailable, fmt.Errorf("sending: %w", cause))
		if !errors.Is(err, cause) || errors.Is(err, ErrUnavailable) {
			t.Errorf("%v", err)
		}
	}
}
