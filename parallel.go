package maskstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// DefaultConcurrency is how many objects are worked on at a time, where the options do not say. On a MinIO that shares two
// cores with its client, 8 to 64 put as many masks a second, within a tenth, and 4 fewer; behind 30 ms twice as many put
// twice as many (module bench, row Concurrency).
const DefaultConcurrency = 16

// MaxConcurrency is the most that any options can ask for: memory is set aside for as many objects.
const MaxConcurrency = 1024

// ParallelOptions says how many objects are worked on.
type ParallelOptions struct {
	Concurrency int            // how many at a time, at most MaxConcurrency; 0: DefaultConcurrency
	KeepGoing   bool           // do the rest when one fails; else the first error stops all
	OnProgress  func(Progress) // called after each object, by one goroutine at a time; nil: not
}

func (o *ParallelOptions) check() error { return checkConcurrency(o.Concurrency) }

func checkConcurrency(n int) error {
	if n < 0 || n > MaxConcurrency {
		return inputError("Concurrency", fmt.Sprintf("is %d", n),
			fmt.Sprintf("1 to %d, or 0 for %d", MaxConcurrency, DefaultConcurrency))
	}
	return nil
}

// Progress tells how far a call has come that works on many objects.
type Progress struct {
	Done  int    // how many objects are through, failed ones included
	Total int    // how many there are; 0: not known yet
	Bytes int64  // the size of those that were done without an error
	Key   string // the object that was done last
	Err   error  // what it failed with, or nil
}

// meter counts, and calls on one at a time.
type meter struct {
	on  func(Progress)
	mu  sync.Mutex
	now Progress
}

// add counts n objects that are through, the last of them key. A nil on costs nothing.
func (m *meter) add(n int, size int64, key string, err error) {
	if m.on == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now.Done += n
	if err == nil {
		m.now.Bytes += size
	}
	m.now.Key, m.now.Err = key, err
	m.on(m.now)
}

// UploadItem is an object to put.
type UploadItem struct {
	Key         string
	Body        Body   // its size and checksum hold as in PutOptions
	ContentType string // as in PutOptions
	IfMatch     string // as in PutOptions
	NoOverwrite bool   // as in PutOptions
}

// UploadAll puts the items, several at a time. It returns when nothing of it runs any more, with what was stored, in
// the items' order; what was not has the zero ObjectInfo, and without KeepGoing such are not all errors.
//
// Errors: those of Put and of Body.Open, for each item that failed (KeyErrors). Two items of one key are refused.
func UploadAll(ctx context.Context, s ObjectStorage, items []UploadItem, opts *ParallelOptions) ([]ObjectInfo, error) {
	const op = "UploadAll"
	o := or(opts)
	if err := cmp.Or(o.check(), checkItems(items)); err != nil {
		return nil, opError(op, "", nil, err)
	}
	infos := make([]ObjectInfo, len(items))
	m := &meter{on: o.OnProgress, now: Progress{Total: len(items)}}
	err := forEach(ctx, op, len(items), o.Concurrency, o.KeepGoing, func(ctx context.Context, i int) error {
		return items[i].put(ctx, s, op, &infos[i], m)
	})
	return infos, err
}

func checkItems(items []UploadItem) error {
	seen := make(map[string]bool, len(items))
	for _, item := range items {
		if err := item.check(seen[item.Key]); err != nil {
			return opError("", item.Key, nil, err)
		}
		seen[item.Key] = true
	}
	return nil
}

func (item *UploadItem) check(seen bool) error {
	if err := ValidKey(item.Key); err != nil {
		return err
	}
	if seen {
		return inputError("Key", "is that of two items", "each key once")
	}
	if err := item.Body.check(); err != nil {
		return err
	}
	return item.options().check()
}

func (item *UploadItem) options() *PutOptions {
	return &PutOptions{
		ContentType: item.ContentType,
		Size:        item.Body.Size,
		SHA256:      item.Body.SHA256,
		IfMatch:     item.IfMatch,
		NoOverwrite: item.NoOverwrite,
	}
}

// put puts the item for op, sets *info to what was stored, and counts it.
func (item *UploadItem) put(ctx context.Context, s ObjectStorage, op string, info *ObjectInfo, m *meter) error {
	r, err := item.Body.open(ctx)
	if err == nil {
		*info, err = s.Put(ctx, item.Key, r, item.options())
		r.end()
	}
	err = opError(op, item.Key, nil, err)
	m.add(1, info.Size, item.Key, err)
	return err
}

// DownloadItem is an object to get.
type DownloadItem struct {
	Key     string
	IfMatch string // the ETag that it must have, else ErrPreconditionFailed; empty: any
	Size    int64  // in bytes, else ErrChecksum; 0: any
	SHA256  SHA256 // as in GetOptions
	Sink    Sink   // where its content goes
}

// Sink takes the content of an object from the Reader, whose end gives an error where the content is not the right
// one: a Sink undoes then what it did, and returns that error. It must not keep the Reader. BytesSink and FileSink
// make one.
type Sink func(ObjectInfo, io.Reader) error

// BytesSink is a Sink that sets *dst to the whole content.
func BytesSink(dst *[]byte) Sink {
	return func(info ObjectInfo, r io.Reader) error {
		var buf bytes.Buffer
		buf.Grow(int(min(max(info.Size, 0), 1<<20)) + bytes.MinRead) // what is larger grows as it comes
		if _, err := buf.ReadFrom(r); err != nil {
			return err
		}
		*dst = buf.Bytes()
		return nil
	}
}

// FileSink is a Sink that writes the file at name, readable by its owner alone, in a folder that must exist. An
// older file stays until the content is there whole and verified. A process that is killed may leave a file .maskstore-*
// beside it, which is the caller's to remove.
func FileSink(name string) Sink {
	return func(_ ObjectInfo, r io.Reader) error {
		return replaceFile(name, func(f *os.File) error {
			_, err := io.Copy(f, r)
			return err
		})
	}
}

// tempPrefix begins the names of files that are not whole yet, or are to be removed.
const tempPrefix = ".maskstore-"

// replaceFile lets write fill a new file, and puts that in place of the one at name when it is whole.
func replaceFile(name string, write func(*os.File) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), tempPrefix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name()) // the error that matters is the one before
		}
	}()
	if err := cmp.Or(write(f), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// DownloadAll gets the items, several at a time, each into its Sink; Sinks are called concurrently, each once. It
// returns when nothing of it runs any more, with what was got, in the items' order; what was not has the zero
// ObjectInfo, and without KeepGoing such are not all errors. What a Sink leaves unread is read for it, and verified. What
// came damaged, or broke off, is the caller's to get again: KeyErrors names it.
//
// Errors: those of Get, of its Body and of the Sinks, for each item that failed (KeyErrors).
func DownloadAll(ctx context.Context, s ObjectStorage, items []DownloadItem, opts *ParallelOptions) ([]ObjectInfo, error) {
	const op = "DownloadAll"
	o := or(opts)
	if err := o.check(); err != nil {
		return nil, opError(op, "", nil, err)
	}
	for _, item := range items {
		if err := item.check(); err != nil {
			return nil, opError(op, item.Key, nil, err)
		}
	}
	infos := make([]ObjectInfo, len(items))
	m := &meter{on: o.OnProgress, now: Progress{Total: len(items)}}
	err := forEach(ctx, op, len(items), o.Concurrency, o.KeepGoing, func(ctx context.Context, i int) error {
		info, err := items[i].get(ctx, s)
		err = opError(op, items[i].Key, nil, err)
		infos[i] = info
		m.add(1, info.Size, items[i].Key, err)
		return err
	})
	return infos, err
}

func (item *DownloadItem) check() error {
	if err := ValidKey(item.Key); err != nil {
		return err
	}
	if err := checkSink(item.Size, item.Sink); err != nil {
		return err
	}
	return checkETag(item.IfMatch)
}

func checkSink(size int64, sink Sink) error {
	switch {
	case size < 0:
		return inputError("Size", fmt.Sprintf("%d is negative", size), "the length in bytes, or 0 where it is unknown")
	case sink == nil:
		return inputError("Sink", "is nil", "a Sink, such as BytesSink or FileSink make")
	}
	return nil
}

func (item *DownloadItem) get(ctx context.Context, s ObjectStorage) (ObjectInfo, error) {
	object, err := s.Get(ctx, item.Key, &GetOptions{IfMatch: item.IfMatch, SHA256: item.SHA256})
	if err != nil {
		return ObjectInfo{}, err
	}
	defer object.Body.Close()
	if err := drainInto(item.Sink, object.ObjectInfo, object.Body, item.Size); err != nil {
		return ObjectInfo{}, err
	}
	return object.ObjectInfo, nil
}

// drainInto gives the sink a reader that verifies, and reads what the sink leaves, since an error may lie at the end.
func drainInto(sink Sink, info ObjectInfo, r io.Reader, size int64) error {
	if size > 0 && info.Size != size {
		return &Error{Kind: ErrChecksum, Err: fmt.Errorf("the content has %d bytes, not %d", info.Size, size)}
	}
	if err := sink(info, r); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, r)
	return err
}

// deleteBatch is how many keys S3 deletes with one request:
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
const deleteBatch = 1000

// DeletePrefix deletes all objects under prefix, which must end in "/" and be longer than "mask/", and says how many it
// has deleted. Objects that are put meanwhile may stay. Stopped anywhere, it can be run again.
//
// It works on batches of 1000: OnProgress is called after each, Total being unknown, and Bytes what was listed.
// Errors: that of List, and those of Delete for each key that was not deleted (KeyErrors).
func DeletePrefix(ctx context.Context, s ObjectStorage, prefix string, opts *ParallelOptions) (deleted int, err error) {
	const op = "DeletePrefix"
	o := or(opts)
	if err := checkDeletePrefix(prefix); err != nil {
		return 0, opError(op, prefix, nil, err)
	}
	if err := o.check(); err != nil {
		return 0, opError(op, prefix, nil, err)
	}
	concurrency := o.Concurrency
	if concurrency == 0 {
		concurrency = DefaultConcurrency
	}
	m := &meter{on: o.OnProgress}
	var mu sync.Mutex // guards deleted while flush runs
	flush := func(infos []ObjectInfo) error {
		batches := slices.Collect(slices.Chunk(infos, deleteBatch))
		return forEach(ctx, op, len(batches), concurrency, o.KeepGoing, func(ctx context.Context, i int) error {
			keys, size := make([]string, len(batches[i])), int64(0)
			for k, info := range batches[i] {
				keys[k], size = info.Key, size+info.Size
			}
			err := s.Delete(ctx, keys...)
			mu.Lock()
			deleted += len(keys) - undeleted(err, len(keys))
			mu.Unlock()
			m.add(len(keys), size, keys[len(keys)-1], err)
			return err
		})
	}
	var infos []ObjectInfo
	var errs []error
	for info, err := range s.List(ctx, prefix, nil) {
		if err == nil {
			if infos = append(infos, info); len(infos) < concurrency*deleteBatch {
				continue
			}
			err = flush(infos)
			infos = infos[:0]
		} else {
			err = opError(op, prefix, nil, err)
		}
		if errs = append(errs, err); err != nil && !o.KeepGoing {
			return deleted, err
		}
	}
	errs = append(errs, flush(infos))
	return deleted, errors.Join(errs...)
}

// undeleted is how many of n keys an error of Delete says are still there.
func undeleted(err error, n int) int {
	if failed := len(KeyErrors(err)); err == nil || failed > 0 {
		return min(failed, n)
	}
	return n
}

func checkDeletePrefix(prefix string) error {
	if err := ValidPrefix(prefix); err != nil {
		return err
	}
	switch {
	case !strings.HasSuffix(prefix, "/"):
		return keyError("prefix", prefix, `does not end in "/"`, "the end of a folder, lest its neighbours go too")
	case prefix == root:
		return keyError("prefix", prefix, "is all there is", "an annotation's or a group's")
	}
	return nil
}

// forEach calls fn for 0 to n-1, at most concurrency of them at a time (0: DefaultConcurrency), and returns when
// all calls have. The first error ends the ctx of the others, lets no more begin, and is returned; with keepGoing all are
// called, and their errors joined in the order of the items. When ctx ends no more begin, and its error is among
// those returned, as that of op; "": the caller says of what.
func forEach(
	ctx context.Context, op string, n, concurrency int, keepGoing bool, fn func(ctx context.Context, i int) error,
) error {
	if concurrency <= 0 {
		concurrency = DefaultConcurrency
	}
	errs := make([]error, n, n+1)
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range min(n, concurrency) {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return &Error{Op: op, Err: err}
				}
				switch err := fn(ctx, i); {
				case keepGoing:
					errs[i] = err
				case err != nil:
					return err
				}
			}
		})
	}
	err := g.Wait()
	if keepGoing {
		return errors.Join(append(errs, err)...)
	}
	return err
}
