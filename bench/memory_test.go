package bench

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/pacs-extension/maskstore"
	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
	"golang.org/x/sync/errgroup"
)

const (
	rowMemoryPut = "MemoryPut"
	rowMemoryGet = "MemoryGet"
	// rowMemoryList lists one group among all.
	rowMemoryList = "MemoryList"

	// alone stands after a library that lists the same group where there is nothing else.
	alone = "-alone"

	memoryGoroutines = 64
	memoryGroupMasks = 100
)

// memoryGroups is how many groups make a million objects, or with -short a tenth of that.
func memoryGroups() int {
	if testing.Short() {
		return 1000
	}
	return 10_000
}

// memoryStore is a storage in memory.
type memoryStore struct {
	lib  string
	put  func(ctx context.Context, key string, data []byte) error
	get  func(ctx context.Context, key string) error
	list func(ctx context.Context, prefix string) (int, error)
}

func newMemory() memoryStore {
	memory := new(maskstore.Memory)
	return memoryStore{
		lib: library,
		put: func(ctx context.Context, key string, data []byte) error {
			_, err := memory.Put(ctx, key, bytes.NewReader(data), &maskstore.PutOptions{ContentType: pngType})
			return err
		},
		get: func(ctx context.Context, key string) error {
			object, err := memory.Get(ctx, key, nil)
			if err != nil {
				return err
			}
			_, err = readAll(object.Body)
			return err
		},
		list: func(ctx context.Context, prefix string) (n int, err error) {
			for _, err := range memory.List(ctx, prefix, nil) {
				if err != nil {
					return n, err
				}
				n++
			}
			return n, nil
		},
	}
}

func newMemblob() memoryStore {
	b := memblob.OpenBucket(nil)
	return memoryStore{
		lib: "gocloud-memblob",
		put: func(ctx context.Context, key string, data []byte) error {
			return b.WriteAll(ctx, key, data, &blob.WriterOptions{ContentType: pngType})
		},
		get: func(ctx context.Context, key string) error {
			_, err := b.ReadAll(ctx, key)
			return err
		},
		list: func(ctx context.Context, prefix string) (n int, err error) {
			objects, _, err := b.ListPage(ctx, blob.FirstPageToken, 1000, &blob.ListOptions{Prefix: prefix})
			return len(objects), err
		},
	}
}

func groupName(group int) string { return fmt.Sprintf("mask/1/g%05d/", group) }

// perKey calls do for the keys of that many groups, by memoryGoroutines.
func perKey(groups int, do func(ctx context.Context, key string) error) error {
	workers, ctx := errgroup.WithContext(context.Background())
	var next atomic.Int64
	for range memoryGoroutines {
		workers.Go(func() error {
			for g := int(next.Add(1) - 1); g < groups; g = int(next.Add(1) - 1) {
				for slice := range memoryGroupMasks {
					if err := do(ctx, fmt.Sprintf("%s%04d_liver.png", groupName(g), slice)); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	return workers.Wait()
}

// BenchmarkMemory fills storages in memory from 64 goroutines, reads all of it, and lists one group.
func BenchmarkMemory(b *testing.B) {
	data := bytes.Repeat([]byte("mask"), 64)
	for _, open := range []func() memoryStore{newMemory, newMemblob} {
		lib := open().lib
		objects := memoryGroups() * memoryGroupMasks
		perObject := func(b *testing.B, row string, do func() error) {
			var times []float64
			for b.Loop() {
				took, err := timed(do)
				if err != nil {
					b.Fatal(err)
				}
				times = append(times, float64(took.wall.Nanoseconds())/float64(objects))
			}
			note(b, row, lib, nsPerObject, times...)
		}
		var full memoryStore
		b.Run("do="+rowMemoryPut+"/lib="+lib, func(b *testing.B) {
			perObject(b, rowMemoryPut, func() error {
				full = open()
				return perKey(memoryGroups(), func(ctx context.Context, key string) error { return full.put(ctx, key, data) })
			})
		})
		if full.put == nil {
			continue
		}
		b.Run("do="+rowMemoryGet+"/lib="+lib, func(b *testing.B) {
			perObject(b, rowMemoryGet, func() error { return perKey(memoryGroups(), full.get) })
		})
		single := open()
		if err := perKey(1, func(ctx context.Context, key string) error { return single.put(ctx, key, data) }); err != nil {
			b.Fatal(err)
		}
		listed := func(lib string, s memoryStore, group int) {
			b.Run("do="+rowMemoryList+"/lib="+lib, func(b *testing.B) {
				for b.Loop() {
					if n, err := s.list(context.Background(), groupName(group)); n != memoryGroupMasks || err != nil {
						b.Fatal(n, err)
					}
				}
				note(b, rowMemoryList, lib, nsPerObject, float64(b.Elapsed().Nanoseconds())/float64(b.N*memoryGroupMasks))
			})
		}
		listed(lib+alone, single, 0)
		listed(lib, full, memoryGroups()/2)
	}
}
