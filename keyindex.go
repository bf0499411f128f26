package maskstore

import "slices"

// keyIndex is a set of keys in byte order. They lie in chunks, each sorted, none empty, so that adding one moves few.
type keyIndex struct{ chunks [][]string }

// maxChunk is how many keys a chunk holds before it is split. At 512 to 2048, filling an index with a million keys in
// random order took the least time.
const maxChunk = 1024

// find gives the chunk that holds key, or would, and the key's place in it.
func (x *keyIndex) find(key string) (chunk, i int, found bool) {
	chunk, _ = slices.BinarySearchFunc(x.chunks, key, func(c []string, key string) int {
		if c[len(c)-1] < key {
			return -1
		}
		return 1
	})
	if chunk == len(x.chunks) {
		return chunk, 0, false
	}
	i, found = slices.BinarySearch(x.chunks[chunk], key)
	return chunk, i, found
}

func (x *keyIndex) add(key string) {
	c, i, found := x.find(key)
	switch {
	case found:
		return
	case len(x.chunks) == 0:
		x.chunks = [][]string{{key}}
		return
	case c == len(x.chunks):
		c--
		i = len(x.chunks[c])
	}
	chunk := slices.Insert(x.chunks[c], i, key)
	x.chunks[c] = chunk
	if len(chunk) > maxChunk {
		half := len(chunk) / 2
		x.chunks[c] = chunk[:half:half]
		x.chunks = slices.Insert(x.chunks, c+1, slices.Clone(chunk[half:]))
	}
}

func (x *keyIndex) remove(key string) {
	c, i, found := x.find(key)
	if !found {
		return
	}
	if x.chunks[c] = slices.Delete(x.chunks[c], i, i+1); len(x.chunks[c]) == 0 {
		x.chunks = slices.Delete(x.chunks, c, c+1)
	}
}

// from gives the first key that is not before key.
func (x *keyIndex) from(key string) (string, bool) {
	c, i, _ := x.find(key)
	if c == len(x.chunks) {
		return "", false
	}
	return x.chunks[c][i], true
}
