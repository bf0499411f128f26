package maskstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var errTest = errors.New("test error")

// mapStorage is as much of a storage as the calls on many objects need.
type mapStorage struct {
	ObjectStorage
	mu      sync.Mutex
	objects map[string][]byte
	calls   int
	fail    func(key string) error          // of Put, Get and Delete; nil: never
	body    func(data io.Reader) io.Reader  // of Get; nil: as it is
	list    iter.Seq2[ObjectInfo, error]    // nil: the objects
	putting func(ctx context.Context) error // called by Put; nil: not
}

func newMapStorage(keys ...string) *mapStorage {
	s := &mapStorage{objects: map[string][]byte{}}
	for _, key := range keys {
		s.objects[key] = []byte(key)
	}
	return s
}

func (s *mapStorage) begin(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.fail == nil {
		return nil
	}
	return s.fail(key)
}

func (s *mapStorage) Put(ctx context.Context, key string, body io.Reader, opts *PutOptions) (ObjectInfo, error) {
	if err := s.begin(key); err != nil {
		return ObjectInfo{}, opError("Put", key, nil, err)
	}
	if s.putting != nil {
		if err := s.putting(ctx); err != nil {
			return ObjectInfo{}, opError("Put", key, nil, err)
		}
	}
	data, err := io.ReadAll(newVerifier(body, opts.Size, opts.SHA256))
	if err != nil {
		return ObjectInfo{}, opError("Put", key, nil, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[key] = data
	return ObjectInfo{Key: key, Size: int64(len(data)), ETag: "of " + key, ContentType: opts.ContentType}, nil
}

func (s *mapStorage) Get(_ context.Context, key string, opts *GetOptions) (*Object, error) {
	if err := s.begin(key); err != nil {
		return nil, opError("Get", key, nil, err)
	}
	s.mu.Lock()
	data, ok := s.objects[key]
	s.mu.Unlock()
	if !ok {
		return nil, opError("Get", key, ErrNotFound, nil)
	}
	var r io.Reader = bytes.NewReader(data)
	if s.body != nil {
		r = s.body(r)
	}
	info := ObjectInfo{Key: key, Size: int64(len(data))}
	return &Object{ObjectInfo: info, Body: io.NopCloser(newVerifier(r, 0, opts.SHA256))}, nil
}

func (s *mapStorage) Delete(_ context.Context, keys ...string) error {
	var errs []error
	for _, key := range keys {
		if err := s.begin(key); err != nil {
			errs = append(errs, opError("Delete", key, nil, err))
			continue
		}
		s.mu.Lock()
		delete(s.objects, key)
		s.mu.Unlock()
	}
	return errors.Join(errs...)
}

func (s *mapStorage) List(_ context.Context, prefix string, _ *ListOptions) iter.Seq2[ObjectInfo, error] {
	if s.list != nil {
		return s.list
	}
	return func(yield func(ObjectInfo, error) bool) {
		s.mu.Lock()
		keys := slices.Sorted(maps.Keys(s.objects))
		s.mu.Unlock()
		for _, key := range keys {
			if strings.HasPrefix(key, prefix) && !yield(ObjectInfo{Key: key, Size: int64(len(key))}, nil) {
				return
			}
		}
	}
}

func maskKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = MaskKey{"a", "g", i, "liver"}.String()
	}
	return keys
}

func TestForEachIsBounded(t *testing.T) {
	for _, concurrency := range []int{0, 1, 3, 50} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			running, most, calls := 0, 0, make([]int, 40)
			err := forEach(t.Context(), "", len(calls), concurrency, false, func(_ context.Context, i int) error {
				mu.Lock()
				running++
				most = max(most, running)
				calls[i]++
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				running--
				mu.Unlock()
				return nil
			})
			want := concurrency
			if want == 0 {
				want = DefaultConcurrency
			}
			if want = min(want, len(calls)); err != nil || most != want || running != 0 {
				t.Errorf("concurrency %d: %d at a time, %d left running, %v; want %d, 0, nil", concurrency, most, running, err, want)
			}
			if diff := cmp.Diff(slices.Repeat([]int{1}, len(calls)), calls); diff != "" {
				t.Errorf("calls of each item:\n%s", diff)
			}
		})
	}
}

func TestForEachStopsAtTheFirstError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var began, ended atomic.Int32
		err := forEach(t.Context(), "", 100, 2, false, func(ctx context.Context, i int) error {
			began.Add(1)
			defer ended.Add(1)
			if i == 0 {
				<-ctx.Done()
				return ctx.Err()
			}
			synctest.Wait()
			return errTest
		})
		if err != errTest || began.Load() != 2 || ended.Load() != 2 {
			t.Errorf("got %v after %d began and %d ended; want the first error after 2 and 2", err, began.Load(), ended.Load())
		}
	})
}

func TestForEachKeepsGoing(t *testing.T) {
	err := forEach(t.Context(), "", 30, 4, true, func(_ context.Context, i int) error {
		if i%10 == 9 {
			return &Error{Key: fmt.Sprint(i), Err: errTest}
		}
		return nil
	})
	var keys []string
	for _, e := range KeyErrors(err) {
		keys = append(keys, e.Key)
	}
	if diff := cmp.Diff([]string{"9", "19", "29"}, keys); diff != "" {
		t.Error(diff)
	}
}

func TestForEachEndsWithItsContext(t *testing.T) {
	for _, keepGoing := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		calls := 0
		err := forEach(ctx, "", 100, 1, keepGoing, func(context.Context, int) error {
			if calls++; calls == 3 {
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) || calls != 3 {
			t.Errorf("keepGoing %v: %v after %d calls, want context.Canceled after 3", keepGoing, err, calls)
		}
		if _, ok := errors.AsType[*Error](err); !ok {
			t.Errorf("keepGoing %v: %T, want an *Error", keepGoing, err)
		}
		if err := forEach(ctx, "", 0, 1, keepGoing, nil); err != nil {
			t.Errorf("nothing to do: %v", err)
		}
	}
}

// A panic of a callback ends the process, as any panic of a goroutine does: nobody takes it for a result.
func TestPanicOfACallback(t *testing.T) {
	if os.Getenv("MASKSTORE_TEST_PANIC") != "" {
		UploadAll(t.Context(), newMapStorage(), []UploadItem{{Key: "mask/a/g/0001_liver.png", Body: BytesBody(nil)}},
			&ParallelOptions{OnProgress: func(Progress) { panic("the callback's own") }})
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPanicOfACallback$")
	cmd.Env = append(os.Environ(), "MASKSTORE_TEST_PANIC=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("panic: the callback's own")) {
		t.Errorf("%v:\n%s", err, out)
	}
}

func TestUploadAll(t *testing.T) {
	keys := maskKeys(40)
	bad := map[string]bool{keys[7]: true, keys[23]: true}
	s := newMapStorage()
	s.fail = func(key string) error {
		if bad[key] {
			return errTest
		}
		return nil
	}
	items := make([]UploadItem, len(keys))
	var wantBytes int64
	for i, key := range keys {
		items[i] = UploadItem{Key: key, Body: BytesBody(bytes.Repeat([]byte("x"), i+1)), ContentType: "image/x-test"}
		if !bad[key] {
			wantBytes += int64(i + 1)
		}
	}
	var events []Progress // not guarded: -race sees calls at the same time
	infos, err := UploadAll(t.Context(), s, items,
		&ParallelOptions{Concurrency: 5, KeepGoing: true, OnProgress: func(p Progress) { events = append(events, p) }})

	var failed []string
	for _, e := range KeyErrors(err) {
		failed = append(failed, e.Op+" "+e.Key)
	}
	if diff := cmp.Diff([]string{"UploadAll " + keys[7], "UploadAll " + keys[23]}, failed); diff != "" ||
		!errors.Is(err, errTest) {
		t.Errorf("%v:\n%s", err, diff)
	}
	for i, info := range infos {
		want := ObjectInfo{Key: keys[i], Size: int64(i + 1), ETag: "of " + keys[i], ContentType: "image/x-test"}
		if bad[keys[i]] {
			want = ObjectInfo{}
		}
		if diff := cmp.Diff(want, info); diff != "" {
			t.Errorf("item %d:\n%s", i, diff)
		}
	}
	for i, p := range events {
		if p.Done != i+1 || p.Total != len(items) || (p.Err != nil) != bad[p.Key] {
			t.Errorf("event %d: %+v", i, p)
		}
	}
	if last := events[len(events)-1]; len(events) != len(items) || last.Bytes != wantBytes {
		t.Errorf("%d events, the last %+v; want %d and %d bytes", len(events), last, len(items), wantBytes)
	}
}

func TestUploadAllStopsAtTheFirstError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMapStorage()
		s.putting = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		keys := maskKeys(20)
		s.fail = func(key string) error {
			if key == keys[2] {
				return errTest
			}
			return nil
		}
		var items []UploadItem
		for _, key := range keys {
			items = append(items, UploadItem{Key: key, Body: BytesBody([]byte("x"))})
		}
		_, err := UploadAll(t.Context(), s, items, &ParallelOptions{Concurrency: 3})
		if got := KeyErrors(err); len(got) != 1 || got[0].Key != keys[2] || s.calls > 3 {
			t.Errorf("%v after %d calls, want the error of %s alone after 3 at most", err, s.calls, keys[2])
		}
	})
}

func TestUploadAllRefuses(t *testing.T) {
	good := UploadItem{Key: "mask/a/g/0001_liver.png", Body: BytesBody([]byte("x"))}
	change := func(f func(*UploadItem)) []UploadItem {
		bad := good
		bad.Key = "mask/a/g/0002_liver.png"
		f(&bad)
		return []UploadItem{good, bad}
	}
	tests := []struct {
		name  string
		items []UploadItem
		opts  ParallelOptions
		kind  error
		field string
	}{
		{"key", change(func(i *UploadItem) { i.Key = "other/0001_liver.png" }), ParallelOptions{}, ErrInvalidKey, "key"},
		{"key twice", []UploadItem{good, good}, ParallelOptions{}, ErrInvalidArgument, "Key"},
		{"no body", change(func(i *UploadItem) { i.Body.Open = nil }), ParallelOptions{}, ErrInvalidArgument, "Body.Open"},
		{"size", change(func(i *UploadItem) { i.Body.Size = -1 }), ParallelOptions{}, ErrInvalidArgument, "Body.Size"},
		{"two conditions", change(func(i *UploadItem) { i.IfMatch, i.NoOverwrite = "x", true }), ParallelOptions{}, ErrInvalidArgument, "NoOverwrite"},
		{"type", change(func(i *UploadItem) { i.ContentType = "png" }), ParallelOptions{}, ErrInvalidArgument, "ContentType"},
		{"concurrency", []UploadItem{good}, ParallelOptions{Concurrency: -1}, ErrInvalidArgument, "Concurrency"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newMapStorage()
			_, err := UploadAll(t.Context(), s, tt.items, &tt.opts)
			wantInputError(t, err, tt.kind, tt.field)
			if s.calls != 0 {
				t.Errorf("%d calls were made", s.calls)
			}
		})
	}
}

func wantInputError(t *testing.T, err, kind error, field string) {
	t.Helper()
	input, ok := errors.AsType[*InputError](err)
	if !errors.Is(err, kind) || !ok || input.Field != field {
		t.Errorf("got %v, want %v of field %s", err, kind, field)
	}
}

func TestDownloadAll(t *testing.T) {
	keys := maskKeys(6)
	s := newMapStorage(keys...)
	dir := t.TempDir()
	got := make([][]byte, len(keys))
	items := make([]DownloadItem, len(keys))
	for i, key := range keys {
		items[i] = DownloadItem{Key: key, Size: int64(len(key)), SHA256: SumSHA256([]byte(key)), Sink: BytesSink(&got[i])}
		if i%2 == 1 {
			items[i].Sink = FileSink(filepath.Join(dir, filepath.Base(key)))
		}
	}
	infos, err := DownloadAll(t.Context(), s, items, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, key := range keys {
		if i%2 == 1 {
			if got[i], err = os.ReadFile(filepath.Join(dir, filepath.Base(key))); err != nil {
				t.Fatal(err)
			}
		}
		if string(got[i]) != key || infos[i].Key != key {
			t.Errorf("item %d: %+v with %q", i, infos[i], got[i])
		}
	}
}

func TestDownloadAllFails(t *testing.T) {
	key := maskKeys(1)[0]
	var data []byte
	old := func(t *testing.T) string {
		name := filepath.Join(t.TempDir(), "old.png")
		if err := os.WriteFile(name, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	tests := []struct {
		name string
		item DownloadItem
		body func(io.Reader) io.Reader
		want error
	}{
		{"missing", DownloadItem{Key: "mask/a/g/0009_liver.png"}, nil, ErrNotFound},
		{"size", DownloadItem{Key: key, Size: 3}, nil, ErrChecksum},
		{"hash", DownloadItem{Key: key, SHA256: SumSHA256(nil)}, nil, ErrChecksum},
		{"breaks off", DownloadItem{Key: key}, func(r io.Reader) io.Reader {
			return io.MultiReader(io.LimitReader(r, 5), iotest.ErrReader(errTest))
		}, errTest},
		{"bytes, hash", DownloadItem{Key: key, SHA256: SumSHA256(nil), Sink: BytesSink(&data)}, nil, ErrChecksum},
		{"hash, unread", DownloadItem{Key: key, SHA256: SumSHA256(nil), Sink: func(ObjectInfo, io.Reader) error { return nil }}, nil, ErrChecksum},
		{"sink", DownloadItem{Key: key, Sink: func(ObjectInfo, io.Reader) error { return errTest }}, nil, errTest},
		{"no folder", DownloadItem{Key: key, Sink: FileSink("/nonexistent/x.png")}, nil, fs.ErrNotExist},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newMapStorage(key)
			s.body = tt.body
			name := old(t)
			if tt.item.Sink == nil {
				tt.item.Sink = FileSink(name)
			}
			infos, err := DownloadAll(t.Context(), s, []DownloadItem{tt.item}, nil)
			if e := KeyErrors(err); !errors.Is(err, tt.want) || len(e) != 1 || e[0].Key != tt.item.Key || infos[0].Key != "" {
				t.Errorf("got %v, %v, want %v", infos, err, tt.want)
			}
			content, _ := os.ReadFile(name)
			entries, _ := os.ReadDir(filepath.Dir(name))
			if string(content) != "old" || len(entries) != 1 || data != nil {
				t.Errorf("left %q, %v, %q; want the old file alone", content, entries, data)
			}
		})
	}
	for _, tt := range []struct {
		field string
		item  DownloadItem
	}{
		{"Sink", DownloadItem{Key: key}},
		{"Size", DownloadItem{Key: key, Size: -1, Sink: BytesSink(&data)}},
		{"IfMatch", DownloadItem{Key: key, IfMatch: `"quoted"`, Sink: BytesSink(&data)}},
	} {
		_, err := DownloadAll(t.Context(), newMapStorage(key), []DownloadItem{tt.item}, nil)
		wantInputError(t, err, ErrInvalidArgument, tt.field)
	}
	m := new(Memory)
	mustPut(t, m, key, "content")
	_, err := DownloadAll(t.Context(), m, []DownloadItem{{Key: key, IfMatch: "another", Sink: BytesSink(&data)}}, nil)
	if !errors.Is(err, ErrPreconditionFailed) || data != nil {
		t.Errorf("by another's ETag: %v, %q", err, data)
	}
}

func TestDeletePrefix(t *testing.T) {
	keys := maskKeys(2500)
	neighbour := "mask/a/g2/0001_liver.png"
	s := newMapStorage(append(keys, neighbour)...)
	var last Progress
	deleted, err := DeletePrefix(t.Context(), s, "mask/a/g/",
		&ParallelOptions{Concurrency: 2, OnProgress: func(p Progress) { last = p }})
	left := slices.Collect(maps.Keys(s.objects))
	if err != nil || deleted != len(keys) || !slices.Equal(left, []string{neighbour}) {
		t.Errorf("deleted %d, left %v, %v", deleted, left, err)
	}
	if want := int64(len(keys) * len(keys[0])); last.Done != len(keys) || last.Bytes != want {
		t.Errorf("the last event was %+v, want %d done with %d bytes", last, len(keys), want)
	}
	if deleted, err := DeletePrefix(t.Context(), s, "mask/a/g/", nil); deleted != 0 || err != nil {
		t.Errorf("again: %d, %v", deleted, err)
	}
}

func TestDeletePrefixFails(t *testing.T) {
	keys := maskKeys(1500)
	bad := map[string]bool{keys[3]: true, keys[1400]: true}
	for _, keepGoing := range []bool{false, true} {
		s := newMapStorage(keys...)
		s.fail = func(key string) error {
			if bad[key] {
				return errTest
			}
			return nil
		}
		deleted, err := DeletePrefix(t.Context(), s, "mask/a/g/", &ParallelOptions{Concurrency: 1, KeepGoing: keepGoing})
		want, failed := 999, 1
		if keepGoing {
			want, failed = 1498, 2
		}
		if deleted != want || len(KeyErrors(err)) != failed || len(s.objects) != len(keys)-want {
			t.Errorf("keepGoing %v: deleted %d, left %d, %v", keepGoing, deleted, len(s.objects), err)
		}
	}
}

func TestDeletePrefixWhenListFails(t *testing.T) {
	for keepGoing, want := range map[bool]int{false: 0, true: 1} {
		s := newMapStorage(maskKeys(2)...)
		s.list = func(yield func(ObjectInfo, error) bool) {
			_ = yield(ObjectInfo{Key: maskKeys(1)[0]}, nil) && yield(ObjectInfo{}, errTest)
		}
		deleted, err := DeletePrefix(t.Context(), s, "mask/a/", &ParallelOptions{KeepGoing: keepGoing})
		if deleted != want || !errors.Is(err, errTest) {
			t.Errorf("keepGoing %v: deleted %d, %v; want %d", keepGoing, deleted, err, want)
		}
	}
}

func TestDeletePrefixRefuses(t *testing.T) {
	for _, prefix := range []string{"", "/", "mask", "mask/", "mask/a", "mask/a/g/0001", "other/", "mask/../", "mask/a//"} {
		s := newMapStorage(maskKeys(1)...)
		deleted, err := DeletePrefix(t.Context(), s, prefix, nil)
		wantInputError(t, err, ErrInvalidKey, "prefix")
		if deleted != 0 || s.calls != 0 {
			t.Errorf("%q: %d deleted", prefix, deleted)
		}
	}
}

// Where a context has ended before an item's turn, its error says of which method it is, as all errors do.
func TestEndedContextNamesItsMethod(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	const key = "mask/a/g/0001_x.png"
	s, body, url := new(Memory), BytesBody([]byte("x")), SignedURL{Method: "PUT", URL: "http://s3.test/x"}
	got := url
	got.Method = "GET"
	var sunk []byte
	for _, keepGoing := range []bool{false, true} {
		o := &ParallelOptions{KeepGoing: keepGoing}
		for _, row := range []struct {
			op  string
			err error
		}{
			{"UploadAll", second(UploadAll(ctx, s, []UploadItem{{Key: key, Body: body}}, o))},
			{"DownloadAll", second(DownloadAll(ctx, s, []DownloadItem{{Key: key, Sink: BytesSink(&sunk)}}, o))},
			{"UploadAll", second((&DirectUploader{KeepGoing: keepGoing}).UploadAll(ctx, []DirectItem{{Key: key, URL: url, Body: body}}))},
			{"DownloadAll", second((&DirectDownloader{KeepGoing: keepGoing}).DownloadAll(ctx, []DirectDownload{{Key: key, URL: got, Sink: BytesSink(&sunk)}}))},
		} {
			if e, ok := errors.AsType[*Error](row.err); !ok || e.Op != row.op || !errors.Is(row.err, context.Canceled) {
				t.Errorf("keepGoing %v: %#v; want an *Error of %s that is context.Canceled", keepGoing, row.err, row.op)
			}
		}
	}
}
