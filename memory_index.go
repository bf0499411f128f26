package maskstore

import (
	"slices"
	"sort"
	"strings"
)

// index is a map whose keys are kept in byte order: a list of sorted chunks, so that an insertion moves one chunk's
// items and not all. Chunks that shrink are not merged: deletions leave the search as deep as it was, no deeper.
type index[V any] struct{ chunks [][]item[V] }

type item[V any] struct {
	key   string
	value V
}

const maxChunk = 256 // items, so that a million insertions in random order take seconds

// position is where an item stands, or would be inserted. Any change of the index makes it void.
type position struct{ chunk, item int }

func (p position) before(q position) bool {
	return p.chunk < q.chunk || p.chunk == q.chunk && p.item < q.item
}

// seek gives the position of the first key that is not less than key.
func (x *index[V]) seek(key string) position {
	c := sort.Search(len(x.chunks), func(c int) bool {
		chunk := x.chunks[c]
		return chunk[len(chunk)-1].key >= key
	})
	if c == len(x.chunks) {
		return position{chunk: c}
	}
	i, _ := slices.BinarySearchFunc(x.chunks[c], key, func(it item[V], key string) int { return strings.Compare(it.key, key) })
	return position{c, i}
}

// at gives the item at p, and nil past the last.
func (x *index[V]) at(p position) *item[V] {
	if p.chunk == len(x.chunks) {
		return nil
	}
	return &x.chunks[p.chunk][p.item]
}

// next gives the position after p.
func (x *index[V]) next(p position) position {
	if p.item++; p.item == len(x.chunks[p.chunk]) {
		return position{chunk: p.chunk + 1}
	}
	return p
}

// get gives the value of key, to be read or changed before the index is, or nil.
func (x *index[V]) get(key string) *V {
	if it := x.at(x.seek(key)); it != nil && it.key == key {
		return &it.value
	}
	return nil
}

func (x *index[V]) set(key string, value V) {
	if len(x.chunks) == 0 {
		x.chunks = [][]item[V]{{{key, value}}}
		return
	}
	p := x.seek(key)
	if p.chunk == len(x.chunks) {
		p = position{p.chunk - 1, len(x.chunks[p.chunk-1])}
	} else if it := x.at(p); it.key == key {
		it.value = value
		return
	}
	chunk := slices.Insert(x.chunks[p.chunk], p.item, item[V]{key, value})
	x.chunks[p.chunk] = chunk
	if len(chunk) > maxChunk {
		half := len(chunk) / 2
		upper := append(make([]item[V], 0, maxChunk+1), chunk[half:]...)
		clear(chunk[half:])
		x.chunks[p.chunk] = chunk[:half]
		x.chunks = slices.Insert(x.chunks, p.chunk+1, upper)
	}
}

func (x *index[V]) delete(key string) {
	p := x.seek(key)
	if it := x.at(p); it == nil || it.key != key {
		return
	}
	if chunk := slices.Delete(x.chunks[p.chunk], p.item, p.item+1); len(chunk) > 0 {
		x.chunks[p.chunk] = chunk
	} else {
		x.chunks = slices.Delete(x.chunks, p.chunk, p.chunk+1)
	}
}
