package maskstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestPlanParts(t *testing.T) {
	const mib, fits = 1 << 20, MaxPartNumber * defaultPartSize
	for _, row := range []struct{ size, want int64 }{
		{0, defaultPartSize}, // not known
		{1, defaultPartSize},
		{fits - 1, defaultPartSize},
		{fits, defaultPartSize},
		{fits + 1, defaultPartSize + mib},
		{MaxPartNumber * (defaultPartSize + mib), defaultPartSize + mib},
		{MaxPartNumber*(defaultPartSize+mib) + 1, defaultPartSize + 2*mib},
		{MaxObjectSize - 1, MaxPartSize},
		{MaxObjectSize, MaxPartSize},
	} {
		got, err := planParts(row.size)
		if err != nil || got != row.want {
			t.Errorf("%d bytes: parts of %d, %v; want %d", row.size, got, err, row.want)
		}
		if parts := (row.size + got - 1) / got; parts > MaxPartNumber || got < MinPartSize || got > MaxPartSize {
			t.Errorf("%d bytes: %d parts of %d", row.size, parts, got)
		}
	}
	if _, err := planParts(MaxObjectSize + 1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one byte too many: %v", err)
	}
}

// partWatcher is a Memory that is told of each part, and can fail it.
type partWatcher struct {
	*Memory
	part  func(n int) error
	abort error
}

func (w *partWatcher) AbortMultipartUpload(ctx context.Context, key, uploadID string) error {
	if w.abort != nil {
		return w.abort
	}
	return w.Memory.AbortMultipartUpload(ctx, key, uploadID)
}

func (w *partWatcher) UploadPart(ctx context.Context, key, uploadID string, n int, body Body) (Part, error) {
	if w.part != nil {
		if err := w.part(n); err != nil {
			return Part{}, err
		}
	}
	return w.Memory.UploadPart(ctx, key, uploadID, n, body)
}

// writeTestFile writes a file that takes several parts, or one PUT.
func writeTestFile(t *testing.T, size int) (name string, data []byte) {
	t.Helper()
	data = bytes.Repeat([]byte("maskstore"), size/9+1)[:size]
	name = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name, data
}

func TestFileThereAndBack(t *testing.T) {
	for _, size := range []int{0, 1, maxSinglePut, maxSinglePut + 1, 2*defaultPartSize + 1} {
		name, data := writeTestFile(t, size)
		m := new(Memory)
		sum := SumSHA256(data)
		info, err := UploadFile(t.Context(), m, "mask/x", name,
			&UploadOptions{PutOptions: PutOptions{SHA256: sum, ContentType: "application/dicom"}})
		if err != nil || info.Size != int64(size) || info.ContentType != "application/dicom" {
			t.Fatalf("%d bytes: %+v, %v", size, info, err)
		}
		for _, opts := range []*GetOptions{nil, {SHA256: sum, IfMatch: info.ETag}} {
			got, err := DownloadFile(t.Context(), m, "mask/x", name+".back", opts)
			back, readErr := os.ReadFile(name + ".back")
			if err != nil || readErr != nil || got.ETag != info.ETag || !bytes.Equal(back, data) {
				t.Errorf("%d bytes came back as %d, %v, %v", size, len(back), err, readErr)
			}
			if opts != nil && got.SHA256 != sum {
				t.Errorf("%d bytes: got %+v", size, got)
			}
		}
	}
}

// TestUploadFileFails holds that what fails stores nothing and leaves no part.
func TestUploadFileFails(t *testing.T) {
	boom := errors.New("boom")
	name, data := writeTestFile(t, 3*defaultPartSize)
	for _, row := range []struct {
		name string
		file string
		part func(n int) error
		opts PutOptions
		want error
	}{
		{"no such file", name + "?", nil, PutOptions{}, os.ErrNotExist},
		{"a part fails", name, func(n int) error {
			if n == 2 {
				return boom
			}
			return nil
		}, PutOptions{}, boom},
		{"another content", name, nil, PutOptions{SHA256: SumSHA256(nil)}, ErrChecksum},
		{"another size", name, nil, PutOptions{Size: 1}, ErrChecksum},
		{"changed meanwhile", name, func(n int) error {
			if n == 1 {
				return os.WriteFile(name, bytes.Repeat([]byte("changed!!"), len(data)/9), 0o600)
			}
			return nil
		}, PutOptions{}, ErrChecksum},
		{"something is there", name, nil, PutOptions{NoOverwrite: true}, ErrPreconditionFailed},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
			w := &partWatcher{Memory: new(Memory), part: row.part}
			old, err := w.Put(t.Context(), "mask/x", bytes.NewReader([]byte("old")), nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = UploadFile(t.Context(), w, "mask/x", row.file, &UploadOptions{PutOptions: row.opts})
			if !errors.Is(err, row.want) {
				t.Errorf("error is %v; want %v", err, row.want)
			}
			if info, err := w.Stat(t.Context(), "mask/x"); err != nil || info.ETag != old.ETag || len(w.uploads) > 0 {
				t.Errorf("there are %+v, %v and %d uploads", info, err, len(w.uploads))
			}
		})
	}
}

func TestUploadFileSaysWhatStays(t *testing.T) {
	name, _ := writeTestFile(t, maxSinglePut+1)
	w := &partWatcher{
		Memory: new(Memory), part: func(int) error { return &Error{Kind: ErrThrottled} }, abort: &Error{Kind: ErrAccessDenied},
	}
	_, err := UploadFile(t.Context(), w, testKey, name, nil)
	if e, ok := err.(*Error); !ok || e.Kind != ErrThrottled || !errors.Is(err, ErrAccessDenied) ||
		!strings.Contains(err.Error(), "billed") || len(KeyErrors(err)) != 1 {
		t.Errorf("error is %v", err)
	}
}

func TestUploadFileCancelled(t *testing.T) {
	name, _ := writeTestFile(t, 3*defaultPartSize)
	ctx, cancel := context.WithCancel(t.Context())
	w := &partWatcher{Memory: new(Memory), part: func(n int) error {
		if n == 2 {
			cancel()
		}
		return nil
	}}
	_, err := UploadFile(ctx, w, "mask/x", name, nil)
	if !errors.Is(err, context.Canceled) || len(w.uploads) > 0 || len(w.objects.chunks) > 0 {
		t.Errorf("error is %v; %d uploads, %d objects", err, len(w.uploads), len(w.objects.chunks))
	}
}

// rangeWatcher is a Memory that may change what it gives.
type rangeWatcher struct {
	*Memory
	get func(o *GetOptions, obj *Object) error
}

func (w *rangeWatcher) Get(ctx context.Context, key string, o *GetOptions) (*Object, error) {
	obj, err := w.Memory.Get(ctx, key, o)
	if err == nil {
		err = w.get(or(o), obj)
	}
	return obj, err
}

// TestDownloadFileFails holds that what fails leaves the older file, and nothing beside it.
func TestDownloadFileFails(t *testing.T) {
	name, data := writeTestFile(t, 3*defaultPartSize)
	m := new(Memory)
	if _, err := UploadFile(t.Context(), m, "mask/x", name, nil); err != nil {
		t.Fatal(err)
	}
	ranged := func(o *GetOptions) bool { return o.Length > 0 && o.Offset > 0 }
	flipped := func(o *GetOptions, obj *Object) error {
		if ranged(o) {
			obj.Body = io.NopCloser(bytes.NewReader(make([]byte, o.Length)))
		}
		return nil
	}
	for _, row := range []struct {
		name string
		get  func(o *GetOptions, obj *Object) error
		opts GetOptions
		want error
	}{
		{"another content", flipped, GetOptions{SHA256: SumSHA256(data)}, ErrChecksum},
		{"another content than the parts'", flipped, GetOptions{}, ErrChecksum},
		{"a short range", func(o *GetOptions, obj *Object) error {
			if ranged(o) {
				obj.Body = io.NopCloser(io.LimitReader(obj.Body, 5))
			}
			return nil
		}, GetOptions{}, ErrChecksum},
		{"parts that are not all", func(o *GetOptions, obj *Object) error {
			if o.Length == 0 {
				obj.Parts = obj.Parts[:1]
			}
			return nil
		}, GetOptions{}, ErrBadResponse},
		{"replaced meanwhile", func(o *GetOptions, obj *Object) error {
			if o.Length == 0 {
				_, err := m.Put(context.Background(), "mask/x", bytes.NewReader(data), nil)
				return err
			}
			return nil
		}, GetOptions{}, ErrPreconditionFailed},
		{"a part is asked for", nil, GetOptions{Offset: 1}, ErrInvalidArgument},
	} {
		t.Run(row.name, func(t *testing.T) {
			target := filepath.Join(t.TempDir(), "target")
			if err := os.WriteFile(target, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := UploadFile(t.Context(), m, "mask/x", name, nil); err != nil {
				t.Fatal(err)
			}
			_, err := DownloadFile(t.Context(), &rangeWatcher{m, row.get}, "mask/x", target, &row.opts)
			if !errors.Is(err, row.want) {
				t.Errorf("error is %v; want %v", err, row.want)
			}
			old, err := os.ReadFile(target)
			entries, _ := os.ReadDir(filepath.Dir(target))
			if string(old) != "old" || err != nil || len(entries) != 1 {
				t.Errorf("the file holds %.20q, %v; beside it %v", old, err, entries)
			}
		})
	}
}

// TestDownloadFileGetsNoMoreThanItVerifies: ranges that come faster than those before them wait for these, until they fail.
func TestDownloadFileGetsNoMoreThanItVerifies(t *testing.T) {
	boom := errors.New("boom")
	data := make([]byte, rangesAhead*defaultPartSize+1)
	m := new(Memory)
	if _, err := m.Put(t.Context(), "mask/x", bytes.NewReader(data), nil); err != nil {
		t.Fatal(err)
	}
	var parts []Part // whose ends are not those of ranges
	for _, size := range []int{5 << 20, 0, 17<<20 + 3, len(data) - 22<<20 - 3} {
		parts = append(parts, Part{PartNumber: len(parts) + 1, Size: int64(size), SHA256: SumSHA256(data[:size])})
	}
	for _, row := range []struct {
		name  string
		parts []Part
		err   error // of the first range
	}{
		{"by the object's SHA-256", nil, nil},
		{"by the parts'", parts, nil},
		{"the first fails", nil, boom},
	} {
		t.Run(row.name, func(t *testing.T) {
			target := filepath.Join(t.TempDir(), "target")
			synctest.Test(t, func(t *testing.T) {
				first, asked := make(chan struct{}), new(atomic.Int32)
				w := &rangeWatcher{m, func(o *GetOptions, obj *Object) error {
					switch {
					case o.Length > 0:
						if asked.Add(1); o.Offset == 0 {
							<-first
							return row.err
						}
					case row.parts != nil:
						obj.SHA256, obj.Parts = SHA256{}, row.parts
					}
					return nil
				}}
				done := make(chan error)
				go func() {
					_, err := DownloadFile(t.Context(), w, "mask/x", target, nil)
					done <- err
				}()
				synctest.Wait()
				if n := asked.Load(); n != rangesAhead {
					t.Errorf("%d ranges were asked for before the first was there; want %d", n, rangesAhead)
				}
				close(first)
				if err := <-done; !errors.Is(err, row.err) || err == nil && asked.Load() != rangesAhead+1 {
					t.Errorf("error is %v after %d ranges", err, asked.Load())
				}
			})
		})
	}
}
