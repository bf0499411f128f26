package maskstore

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"
)

// misreads is a storage that misreads the first mask once, and calls a function after that listing.
type misreads struct {
	ObjectStorage
	misread func(*ObjectInfo) // nil once it did
	after   func()
}

func (s *misreads) List(ctx context.Context, prefix string, opts *ListOptions) iter.Seq2[ObjectInfo, error] {
	return func(yield func(ObjectInfo, error) bool) {
		for info, err := range s.ObjectStorage.List(ctx, prefix, opts) {
			if strings.HasSuffix(info.Key, ".png") && s.misread != nil {
				s.misread(&info)
				s.misread = nil
				defer s.after()
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

func putMask(t *testing.T, s ObjectStorage, slice int) {
	t.Helper()
	key := MaskKey{Annotation: "a", Group: "g", Slice: slice, Label: "x"}.String()
	if _, err := s.Put(t.Context(), key, bytes.NewReader(testPNG(t, 1)), nil); err != nil {
		t.Fatal(err)
	}
}

// eachMisread calls test, for each way to misread a listing, with a group of three masks on a storage that does it, over m.
func eachMisread(t *testing.T, test func(t *testing.T, m *Memory, g *Group)) {
	for name, way := range map[string]struct {
		misread func(*ObjectInfo)
		late    bool // a mask is put after the listing
	}{
		"key":  {misread: func(info *ObjectInfo) { info.Key = strings.TrimSuffix(info.Key, "png") + "qng" }},
		"ETag": {misread: func(info *ObjectInfo) { info.ETag += "0" }},
		"size": {misread: func(info *ObjectInfo) { info.Size++ }},
		"late": {misread: func(*ObjectInfo) {}, late: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := &Memory{BaseURL: "http://127.0.0.1:1"}
			for slice := range 3 {
				putMask(t, m, slice)
			}
			s := &misreads{m, way.misread, func() {
				if way.late {
					putMask(t, m, 3)
				}
			}}
			g, err := NewGroup(s, "a", "g", &GroupOptions{Now: func() time.Time { return time.Now().Add(-48 * time.Hour) }})
			if err != nil {
				t.Fatal(err)
			}
			test(t, m, g)
		})
	}
}

// What Sweep leaves of a group whose tombstone it removes, nobody would ever delete.
func TestDeleteMisreadsAListing(t *testing.T) {
	for name, call := range map[string]struct {
		delete func(ctx context.Context, g *Group) error
		left   int
	}{
		"Delete": {func(ctx context.Context, g *Group) error { return g.Delete(ctx) }, 1},
		"Sweep":  {func(ctx context.Context, g *Group) error { return second(Sweep(ctx, g.storage, nil)) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			eachMisread(t, func(t *testing.T, m *Memory, g *Group) {
				if err := g.write(t.Context(), g.tombstoneOf(g.newDocument()), ""); err != nil {
					t.Fatal(err)
				}
				if err := call.delete(t.Context(), g); err != nil {
					t.Error(err)
				}
				var keys []string
				for info := range m.List(t.Context(), "mask/", nil) {
					keys = append(keys, info.Key)
				}
				if len(keys) != call.left {
					t.Errorf("%q are left; want %d objects", keys, call.left)
				}
			})
		})
	}
}

func TestAdoptMisreadsAListing(t *testing.T) {
	eachMisread(t, func(t *testing.T, m *Memory, g *Group) {
		if _, err := g.Adopt(t.Context(), nil); !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrIncomplete) {
			t.Errorf("%v; want ErrUnavailable or ErrIncomplete", err)
		}
		if done, err := g.Adopt(t.Context(), nil); err != nil || len(done.Manifest.Masks) < 3 || len(done.Unexpected) > 0 {
			t.Errorf("again: %+v, %v; want all masks", done, err)
		}
	})
}

// Sweep calls no mask lost that is there.
func TestSweepMisreadsAListing(t *testing.T) {
	eachMisread(t, func(t *testing.T, m *Memory, g *Group) {
		open := groupOf(m, g.prefix, &GroupOptions{Now: g.now})
		if _, err := open.Adopt(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		spec := MaskSpec{Slice: 0, Label: "x", Size: 1, SHA256: SumSHA256([]byte("x"))}
		if _, err := open.Begin(t.Context(), []MaskSpec{spec}, nil); err != nil {
			t.Fatal(err)
		}
		later := &SweepOptions{Now: func() time.Time { return time.Now().Add(48 * time.Hour) }}
		first, err := Sweep(t.Context(), g.storage, later)
		if err != nil {
			t.Error(err)
		}
		second, err := Sweep(t.Context(), g.storage, later)
		if err != nil {
			t.Error(err)
		}
		if len(first.Spoiled)+len(second.Spoiled) > 0 || len(first.Dropped)+len(second.Dropped) != 1 {
			t.Errorf("%+v, %+v; want the upload dropped, and nothing spoiled", first, second)
		}
	})
}
