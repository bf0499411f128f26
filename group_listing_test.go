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

// misreads is a storage whose first listing names the first mask otherwise, as one may in which a bit was flipped.
type misreads struct {
	ObjectStorage
	done bool
}

func (s *misreads) List(ctx context.Context, prefix string, opts *ListOptions) iter.Seq2[ObjectInfo, error] {
	return func(yield func(ObjectInfo, error) bool) {
		for info, err := range s.ObjectStorage.List(ctx, prefix, opts) {
			if strings.HasSuffix(info.Key, ".png") && !s.done {
				s.done, info.Key = true, strings.TrimSuffix(info.Key, "png")+"qng"
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// groupOfThree is a group of three masks without a manifest, on a storage over m that misreads its first listing.
func groupOfThree(t *testing.T, now func() time.Time) (m *Memory, g *Group) {
	t.Helper()
	m = &Memory{BaseURL: "http://127.0.0.1:1"}
	for slice := range 3 {
		key := MaskKey{Annotation: "a", Group: "g", Slice: slice, Label: "x"}.String()
		if _, err := m.Put(t.Context(), key, bytes.NewReader(testPNG(t, 1)), nil); err != nil {
			t.Fatal(err)
		}
	}
	g, err := NewGroup(&misreads{ObjectStorage: m}, "a", "g", &GroupOptions{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return m, g
}

func left(t *testing.T, s ObjectStorage) (keys []string) {
	t.Helper()
	for info, err := range s.List(t.Context(), "mask/", nil) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
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
		m, g := groupOfThree(t, func() time.Time { return time.Now().Add(-48 * time.Hour) })
		if err := g.write(t.Context(), g.tombstoneOf(g.newDocument()), ""); err != nil {
			t.Fatal(err)
		}
		if err := call.delete(t.Context(), g); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if keys := left(t, m); len(keys) != call.left {
			t.Errorf("%s: %q are left; want %d objects", name, keys, call.left)
		}
	}
}

func TestAdoptMisreadsAListing(t *testing.T) {
	_, g := groupOfThree(t, nil)
	if done, err := g.Adopt(t.Context(), nil); !errors.Is(err, ErrUnavailable) || done != nil {
		t.Errorf("%+v, %v; want ErrUnavailable", done, err)
	}
	if done, err := g.Adopt(t.Context(), nil); err != nil || len(done.Manifest.Masks) != 3 {
		t.Errorf("again: %+v, %v; want three masks", done, err)
	}
}
