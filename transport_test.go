package maskstore

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A peer that stalls fails the request wherever it does so, though no context ends; one that is slow does not.
func TestStalls(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
	answer := func(c net.Conn, text string, pause time.Duration) {
		go io.Copy(io.Discard, c)
		for i := range len(text) {
			io.WriteString(c, text[i:i+1])
			time.Sleep(pause)
		}
	}
	for name, row := range map[string]struct {
		peer   func(net.Conn)
		stalls bool
	}{
		"takes half of the request":   {func(c net.Conn) { io.ReadFull(c, make([]byte, 100)) }, true},
		"gives no answer":             {func(c net.Conn) { answer(c, "", 0) }, true},
		"gives half of the head":      {func(c net.Conn) { answer(c, head[:8], 0) }, true},
		"gives a part of the body":    {func(c net.Conn) { answer(c, head+"a", 0) }, true},
		"gives a byte in two minutes": {func(c net.Conn) { io.WriteString(c, head); answer(c, "abc", 2*time.Minute) }, true},
		"gives a byte in 50 seconds":  {func(c net.Conn) { answer(c, head+"abc", 50*time.Second) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transport := &http.Transport{DialContext: withoutStalls(func(context.Context, string, string) (net.Conn, error) {
					ours, theirs := net.Pipe()
					context.AfterFunc(t.Context(), func() { theirs.Close() })
					go row.peer(theirs)
					return ours, nil
				})}
				defer transport.CloseIdleConnections()
				req, err := http.NewRequest(http.MethodPut, "http://host.test/", strings.NewReader(strings.Repeat("x", 1000)))
				if err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				resp, err := transport.RoundTrip(req)
				if err == nil {
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				took := time.Since(begun)
				time.Sleep(10 * time.Minute) // the peer ends
				if (err != nil) != row.stalls || took != stallTime && row.stalls {
					t.Errorf("%v after %v", err, took)
				}
			})
		})
	}
	conn, err := newTransport(1).DialContext(t.Context(), "tcp", listen(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, ok := conn.(stallConn); !ok {
		t.Errorf("connections are %T", conn)
	}
}

// listen gives an address that takes connections.
func listen(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}
