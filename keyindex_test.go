package maskstore

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// Against the plainest model: a sorted slice.
func TestKeyIndexIsASortedSet(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		var x keyIndex
		var model []string
		span := 1 << (4 + seed%10) // from few keys, often met again, to many
		for range 20_000 {
			key := fmt.Sprintf("mask/%04x", random.IntN(span))
			i, found := slices.BinarySearch(model, key)
			switch random.IntN(5) {
			case 0, 1, 2:
				x.add(key)
				if !found {
					model = slices.Insert(model, i, key)
				}
			case 3:
				x.remove(key)
				if found {
					model = slices.Delete(model, i, i+1)
				}
			case 4:
				got, ok := x.from(key)
				if ok != (i < len(model)) || ok && got != model[i] {
					t.Fatalf("seed %d: from(%q) is %q, %v", seed, key, got, ok)
				}
			}
		}
		wantIndex(t, &x, model)
		for _, key := range model {
			x.remove(key)
		}
		wantIndex(t, &x, nil)
	}
}

func TestKeyIndexInAnyOrder(t *testing.T) {
	keys := make([]string, 5*maxChunk)
	for i := range keys {
		keys[i] = fmt.Sprintf("mask/%06d", i)
	}
	for name, order := range map[string]func([]string){
		"rising":  func([]string) {},
		"falling": slices.Reverse[[]string],
		"random": func(k []string) {
			rand.New(rand.NewPCG(1, 2)).Shuffle(len(k), func(i, j int) { k[i], k[j] = k[j], k[i] })
		},
	} {
		t.Run(name, func(t *testing.T) {
			var x keyIndex
			shuffled := slices.Clone(keys)
			order(shuffled)
			for _, key := range shuffled {
				x.add(key)
				x.add(key)
			}
			wantIndex(t, &x, keys)
			for _, key := range shuffled[:len(keys)/2] {
				x.remove(key)
				x.remove(key)
			}
			wantIndex(t, &x, slices.Sorted(slices.Values(shuffled[len(keys)/2:])))
		})
	}
}

// wantIndex fails unless x holds these keys, in chunks as they should be, and gives each of them.
func wantIndex(t *testing.T, x *keyIndex, want []string) {
	t.Helper()
	for i, chunk := range x.chunks {
		if len(chunk) == 0 || len(chunk) > maxChunk {
			t.Fatalf("chunk %d has %d keys", i, len(chunk))
		}
	}
	if got := slices.Concat(x.chunks...); !slices.Equal(got, want) {
		t.Fatalf("%d keys, not the %d wanted", len(got), len(want))
	}
	start, seen := "", 0
	for {
		key, ok := x.from(start)
		if !ok {
			break
		}
		if seen == len(want) || key != want[seen] {
			t.Fatalf("key %d is %q", seen, key)
		}
		start, seen = key+"\x00", seen+1
	}
	if seen != len(want) {
		t.Fatalf("%d keys are given; want %d", seen, len(want))
	}
}

// BenchmarkListGroupAmongMillion lists a group of 200 masks alone and among a million objects. The metric "ratio" says
// how many times dearer the latter is.
func BenchmarkListGroupAmongMillion(b *testing.B) {
	group := func(m *Memory, annotation string) {
		for slice := range 200 {
			key := MaskKey{Annotation: annotation, Group: "g", Slice: slice, Label: "liver"}.String()
			if _, err := m.Put(b.Context(), key, strings.NewReader("x"), nil); err != nil {
				b.Fatal(err)
			}
		}
	}
	list := func(m *Memory) {
		n := 0
		for _, err := range m.List(b.Context(), "mask/a2500/g/", nil) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != 200 {
			b.Fatalf("%d masks", n)
		}
	}
	var alone, among Memory
	group(&alone, "a2500")
	for i := range 5000 {
		group(&among, fmt.Sprintf("a%d", i))
	}
	// The two take turns, so that both meet the same machine.
	var took [2]time.Duration
	for b.Loop() {
		for i, m := range []*Memory{&alone, &among} {
			start := time.Now()
			list(m)
			took[i] += time.Since(start)
		}
	}
	b.ReportMetric(float64(took[1])/float64(took[0]), "ratio")
}
