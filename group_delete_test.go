package maskstore

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// slowDeletes is a storage that takes ten minutes to delete anything.
type slowDeletes struct{ ObjectStorage }

func (s slowDeletes) Delete(ctx context.Context, keys ...string) error {
	select {
	case <-ctx.Done():
		return opError("Delete", "", nil, ctx.Err())
	case <-time.After(10 * time.Minute):
		return s.ObjectStorage.Delete(ctx, keys...)
	}
}

// That the time for deleting is over is the storage's doing; an end of the caller's context stays what it is.
func TestDeleteTakesTooLong(t *testing.T) {
	for name, call := range map[string]func(ctx context.Context, s ObjectStorage) error{
		"Delete": func(ctx context.Context, s ObjectStorage) error {
			g, err := NewGroup(s, "a", "g", nil)
			if err != nil {
				return err
			}
			return g.Delete(ctx)
		},
		"Sweep, of an upload": func(ctx context.Context, s ObjectStorage) error {
			g, err := NewGroup(s, "a", "g", &GroupOptions{Now: func() time.Time { return time.Now().Add(-48 * time.Hour) }})
			if err != nil {
				return err
			}
			doc := g.newDocument()
			doc.Pending = &pending{UploadID: "u", Revision: 1}
			if err := g.write(ctx, doc, ""); err != nil {
				return err
			}
			return second(Sweep(ctx, s, nil))
		},
		"Sweep, of a tombstone": func(ctx context.Context, s ObjectStorage) error {
			g, err := NewGroup(s, "a", "g", &GroupOptions{Now: func() time.Time { return time.Now().Add(-48 * time.Hour) }})
			if err != nil {
				return err
			}
			if err := g.write(ctx, g.tombstoneOf(g.newDocument()), ""); err != nil {
				return err
			}
			return second(Sweep(ctx, s, nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, patience := range []time.Duration{time.Hour, time.Minute} {
					m := new(Memory)
					if _, err := m.Put(t.Context(), "mask/a/g/0001_x.png", strings.NewReader("x"), nil); err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					err := call(ctx, slowDeletes{m})
					if own := ctx.Err() != nil; errors.Is(err, context.DeadlineExceeded) != own || errors.Is(err, ErrUnavailable) == own {
						t.Errorf("with a context of %v: %v", patience, err)
					}
				}
			})
		})
	}
}

// beforeDelete is a storage that calls a function before it deletes.
type beforeDelete struct {
	ObjectStorage
	call func()
}

func (s beforeDelete) Delete(ctx context.Context, keys ...string) error {
	s.call()
	return s.ObjectStorage.Delete(ctx, keys...)
}

// While one server deletes a group, one whose clock is ahead does not begin to fill it.
func TestDeleteKeepsOutClocksAhead(t *testing.T) {
	m := &Memory{BaseURL: "http://127.0.0.1:1"}
	open := func(s ObjectStorage, off time.Duration) *Group {
		g, err := NewGroup(s, "a", "g", &GroupOptions{Now: func() time.Time { return time.Now().Add(off) }})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	masks := []MaskFile{{1, "x", BytesBody(testPNG(t, 1))}}
	if _, err := open(m, -3*time.Hour).Upload(t.Context(), masks, nil); err != nil {
		t.Fatal(err)
	}
	tried := 0
	s := beforeDelete{m, func() {
		tried++
		if _, err := open(m, 14*time.Minute).Upload(t.Context(), masks, nil); !errors.Is(err, ErrDeleted) {
			t.Errorf("a save by a clock ahead: %v", err)
		}
	}}
	if err := open(s, 0).Delete(t.Context()); err != nil || tried == 0 {
		t.Errorf("%v after %d tries", err, tried)
	}
}
