package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/maskstoretest"
)

// said finds how far an error says that this machine's clock is from the server's.
var said = regexp.MustCompile(`it is (\S+) (ahead|behind)`)

// This machine's clock is wrong by more than the server allows: each call says so, and by how much, and repeats no request.
func TestFaultsClock(t *testing.T) {
	e := newFaultEnv(t)
	key := e.key()
	setUpOld(e, key)
	calls := map[string]func(ctx context.Context, s *maskstore.MinIO, client *http.Client) error{
		"Put": func(ctx context.Context, s *maskstore.MinIO, _ *http.Client) error {
			return put(maskstore.PutOptions{})(ctx, s, key)
		},
		"CreateMultipartUpload": func(ctx context.Context, s *maskstore.MinIO, _ *http.Client) error {
			_, err := s.CreateMultipartUpload(ctx, key, nil)
			return err
		},
		"Get": func(ctx context.Context, s *maskstore.MinIO, _ *http.Client) error {
			_, err := readAll(ctx, s, key, nil)
			return err
		},
		"Stat": func(ctx context.Context, s *maskstore.MinIO, _ *http.Client) error {
			_, err := s.Stat(ctx, key)
			return err
		},
		"List": func(ctx context.Context, s *maskstore.MinIO, _ *http.Client) error {
			for _, err := range s.List(ctx, key, nil) {
				return err
			}
			return nil
		},
		"Delete": func(ctx context.Context, s *maskstore.MinIO, _ *http.Client) error { return s.Delete(ctx, key) },
		"UploadURL": func(ctx context.Context, s *maskstore.MinIO, client *http.Client) error {
			u, err := s.UploadURL(ctx, key, nil)
			if err == nil {
				_, err = (&maskstore.DirectUploader{Client: client}).Upload(ctx, u, maskstore.BytesBody(newContent))
			}
			return err
		},
		"DownloadURL": func(ctx context.Context, s *maskstore.MinIO, client *http.Client) error {
			u, err := s.DownloadURL(ctx, key, nil)
			if err == nil {
				item := maskstore.DirectDownload{Key: key, URL: u, Sink: func(maskstore.ObjectInfo, io.Reader) error { return nil }}
				_, err = (&maskstore.DirectDownloader{Client: client}).DownloadAll(ctx, []maskstore.DirectDownload{item})
			}
			return err
		},
		"Begin": func(ctx context.Context, s *maskstore.MinIO, _ *http.Client) error {
			g, err := maskstore.NewGroup(s, "a", "", nil)
			if err == nil {
				_, err = g.Begin(ctx, []maskstore.MaskSpec{{Slice: 1, Label: "x", Size: 1}}, nil)
			}
			return err
		},
	}
	for _, ahead := range []time.Duration{20 * time.Minute, -20 * time.Minute} {
		row := newTally(t)
		for name, call := range calls {
			now := time.Now().Round(0)
			synctest.Test(t, func(t *testing.T) { // where time passes at once, and stands while the server is waited for
				time.Sleep(time.Until(now.Add(ahead)))
				transport := e.transport()
				transport.DisableKeepAlives = true // a connection at rest would keep time from passing
				counted := new(maskstoretest.Faulty)
				client := &http.Client{Transport: counted.RoundTripper(transport)}
				err := call(t.Context(), e.over(client.Transport), client)
				row.count("calls")
				made := map[string]bool{} // Begin looks whether its PUT was made all the same
				for _, request := range counted.Calls() {
					row.count("requests")
					if made[request.Op] {
						row.count("made again")
					}
					made[request.Op] = true
				}
				wantTyped(t, err, maskstore.ErrClockSkew)
				if errors.Is(err, maskstore.ErrClockSkew) {
					row.count("refused for the clocks")
				}
				way := map[bool]string{true: "ahead", false: "behind"}[ahead > 0]
				words := append(said.FindStringSubmatch(fmt.Sprint(err)), "", "", "")
				if off, _ := time.ParseDuration(words[1]); off.Round(5*time.Minute) != ahead.Abs() || words[2] != way {
					row.count("wrong offsets")
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		for info, err := range e.sound.List(t.Context(), "mask/", nil) {
			if err != nil || info.Key != key {
				row.count("objects more")
			}
		}
		if open, _ := e.uploads(key); open > 0 || !lies(oldContent)(e, key) {
			row.count("changes")
		}
		row.print("a clock off by "+ahead.String(), []string{"calls", "requests", "refused for the clocks"}, "made again",
			"wrong offsets", "objects more", "changes")
	}
}
