package maskstore

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// source is a Body as one call reads it: it remembers its error, and is not read any more once it is closed, or the call's
// context has ended. That closes it too, since the call, or the transport for it, waits for a Read that blocks. No lock is
// held as the caller's reader is read: its own Close ends such a Read.
type source struct {
	ctx     context.Context
	r       io.Reader // what is read of c
	c       io.Closer
	reading chan struct{} // holds one while r is read, or is closed
	closed  atomic.Bool
	once    sync.Once
	err     error // that r gave, other than io.EOF, before it was closed
	forget  func() bool
	ending  sync.WaitGroup // the Close that the end of ctx has begun
}

// open opens the content for a call that ends with ctx, and calls end when it needs it no more.
func (b *Body) open(ctx context.Context) (*source, error) {
	r, err := b.Open()
	if err != nil {
		return nil, err
	}
	s := &source{ctx: ctx, r: r, c: r, reading: make(chan struct{}, 1)}
	s.ending.Add(1)
	s.forget = context.AfterFunc(ctx, func() {
		defer s.ending.Done()
		s.Close()
	})
	return s, nil
}

func (s *source) Read(p []byte) (int, error) {
	s.reading <- struct{}{}
	defer func() { <-s.reading }()
	if err := s.ctx.Err(); err != nil || s.closed.Load() {
		return 0, cmp.Or(err, http.ErrBodyReadAfterClose)
	}
	n, err := s.r.Read(p)
	switch {
	case err != nil && s.closed.Load(): // it may come of the Close
		return n, cmp.Or(s.ctx.Err(), err)
	case err != nil && err != io.EOF:
		s.err = err
	}
	return n, err
}

// closePatience is how long Close waits for a Read to end by itself: not all readers can be closed meanwhile.
const closePatience = time.Second

// Close returns when nothing reads any more.
func (s *source) Close() (err error) {
	s.closed.Store(true)
	shut := func() { s.once.Do(func() { err = s.c.Close() }) }
	select {
	case s.reading <- struct{}{}:
	default:
		timer := time.NewTimer(closePatience)
		defer timer.Stop()
		select {
		case s.reading <- struct{}{}:
		case <-timer.C:
			shut()
			s.reading <- struct{}{}
		}
	}
	shut()
	<-s.reading
	return err
}

// end closes what is open yet, and returns when nothing of it runs any more.
func (s *source) end() {
	if s.forget() {
		s.ending.Done()
	}
	s.ending.Wait()
	s.Close()
}
