package maskstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// SignedURL is one request that a client without credentials may make. It must send exactly these headers, and
// where ContentLength is not 0 a body of that length.
//
// The signature is a secret while it lasts: whoever has the URL can make the request. So a SignedURL prints, logs and
// marshals redacted; Reveal gives what the client needs.
type SignedURL struct {
	Method        string
	URL           string      // printing this field itself leaks the signature
	Header        http.Header // holds neither Host nor Content-Length
	ContentLength int64       // in bytes; 0: unbound
	Expires       time.Time   // when the server begins to refuse it
}

// Request makes the request. The body must have ContentLength bytes where that is set; for an upload it must not be
// nil. Where ContentLength is 0 the length is that of a body whose type net/http knows (bytes.Reader,
// bytes.Buffer, strings.Reader); servers refuse an upload without one.
func (u SignedURL) Request(ctx context.Context, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, u.Method, u.URL, body)
	if err != nil {
		return nil, inputError("SignedURL", "is no URL", "one as a storage signed it")
	}
	for name, values := range u.Header {
		req.Header[name] = values
	}
	if u.ContentLength > 0 {
		req.ContentLength = u.ContentLength
	}
	return req, nil
}

// RevealedURL is a SignedURL as it goes over the wire to the client. It marshals, prints and logs its signature.
type RevealedURL struct {
	Method        string            `json:"method"`
	URL           string            `json:"url"`
	Headers       map[string]string `json:"headers,omitempty"`
	ContentLength int64             `json:"content_length,omitzero"`
	Expires       time.Time         `json:"expires"`
}

// Reveal gives the URL with its signature, for the one place that sends it to the client.
func (u SignedURL) Reveal() RevealedURL {
	headers := make(map[string]string, len(u.Header))
	for name := range u.Header {
		headers[name] = u.Header.Get(name)
	}
	return RevealedURL{u.Method, u.URL, headers, u.ContentLength, u.Expires}
}

// SignedURL is the way back, for a client that was sent the URL.
func (r RevealedURL) SignedURL() SignedURL {
	header := make(http.Header, len(r.Headers))
	for name, value := range r.Headers {
		header.Set(name, value)
	}
	return SignedURL{r.Method, r.URL, header, r.ContentLength, r.Expires}
}

const redacted = "[redacted]"

// String gives method and URL without the query, which holds the signature.
func (u SignedURL) String() string { return u.Method + " " + redactURL(u.URL) }

// redactURL leaves a URL without its query.
func redactURL(text string) string {
	if base, _, found := strings.Cut(text, "?"); found {
		return base + "?" + redacted
	}
	return text
}

// Format prints String for every verb.
func (u SignedURL) Format(f fmt.State, _ rune) { io.WriteString(f, u.String()) }

// LogValue logs String.
func (u SignedURL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// MarshalJSON marshals String.
func (u SignedURL) MarshalJSON() ([]byte, error) { return json.Marshal(u.String()) }

// Secret is a string that is not printed, logged or marshalled, except as the key of a JSON object. Reveal gives it.
//
// Package fmt calls no method of an unexported field: a type that may be printed keeps a Secret, or a SignedURL, in
// such a field behind a pointer.
type Secret string

// Reveal gives the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String gives "[redacted]", or "" for the empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format prints String for every verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue logs String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText marshals String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// secretsIn gives what of a request must not be shown: its query, which may be signed, and what says who makes it.
func secretsIn(query string, header http.Header) []string {
	var texts []string
	add := func(least int, more ...string) {
		for _, text := range more {
			if len(text) >= least {
				texts = append(texts, text)
			}
		}
	}
	add(leastSecret, query)
	for pair := range strings.SplitSeq(query, "&") {
		_, value, _ := strings.Cut(pair, "=")
		add(leastSecret, value)
		if plain, err := url.QueryUnescape(value); err == nil {
			add(leastSecret, plain)
		}
	}
	for _, name := range []string{"Authorization", "Proxy-Authorization", "Cookie", "X-Amz-Security-Token"} {
		for _, value := range header[name] {
			least := leastCredential
			if strings.HasPrefix(value, "AWS4-") {
				least = leastSecret // beside the signature it names headers
			}
			add(least, value)
			for part := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ' ' || r == ',' || r == ';' }) {
				_, credential, _ := strings.Cut(part, "=")
				add(least, part, credential)
			}
		}
	}
	slices.SortFunc(texts, func(a, b string) int { return len(b) - len(a) }) // a part of another comes after it
	return texts
}

// From these lengths on something is taken for a secret: of a signed request, whose AWS4-HMAC-SHA256 and date have 16, and
// of a header that says who makes it, where shorter ones are words such as Bearer.
const leastSecret, leastCredential = 17, 8

// hide gives err, or where it or an error in it shows one of the secrets, what it says without them.
func hide(err error, secrets []string) error {
	if err == nil || !shows(err, secrets) {
		return err
	}
	text := err.Error()
	for _, secret := range secrets {
		text = strings.ReplaceAll(text, secret, redacted)
	}
	return &hiddenError{text, func(target error) bool { return errors.Is(err, target) }}
}

func shows(err error, secrets []string) bool {
	text := err.Error()
	if slices.ContainsFunc(secrets, func(secret string) bool { return strings.Contains(text, secret) }) {
		return true
	}
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), func(err error) bool { return err != nil && shows(err, secrets) })
	case interface{ Unwrap() error }:
		cause := e.Unwrap()
		return cause != nil && shows(cause, secrets)
	}
	return false
}

// hiddenError stands for an error that would show a secret. errors.Is finds what that is, errors.As does not.
type hiddenError struct {
	text string
	is   func(target error) bool
}

func (e *hiddenError) Error() string        { return e.text }
func (e *hiddenError) Is(target error) bool { return e.is(target) }
