package maskstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func mustPut(t *testing.T, s ObjectStorage, key, content string) ObjectInfo {
	t.Helper()
	info, err := s.Put(t.Context(), key, strings.NewReader(content), nil)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func mustGet(t *testing.T, s ObjectStorage, key string, opts *GetOptions) string {
	t.Helper()
	object, err := s.Get(t.Context(), key, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer object.Body.Close()
	data, err := io.ReadAll(object.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestMemoryPut(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 5e8, time.FixedZone("KST", 9*3600))
	m := &Memory{Now: func() time.Time { return now }}
	want := ObjectInfo{
		Key: testKey, Size: 5, ETag: "5d41402abc4b2a76b9719d911017c592", LastModified: now.UTC(),
		ContentType: "image/png", SHA256: SumSHA256([]byte("hello")),
	}
	if diff := cmp.Diff(want, mustPut(t, m, testKey, "hello")); diff != "" {
		t.Errorf("Put (-want +got):\n%s", diff)
	}
	got, err := m.Stat(t.Context(), testKey)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Stat: %v (-want +got):\n%s", err, diff)
	}
	object, err := m.Get(t.Context(), testKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer object.Body.Close()
	if diff := cmp.Diff(want, object.ObjectInfo); diff != "" {
		t.Errorf("Get (-want +got):\n%s", diff)
	}
}

// A Put that fails leaves what lay there, or nothing, whatever its reader does.
func TestMemoryPutIsAllOrNothing(t *testing.T) {
	errRead := errors.New("the disk is on fire")
	other := SumSHA256([]byte("other"))
	for name, test := range map[string]struct {
		body io.Reader
		opts PutOptions
		want error
	}{
		"reader fails at once":   {iotest.ErrReader(errRead), PutOptions{}, errRead},
		"reader fails halfway":   {io.MultiReader(strings.NewReader("ha"), iotest.ErrReader(errRead)), PutOptions{}, errRead},
		"reader times out":       {iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("new"))), PutOptions{}, iotest.ErrTimeout},
		"short":                  {strings.NewReader("new"), PutOptions{Size: 4}, ErrChecksum},
		"long":                   {strings.NewReader("new"), PutOptions{Size: 2}, ErrChecksum},
		"empty, not so declared": {strings.NewReader(""), PutOptions{Size: 1}, ErrChecksum},
		"other content":          {iotest.HalfReader(strings.NewReader("new")), PutOptions{SHA256: other}, ErrChecksum},
		"exists":                 {strings.NewReader("new"), PutOptions{NoOverwrite: true}, ErrPreconditionFailed},
		"other ETag":             {strings.NewReader("new"), PutOptions{IfMatch: "0"}, ErrPreconditionFailed},
		"nil reader":             {nil, PutOptions{}, ErrInvalidArgument},
		"both conditions":        {strings.NewReader("new"), PutOptions{IfMatch: "0", NoOverwrite: true}, ErrInvalidArgument},
		"negative size":          {strings.NewReader("new"), PutOptions{Size: -1}, ErrInvalidArgument},
		"bad type":               {strings.NewReader("new"), PutOptions{ContentType: "image/"}, ErrInvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			m := new(Memory)
			old := mustPut(t, m, testKey, "old")
			_, err := m.Put(t.Context(), testKey, test.body, &test.opts)
			var e *Error
			if !errors.Is(err, test.want) || !errors.As(err, &e) || e.Op != "Put" || e.Key != testKey {
				t.Errorf("err = %v, want %v of Put", err, test.want)
			}
			if now, err := m.Stat(t.Context(), testKey); err != nil || now != old {
				t.Errorf("then %+v, %v; want %+v", now, err, old)
			}
			if got := mustGet(t, m, testKey, nil); got != "old" {
				t.Errorf("content = %q", got)
			}
		})
	}
}

func TestMemoryPutConditions(t *testing.T) {
	m := new(Memory)
	put := func(content string, opts PutOptions) (ObjectInfo, error) {
		return m.Put(t.Context(), testKey, strings.NewReader(content), &opts)
	}
	if _, err := put("a", PutOptions{IfMatch: "0"}); !errors.Is(err, ErrPreconditionFailed) || errors.Is(err, ErrNotFound) {
		t.Errorf("IfMatch where nothing lies: %v", err)
	}
	a, err := put("a", PutOptions{NoOverwrite: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := put("b", PutOptions{IfMatch: a.ETag}); err != nil {
		t.Errorf("IfMatch of what lies there: %v", err)
	}
	if _, err := put("c", PutOptions{IfMatch: a.ETag}); !errors.Is(err, ErrPreconditionFailed) {
		t.Errorf("the same again: %v", err)
	}
}

// Conditions are judged when the body has arrived: what was written while it came in counts.
func TestMemoryJudgesLate(t *testing.T) {
	m := new(Memory)
	body := io.MultiReader(strings.NewReader("late"), readerFunc(func([]byte) (int, error) {
		mustPut(t, m, testKey, "early") // also shows that no lock is held while a body is read
		return 0, io.EOF
	}))
	if _, err := m.Put(t.Context(), testKey, body, &PutOptions{NoOverwrite: true}); !errors.Is(err, ErrPreconditionFailed) {
		t.Errorf("err = %v", err)
	}
	if got := mustGet(t, m, testKey, nil); got != "early" {
		t.Errorf("content = %q", got)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestMemoryRacingWriters(t *testing.T) {
	const writers, rounds = 64, 20
	m := new(Memory)
	etag := ""
	for round := range rounds {
		opts := PutOptions{IfMatch: etag, NoOverwrite: etag == ""}
		won := make(chan ObjectInfo, writers)
		var wg sync.WaitGroup
		for n := range writers {
			wg.Go(func() {
				info, err := m.Put(t.Context(), testKey, strings.NewReader(fmt.Sprint(round, n)), &opts)
				switch {
				case err == nil:
					won <- info
				case !errors.Is(err, ErrPreconditionFailed):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		close(won)
		if len(won) != 1 {
			t.Fatalf("round %d: %d winners", round, len(won))
		}
		etag = (<-won).ETag
		if now, err := m.Stat(t.Context(), testKey); err != nil || now.ETag != etag {
			t.Fatalf("round %d: the winner's object is not there: %+v, %v", round, now, err)
		}
	}
}

func TestMemoryCopiesBytes(t *testing.T) {
	m := new(Memory)
	data := []byte("hello")
	if _, err := m.Put(t.Context(), testKey, bytes.NewReader(data), nil); err != nil {
		t.Fatal(err)
	}
	data[0] = 'j'
	object, err := m.Get(t.Context(), testKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := object.Body.(io.WriterTo); ok {
		t.Error("the body hands out its bytes by WriteTo")
	}
	got, err := io.ReadAll(object.Body)
	if err != nil {
		t.Fatal(err)
	}
	got[1] = 'u'
	if got := mustGet(t, m, testKey, nil); got != "hello" {
		t.Errorf("content = %q", got)
	}
}

func TestMemoryGet(t *testing.T) {
	m := new(Memory)
	etag := mustPut(t, m, testKey, "0123456789").ETag
	empty := "mask/a/b/empty"
	mustPut(t, m, empty, "")
	for _, test := range []struct {
		key  string
		opts GetOptions
		want string
		err  error
	}{
		{testKey, GetOptions{}, "0123456789", nil},
		{testKey, GetOptions{Offset: 3}, "3456789", nil},
		{testKey, GetOptions{Length: 3}, "012", nil},
		{testKey, GetOptions{Offset: 8, Length: 2}, "89", nil},
		{testKey, GetOptions{Offset: 8, Length: 1 << 62}, "89", nil},
		{testKey, GetOptions{Offset: 10}, "", ErrInvalidRange},
		{testKey, GetOptions{Offset: 1 << 62, Length: 1 << 62}, "", ErrInvalidRange},
		{testKey, GetOptions{Offset: -1}, "", ErrInvalidArgument},
		{testKey, GetOptions{Length: -1}, "", ErrInvalidArgument},
		{testKey, GetOptions{IfMatch: etag}, "0123456789", nil},
		{testKey, GetOptions{IfMatch: etag, Offset: 9}, "9", nil},
		{testKey, GetOptions{IfMatch: "0"}, "", ErrPreconditionFailed},
		{testKey, GetOptions{SHA256: SumSHA256([]byte("0123456789"))}, "0123456789", nil},
		{testKey, GetOptions{SHA256: SHA256{1}, Length: 1}, "", ErrInvalidArgument},
		{empty, GetOptions{}, "", nil},
		{empty, GetOptions{Length: 5}, "", nil},
		{empty, GetOptions{Offset: 1}, "", ErrInvalidRange},
		{"mask/a/b/none", GetOptions{}, "", ErrNotFound},
		{"mask/a/b/none", GetOptions{IfMatch: "0"}, "", ErrNotFound},
		{"other/a", GetOptions{}, "", ErrInvalidKey},
	} {
		object, err := m.Get(t.Context(), test.key, &test.opts)
		if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
			t.Errorf("Get(%q, %+v): %v, want %v", test.key, test.opts, err, test.err)
		}
		if err != nil {
			continue
		}
		if got, err := io.ReadAll(iotest.OneByteReader(object.Body)); err != nil || string(got) != test.want {
			t.Errorf("Get(%q, %+v) = %q, %v; want %q", test.key, test.opts, got, err, test.want)
		}
	}
}

func TestMemoryBody(t *testing.T) {
	m := new(Memory)
	mustPut(t, m, testKey, "hello")
	open := func(ctx context.Context, opts *GetOptions) io.ReadCloser {
		t.Helper()
		object, err := m.Get(ctx, testKey, opts)
		if err != nil {
			t.Fatal(err)
		}
		return object.Body
	}

	body := open(t.Context(), &GetOptions{SHA256: SHA256{1}})
	if _, err := io.ReadAll(body); !errors.Is(err, ErrChecksum) {
		t.Errorf("of another checksum: %v", err)
	}

	body = open(t.Context(), nil)
	body.Close()
	if _, err := body.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("closed: %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	body = open(ctx, nil)
	if _, err := io.ReadFull(body, make([]byte, 2)); err != nil {
		t.Error(err)
	}
	cancel()
	if _, err := io.ReadAll(body); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}

	body = open(t.Context(), nil)
	mustPut(t, m, testKey, "another")
	if got, err := io.ReadAll(body); err != nil || string(got) != "hello" {
		t.Errorf("overwritten meanwhile: %q, %v", got, err)
	}
}

func TestMemoryDelete(t *testing.T) {
	m := new(Memory)
	other := "mask/ann/grp/0002_liver.png"
	mustPut(t, m, testKey, "a")
	mustPut(t, m, other, "b")
	err := m.Delete(t.Context(), testKey, "nowhere", other, "mask//x")
	var keys []string
	for _, e := range KeyErrors(err) {
		keys = append(keys, e.Key)
	}
	if diff := cmp.Diff([]string{"nowhere", "mask//x"}, keys); diff != "" || !errors.Is(err, ErrInvalidKey) {
		t.Errorf("invalid keys (-want +got): %v\n%s", err, diff)
	}
	mustGet(t, m, testKey, nil) // nothing was deleted
	if err := m.Delete(t.Context(), testKey, testKey, other, "mask/none"); err != nil {
		t.Error(err)
	}
	if err := m.Delete(t.Context()); err != nil {
		t.Error(err)
	}
	for _, key := range []string{testKey, other} {
		if _, err := m.Stat(t.Context(), key); !errors.Is(err, ErrNotFound) {
			t.Errorf("Stat(%q) = %v", key, err)
		}
	}
}

func TestMemoryCopy(t *testing.T) {
	m := new(Memory)
	dst := "mask/ann/grp/copy.bin"
	src, err := m.Put(t.Context(), testKey, strings.NewReader("hello"), &PutOptions{ContentType: "image/x-mask"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.Copy(t.Context(), testKey, dst, &CopyOptions{IfMatch: src.ETag})
	want := src
	want.Key, want.LastModified = dst, got.LastModified
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Copy: %v (-want +got):\n%s", err, diff)
	}
	const large = "mask/large"
	m.objects.set(large, memoryObject{info: ObjectInfo{Key: large, Size: MaxPutSize + 1}})
	for name, test := range map[string]struct {
		src, dst, ifMatch string
		want              error
	}{
		"absent":       {"mask/none", dst, "", ErrNotFound},
		"other ETag":   {testKey, dst, "0", ErrPreconditionFailed},
		"bad ETag":     {testKey, dst, `"`, ErrInvalidArgument},
		"onto itself":  {testKey, testKey, "", ErrInvalidArgument},
		"over one PUT": {large, dst, "", ErrTooLarge},
		"from outside": {"other", dst, "", ErrInvalidKey},
		"to outside":   {testKey, "other", "", ErrInvalidKey},
	} {
		if _, err := m.Copy(t.Context(), test.src, test.dst, &CopyOptions{IfMatch: test.ifMatch}); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// A call whose context has ended does nothing, and says why.
func TestMemoryContext(t *testing.T) {
	m := &Memory{BaseURL: "http://localhost:9"}
	mustPut(t, m, testKey, "old")
	id, err := m.CreateMultipartUpload(t.Context(), testKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func() error{
		"Put":    func() error { _, err := m.Put(ctx, testKey, strings.NewReader("new"), nil); return err },
		"Get":    func() error { _, err := m.Get(ctx, testKey, nil); return err },
		"Stat":   func() error { _, err := m.Stat(ctx, testKey); return err },
		"Delete": func() error { return m.Delete(ctx, testKey) },
		"Copy":   func() error { _, err := m.Copy(ctx, testKey, "mask/copy", nil); return err },
		"List":   func() error { _, err := collect(m.List(ctx, "mask/", nil)); return err },
		"UploadURL": func() error {
			_, err := m.UploadURL(ctx, testKey, nil)
			return err
		},
		"DownloadURL": func() error {
			_, err := m.DownloadURL(ctx, testKey, nil)
			return err
		},
		"CreateMultipartUpload": func() error { _, err := m.CreateMultipartUpload(ctx, testKey, nil); return err },
		"UploadPart": func() error {
			_, err := m.UploadPart(ctx, testKey, id, 1, BytesBody([]byte("new")))
			return err
		},
		"ListParts":            func() error { _, err := collect(m.ListParts(ctx, testKey, id)); return err },
		"ListMultipartUploads": func() error { _, err := collect(m.ListMultipartUploads(ctx, "mask/")); return err },
		"CompleteMultipartUpload": func() error {
			_, err := m.CompleteMultipartUpload(ctx, testKey, id, []Part{{PartNumber: 1}}, nil)
			return err
		},
		"AbortMultipartUpload": func() error { return m.AbortMultipartUpload(ctx, testKey, id) },
	} {
		err := call()
		var e *Error
		if !errors.Is(err, context.Canceled) || !errors.As(err, &e) || e.Op != name || e.Kind != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := mustGet(t, m, testKey, nil); got != "old" {
		t.Errorf("content = %q", got)
	}
	if err := m.AbortMultipartUpload(t.Context(), testKey, id); err != nil {
		t.Errorf("the upload did not stay open: %v", err)
	}

	ctx, cancel = context.WithCancel(t.Context())
	body := io.MultiReader(strings.NewReader("ne"), readerFunc(func([]byte) (int, error) { cancel(); return 0, io.EOF }))
	if _, err := m.Put(ctx, testKey, body, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled as the body ends: %v", err)
	}
}

// The race detector is what fails here; besides, each group is listed whole or not at all beside the others' changes.
func TestMemoryUnderManyGoroutines(t *testing.T) {
	var m Memory
	var workers sync.WaitGroup
	for g := range 16 {
		workers.Go(func() {
			prefix := fmt.Sprintf("mask/a/g%02d/", g)
			for round := range 20 {
				for i := range 10 {
					if _, err := m.Put(t.Context(), fmt.Sprintf("%s%d", prefix, i), strings.NewReader(prefix), nil); err != nil {
						t.Error(err)
					}
				}
				n := 0
				for info, err := range m.List(t.Context(), prefix, nil) {
					if err != nil || info.Size != int64(len(prefix)) {
						t.Errorf("%+v, %v", info, err)
					}
					n++
				}
				if n != 10 {
					t.Errorf("round %d: %d of 10 are listed", round, n)
				}
				if _, err := m.Copy(t.Context(), prefix+"0", "mask/shared", nil); err != nil {
					t.Error(err)
				}
				if n, err := DeletePrefix(t.Context(), &m, prefix, nil); n != 10 || err != nil {
					t.Errorf("%d of 10 deleted, %v", n, err)
				}
			}
		})
	}
	workers.Wait()
	info, err := m.Stat(t.Context(), "mask/shared")
	if left, _ := collect(m.List(t.Context(), "mask/", nil)); err != nil || len(left) != 1 {
		t.Errorf("%d objects are left, and %+v, %v", len(left), info, err)
	}
}
