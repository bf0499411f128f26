package maskstore

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// stallTime is how long a peer may send nothing that is waited for, or take nothing, until a request fails. Where the
// caller's context has no deadline, nothing else ends it.
const stallTime = time.Minute

// newTransport gives a transport that keeps up to idle connections to a host, where net/http keeps 2 and makes a new one for
// all others, and gives up peers that stall; nil where the program has wrapped http.DefaultTransport.
func newTransport(idle int) *transport {
	shared, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil
	}
	t := shared.Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, idle
	t.ResponseHeaderTimeout = stallTime
	if dial := t.DialContext; dial != nil {
		t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return stallConn{conn}, nil
		}
	}
	return &transport{t}
}

// transport gives up peers that stall: its connections do as they write, its ResponseHeaderTimeout does until the answer
// begins, and its answers' bodies do as they are read. What the caller does between two reads, or two writes, takes what
// time it wants.
type transport struct{ *http.Transport }

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.Transport.RoundTrip(r)
	if err == nil {
		resp.Body = stallBody{resp.Body}
	}
	return resp, err
}

type stallConn struct{ net.Conn }

func (c stallConn) Write(p []byte) (int, error) {
	c.SetWriteDeadline(time.Now().Add(stallTime)) // where that fails, so does what follows
	return c.Conn.Write(p)
}

type stallBody struct{ io.ReadCloser }

var errStalled = errors.New("nothing came for " + stallTime.String())

func (b stallBody) Read(p []byte) (int, error) {
	timer := time.AfterFunc(stallTime, func() { b.Close() }) // which ends the Read
	n, err := b.ReadCloser.Read(p)
	if !timer.Stop() && err != io.EOF {
		err = errStalled
	}
	return n, err
}
