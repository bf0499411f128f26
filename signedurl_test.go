package maskstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// prints gives v in every way that a program may print it.
func prints(t *testing.T, v any) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%10v"} {
		out[verb] = fmt.Sprintf(verb, v)
	}
	data, err := json.Marshal(v)
	out["json"] = fmt.Sprint(string(data), err)
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"slog text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"slog json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var b bytes.Buffer
		slog.New(handler(&b)).Info("it", "value", v, slog.Group("group", "value", v))
		out[name] = b.String()
	}
	return out
}

func TestSecretsAreNotPrinted(t *testing.T) {
	const secret = "hunter2hunter2"
	u := SignedURL{
		Method: "PUT", URL: "https://s3.test/b/mask/a?X-Amz-Signature=" + secret, Header: http.Header{"X-Secret": {secret}},
	}
	s := Secret(secret)
	type holder struct {
		URL    SignedURL
		URLs   []SignedURL
		ByKey  map[string]SignedURL
		Ptr    *SignedURL
		Any    any
		Secret Secret
		List   []Secret
		Map    map[string]Secret
		SecPtr *Secret
	}
	whole := holder{u, []SignedURL{u}, map[string]SignedURL{"k": u}, &u, u, s, []Secret{s}, map[string]Secret{"k": s}, &s}
	for _, tt := range []struct {
		name  string
		value any
	}{
		{"URL", u}, {"URL's pointer", &u}, {"URLs", []SignedURL{u}},
		{"secret", s}, {"secret's pointer", &s}, {"secrets", []Secret{s}},
		{"in a struct", whole}, {"in a struct's pointer", &whole},
	} {
		for how, text := range prints(t, tt.value) {
			if strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
				t.Errorf("%s by %s: %s", tt.name, how, text)
			}
		}
	}
	for how, text := range prints(t, u) {
		if !strings.Contains(text, "PUT https://s3.test/b/mask/a?[redacted]") {
			t.Errorf("the URL by %s does not say what it is: %s", how, text)
		}
	}
	for how, text := range prints(t, s) {
		if !strings.Contains(text, "[redacted]") {
			t.Errorf("the secret by %s: %s", how, text)
		}
	}
	if got := fmt.Sprint(Secret("")); got != "" {
		t.Errorf("the empty secret prints %q", got)
	}
	if s.Reveal() != secret {
		t.Error("Reveal does not give the secret")
	}
	var read struct{ Secret Secret }
	if err := json.Unmarshal([]byte(`{"Secret": "hunter2hunter2"}`), &read); err != nil || read.Secret != s {
		t.Errorf("read %v, %v", read, err)
	}
}

func TestRevealedURL(t *testing.T) {
	u := SignedURL{
		Method:        "PUT",
		URL:           "https://s3.test/b/mask/a?X-Amz-Signature=5ec2e7&x=1",
		Header:        http.Header{"Content-Type": {"image/png"}, "If-None-Match": {"*"}},
		ContentLength: 2700,
		Expires:       time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	data, err := json.Marshal(u.Reveal())
	want := `{"method":"PUT","url":"https://s3.test/b/mask/a?X-Amz-Signature=5ec2e7\u0026x=1","headers":{"Content-Type":"image/png","If-None-Match":"*"},"content_length":2700,"expires":"2030-01-02T03:04:05Z"}`
	if string(data) != want || err != nil {
		t.Errorf("got %s, %v", data, err)
	}
	var revealed RevealedURL
	if err := json.Unmarshal(data, &revealed); err != nil {
		t.Fatal(err)
	}
	same := cmp.Comparer(func(a, b SignedURL) bool { return cmp.Equal(a.Reveal(), b.Reveal()) })
	if !cmp.Equal(u, revealed.SignedURL(), same) || !cmp.Equal(u.Header, revealed.SignedURL().Header) {
		t.Errorf("came back as %#v", revealed)
	}
}

func TestSignedURLRequest(t *testing.T) {
	u := SignedURL{
		Method: "PUT", URL: "https://s3.test/b/k?X-Amz-Signature=5ec2e7", Header: http.Header{"If-Match": {`"e"`}},
		ContentLength: 4,
	}
	req, err := u.Request(t.Context(), bytes.NewReader([]byte("mask")))
	if err != nil {
		t.Fatal(err)
	}
	if req.Method != "PUT" || req.URL.String() != u.URL || req.ContentLength != 4 || !cmp.Equal(req.Header, u.Header) ||
		req.Context() != t.Context() {
		t.Errorf("got %+v", req)
	}
	req.Header.Set("Range", "bytes=0-1")
	if u.Header.Get("Range") != "" {
		t.Error("the request's headers are the URL's")
	}
	u.ContentLength = 0
	if req, err = u.Request(t.Context(), strings.NewReader("masks")); err != nil || req.ContentLength != 5 {
		t.Errorf("length %d, %v; want the reader's", req.ContentLength, err)
	}
	for _, bad := range []SignedURL{
		{Method: "P T", URL: u.URL}, {Method: "PUT", URL: "https://s3.test:port/?X-Amz-Signature=5ec2e7"},
	} {
		_, err := bad.Request(t.Context(), nil)
		wantInputError(t, err, ErrInvalidArgument, "SignedURL")
		if strings.Contains(err.Error(), "5ec2e7") {
			t.Error(err)
		}
	}
}

// TestShortCredentialsAreHidden: session IDs and passwords may be shorter than any signature.
func TestShortCredentialsAreHidden(t *testing.T) {
	for header, value := range map[string]string{
		"Authorization": "Basic YWRtaW46cGFzcw==", "Proxy-Authorization": "Bearer token-1234",
		"Cookie": "theme=dark; sid=0123456789abcdef",
	} {
		_, secret, _ := strings.Cut(value, " ")
		secret = strings.TrimPrefix(secret, "sid=")
		err := hide(errors.New("refused: "+secret), secretsIn("", http.Header{header: {value}}))
		if err.Error() != "refused: "+redacted {
			t.Errorf("%s: %v", header, err)
		}
	}
	err := errors.New("Bearer, dark, AWS4-HMAC-SHA256 and content-length say nothing")
	header := http.Header{
		"Authorization": {"Bearer token-1234", "AWS4-HMAC-SHA256 SignedHeaders=content-length;host, Signature=x"},
		"Cookie":        {"theme=dark"},
	}
	if got := hide(err, secretsIn("", header)); got != err {
		t.Error(got)
	}
}

// TestQueriesAreHidden: as a whole, and each of its values, escaped or not.
func TestQueriesAreHidden(t *testing.T) {
	const query = "X-Amz-Security-Token=IQoJb3JpZ2lu%2FXdzEBYaDA%3D%3D&X-Amz-Expires=600"
	for _, secret := range []string{query, "IQoJb3JpZ2lu%2FXdzEBYaDA%3D%3D", "IQoJb3JpZ2lu/XdzEBYaDA=="} {
		if err := hide(errors.New("refused: "+secret), secretsIn(query, nil)); err.Error() != "refused: "+redacted {
			t.Error(err)
		}
	}
}
