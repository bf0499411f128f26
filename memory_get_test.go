package maskstore

import (
	"net/http"
	"testing"
	"time"

	"github.com/pacs-extension/maskstore/internal/sigv4"
)

func TestMemoryServesGet(t *testing.T) {
	m, client := served(t)
	written := time.Date(2026, 3, 1, 12, 0, 0, 5e8, time.UTC)
	now := written
	m.Now = func() time.Time { return now }
	etag := quoteETag(mustPut(t, m, testKey, "0123456789").ETag)
	empty := "mask/empty"
	mustPut(t, m, empty, "")
	now = now.Add(time.Minute)
	at := func(d time.Duration) string { return written.Add(d).Format(http.TimeFormat) }
	type header map[string]string
	for _, test := range []struct {
		name, key    string
		header       header
		status       int
		body         string // or the error's code
		contentRange string
	}{
		{"whole", testKey, nil, 200, "0123456789", ""},
		{"range", testKey, header{"Range": "bytes=2-4"}, 206, "234", "bytes 2-4/10"},
		{"one byte", testKey, header{"Range": "bytes=9-9"}, 206, "9", "bytes 9-9/10"},
		{"open range", testKey, header{"Range": "bytes=7-"}, 206, "789", "bytes 7-9/10"},
		{"range past the end", testKey, header{"Range": "bytes=7-700"}, 206, "789", "bytes 7-9/10"},
		{"suffix", testKey, header{"Range": "bytes=-2"}, 206, "89", "bytes 8-9/10"},
		{"long suffix", testKey, header{"Range": "bytes=-20"}, 206, "0123456789", "bytes 0-9/10"},
		{"empty suffix", testKey, header{"Range": "bytes=-0"}, 416, "InvalidRange", "bytes */10"},
		{"range after the end", testKey, header{"Range": "bytes=10-"}, 416, "InvalidRange", "bytes */10"},
		{"range far after the end", testKey, header{"Range": "bytes=9223372036854775807-9223372036854775807"}, 416, "InvalidRange", "bytes */10"},
		{"range of nothing", empty, header{"Range": "bytes=0-"}, 416, "InvalidRange", "bytes */0"},
		{"two ranges", testKey, header{"Range": "bytes=0-1,3-4"}, 200, "0123456789", ""},
		{"backward range", testKey, header{"Range": "bytes=4-2"}, 200, "0123456789", ""},
		{"other unit", testKey, header{"Range": "lines=1-2"}, 200, "0123456789", ""},
		{"broken ranges", testKey, header{"Range": "bytes=-"}, 200, "0123456789", ""},
		{"signed range", testKey, header{"Range": "bytes=+1-2"}, 200, "0123456789", ""},
		{"If-Range", testKey, header{"Range": "bytes=2-4", "If-Range": etag}, 206, "234", "bytes 2-4/10"},
		{"If-Range of another", testKey, header{"Range": "bytes=2-4", "If-Range": `"0"`}, 200, "0123456789", ""},
		{"If-Match", testKey, header{"If-Match": etag}, 200, "0123456789", ""},
		{"If-Match of any", testKey, header{"If-Match": "*"}, 200, "0123456789", ""},
		{"If-Match of another", testKey, header{"If-Match": `"0"`}, 412, "PreconditionFailed", ""},
		{"If-Match of nothing", "mask/none", header{"If-Match": etag}, 404, "NoSuchKey", ""},
		{"If-Match among others", testKey, header{"If-Match": `"0", ` + etag}, 200, "0123456789", ""},
		{"If-None-Match", testKey, header{"If-None-Match": etag}, 304, "", ""},
		{"weak If-None-Match", testKey, header{"If-None-Match": "W/" + etag}, 304, "", ""},
		{"If-None-Match of another", testKey, header{"If-None-Match": `"0"`, "If-Modified-Since": at(time.Hour)}, 200, "0123456789", ""},
		{"If-Modified-Since, not", testKey, header{"If-Modified-Since": at(0)}, 304, "", ""},
		{"If-Modified-Since, yes", testKey, header{"If-Modified-Since": at(-time.Second)}, 200, "0123456789", ""},
		{"If-Unmodified-Since, not", testKey, header{"If-Unmodified-Since": at(-time.Second)}, 412, "PreconditionFailed", ""},
		{"If-Unmodified-Since, yes", testKey, header{"If-Unmodified-Since": at(0)}, 200, "0123456789", ""},
		{"If-Match wins", testKey, header{"If-Match": etag, "If-Unmodified-Since": at(-time.Second)}, 200, "0123456789", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				signed, err := m.sign(t.Context(), test.key, 0, 0, &sigv4.Request{Method: method}, nil)
				r := signedRequest(t, signed, err, "")
				for name, value := range test.header {
					r.Header.Set(name, value)
				}
				answer, body := send(t, client, r)
				if answer.StatusCode != test.status || answer.Header.Get("Content-Range") != test.contentRange {
					t.Errorf("%s: %d %v, want %d", method, answer.StatusCode, answer.Header, test.status)
				}
				switch {
				case method == http.MethodHead:
					if body != "" || test.status < 300 && answer.ContentLength != int64(len(test.body)) {
						t.Errorf("HEAD: %q, length %d", body, answer.ContentLength)
					}
				case test.status >= 400:
					if code := errorCode(t, body); code != test.body {
						t.Errorf("code = %s, want %s", code, test.body)
					}
				case body != test.body:
					t.Errorf("body = %q, want %q", body, test.body)
				}
			}
		})
	}
}

func TestMemoryServesChecksum(t *testing.T) {
	m, client := served(t)
	info := mustPut(t, m, testKey, "hello")
	for _, test := range []struct{ mode, byteRange, want string }{
		{"ENABLED", "", info.SHA256.Base64()},
		{"ENABLED", "bytes=0-1", ""},
		{"", "", ""},
	} {
		var bound []sigv4.Param
		if test.mode != "" {
			bound = []sigv4.Param{{Name: "x-amz-checksum-mode", Value: test.mode}}
		}
		signed, err := m.sign(t.Context(), testKey, 0, 0, &sigv4.Request{Method: http.MethodGet}, bound)
		get := signedRequest(t, signed, err, "")
		if test.byteRange != "" {
			get.Header.Set("Range", test.byteRange)
		}
		if answer, _ := send(t, client, get); answer.Header.Get("x-amz-checksum-sha256") != test.want {
			t.Errorf("%+v: %d %v", test, answer.StatusCode, answer.Header)
		}
	}
}
