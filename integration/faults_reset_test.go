package integration

import (
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/maskstoretest"
)

// cutter makes connections, of which it resets the first in place of one of the bytes that pass, heads included, or flips one
// of their bits.
type cutter struct {
	dial            func(ctx context.Context, network, address string) (net.Conn, error)
	sentAt, comesAt int64 // counted from 1; 0: not
	flipBit         int64 // of what comes, counted from 1; 0: none
	dialled         atomic.Bool
	sent, came      atomic.Int64 // of the first connection; where a bit is flipped, of all
	fired           atomic.Int64 // resets and flips
}

func (c *cutter) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.dial(ctx, network, address)
	if err != nil || c.dialled.Swap(true) && c.flipBit == 0 {
		return conn, err
	}
	return &cutConn{Conn: conn, c: c}, nil
}

type cutConn struct {
	net.Conn
	c    *cutter
	once sync.Once
}

func (c *cutConn) reset() error {
	c.once.Do(func() {
		c.Conn.(*net.TCPConn).SetLinger(0)
		c.Conn.Close()
		c.c.fired.Add(1)
	})
	return &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
}

func (c *cutConn) Write(p []byte) (int, error) {
	left := c.c.sentAt - 1 - c.c.sent.Load()
	if cut := c.c.sentAt > 0 && int64(len(p)) > left; cut {
		n, _ := c.Conn.Write(p[:left])
		c.c.sent.Add(int64(n))
		return n, c.reset()
	}
	n, err := c.Conn.Write(p)
	c.c.sent.Add(int64(n))
	return n, err
}

func (c *cutConn) Read(p []byte) (int, error) {
	if left := c.c.comesAt - 1 - c.c.came.Load(); c.c.comesAt > 0 {
		if left <= 0 {
			return 0, c.reset()
		}
		p = p[:min(int64(len(p)), left)]
	}
	n, err := c.Conn.Read(p)
	if bit := c.c.flipBit - 1 - 8*c.c.came.Load(); c.c.flipBit > 0 && bit >= 0 && bit < int64(8*n) {
		p[bit/8] ^= 1 << (bit % 8)
		c.c.fired.Add(1)
	}
	c.c.came.Add(int64(n))
	return n, err
}

// cut gives a storage whose first connection is cut.
func (e *faultEnv) cut(sentAt, comesAt int64) (*maskstore.MinIO, *cutter, func()) {
	return e.through(&cutter{sentAt: sentAt, comesAt: comesAt})
}

// through gives a storage whose connections c makes, one at a time.
func (e *faultEnv) through(c *cutter) (*maskstore.MinIO, *cutter, func()) {
	transport := e.transport()
	c.dial, transport.DialContext, transport.MaxConnsPerHost = transport.DialContext, c.DialContext, 1
	return e.over(transport), c, transport.CloseIdleConnections
}

// A connection that is reset at any byte of a put or a get, in either direction.
func TestFaultsReset(t *testing.T) {
	e := newFaultEnv(t)
	data := content(4 << 10)
	key := e.key()
	s, whole, closeIdle := e.cut(0, 0)
	if _, err := s.Put(t.Context(), key, bytes.NewReader(data), nil); err != nil {
		t.Fatal(err)
	}
	closeIdle()
	for name, direction := range map[string]struct {
		last int64
		cut  func(at int64) (sentAt, comesAt int64)
	}{
		"sent":  {whole.sent.Load(), func(at int64) (int64, int64) { return at, 0 }},
		"comes": {whole.came.Load(), func(at int64) (int64, int64) { return 0, at }},
	} {
		row := newTally(t)
		each(points(64, 1<<20, int(direction.last)), 64, func(at int64) {
			row.count("points")
			key := e.key()
			s, cutter, closeIdle := e.cut(direction.cut(at))
			defer closeIdle()
			// Half of them on the condition that a second attempt after a lost answer finds broken.
			_, err := s.Put(t.Context(), key, bytes.NewReader(data), &maskstore.PutOptions{NoOverwrite: at%2 == 0})
			row.hit(int(cutter.fired.Load()), "%s, byte %d", name, at)
			got := e.lies(key)
			switch {
			case err != nil:
				row.count("failed")
				t.Errorf("byte %d: %v", at, err)
			case got == nil:
				row.count("lost")
			case !bytes.Equal(got, data):
				row.count("corrupt")
			}
		})
		row.print("reset at every byte of a 4 KiB put, "+name, []string{"points"}, "failed", "lost", "corrupt")
	}

	s, whole, closeIdle = e.cut(0, 0)
	if _, err := readAll(t.Context(), s, key, nil); err != nil {
		t.Fatal(err)
	}
	closeIdle()
	row := newTally(t)
	each(points(64, 1<<20, int(whole.came.Load())), 64, func(at int64) {
		row.count("points")
		s, cutter, closeIdle := e.cut(0, at)
		defer closeIdle()
		got, err := readAll(t.Context(), s, key, nil)
		row.hit(int(cutter.fired.Load()), "get, byte %d", at)
		switch {
		case err == nil && bytes.Equal(got, data):
			row.count("whole by another attempt")
		case err == nil:
			row.count("corrupt")
		default:
			row.count("told as an error")
			wantTyped(t, err, maskstore.ErrUnavailable)
		}
	})
	row.print("reset at every byte of a 4 KiB get, comes",
		[]string{"points", "whole by another attempt", "told as an error"}, "corrupt")
}

func readAll(ctx context.Context, s maskstore.ObjectStorage, key string, opts *maskstore.GetOptions) ([]byte, error) {
	obj, err := s.Get(ctx, key, opts)
	if err != nil {
		return nil, err
	}
	defer obj.Body.Close()
	return io.ReadAll(obj.Body)
}

// putInParts is an upload of 5 MiB parts by its single calls. What fails is aborted.
func putInParts(
	ctx context.Context, s maskstore.MultipartStorage, key string, data []byte, opts *maskstore.PutOptions,
) (err error) {
	id, err := s.CreateMultipartUpload(ctx, key, opts)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
			defer cancel()
			s.AbortMultipartUpload(ctx, key, id)
		}
	}()
	var parts []maskstore.Part
	for chunk := range slices.Chunk(data, maskstore.MinPartSize) {
		part, err := s.UploadPart(ctx, key, id, len(parts)+1, maskstore.BytesBody(chunk))
		if err != nil {
			return err
		}
		parts = append(parts, part)
	}
	_, err = s.CompleteMultipartUpload(ctx, key, id, parts, opts)
	return err
}

// A connection that is reset within any part of an upload, or within any answer.
func TestFaultsResetParts(t *testing.T) {
	e := newFaultEnv(t)
	data := content(12 << 20)
	check := func(row *tally, key string, err error) {
		got := e.lies(key)
		open, parts := e.uploads(key)
		row.add("parts left", parts)
		row.add("empty uploads left", open)
		switch {
		case err != nil:
			row.count("failed")
			t.Error(err)
		case got == nil:
			row.count("lost")
		case !bytes.Equal(got, data):
			row.count("corrupt")
		}
	}
	row := newTally(t)
	each(points(4, 64, len(data)), 8, func(at int64) {
		row.count("points")
		part, within := (at-1)/maskstore.MinPartSize, (at-1)%maskstore.MinPartSize+1
		n := int64(-1) // of the parts before
		s, f := e.faulty(func(c maskstoretest.Call) maskstoretest.Fault {
			if c.Op != "UploadPart" {
				return maskstoretest.Fault{}
			}
			if n++; n != part {
				return maskstoretest.Fault{}
			}
			return maskstoretest.Fault{Request: maskstoretest.Damage{ResetAt: within}}
		})
		key := e.key()
		check(row, key, putInParts(t.Context(), s, key, data, nil))
		row.hit(len(f.Fired()), "byte %d", at)
	})
	row.print("reset within 12 MiB in parts, sent", []string{"points"}, "failed", "lost", "corrupt", "parts left",
		"empty uploads left")

	row = newTally(t)
	type point struct {
		op string
		at int64
	}
	var all []point
	for _, op := range []string{"CreateMultipartUpload", "CompleteMultipartUpload"} {
		for _, at := range points(2, 32, 160) {
			all = append(all, point{op, at})
		}
	}
	each(all, 8, func(p point) {
		row.count("points")
		s, f := e.faulty(first(p.op, maskstoretest.Fault{Response: maskstoretest.Damage{ResetAt: p.at}}))
		key := e.key()
		check(row, key, putInParts(t.Context(), s, key, data, &maskstore.PutOptions{NoOverwrite: true}))
		row.hit(len(f.Fired()), "byte %d of the answer to %s", p.at, p.op)
	})
	row.print("reset within the answers to 12 MiB in parts", []string{"points"}, "failed", "lost", "corrupt", "parts left",
		"empty uploads left")
}
