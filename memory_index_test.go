package maskstore

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// checkIndex compares all of the index with a model.
func checkIndex(t *testing.T, x *index[int], model map[string]int) {
	t.Helper()
	var want, got []item[int]
	for key, value := range model {
		want = append(want, item[int]{key, value})
	}
	slices.SortFunc(want, func(a, b item[int]) int { return strings.Compare(a.key, b.key) })
	for p := x.seek(""); x.at(p) != nil; p = x.next(p) {
		got = append(got, *x.at(p))
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(item[int]{})); diff != "" {
		t.Fatalf("items (-want +got):\n%s", diff)
	}
	for c, chunk := range x.chunks {
		if len(chunk) == 0 || len(chunk) > maxChunk {
			t.Fatalf("chunk %d holds %d items", c, len(chunk))
		}
	}
}

func TestIndexAgainstModel(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			keys := 8 * maxChunk >> seed // the fewer, the more replacements and deletions
			someKey := func() string { return fmt.Sprintf("%x", random.IntN(keys)) }
			var x index[int]
			model := map[string]int{}
			for n := range 20 * maxChunk {
				key := someKey()
				if random.IntN(5) < 3 {
					x.set(key, n)
					model[key] = n
				} else {
					x.delete(key)
					delete(model, key)
				}
				if want, ok := model[key]; (x.get(key) != nil) != ok || ok && *x.get(key) != want {
					t.Fatalf("get(%q) = %v, want %d, %v", key, x.get(key), want, ok)
				}
			}
			checkIndex(t, &x, model)

			sorted := slices.Sorted(maps.Keys(model))
			for range 500 {
				key := someKey() + []string{"", "\x00", "~"}[random.IntN(3)]
				i, _ := slices.BinarySearch(sorted, key)
				if it := x.at(x.seek(key)); (it == nil) != (i == len(sorted)) || it != nil && it.key != sorted[i] {
					t.Fatalf("seek(%q) = %v, want item %d of %d", key, it, i, len(sorted))
				}
			}

			for _, key := range sorted {
				x.delete(key)
			}
			checkIndex(t, &x, nil)
		})
	}
}

func TestIndexInOrder(t *testing.T) {
	for name, reverse := range map[string]bool{"ascending": false, "descending": true} {
		t.Run(name, func(t *testing.T) {
			var x index[int]
			model := map[string]int{}
			for n := range 5 * maxChunk {
				if reverse {
					n = 5*maxChunk - n
				}
				key := fmt.Sprintf("%06d", n)
				x.set(key, n)
				model[key] = n
			}
			checkIndex(t, &x, model)
		})
	}
}
