package integration

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/maskstoretest"
)

// accepting is a server in memory that takes any PUT, after a time that a server may take.
type accepting struct {
	mu     sync.Mutex
	stored map[string]int // how often each path was put
}

func (a *accepting) RoundTrip(r *http.Request) (*http.Response, error) {
	defer r.Body.Close()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil, err
	}
	time.Sleep(5 * time.Millisecond) // of the bubble's time
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stored[r.URL.Path]++
	return &http.Response{
		Status: "200 OK", StatusCode: 200, Header: http.Header{"Etag": {`"e1"`}}, Body: http.NoBody, Request: r,
	}, nil
}

// A server that answers nothing but 503 for a time, while 2000 masks are put.
func TestFaultsBurst(t *testing.T) {
	const masks = 2000
	body := maskstore.BytesBody([]byte("a mask"))
	keys := make([]string, masks)
	for i := range keys {
		keys[i] = fmt.Sprintf("mask/a/g/%04d_x.png", i)
	}
	type upload func(t *testing.T, client *http.Client, concurrency int) error
	uploads := map[string]upload{
		"UploadAll": func(t *testing.T, client *http.Client, concurrency int) error {
			s, err := maskstore.NewS3(t.Context(), maskstore.S3Options{
				Bucket: "bucket", Region: "us-east-1", Endpoint: "https://s3.test", AccessKey: "key", SecretKey: "secret",
				HTTPClient: client,
			})
			if err != nil {
				t.Fatal(err)
			}
			items := make([]maskstore.UploadItem, masks)
			for i, key := range keys {
				items[i] = maskstore.UploadItem{Key: key, Body: body, NoOverwrite: true}
			}
			_, err = maskstore.UploadAll(t.Context(), s, items, &maskstore.ParallelOptions{Concurrency: concurrency, KeepGoing: true})
			return err
		},
		"DirectUploader": func(t *testing.T, client *http.Client, concurrency int) error {
			items := make([]maskstore.DirectItem, masks)
			for i, key := range keys {
				items[i] = maskstore.DirectItem{
					Key: key, URL: maskstore.SignedURL{Method: http.MethodPut, URL: "https://s3.test/bucket/" + key}, Body: body,
				}
			}
			_, err := (&maskstore.DirectUploader{Client: client, Concurrency: concurrency, KeepGoing: true}).UploadAll(
				t.Context(), items)
			return err
		},
	}
	for name, upload := range uploads {
		for _, burst := range []time.Duration{500 * time.Millisecond, 2 * time.Second, 5 * time.Second, 10 * time.Second} {
			for _, concurrency := range []int{0, 200} {
				for _, wait := range []string{"", "3"} {
					t.Run(fmt.Sprintf("%s/%v/%d/%s", name, burst, concurrency, wait), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							begun := time.Now()
							slow := &maskstoretest.Answer{
								Status: http.StatusServiceUnavailable, Header: http.Header{}, Body: "<Error><Code>SlowDown</Code></Error>",
							}
							if wait != "" {
								slow.Header.Set("Retry-After", wait)
							}
							refused := 0
							faulty := &maskstoretest.Faulty{Plan: func(maskstoretest.Call) maskstoretest.Fault {
								if time.Since(begun) >= burst {
									return maskstoretest.Fault{}
								}
								refused++
								return maskstoretest.Fault{Answer: slow}
							}}
							server := &accepting{stored: map[string]int{}}
							err := upload(t, &http.Client{Transport: faulty.RoundTripper(server)}, concurrency)
							failed := len(maskstore.KeyErrors(err))
							attempts := len(faulty.Calls())
							t.Logf("faults: 503 for %v, %s, %d at a time, Retry-After %q: "+
								"%d of %d failed, %d attempts, %d of them refused, through after %v",
								burst, name, max(concurrency, maskstore.DefaultConcurrency), wait, failed, masks, attempts, refused,
								time.Since(begun).Round(time.Millisecond))
							if err != nil || len(server.stored) != masks || attempts > 5*masks || refused == 0 {
								t.Errorf("%d stored, %d attempts, such as %v", len(server.stored), attempts,
									strings.SplitN(fmt.Sprint(err), "\n", 2)[0])
							}
						})
					})
				}
			}
		}
	}
}
