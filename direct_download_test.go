package maskstore

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDirectDownload(t *testing.T) {
	content := strings.Repeat("mask", 5000)
	found := answer{
		status: 200, text: content, header: map[string]string{
			"ETag": `"e1"`, "Content-Type": "image/png", "Last-Modified": "Mon, 02 Jan 2006 15:04:05 GMT",
		},
	}
	short, chunked := found, found
	short.short = true
	tests := []struct {
		name     string
		answers  []answer
		size     int64
		sum      SHA256
		kind     error
		attempts int
	}{
		{"found", []answer{found}, int64(len(content)), SumSHA256([]byte(content)), nil, 1},
		{"unverified", []answer{chunked}, 0, SHA256{}, nil, 1},
		{"503", []answer{{status: 503}, found}, 0, SHA256{}, nil, 2},
		{"lost", []answer{{lose: true}, found}, 0, SHA256{}, nil, 2},
		{"breaks off", []answer{short, found}, 0, SHA256{}, nil, 2},
		{"breaks off for good", []answer{short}, 0, SHA256{}, ErrUnavailable, 3},
		{"other size", []answer{found}, 3, SHA256{}, ErrChecksum, 1},
		{"other content", []answer{found}, int64(len(content)), SumSHA256(nil), ErrChecksum, 1},
		{"missing", []answer{{status: 404, code: "NoSuchKey"}}, 0, SHA256{}, ErrNotFound, 1},
		{"404 of a proxy", []answer{{status: 404, text: "default backend"}}, 0, SHA256{}, ErrBadResponse, 1},
		{"replaced", []answer{{status: 412, code: "PreconditionFailed"}}, 0, SHA256{}, ErrPreconditionFailed, 1},
		{"a part", []answer{{status: 206, text: "x"}}, 0, SHA256{}, ErrBadResponse, 1},
		{"redirect", []answer{{status: 302, header: map[string]string{"Location": "/x"}}}, 0, SHA256{}, ErrBadResponse, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{answers: tt.answers}
				d := DirectDownloader{Client: serve(t, s), MaxAttempts: 3}
				var got []byte
				infos, err := d.DownloadAll(t.Context(), []DirectDownload{{
					Key: "k", URL: signedTest("GET", "If-Match", `"e1"`), Size: tt.size, SHA256: tt.sum, Sink: BytesSink(&got),
				}})
				if !errors.Is(err, tt.kind) || (err == nil) != (tt.kind == nil) ||
					strings.Contains(fmt.Sprintf("%+v", err), testSignature) {
					t.Errorf("got error %v, want %v", err, tt.kind)
				}
				want, wantInfo := content, ObjectInfo{
					Key: "k", Size: int64(len(content)), ETag: "e1", ContentType: "image/png",
					LastModified: time.Date(2006, 1, 2, 15, 4, 5, 0, time.UTC),
				}
				if tt.kind != nil {
					want, wantInfo = "", ObjectInfo{}
				}
				if diff := cmp.Diff(wantInfo, infos[0]); diff != "" || string(got) != want {
					t.Errorf("%d bytes\n%s", len(got), diff)
				}
				if len(s.headers) != tt.attempts || s.headers[0].Get("If-Match") != `"e1"` ||
					s.headers[0].Get("Accept-Encoding") != "identity" {
					t.Errorf("%d attempts, want %d; headers %v", len(s.headers), tt.attempts, s.headers)
				}
			})
		})
	}
}

// What is the sink's own fault is not tried again.
func TestDirectDownloadToABadSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{answers: []answer{{status: 200, text: "mask"}}}
		d := DirectDownloader{Client: serve(t, s)}
		_, err := d.DownloadAll(t.Context(), []DirectDownload{
			{Key: "k", URL: signedTest("GET"), Sink: FileSink(filepath.Join(t.TempDir(), "no", "x.png"))},
		})
		if err == nil || len(s.bodies) != 1 {
			t.Errorf("%v after %d attempts", err, len(s.bodies))
		}
		for _, item := range []DirectDownload{
			{Key: "k", URL: signedTest("GET")}, {Key: "k", URL: signedTest("GET"), Size: -1, Sink: BytesSink(nil)},
			{Key: "k", URL: signedTest("PUT")}, {},
		} {
			if _, err := d.DownloadAll(t.Context(), []DirectDownload{item}); !errors.Is(err, ErrInvalidArgument) {
				t.Errorf("%+v: %v", item, err)
			}
		}
	})
}
