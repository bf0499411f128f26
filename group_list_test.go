package maskstore

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// slowReads is a storage each of whose bodies takes a second, and counts how many over 1 MiB are being read.
type slowReads struct {
	ObjectStorage
	now, most atomic.Int64
}

func (s *slowReads) Get(ctx context.Context, key string, opts *GetOptions) (*Object, error) {
	obj, err := s.ObjectStorage.Get(ctx, key, opts)
	if err == nil {
		obj.Body = &slowBody{obj.Body, s, obj.Size > largeManifest, false}
	}
	return obj, err
}

type slowBody struct {
	io.ReadCloser
	s           *slowReads
	large, read bool
}

func (b *slowBody) Read(p []byte) (int, error) {
	if !b.read && b.large {
		b.s.most.Store(max(b.s.most.Load(), b.s.now.Add(1)))
	}
	if !b.read {
		time.Sleep(time.Second)
	}
	b.read = true
	return b.ReadCloser.Read(p)
}

func (b *slowBody) Close() error {
	if b.read && b.large {
		b.s.now.Add(-1)
	}
	return b.ReadCloser.Close()
}

// However many large manifests a listing meets, it reads one at a time, and the small ones side by side.
func TestGroupsReadsLargeManifestsSingly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(Memory)
		for i := range 8 {
			g, err := NewGroup(m, "a", fmt.Sprint("g", i), nil)
			if err != nil {
				t.Fatal(err)
			}
			doc := g.newDocument()
			doc.Revision = 1
			if i%2 == 1 {
				doc.UploadID = strings.Repeat("x", largeManifest)
			}
			if err := g.write(t.Context(), doc, ""); err != nil {
				t.Fatal(err)
			}
		}
		s, begun := &slowReads{ObjectStorage: m}, time.Now()
		n := 0
		for info, err := range Groups(t.Context(), s, "a", nil) {
			if err != nil || info.Group != fmt.Sprint("g", n) || info.Manifest == nil {
				t.Fatalf("group %d: %+v, %v", n, info, err)
			}
			n++
		}
		if took := time.Since(begun); n != 8 || s.most.Load() != 1 || took != 5*time.Second {
			t.Errorf("%d groups, up to %d large manifests at a time, in %v; want 8, 1 and 5s", n, s.most.Load(), took)
		}
	})
}

// The order is that of the prefixes, and pages follow it.
func TestGroupsOrder(t *testing.T) {
	m := new(Memory)
	want := []string{"1.2-old", "1.2.5", "1.2", "1.20"}
	for _, id := range want {
		if _, err := m.Put(t.Context(), "mask/a/"+id+"/0001_x.png", strings.NewReader("x"), nil); err != nil {
			t.Fatal(err)
		}
	}
	for i, after := range append([]string{""}, want...) {
		var got []string
		for info, err := range Groups(t.Context(), m, "a", &GroupsOptions{StartAfter: after}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, info.Group)
		}
		if !slices.Equal(got, want[i:]) {
			t.Errorf("after %q come %q; want %q", after, got, want[i:])
		}
	}
}
