package maskstore

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	memoryKey  = "mask/a/g/0001_liver.png"
	memoryBody = "the content"
	memoryURL  = "http://memory.test"
)

// s3Answer is what a test of ServeHTTP looks at: the error's code, or else the body.
type s3Answer struct {
	Status int
	Code   string
}

// exchange lets m answer a request as a server would hand it over.
func exchange(t *testing.T, m *Memory, r *http.Request) (s3Answer, *http.Response) {
	t.Helper()
	w := httptest.NewRecorder()
	m.ServeHTTP(w, r)
	resp := w.Result()
	if resp.StatusCode < 400 {
		return s3Answer{resp.StatusCode, w.Body.String()}, resp
	}
	var doc struct {
		XMLName                 xml.Name `xml:"Error"`
		Code, Message, Resource string
	}
	if r.Method == http.MethodHead {
		return s3Answer{resp.StatusCode, w.Body.String()}, resp
	}
	if err := xml.Unmarshal(w.Body.Bytes(), &doc); err != nil || doc.Message == "" || doc.Resource != r.URL.EscapedPath() ||
		resp.Header.Get("Content-Type") != "application/xml" {
		t.Errorf("%d answers %v %s: %v", resp.StatusCode, resp.Header, w.Body, err)
	}
	return s3Answer{resp.StatusCode, doc.Code}, resp
}

// request makes a signed request as it arrives at a server.
func signedRequest(u SignedURL, body string) *http.Request {
	r := httptest.NewRequest(u.Method, u.URL, strings.NewReader(body))
	for name := range u.Header {
		r.Header.Set(name, u.Header.Get(name))
	}
	return r
}

func setQuery(r *http.Request, name, value string) {
	q := r.URL.Query()
	if q.Del(name); value != "" {
		q.Set(name, value)
	}
	r.URL.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
}

func TestMemoryAnswersPUTAsS3(t *testing.T) {
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	without := func(name string) func(*http.Request) { return func(r *http.Request) { r.Header.Del(name) } }
	query := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { setQuery(r, name, value) }
	}
	sum := SumSHA256([]byte(memoryBody))
	bound := UploadURLOptions{ContentType: "image/png", Size: int64(len(memoryBody)), SHA256: sum}
	fresh, taken := bound, bound
	fresh.NoOverwrite = true
	taken.IfMatch = "d41d8cd98f00b204e9800998ecf8427e"
	tests := []struct {
		name string
		opts UploadURLOptions
		edit func(*http.Request)
		want s3Answer
	}{
		{"as signed", bound, nil, s3Answer{200, ""}},
		{"over nothing", fresh, nil, s3Answer{200, ""}},
		{"over nothing, with another ETag", taken, nil, s3Answer{404, "NoSuchKey"}},
		{"nothing bound", UploadURLOptions{}, nil, s3Answer{200, ""}},
		{"another type", bound, header("Content-Type", "text/html"), s3Answer{403, "SignatureDoesNotMatch"}},
		{"no type", bound, without("Content-Type"), s3Answer{403, "AccessDenied"}},
		{"another length", bound, func(r *http.Request) { r.ContentLength++ }, s3Answer{403, "SignatureDoesNotMatch"}},
		{"no length", bound, func(r *http.Request) { r.ContentLength = -1 }, s3Answer{411, "MissingContentLength"}},
		{"over 5 GiB", UploadURLOptions{}, func(r *http.Request) { r.ContentLength = MaxPutSize + 1 }, s3Answer{400, "EntityTooLarge"}},
		{"flipped bits", bound, func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("The content")) }, s3Answer{400, "XAmzContentChecksumMismatch"}},
		{"another checksum", bound, header("X-Amz-Checksum-Sha256", SumSHA256(nil).Base64()), s3Answer{403, "SignatureDoesNotMatch"}},
		{"no checksum", bound, without("X-Amz-Checksum-Sha256"), s3Answer{403, "AccessDenied"}},
		{"checksum not signed", UploadURLOptions{}, header("X-Amz-Checksum-Sha256", sum.Base64()), s3Answer{403, "AccessDenied"}},
		{"ACL not signed", bound, header("X-Amz-Acl", "public-read"), s3Answer{403, "AccessDenied"}},
		{"no condition", fresh, without("If-None-Match"), s3Answer{403, "AccessDenied"}},
		{"another condition", taken, header("If-Match", `"x"`), s3Answer{403, "SignatureDoesNotMatch"}},
		{"condition that S3 has not", UploadURLOptions{}, header("If-None-Match", `"x"`), s3Answer{501, "NotImplemented"}},
		{"body that breaks off", bound, func(r *http.Request) { r.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF)) }, s3Answer{400, "IncompleteBody"}},
		{"another key", bound, func(r *http.Request) { r.URL.Path += "x" }, s3Answer{403, "SignatureDoesNotMatch"}},
		{"another bucket", bound, func(r *http.Request) { r.URL.Path = "/x" + r.URL.Path }, s3Answer{403, "SignatureDoesNotMatch"}},
		{"another host", bound, func(r *http.Request) { r.Host = "x.test" }, s3Answer{403, "SignatureDoesNotMatch"}},
		{"another method", bound, func(r *http.Request) { r.Method = "DELETE" }, s3Answer{403, "SignatureDoesNotMatch"}},
		{"another expiry", bound, query("X-Amz-Expires", "601"), s3Answer{403, "SignatureDoesNotMatch"}},
		{"expiry of 0", bound, query("X-Amz-Expires", "0"), s3Answer{400, "AuthorizationQueryParametersError"}},
		{"expiry over the maximum", bound, query("X-Amz-Expires", "604801"), s3Answer{400, "AuthorizationQueryParametersError"}},
		{"no expiry", bound, query("X-Amz-Expires", ""), s3Answer{400, "AuthorizationQueryParametersError"}},
		{"another signature", bound, query("X-Amz-Signature", strings.Repeat("0", 64)), s3Answer{403, "SignatureDoesNotMatch"}},
		{"no signature", bound, query("X-Amz-Signature", ""), s3Answer{400, "AuthorizationQueryParametersError"}},
		{"another access key", bound, query("X-Amz-Credential", "x/20250102/us-east-1/s3/aws4_request"), s3Answer{403, "InvalidAccessKeyId"}},
		{"another region", bound, query("X-Amz-Credential", "x/20250102/us-east-2/s3/aws4_request"), s3Answer{400, "AuthorizationQueryParametersError"}},
		{"another algorithm", bound, query("X-Amz-Algorithm", "x"), s3Answer{400, "AuthorizationQueryParametersError"}},
		{"host not signed", bound, query("X-Amz-SignedHeaders", "content-type"), s3Answer{403, "AccessDenied"}},
		{"session token", bound, query("X-Amz-Security-Token", "x"), s3Answer{400, "InvalidToken"}},
		{"one parameter more", bound, query("acl", "x"), s3Answer{403, "SignatureDoesNotMatch"}},
		{"nothing signed", bound, func(r *http.Request) { r.URL.RawQuery = "" }, s3Answer{403, "AccessDenied"}},
		{"signed in a header", bound, func(r *http.Request) {
			r.URL.RawQuery = ""
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x")
		}, s3Answer{403, "AccessDenied"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &Memory{BaseURL: memoryURL, Now: func() time.Time { return time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC) }}
			u, err := m.UploadURL(t.Context(), memoryKey, &tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			r := signedRequest(u, memoryBody)
			if tt.edit != nil {
				tt.edit(r)
			}
			got, resp := exchange(t, m, r)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			info, err := m.Stat(t.Context(), memoryKey)
			switch {
			case tt.want.Status != 200 && !errors.Is(err, ErrNotFound):
				t.Errorf("something was stored: %+v, %v", info, err)
			case tt.want.Status == 200 && (resp.Header.Get("ETag") != `"`+info.ETag+`"` || resp.Header.Get("X-Amz-Checksum-Sha256") != sum.Base64() || info.SHA256 != sum):
				t.Errorf("answers %v for %+v", resp.Header, info)
			}
		})
	}
}

func TestMemoryAnswersGETAsS3(t *testing.T) {
	m := &Memory{BaseURL: memoryURL}
	info, err := m.Put(t.Context(), memoryKey, strings.NewReader(memoryBody), nil)
	if err != nil {
		t.Fatal(err)
	}
	with := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	tests := []struct {
		name, key string
		edit      func(*http.Request)
		want      s3Answer
	}{
		{"whole", memoryKey, nil, s3Answer{200, memoryBody}},
		{"part", memoryKey, with("Range", "bytes=4-6"), s3Answer{206, "con"}},
		{"last bytes", memoryKey, with("Range", "bytes=-3"), s3Answer{206, "ent"}},
		{"past the end", memoryKey, with("Range", "bytes=11-"), s3Answer{416, "InvalidRange"}},
		{"pinned", memoryKey, with("If-Match", `"`+info.ETag+`"`), s3Answer{200, memoryBody}},
		{"pinned to another", memoryKey, with("If-Match", `"x"`), s3Answer{412, "PreconditionFailed"}},
		{"cached", memoryKey, with("If-None-Match", `"`+info.ETag+`"`), s3Answer{304, ""}},
		{"missing", memoryKey + "x", nil, s3Answer{404, "NoSuchKey"}},
		{"another method", memoryKey, func(r *http.Request) { r.Method = "PUT" }, s3Answer{403, "SignatureDoesNotMatch"}},
		{"HEAD", memoryKey, func(r *http.Request) { r.Method = "HEAD" }, s3Answer{403, ""}},
		{"another type", memoryKey, func(r *http.Request) { setQuery(r, "response-content-type", "text/html") }, s3Answer{403, "SignatureDoesNotMatch"}},
		{"shown", memoryKey, func(r *http.Request) { setQuery(r, "response-content-disposition", "inline") }, s3Answer{403, "SignatureDoesNotMatch"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u, err := m.DownloadURL(t.Context(), tt.key, nil)
			if err != nil {
				t.Fatal(err)
			}
			r := signedRequest(u, "")
			if tt.edit != nil {
				tt.edit(r)
			}
			got, resp := exchange(t, m, r)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			h, found, served := resp.Header, resp.StatusCode < 400, resp.StatusCode < 300
			if found != (h.Get("Content-Disposition") != "") || served && h.Get("Content-Type") != "image/png" || h.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("headers are %v", h)
			}
		})
	}
}

func TestMemoryURLsExpireByItsClock(t *testing.T) {
	now := time.Date(2025, 1, 2, 3, 4, 5, 999, time.UTC)
	m := &Memory{BaseURL: memoryURL, Now: func() time.Time { return now }, DefaultTTL: time.Minute, MaxTTL: 2 * time.Minute}
	u, err := m.UploadURL(t.Context(), memoryKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	signedAt := now
	if want := time.Date(2025, 1, 2, 3, 5, 5, 0, time.UTC); !u.Expires.Equal(want) {
		t.Errorf("expires at %v, want %v", u.Expires, want)
	}
	for _, tt := range []struct {
		at   time.Time
		want s3Answer
	}{
		{signedAt, s3Answer{200, ""}},
		{u.Expires.Add(-1), s3Answer{200, ""}},
		{u.Expires, s3Answer{403, "AccessDenied"}},
		{signedAt.Add(-14 * time.Minute), s3Answer{200, ""}}, // clocks differ
		{signedAt.Add(-16 * time.Minute), s3Answer{403, "AccessDenied"}},
	} {
		now = tt.at
		if got, _ := exchange(t, m, signedRequest(u, memoryBody)); got != tt.want {
			t.Errorf("at %v: got %v, want %v", tt.at, got, tt.want)
		}
	}
	info, err := m.Stat(t.Context(), memoryKey)
	if err != nil || !info.LastModified.Equal(signedAt.Add(-14*time.Minute)) {
		t.Errorf("last modified at %v, %v", info.LastModified, err)
	}
	_, err = m.UploadURL(t.Context(), memoryKey, &UploadURLOptions{TTL: 3 * time.Minute})
	wantInputError(t, err, ErrInvalidArgument, "TTL")
}

func TestMemoryOfAnotherOrigin(t *testing.T) {
	for _, base := range []string{"", "memory.test", "http://", "ftp://memory.test", "http://memory.test/path", "http://memory.test/path/", ":", "//memory.test", "http://memory.test?q", "http://memory.test#f", "http://user:pass@memory.test"} {
		m := &Memory{BaseURL: base}
		_, err := m.UploadURL(t.Context(), memoryKey, nil)
		wantInputError(t, err, ErrInvalidArgument, "Memory.BaseURL")
		_, err = m.DownloadURL(t.Context(), memoryKey, nil)
		wantInputError(t, err, ErrInvalidArgument, "Memory.BaseURL")
		if err != nil && strings.Contains(err.Error(), "pass@") {
			t.Errorf("the error holds a password: %v", err)
		}
	}
	for base, want := range map[string]string{
		"http://memory.test":       "http://memory.test/memory/" + memoryKey,
		"http://memory.test/":      "http://memory.test/memory/" + memoryKey,
		"https://memory.test:8443": "https://memory.test:8443/memory/" + memoryKey,
		"http://[::1]:9000":        "http://[::1]:9000/memory/" + memoryKey,
	} {
		u, err := (&Memory{BaseURL: base}).DownloadURL(t.Context(), memoryKey, nil)
		if got, _, _ := strings.Cut(u.URL, "?"); got != want || err != nil {
			t.Errorf("%s: got %s, %v", base, got, err)
		}
	}
}

func TestMemoriesHaveKeysOfTheirOwn(t *testing.T) {
	one, two := &Memory{BaseURL: memoryURL}, &Memory{BaseURL: memoryURL}
	u, err := one.UploadURL(t.Context(), memoryKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := exchange(t, two, signedRequest(u, memoryBody)); got != (s3Answer{403, "InvalidAccessKeyId"}) {
		t.Errorf("another Memory answers %v", got)
	}
	one.Bucket = "other"
	if got, _ := exchange(t, one, signedRequest(u, memoryBody)); got != (s3Answer{404, "NoSuchBucket"}) {
		t.Errorf("the Memory of another bucket answers %v", got)
	}
}

func TestMemoryAnswersPreflights(t *testing.T) {
	m := &Memory{BaseURL: memoryURL}
	r := httptest.NewRequest(http.MethodOptions, memoryURL+"/memory/"+memoryKey, nil)
	r.Header.Set("Origin", "https://viewer.test")
	if got, _ := exchange(t, m, r); got != (s3Answer{403, "AccessDenied"}) {
		t.Errorf("OPTIONS that is no preflight: got %v", got)
	}
	r.Header.Set("Access-Control-Request-Method", "PUT")
	r.Header.Set("Access-Control-Request-Headers", "content-type,if-none-match,x-amz-checksum-sha256")
	got, resp := exchange(t, m, r)
	want := http.Header{
		"Access-Control-Allow-Origin":  {"*"},
		"Access-Control-Allow-Methods": {"GET, HEAD, PUT"},
		"Access-Control-Allow-Headers": {"content-type,if-none-match,x-amz-checksum-sha256"},
		"Access-Control-Max-Age":       {"3600"},
	}
	if diff := cmp.Diff(want, resp.Header); diff != "" || got != (s3Answer{200, ""}) {
		t.Errorf("got %v\n%s", got, diff)
	}

	// A viewer must be able to read the ETag of its PUT, and errors as well.
	u, err := m.UploadURL(t.Context(), memoryKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	refused := u
	refused.URL = memoryURL + "/memory/" + url.PathEscape(memoryKey)
	for _, u := range []SignedURL{u, refused} {
		_, resp := exchange(t, m, signedRequest(u, memoryBody))
		if h := resp.Header; h.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(h.Get("Access-Control-Expose-Headers"), "ETag") {
			t.Errorf("%d has headers %v", resp.StatusCode, h)
		}
	}
}
