package maskstore

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pacs-extension/maskstore/internal/sigv4"
)

// served gives a Memory that is served, and a client of the server.
func served(t *testing.T) (*Memory, *http.Client) {
	m := new(Memory)
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	m.BaseURL = server.URL
	return m, server.Client()
}

// send gives the answer with its body read.
func send(t *testing.T, client *http.Client, r *http.Request) (*http.Response, string) {
	t.Helper()
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(body)
}

// signedRequest makes what a signed URL is for.
func signedRequest(t *testing.T, signed SignedURL, err error, body string) *http.Request {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	r, err := signed.Request(t.Context(), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// errorCode gives the code of an XML error.
func errorCode(t *testing.T, body string) string {
	t.Helper()
	var e struct {
		XMLName                 xml.Name `xml:"Error"`
		Code, Message, Resource string
	}
	if err := xml.Unmarshal([]byte(body), &e); err != nil || e.Message == "" || e.Resource == "" {
		t.Errorf("error body %q: %v", body, err)
	}
	return e.Code
}

func TestMemoryServesItsURLs(t *testing.T) {
	m, client := served(t)
	for _, key := range []string{testKey, "mask/ann/grp/0001_간_a-b.png", "mask/a b/c+d/100%/~!'()*&=;,?#.json"} {
		content := "content of " + key
		put, err := m.UploadURL(t.Context(), key, &UploadURLOptions{
			ContentType: "image/png", Size: int64(len(content)), SHA256: SumSHA256([]byte(content)), NoOverwrite: true,
		})
		answer, body := send(t, client, signedRequest(t, put, err, content))
		info, err := m.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode != http.StatusOK || body != "" || answer.Header.Get("ETag") != quoteETag(info.ETag) ||
			answer.Header.Get("x-amz-checksum-sha256") != info.SHA256.Base64() {
			t.Errorf("PUT of %q: %v %q", key, answer, body)
		}
		if info.ContentType != "image/png" || info.Size != int64(len(content)) {
			t.Errorf("%q is stored as %+v", key, info)
		}

		get, err := m.DownloadURL(t.Context(), key, &DownloadURLOptions{ContentType: "image/x-test", Filename: "간 1.png"})
		answer, body = send(t, client, signedRequest(t, get, err, ""))
		want := http.Header{
			"Accept-Ranges":       {"bytes"},
			"Cache-Control":       {"private, no-cache"},
			"Content-Encoding":    {"identity"},
			"Content-Disposition": {"attachment; filename*=utf-8''%EA%B0%84%201.png"},
			"Content-Length":      {fmt.Sprint(len(content))},
			"Content-Type":        {"image/x-test"},
			"Etag":                {quoteETag(info.ETag)},
			"Last-Modified":       {info.LastModified.Format(http.TimeFormat)},

			"Access-Control-Allow-Origin":   {"*"},
			"Access-Control-Expose-Headers": {"ETag, Content-Range, x-amz-checksum-sha256"},
			"X-Content-Type-Options":        {"nosniff"},
		}
		answer.Header.Del("Date")
		if diff := cmp.Diff(want, answer.Header); answer.StatusCode != http.StatusOK || body != content || diff != "" {
			t.Errorf("GET of %q: %d %q, header (-want +got):\n%s", key, answer.StatusCode, body, diff)
		}
	}
}

// What a signed PUT is refused for, and that it then changes nothing.
func TestMemoryRefusesUploads(t *testing.T) {
	const content = "hello"
	md5Of := func(s string) string { sum := md5.Sum([]byte(s)); return base64.StdEncoding.EncodeToString(sum[:]) }
	sum := SumSHA256([]byte(content))
	all := UploadURLOptions{
		ContentType: "image/png", Size: int64(len(content)), SHA256: sum, NoOverwrite: true, TTL: time.Minute,
	}
	body := func(r *http.Request, s string) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(s)), int64(len(s))
	}
	query := func(r *http.Request, name, value string) {
		q := r.URL.Query()
		q.Set(name, value)
		r.URL.RawQuery = q.Encode()
	}
	for _, test := range []struct {
		name   string
		opts   UploadURLOptions
		old    string // lies at the key before
		edit   func(r *http.Request)
		status int
		code   string
	}{
		{"other type", all, "", func(r *http.Request) { r.Header.Set("Content-Type", "text/html") }, 403, "SignatureDoesNotMatch"},
		{"no type", all, "", func(r *http.Request) { r.Header.Del("Content-Type") }, 403, "AccessDenied"},
		{"longer", all, "", func(r *http.Request) { body(r, "hello!") }, 403, "SignatureDoesNotMatch"},
		{"shorter", all, "", func(r *http.Request) { body(r, "hell") }, 403, "SignatureDoesNotMatch"},
		{"empty", all, "", func(r *http.Request) { body(r, ""); r.Body = http.NoBody }, 403, "SignatureDoesNotMatch"},
		{"no length", all, "", func(r *http.Request) { r.ContentLength = -1 }, 411, "MissingContentLength"},
		{"no length, none bound", UploadURLOptions{}, "", func(r *http.Request) { r.ContentLength = -1 }, 411, "MissingContentLength"},
		{"other content", all, "", func(r *http.Request) { body(r, "jello") }, 400, "XAmzContentChecksumMismatch"},
		{"other checksum", all, "", func(r *http.Request) { r.Header.Set("X-Amz-Checksum-Sha256", SHA256{1}.Base64()) }, 403, "SignatureDoesNotMatch"},
		{"no checksum", all, "", func(r *http.Request) { r.Header.Del("X-Amz-Checksum-Sha256") }, 403, "AccessDenied"},
		{"unsigned checksum", UploadURLOptions{}, "", func(r *http.Request) { r.Header.Set("X-Amz-Checksum-Sha256", sum.Base64()) }, 403, "AccessDenied"},
		{"unsigned metadata", all, "", func(r *http.Request) { r.Header.Set("X-Amz-Meta-A", "b") }, 403, "AccessDenied"},
		{"MD5 of another content", all, "", func(r *http.Request) { r.Header.Set("Content-MD5", md5Of("jello")) }, 400, "BadDigest"},
		{"bad MD5", all, "", func(r *http.Request) { r.Header.Set("Content-MD5", "5d4140") }, 400, "InvalidDigest"},
		{"no condition", all, "", func(r *http.Request) { r.Header.Del("If-None-Match") }, 403, "AccessDenied"},
		{"other condition", all, "", func(r *http.Request) { r.Header.Set("If-None-Match", `"a"`) }, 403, "SignatureDoesNotMatch"},
		{"exists", all, "old", nil, 412, "PreconditionFailed"},
		{"other ETag", UploadURLOptions{IfMatch: "0"}, "old", nil, 412, "PreconditionFailed"},
		{"ETag of nothing", UploadURLOptions{IfMatch: "0"}, "", nil, 404, "NoSuchKey"},
		{"unsigned If-Match", UploadURLOptions{}, "old", func(r *http.Request) { r.Header.Set("If-Match", `"0"`) }, 412, "PreconditionFailed"},
		{"empty If-Match", UploadURLOptions{}, "old", func(r *http.Request) { r.Header.Set("If-Match", `""`) }, 412, "PreconditionFailed"},
		{"unsigned If-None-Match", UploadURLOptions{}, "old", func(r *http.Request) { r.Header.Set("If-None-Match", "*") }, 412, "PreconditionFailed"},
		{"If-None-Match of an ETag", UploadURLOptions{}, "old", func(r *http.Request) { r.Header.Set("If-None-Match", `"0"`) }, 501, "NotImplemented"},
		{"GET", all, "old", func(r *http.Request) { r.Method = http.MethodGet }, 403, "SignatureDoesNotMatch"},
		{"HEAD", UploadURLOptions{}, "old", func(r *http.Request) { r.Method = http.MethodHead }, 403, ""},
		{"POST", UploadURLOptions{}, "old", func(r *http.Request) { r.Method = http.MethodPost }, 403, "SignatureDoesNotMatch"},
		{"DELETE", UploadURLOptions{}, "old", func(r *http.Request) { r.Method = http.MethodDelete }, 403, "SignatureDoesNotMatch"},
		{"PATCH", UploadURLOptions{}, "old", func(r *http.Request) { r.Method = http.MethodPatch }, 405, "MethodNotAllowed"},
		{"other key", all, "", func(r *http.Request) { r.URL.Path += "x" }, 403, "SignatureDoesNotMatch"},
		{"other bucket", all, "", func(r *http.Request) { r.URL.Path = "/x" + r.URL.Path }, 403, "SignatureDoesNotMatch"},
		{"bucket alone", all, "", func(r *http.Request) { r.URL.Path = "/masks" }, 403, "SignatureDoesNotMatch"},
		{"other host", all, "", func(r *http.Request) { r.Host = "example.org" }, 403, "SignatureDoesNotMatch"},
		{"longer life", all, "", func(r *http.Request) { query(r, "X-Amz-Expires", "600") }, 403, "SignatureDoesNotMatch"},
		{"over a week", all, "", func(r *http.Request) { query(r, "X-Amz-Expires", "604801") }, 400, "AuthorizationQueryParametersError"},
		{"other signature", all, "", func(r *http.Request) { query(r, "X-Amz-Signature", strings.Repeat("0", 64)) }, 403, "SignatureDoesNotMatch"},
		{"fewer signed headers", all, "", func(r *http.Request) { query(r, "X-Amz-SignedHeaders", "host") }, 403, "AccessDenied"},
		{"added query", all, "", func(r *http.Request) { r.URL.RawQuery += "&uploads=" }, 403, "SignatureDoesNotMatch"},
		{"other key pair", all, "", func(r *http.Request) {
			query(r, "X-Amz-Credential", "X"+r.URL.Query().Get("X-Amz-Credential"))
		}, 403, "InvalidAccessKeyId"},
		{"no signature", all, "", func(r *http.Request) { r.URL.RawQuery = "" }, 403, "AccessDenied"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, client := served(t)
			want := ObjectInfo{}
			if test.old != "" {
				want = mustPut(t, m, testKey, test.old)
			}
			signed, err := m.UploadURL(t.Context(), testKey, &test.opts)
			r := signedRequest(t, signed, err, content)
			if test.edit != nil {
				test.edit(r)
			}
			answer, body := send(t, client, r)
			if answer.StatusCode != test.status || answer.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("answer %d %v %s; want %d", answer.StatusCode, answer.Header, body, test.status)
			}
			if test.code == "" && body != "" || test.code != "" && errorCode(t, body) != test.code {
				t.Errorf("answer %d %s; want %q", answer.StatusCode, body, test.code)
			}
			pair := m.keyPair()
			if strings.Contains(body, pair.SecretKey) ||
				strings.Contains(body, r.URL.Query().Get("X-Amz-Signature")) && r.URL.RawQuery != "" {
				t.Errorf("the answer leaks: %s", body)
			}
			now, err := m.Stat(t.Context(), testKey)
			if now != want || (test.old == "") != errors.Is(err, ErrNotFound) {
				t.Errorf("then %+v, %v; want %+v", now, err, want)
			}
		})
	}
}

// A URL that is bound to what lies at the key works once.
func TestMemoryReplay(t *testing.T) {
	m, client := served(t)
	put := func(opts UploadURLOptions) func(content string) int {
		signed, err := m.UploadURL(t.Context(), testKey, &opts)
		return func(content string) int {
			answer, _ := send(t, client, signedRequest(t, signed, err, content))
			return answer.StatusCode
		}
	}
	first := put(UploadURLOptions{NoOverwrite: true})
	if got := [...]int{first("a"), first("b")}; got != [...]int{200, 412} {
		t.Errorf("NoOverwrite twice: %v", got)
	}
	info, err := m.Stat(t.Context(), testKey)
	if err != nil {
		t.Fatal(err)
	}
	second := put(UploadURLOptions{IfMatch: info.ETag})
	if got := [...]int{second("b"), second("c"), first("d")}; got != [...]int{200, 412, 412} {
		t.Errorf("IfMatch twice, then the older URL: %v", got)
	}
	if got := mustGet(t, m, testKey, nil); got != "b" {
		t.Errorf("content = %q", got)
	}
}

func TestMemoryExpires(t *testing.T) {
	m, client := served(t)
	now := time.Date(2026, 3, 1, 12, 0, 0, 9e8, time.UTC)
	m.Now = func() time.Time { return now }
	m.DefaultTTL, m.MaxTTL = 90*time.Second, 2*time.Minute
	signed, err := m.UploadURL(t.Context(), testKey, nil)
	if want := time.Date(2026, 3, 1, 12, 1, 30, 0, time.UTC); !signed.Expires.Equal(want) {
		t.Errorf("Expires = %v, want %v", signed.Expires, want)
	}
	now = signed.Expires.Add(-1)
	if answer, body := send(t, client, signedRequest(t, signed, err, "a")); answer.StatusCode != http.StatusOK {
		t.Errorf("just before: %d %s", answer.StatusCode, body)
	}
	now = signed.Expires
	answer, body := send(t, client, signedRequest(t, signed, err, "b"))
	if answer.StatusCode != http.StatusForbidden || errorCode(t, body) != "AccessDenied" ||
		!strings.Contains(body, "Request has expired") {
		t.Errorf("then: %d %s", answer.StatusCode, body)
	}
}

// What can only be signed from within.
func TestMemoryRefusesSigned(t *testing.T) {
	m, client := served(t)
	mustPut(t, m, testKey, "old")
	for _, test := range []struct {
		name, method, bucket, key string
		status                    int
		code                      string
	}{
		{"missing object", http.MethodGet, "masks", "mask/none", 404, "NoSuchKey"},
		{"missing object, HEAD", http.MethodHead, "masks", "mask/none", 404, ""},
		{"missing bucket", http.MethodGet, "others", testKey, 404, "NoSuchBucket"},
		{"outside mask/", http.MethodPut, "masks", "x", 403, "AccessDenied"},
		{"DELETE", http.MethodDelete, "masks", testKey, 405, "MethodNotAllowed"},
		{"POST", http.MethodPost, "masks", testKey, 405, "MethodNotAllowed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m.Bucket = test.bucket
			signed, err := m.sign(t.Context(), test.key, 0, 0, &sigv4.Request{Method: test.method}, nil)
			m.Bucket = ""
			answer, body := send(t, client, signedRequest(t, signed, err, "a"))
			if answer.StatusCode != test.status || test.code != "" && errorCode(t, body) != test.code ||
				test.code == "" && body != "" {
				t.Errorf("answer %d %s; want %d %s", answer.StatusCode, body, test.status, test.code)
			}
			if test.status == 405 && answer.Header.Get("Allow") == "" {
				t.Error("no Allow")
			}
		})
	}
}

// A client that goes away in the middle of its body, or whose body never comes, leaves what lay there.
func TestMemoryIncompleteBody(t *testing.T) {
	m, _ := served(t)
	mustPut(t, m, testKey, "old")
	signed, err := m.UploadURL(t.Context(), testKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(signed.URL)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 1000000000000\r\n\r\n", u.RequestURI(), u.Host)
	if got := make([]byte, 12); !readFull(conn, got) || string(got) != "HTTP/1.1 400" {
		t.Errorf("a terabyte announced: %q", got)
	}
	conn.Close()

	conn, err = net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 1000000000\r\n\r\nnew", u.RequestURI(), u.Host)
	conn.(*net.TCPConn).CloseWrite()
	answer, err := io.ReadAll(conn)
	if err != nil || !bytes.Contains(answer, []byte("IncompleteBody")) {
		t.Errorf("a part of a gigabyte: %q, %v", answer, err)
	}
	if got := mustGet(t, m, testKey, nil); got != "old" {
		t.Errorf("content = %q", got)
	}
}

func readFull(r io.Reader, p []byte) bool {
	_, err := io.ReadFull(r, p)
	return err == nil
}

func TestMemoryPreflight(t *testing.T) {
	m, client := served(t)
	for _, test := range []struct {
		method string
		status int
	}{{"PUT", 200}, {"GET", 200}, {"HEAD", 200}, {"DELETE", 403}, {"", 400}} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, m.BaseURL+"/masks/"+testKey, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", "https://viewer.example")
		r.Header.Set("Access-Control-Request-Headers", "content-type,if-none-match,x-amz-checksum-sha256")
		if test.method != "" {
			r.Header.Set("Access-Control-Request-Method", test.method)
		}
		answer, _ := send(t, client, r)
		h := answer.Header
		if answer.StatusCode != test.status || h.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %d %v", test.method, answer.StatusCode, h)
		}
		if test.status == 200 && (!strings.Contains(h.Get("Access-Control-Allow-Methods"), test.method) ||
			h.Get("Access-Control-Allow-Headers") != r.Header.Get("Access-Control-Request-Headers")) {
			t.Errorf("%s: %v", test.method, h)
		}
	}
}

func TestMemorySigningNeeds(t *testing.T) {
	bad := func(field string, m *Memory) func(*testing.T) {
		return func(t *testing.T) {
			_, err := m.UploadURL(t.Context(), testKey, nil)
			_, err2 := m.DownloadURL(t.Context(), testKey, nil)
			for _, err := range []error{err, err2} {
				var e *InputError
				if !errors.Is(err, ErrInvalidArgument) || !errors.As(err, &e) || e.Field != field {
					t.Errorf("err = %v, want one of %s", err, field)
				}
			}
		}
	}
	t.Run("no origin", bad("BaseURL", &Memory{}))
	for _, base := range []string{
		"localhost:80", "ftp://localhost", "http://example.org", "http://10.0.0.1", "https://", "https://:80",
		"https://a/b", "https://a?b", "https://a#b", "https://u:p@a", "https://a b", "http://127.0.0.1.example.org",
	} {
		t.Run(base, bad("BaseURL", &Memory{BaseURL: base}))
	}
	for _, base := range []string{
		"https://example.org", "https://example.org/", "http://LOCALHOST:80", "http://[::1]:9", "http://127.0.0.2",
		"http://m.localhost",
	} {
		if _, err := (&Memory{BaseURL: base}).UploadURL(t.Context(), testKey, nil); err != nil {
			t.Errorf("%s: %v", base, err)
		}
	}
	t.Run("bucket", bad("Bucket", &Memory{BaseURL: "https://a", Bucket: "a/b"}))
	t.Run("default TTL", bad("DefaultTTL", &Memory{BaseURL: "https://a", DefaultTTL: -1}))
	for name, ttl := range map[string]time.Duration{"negative": -1, "short": 500 * time.Millisecond, "long": time.Hour + 1} {
		m := &Memory{BaseURL: "https://a"}
		if _, err := m.UploadURL(t.Context(), testKey, &UploadURLOptions{TTL: ttl}); !errors.Is(err, ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMemoryKeepsItsSecret(t *testing.T) {
	m := &Memory{BaseURL: "https://a"}
	secret := m.keyPair().SecretKey
	if other := new(Memory).keyPair(); other.SecretKey == secret || len(secret) < 20 {
		t.Errorf("%q and %q are no random secrets", secret, other.SecretKey)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if got := fmt.Sprintf(verb, m); got != "Memory(masks)" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	signed, err := m.UploadURL(context.Background(), testKey, nil)
	if err != nil || strings.Contains(signed.URL, secret) {
		t.Errorf("%v, %v", signed, err)
	}
}
