package maskstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// shortReads gives few bytes at a time, as a network may.
type shortReads struct{ r io.Reader }

func (s shortReads) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), 100)]) }

// TestHandlerWhiteSpace: what a body costs goes by its length, in however many pieces it arrives.
func TestHandlerWhiteSpace(t *testing.T) {
	h := NewHandler(new(Memory), &HandlerOptions{Authorize: authorizeBearer, MaxBodyBytes: 2 << 20})
	for _, before := range []string{"", `{`, `{"masks":[`, `{"etags":{`, `{"metadata":`} {
		req := httptest.NewRequestWithContext(t.Context(), "POST", groupsPath, shortReads{repeated(before, " ", 1<<40)})
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer anna")
		rec := httptest.NewRecorder()
		begun := time.Now()
		h.ServeHTTP(rec, req)
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("white space after %q took %v", before, took)
		}
		if want := http.StatusRequestEntityTooLarge; before != `{"etags":{` && rec.Code != want {
			t.Errorf("white space after %q: status %d, want %d", before, rec.Code, want)
		}
	}
}

// goroutinesBack wants as many goroutines as before, once those that are ending have ended.
func goroutinesBack(t *testing.T, before int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// TestHandlerSlowClients: clients that stop in the middle of a body cost a connection each until the server's timeout, and
// leave nothing behind. The handler sets none: that is the server's, for all its paths.
func TestHandlerSlowClients(t *testing.T) {
	before := runtime.NumGoroutine()
	s := &Memory{BaseURL: "http://localhost"}
	server := httptest.NewUnstartedServer(NewHandler(s, &HandlerOptions{Authorize: authorizeBearer}))
	server.Config.ReadTimeout = time.Second
	server.Start()
	defer server.Close()
	const clients = 50
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			head := "POST " + groupsPath + " HTTP/1.1\r\nHost: pacs\r\nAuthorization: Bearer anna\r\n" +
				"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
			request := head + `{"masks":[{"slice":1,`
			if i%2 == 1 {
				request = head[:len(head)/2] // stops in its header
			}
			if _, err := io.WriteString(conn, request); err != nil {
				t.Error(err)
			}
			answer, _ := io.ReadAll(conn) // to the end of the connection, which is the server's
			if i%2 == 0 && !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
				t.Errorf("answer %q", answer)
			}
		})
	}
	wg.Wait()
	server.Close()
	goroutinesBack(t, before)
	if left := etagsOf(t, s); len(left) > 0 {
		t.Errorf("%v was written", left)
	}
}

// TestHandlerEndlessBodies: a body without an end is given up at the limit, by the connection being closed.
func TestHandlerEndlessBodies(t *testing.T) {
	before := runtime.NumGoroutine()
	server := httptest.NewServer(NewHandler(new(Memory), &HandlerOptions{Authorize: authorizeBearer, MaxBodyBytes: 1 << 20}))
	for _, pattern := range []string{" ", "[", `{"a":`, `"`, "x"} {
		var sent atomic.Int64
		body := io.TeeReader(repeated(`{"group_id":`, pattern, 1<<40), counter{&sent})
		req, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+groupsPath, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer anna")
		resp, err := server.Client().Do(req)
		if err == nil { // else the connection was closed while the body was being sent
			if resp.StatusCode != http.StatusRequestEntityTooLarge && resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%q: %s", pattern, resp.Status)
			}
			resp.Body.Close()
		}
		if n := sent.Load(); n > 64<<20 {
			t.Errorf("%q: %d bytes were taken", pattern, n)
		}
	}
	server.Client().CloseIdleConnections()
	server.Close()
	goroutinesBack(t, before)
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) { c.n.Add(int64(len(p))); return len(p), nil }

// TestHandlerThousandAtOnce: a thousand requests at once, each in the storage at the same time, are each answered, in
// bounded memory; the clients' leaving ends them all.
func TestHandlerThousandAtOnce(t *testing.T) {
	const requests, bound = 1000, 128 << 20
	before := runtime.NumGoroutine()
	idle := inUse()
	gate := &gated{
		ObjectStorage: &Memory{BaseURL: "http://localhost"}, all: make(chan struct{}), open: make(chan struct{}), wait: requests,
	}
	h := NewHandler(gate, &HandlerOptions{Authorize: authorizeBearer})
	ctx, cancel := context.WithCancel(t.Context())
	var codes [600]atomic.Int64
	var wg sync.WaitGroup
	for i := range requests {
		wg.Go(func() {
			body := fmt.Sprintf(`{"group_id":"g%d","masks":[{"slice":1,"label":"x","size":9}]}`, i%10)
			req := httptest.NewRequestWithContext(ctx, "POST", groupsPath, strings.NewReader(body))
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer user"+fmt.Sprint(i))
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, req)
			codes[rec.Code].Add(1)
		})
	}
	<-gate.all // all thousand are in the storage
	if got := inUse() - idle; got > bound {
		t.Errorf("%d MiB are in use, want under %d", got>>20, bound>>20)
	}
	close(gate.open)
	wg.Wait()
	if begun, refused := codes[http.StatusCreated].Load(), codes[http.StatusConflict].Load(); begun != 10 ||
		begun+refused != requests {
		t.Errorf("%d began an upload and %d were refused; want 10 and %d", begun, refused, requests-10)
	}
	goroutinesBack(t, before)

	gate.stuck = true
	for range requests {
		wg.Go(func() {
			req := httptest.NewRequestWithContext(ctx, "GET", groupsPath+"/g1", nil)
			req.Header.Set("Authorization", "Bearer anna")
			h.ServeHTTP(httptest.NewRecorder(), req)
		})
	}
	cancel()
	wg.Wait()
	goroutinesBack(t, before)
}

// inUse is the memory that heap and stacks take.
func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// gated holds all calls of Get until wait of them are there and it is opened.
type gated struct {
	ObjectStorage
	all     chan struct{} // closed when wait are there
	open    chan struct{}
	wait    int64
	arrived atomic.Int64
	stuck   bool // Get answers no more
}

func (g *gated) Get(ctx context.Context, key string, opts *GetOptions) (*Object, error) {
	if g.stuck {
		<-ctx.Done()
		return nil, &Error{Op: "Get", Key: key, Err: ctx.Err()}
	}
	if n := g.arrived.Add(1); n == g.wait {
		close(g.all)
	}
	<-g.open
	return g.ObjectStorage.Get(ctx, key, opts)
}

// TestHandlerAborts: a hook that panics with http.ErrAbortHandler aborts, as net/http has it.
func TestHandlerAborts(t *testing.T) {
	h := NewHandler(new(Memory), &HandlerOptions{
		Authorize: func(*http.Request, string, Action) (string, error) { panic(http.ErrAbortHandler) },
	})
	server := httptest.NewUnstartedServer(h)
	server.Start()
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+groupsPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Client().Do(req)
	if err == nil {
		resp.Body.Close()
		t.Errorf("%s; want a connection that breaks off", resp.Status)
	} else if !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}
