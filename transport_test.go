package maskstore

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pausing is a reader that pauses before each read.
type pausing struct {
	io.Reader
	pause time.Duration
}

func (p pausing) Read(b []byte) (int, error) {
	time.Sleep(p.pause)
	return p.Reader.Read(b[:min(len(b), 500)])
}

// A peer that stalls fails the request wherever it does so, though no context ends; a slow one does not, nor a slow caller.
func TestStalls(t *testing.T) {
	const head, minutes = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 3 * time.Minute
	answer := func(c net.Conn, text string, pause time.Duration) {
		if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			io.Copy(io.Discard, req.Body)
		}
		for i := range len(text) {
			io.WriteString(c, text[i:i+1])
			if i >= len(head)-1 {
				time.Sleep(pause)
			}
		}
	}
	for name, row := range map[string]struct {
		peer   func(net.Conn)
		caller time.Duration // pauses as it sends, and as it reads
		stalls bool
	}{
		"takes half of the request":    {func(c net.Conn) { io.ReadFull(c, make([]byte, 100)) }, 0, true},
		"gives no answer":              {func(c net.Conn) { answer(c, "", 0) }, 0, true},
		"gives half of the head":       {func(c net.Conn) { answer(c, head[:8], 0) }, 0, true},
		"gives a part of the body":     {func(c net.Conn) { answer(c, head+"a", 0) }, 0, true},
		"gives a byte in minutes":      {func(c net.Conn) { answer(c, head+"abc", minutes) }, 0, true},
		"gives a byte in 50 seconds":   {func(c net.Conn) { answer(c, head+"abc", 50*time.Second) }, 0, false},
		"waits for a caller who sends": {func(c net.Conn) { answer(c, head+"abc", 0) }, minutes, false},
		"waits for a caller who reads": {func(c net.Conn) { answer(c, head+"abc", 0) }, minutes, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transport := newTransport(1)
				transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
					ours, theirs := net.Pipe()
					context.AfterFunc(t.Context(), func() { theirs.Close() })
					go row.peer(theirs)
					return stallConn{ours}, nil
				}
				defer transport.CloseIdleConnections()
				body := strings.NewReader(strings.Repeat("x", 1000))
				req, err := http.NewRequest(http.MethodPut, "http://host.test/", pausing{body, row.caller})
				if err != nil {
					t.Fatal(err)
				}
				req.ContentLength = body.Size()
				begun := time.Now()
				resp, err := transport.RoundTrip(req)
				if err == nil {
					_, err = io.ReadAll(pausing{resp.Body, row.caller})
					resp.Body.Close()
				}
				took := time.Since(begun)
				time.Sleep(time.Hour) // the peer ends
				if (err != nil) != row.stalls || row.stalls && took != stallTime {
					t.Errorf("%v after %v", err, took)
				}
			})
		})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := newTransport(1).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, ok := conn.(stallConn); !ok {
		t.Errorf("connections are %T", conn)
	}
}
