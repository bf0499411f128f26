package maskstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// collect gives what a listing yields up to its first error.
func collect[T any](seq iter.Seq2[T, error]) (all []T, err error) {
	for v, err := range seq {
		if err != nil {
			return all, err
		}
		all = append(all, v)
	}
	return all, nil
}

// listModel lists as S3 does, in the plainest way.
func listModel(keys []string, prefix string, o ListOptions) (want []string) {
	slices.Sort(keys)
	for _, key := range keys {
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		entry := key
		if i := strings.Index(key[len(prefix):], "/"); o.Delimiter != "" && i >= 0 {
			entry = key[:len(prefix)+i+1]
		}
		switch {
		case entry <= o.StartAfter:
		case len(want) > 0 && want[len(want)-1] == entry:
		case o.Limit == 0 || len(want) < o.Limit:
			want = append(want, entry)
		}
	}
	return want
}

func TestMemoryListAgainstModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	segments := []string{"a", "b", "b-", "b.", "b0", "c", "é", "한국", "z~"}
	path := func() string {
		s := "mask"
		for range 1 + random.IntN(4) {
			s += "/" + segments[random.IntN(len(segments))]
		}
		return s
	}
	m := new(Memory)
	keys := map[string]bool{}
	for range 40 * memoryPage {
		key := path()
		keys[key] = true
		mustPut(t, m, key, "")
	}
	all := slices.Collect(maps.Keys(keys))
	if len(all) < 10*memoryPage {
		t.Fatalf("%d keys are too few to fill pages", len(all))
	}
	prefixes := func() string { p := path(); return p[:max(len(root), random.IntN(len(p)+1))] }
	ends := []string{"", "/", "x"}
	for range 3000 {
		prefix := strings.ToValidUTF8(prefixes(), "")
		o := ListOptions{Delimiter: ends[random.IntN(2)], Limit: random.IntN(3) * random.IntN(900)}
		if random.IntN(2) == 0 {
			o.StartAfter = path() + ends[random.IntN(3)]
		}
		got, err := collect(m.List(t.Context(), prefix, &o))
		if err != nil {
			t.Fatal(err)
		}
		var gotKeys []string
		for _, info := range got {
			gotKeys = append(gotKeys, info.Key)
			if info.IsPrefix != (o.Delimiter != "" && strings.HasSuffix(info.Key, "/")) {
				t.Fatalf("List(%q, %+v): %+v", prefix, o, info)
			}
		}
		if diff := cmp.Diff(listModel(all, prefix, o), gotKeys); diff != "" {
			t.Fatalf("List(%q, %+v) (-want +got):\n%s", prefix, o, diff)
		}
	}
}

func TestMemoryListEntries(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	m := &Memory{Now: func() time.Time { return now }}
	info := mustPut(t, m, "mask/a/b.png", "hello")
	mustPut(t, m, "mask/a/c/d.png", "hello")
	got, err := collect(m.List(t.Context(), "mask/a/", &ListOptions{Delimiter: "/"}))
	want := []ObjectInfo{
		{Key: info.Key, Size: 5, ETag: info.ETag, LastModified: now},
		{Key: "mask/a/c/", IsPrefix: true},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestMemoryListRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		prefix string
		opts   ListOptions
		want   error
	}{
		"no prefix":       {"", ListOptions{}, ErrInvalidKey},
		"outside":         {"masks/", ListOptions{}, ErrInvalidKey},
		"other delimiter": {"mask/", ListOptions{Delimiter: "-"}, ErrInvalidArgument},
		"negative limit":  {"mask/", ListOptions{Limit: -1}, ErrInvalidArgument},
		"start outside":   {"mask/", ListOptions{StartAfter: "x"}, ErrInvalidKey},
	} {
		if _, err := collect(new(Memory).List(t.Context(), test.prefix, &test.opts)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// The loop's body may write to the storage, break, range again, and end the context.
func TestMemoryListWhileItChanges(t *testing.T) {
	m := new(Memory)
	key := func(n int) string { return fmt.Sprintf("mask/a/%05d", n) }
	const count = 2*memoryPage + 10
	for n := range count {
		mustPut(t, m, key(n), "")
	}
	seq := m.List(t.Context(), "mask/", nil)
	seen := 0
	for info, err := range seq {
		if err != nil || info.Key != key(seen) {
			t.Fatalf("entry %d: %+v, %v", seen, info, err)
		}
		if err := m.Delete(t.Context(), info.Key); err != nil {
			t.Fatal(err)
		}
		seen++
	}
	if seen != count {
		t.Errorf("%d entries, want %d", seen, count)
	}
	for _, again := range []string{"a", "b"} {
		mustPut(t, m, "mask/b/"+again, "")
		for info, err := range seq {
			if err != nil || info.Key != "mask/b/a" {
				t.Errorf("%+v, %v", info, err)
			}
			break
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := 0
	for _, err := range m.List(ctx, "mask/", nil) {
		switch {
		case err == nil:
			got++
			cancel()
		case !errors.Is(err, context.Canceled):
			t.Error(err)
		}
	}
	if got != 1 {
		t.Errorf("%d entries after the context ended", got-1)
	}
}

// BenchmarkMemoryList lists a group of 200 masks alone, and any one among a million objects put in random order: the
// latter may cost three times the former.
func BenchmarkMemoryList(b *testing.B) {
	const masks = 200
	group := func(n int) string { return fmt.Sprintf("mask/a%06d/g/", n/masks) }
	for _, objects := range []int{masks, 1_000_000} {
		b.Run(fmt.Sprint(objects), func(b *testing.B) {
			m := new(Memory)
			order := rand.Perm(objects)
			start := time.Now()
			for _, n := range order {
				info := ObjectInfo{Key: fmt.Sprintf("%s%04d_liver.png", group(n), n%masks)}
				m.objects.set(info.Key, memoryObject{info: info})
			}
			insert := time.Since(start)
			for b.Loop() {
				n := 0
				for range m.List(b.Context(), group(rand.IntN(objects)), nil) {
					n++
				}
				if n != masks {
					b.Fatal(n)
				}
			}
			b.ReportMetric(float64(insert.Nanoseconds())/float64(objects), "ns/insert")
		})
	}
}
