package integration

import (
	"bytes"
	"context"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pacs-extension/maskstore"
)

// stalling stands before the server: of each connection it carries so many bytes either way, and then keeps it open.
func stalling(t *testing.T, endpoint string, requests, answers int64) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	var all sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		end()
		all.Wait()
	})
	carry := func(to, from net.Conn, limit int64) {
		if _, err := io.CopyN(to, from, limit); err == nil {
			<-ctx.Done()
		}
		to.Close()
		from.Close()
	}
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", strings.TrimPrefix(endpoint, "http://"))
			if err != nil {
				client.Close()
				continue
			}
			context.AfterFunc(ctx, func() {
				client.Close()
				server.Close()
			})
			all.Go(func() { carry(server, client, requests) })
			all.Go(func() { carry(client, server, answers) })
		}
	})
	return "http://" + l.Addr().String()
}

// A server that stops in the middle of a request or an answer, without closing the connection, fails a call by the caller's
// deadline, with what it is and no goroutine left; a PUT leaves what was there.
func TestFaultsStalledConnection(t *testing.T) {
	e := newFaultEnv(t)
	const deadline, all = time.Second, math.MaxInt64
	old, large := content(1<<20), content(17<<20)
	get := func(ctx context.Context, s *maskstore.MinIO, key string) error {
		_, err := readAll(ctx, s, key, nil)
		return err
	}
	put := func(data []byte) func(context.Context, *maskstore.MinIO, string) error {
		return func(ctx context.Context, s *maskstore.MinIO, key string) error {
			_, err := s.Put(ctx, key, bytes.NewReader(data), &maskstore.PutOptions{Size: int64(len(data))})
			return err
		}
	}
	figures := newTally(t)
	for name, row := range map[string]struct {
		requests, answers int64
		call              func(context.Context, *maskstore.MinIO, string) error
	}{
		"an answer's head":             {all, 20, get},
		"an answer's body":             {all, 300_000, get},
		"a request's head":             {100, all, put(old)},
		"a request's body":             {300_000, all, put(large[:8<<20])},
		"the answer to a PUT":          {all, 20, put(large[:8<<20])},
		"a part":                       {300_000, all, put(large)},
		"the body of a client's PUT":   {300_000, all, direct(large[:8<<20])},
		"the answer to a client's PUT": {all, 20, direct(large[:8<<20])},
	} {
		t.Run(name, func(t *testing.T) {
			key := e.key()
			if _, err := e.sound.Put(t.Context(), key, bytes.NewReader(old), nil); err != nil {
				t.Fatal(err)
			}
			opts := e.opts
			opts.Endpoint = stalling(t, opts.Endpoint, row.requests, row.answers)
			s, err := maskstore.NewMinIO(t.Context(), opts)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			begun := time.Now()
			err = row.call(ctx, s, key)
			if took := time.Since(begun); took > deadline+patience {
				t.Errorf("came back after %v", took)
			}
			wantTyped(t, err, context.DeadlineExceeded)
			// What the server had whole before it fell silent, it has stored.
			if lies := e.lies(key); !bytes.Equal(lies, old) && !(row.requests == all && bytes.Equal(lies, large[:8<<20])) {
				t.Errorf("%d bytes lie there", len(lies))
			}
			open, _ := e.uploads(key)
			figures.add("uploads left open", open)
			figures.count("calls")
		})
	}
	figures.print("connections that stall", []string{"calls"}, "uploads left open")
}

// direct puts data by a signed URL, as a client without credentials.
func direct(data []byte) func(context.Context, *maskstore.MinIO, string) error {
	return func(ctx context.Context, s *maskstore.MinIO, key string) error {
		u, err := s.UploadURL(ctx, key, &maskstore.UploadURLOptions{Size: int64(len(data))})
		if err != nil {
			return err
		}
		_, err = (&maskstore.DirectUploader{}).Upload(ctx, u, maskstore.BytesBody(data))
		return err
	}
}

// While the body of a conditional PUT comes, MinIO holds its key: listings answer, others wait, no longer than they want.
// The PUT lands, though its URL has expired meanwhile.
func TestFaultsStalledClient(t *testing.T) {
	e := newFaultEnv(t)
	key, data := e.key(), content(1<<20)
	old, err := e.sound.Put(t.Context(), key, strings.NewReader("old"), nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := e.sound.UploadURL(t.Context(), key, &maskstore.UploadURLOptions{
		Size: int64(len(data)), SHA256: maskstore.SumSHA256(data), IfMatch: old.ETag, TTL: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	body, client := io.Pipe()
	put, err := u.Request(t.Context(), body)
	if err != nil {
		t.Fatal(err)
	}
	status := make(chan int, 1)
	go func() {
		resp, err := e.opts.HTTPClient.Do(put)
		if err != nil {
			t.Error(err)
			status <- 0
			return
		}
		resp.Body.Close()
		status <- resp.StatusCode
	}()
	client.Write(data[:len(data)/2])
	time.Sleep(time.Until(u.Expires.Add(time.Second)))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if got, err := readAll(ctx, e.sound, key, nil); err != nil {
		wantTyped(t, err, context.DeadlineExceeded)
	} else if string(got) != "old" {
		t.Errorf("%d bytes are read meanwhile", len(got))
	}
	for info, err := range e.sound.List(t.Context(), key, nil) {
		if err != nil || info.ETag != old.ETag {
			t.Errorf("listed meanwhile is %+v, %v", info, err)
		}
	}
	client.Write(data[len(data)/2:])
	client.Close()
	if got := <-status; got != http.StatusOK || !bytes.Equal(e.lies(key), data) {
		t.Errorf("status %d; want 200, and the new content", got)
	}
}
