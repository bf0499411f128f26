package main

import (
	"context"
	"io"
	"mime"
	"net/http"
	"sync/atomic"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/examples/internal/setup"
)

// storage is where the masks go.
type storage struct {
	maskstore.ObjectStorage
	name    string
	traffic *traffic // of the memory's own server; nil: it is a real server
	close   func()
}

// openStorage opens what the environment says, else a memory that serves its signed URLs on loopback.
func openStorage(ctx context.Context) (*storage, error) {
	cfg, err := maskstore.ConfigFromEnv(maskstore.Config{})
	if err != nil {
		return nil, err
	}
	if cfg != (maskstore.Config{}) && cfg.ObjectStorage.Provider != "memory" {
		s, err := maskstore.Open(ctx, cfg)
		if err != nil {
			return nil, err
		}
		name := cfg.ObjectStorage.Provider + ", bucket " + cfg.ObjectStorage.BucketName
		return &storage{ObjectStorage: s, name: name, close: func() {}}, nil
	}
	memory, through := new(maskstore.Memory), new(traffic)
	url, stop, err := setup.Serve(through.count(memory))
	if err != nil {
		return nil, err
	}
	memory.BaseURL = url
	return &storage{memory, url + "   keeps the masks, in memory", through, stop}, nil
}

// traffic counts the bytes of the bodies that a server takes and gives.
type traffic struct {
	requests    atomic.Int64
	json, other atomic.Int64 // bytes, by content type
}

// count is the middleware that counts what goes through h.
func (t *traffic) count(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.requests.Add(1)
		r.Body = countingBody{r.Body, t.counter(r.Header)}
		h.ServeHTTP(&countingWriter{w, t}, r)
	})
}

// counter gives what bodies of that type count for.
func (t *traffic) counter(header http.Header) *atomic.Int64 {
	switch media, _, _ := mime.ParseMediaType(header.Get("Content-Type")); media {
	case "application/json", "application/problem+json":
		return &t.json
	default:
		return &t.other
	}
}

type countingBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

type countingWriter struct {
	http.ResponseWriter
	t *traffic
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.t.counter(w.Header()).Add(int64(n))
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
