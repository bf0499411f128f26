package maskstore

import (
	"context"
	"net"
	"net/http"
	"time"
)

// stallTime is how long a peer may send nothing, or take nothing, until a request fails; it is then tried again. Where the
// caller's context has no deadline, nothing else ends it.
const stallTime = time.Minute

// newTransport gives a transport that keeps up to idle connections to a host, where net/http keeps 2 and makes a new one for
// all others, and gives up peers that stall; nil where the program has wrapped http.DefaultTransport.
func newTransport(idle int) *http.Transport {
	shared, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil
	}
	t := shared.Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, idle
	t.ResponseHeaderTimeout = stallTime
	if dial := t.DialContext; dial != nil {
		t.DialContext = withoutStalls(dial)
	}
	return t
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

func withoutStalls(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return stallConn{conn}, nil
	}
}

// stallConn fails where neither reading nor writing gets on for stallTime. Each moves the deadline of both: while a body
// goes out, net/http waits for the answer all along.
type stallConn struct{ net.Conn }

func (c stallConn) Read(p []byte) (int, error) {
	c.moveDeadline()
	return c.Conn.Read(p)
}

func (c stallConn) Write(p []byte) (int, error) {
	c.moveDeadline()
	return c.Conn.Write(p)
}

func (c stallConn) moveDeadline() { c.SetDeadline(time.Now().Add(stallTime)) } // where that fails, so does what follows
