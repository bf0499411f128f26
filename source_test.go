package maskstore

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// A body whose Read blocks until it is closed holds up no call whose context has ended, or that was answered.
func TestBodyThatBlocks(t *testing.T) {
	refuses := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // before the body has come
		w.Header().Set("Connection", "close") // else the server waits for the body
		denied := answer{status: 403, code: "AccessDenied"}
		(&scripted{answers: []answer{denied}}).ServeHTTP(w, &http.Request{URL: r.URL, Body: http.NoBody})
	})
	damaged := &scripted{answers: []answer{{status: 400, code: "BadDigest"}}}
	put := func(ctx context.Context, s *S3, body Body) error {
		_, err := (&DirectUploader{Client: s.http}).Upload(ctx, signedTest("PUT"), body)
		return err
	}
	part := func(ctx context.Context, s *S3, body Body) error {
		_, err := s.UploadPart(ctx, testKey, "id", 1, body)
		return err
	}
	for _, row := range []struct {
		name   string
		server http.Handler // nil: stalls
		free   int          // how many Bodies are opened before the one that blocks
		call   func(context.Context, *S3, Body) error
		want   error
	}{
		{"Upload", nil, 0, put, context.Canceled},
		{"Upload, refused", refuses, 0, put, ErrAccessDenied},
		{"Upload, read once more", damaged, 1, put, context.Canceled},
		{"UploadPart", nil, 0, part, context.Canceled},
		{"UploadPart, refused", refuses, 0, part, ErrAccessDenied},
		{"UploadPart without a SHA-256", nil, 0, func(ctx context.Context, s *S3, body Body) error {
			body.SHA256 = SHA256{}
			return part(ctx, s, body)
		}, context.Canceled},
		{"UploadPart of Memory", nil, 0, func(ctx context.Context, _ *S3, body Body) error {
			m := new(Memory)
			id, err := m.CreateMultipartUpload(ctx, testKey, nil)
			if err == nil {
				_, err = m.UploadPart(ctx, testKey, id, 1, body)
			}
			return err
		}, context.Canceled},
		{"UploadAll", nil, 0, func(ctx context.Context, s *S3, body Body) error {
			_, err := UploadAll(ctx, s, []UploadItem{{Key: testKey, Body: body}}, nil)
			return err
		}, context.Canceled},
		{"PutBatch", nil, 0, func(ctx context.Context, s *S3, body Body) error {
			_, err := (&MinIO{s}).PutBatch(ctx, []UploadItem{{Key: testKey, Body: body}}, nil)
			return err
		}, context.Canceled},
		{"Upload of a group", nil, 0, func(ctx context.Context, s *S3, body Body) error {
			_, err := groupInTime(s, "").Upload(ctx, []MaskFile{{Slice: 1, Label: "x", Body: body}}, nil)
			return err
		}, context.Canceled},
	} {
		inBubble(t, row.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			began, gone := make(chan struct{}), make(chan struct{})
			opened := 0
			body := BytesBody([]byte("123456789"))
			free := body.Open
			body.Open = func() (io.ReadCloser, error) {
				if opened++; opened <= row.free {
					return free()
				}
				r, _ := io.Pipe()
				return &blockingBody{PipeReader: r, began: began, gone: gone}, nil
			}
			s := testS3(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if row.server == nil {
					stall(r)
					return
				}
				if row.free == 0 {
					<-began
				}
				row.server.ServeHTTP(w, r)
			}))
			if errors.Is(row.want, context.Canceled) {
				go func() { <-began; cancel() }()
			}
			begun := time.Now()
			err := row.call(ctx, s, body)
			if took := time.Since(begun); !errors.Is(err, row.want) || took > inTime {
				t.Errorf("back after %v: %v", took, err)
			}
			select {
			case <-gone:
			default:
				t.Error("it is still being read")
			}
		})
	}
}

// blockingBody tells when it is first read, and when that has ended.
type blockingBody struct {
	*io.PipeReader
	once        sync.Once
	began, gone chan struct{}
}

func (b *blockingBody) Read(p []byte) (n int, err error) {
	err = io.ErrClosedPipe
	b.once.Do(func() {
		close(b.began)
		defer close(b.gone)
		n, err = b.PipeReader.Read(p)
	})
	return n, err
}
