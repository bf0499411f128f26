package maskstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var errKilled = errors.New("killed")

// mortal is a process that uses a Memory and a Journal, and fails at its nth call of either: before the call or, with late,
// after it, the answer lost. Unless it survives that, nothing it does from then on has an effect.
type mortal struct {
	*Memory
	Journal
	late, survives bool

	mu    sync.Mutex
	left  int
	calls []string
}

// call does one call, unless it fails.
func (p *mortal) call(name string, do func() error) error {
	p.mu.Lock()
	p.left--
	left := p.left
	p.calls = append(p.calls, name)
	p.mu.Unlock()
	if left < 0 && !p.survives || left == 0 && !p.late {
		return errKilled
	}
	err := do()
	if left == 0 {
		return errKilled
	}
	return err
}

func (p *mortal) Load(ctx context.Context, key string) (r UploadRecord, err error) {
	return r, p.call("Load", func() (err error) { r, err = p.Journal.Load(ctx, key); return err })
}

func (p *mortal) Store(ctx context.Context, r UploadRecord) error {
	return p.call("Store", func() error { return p.Journal.Store(ctx, r) })
}

func (p *mortal) Remove(ctx context.Context, key, uploadID string) error {
	return p.call("Remove", func() error { return p.Journal.Remove(ctx, key, uploadID) })
}

func (p *mortal) CreateMultipartUpload(ctx context.Context, key string, o *PutOptions) (id string, err error) {
	return id, p.call("Create", func() (err error) { id, err = p.Memory.CreateMultipartUpload(ctx, key, o); return err })
}

func (p *mortal) UploadPart(ctx context.Context, key, id string, n int, body Body) (part Part, err error) {
	return part, p.call("UploadPart", func() (err error) { part, err = p.Memory.UploadPart(ctx, key, id, n, body); return err })
}

func (p *mortal) ListParts(ctx context.Context, key, id string) iter.Seq2[Part, error] {
	return p.Memory.ListParts(ctx, key, id) // it changes nothing, and what follows it is a call too
}

func (p *mortal) CompleteMultipartUpload(
	ctx context.Context, key, id string, parts []Part, o *PutOptions,
) (info ObjectInfo, err error) {
	return info, p.call("Complete", func() (err error) {
		info, err = p.Memory.CompleteMultipartUpload(ctx, key, id, parts, o)
		return err
	})
}

func (p *mortal) AbortMultipartUpload(ctx context.Context, key, id string) error {
	return p.call("Abort", func() error { return p.Memory.AbortMultipartUpload(ctx, key, id) })
}

// manyParts is content of three parts, no two of them alike.
var manyParts = sync.OnceValue(func() []byte {
	data := make([]byte, 0, 2*defaultPartSize+8)
	for i := uint32(1); len(data) < cap(data); i++ {
		data = binary.BigEndian.AppendUint32(data, i*2654435761)
	}
	return data
})

// wantUploaded fails unless this is at the key, and nothing else is left of uploads, in the journal neither.
func wantUploaded(t *testing.T, m *Memory, j Journal, info ObjectInfo, want []byte) {
	t.Helper()
	object := m.find(testKey)
	if object == nil || !bytes.Equal(object.data, want) || info.Key != testKey || info.ETag != object.info.ETag ||
		info.SHA256 != SumSHA256(want) || info.Size != int64(len(want)) {
		t.Errorf("the object is not the source; got %+v", info)
	}
	wantNoUpload(t, m, j)
}

func wantNoUpload(t *testing.T, m *Memory, j Journal) {
	t.Helper()
	if len(m.uploads) > 0 {
		t.Errorf("%d uploads are open", len(m.uploads))
	}
	for r, err := range j.Records(t.Context()) {
		t.Errorf("recorded is %+v, %v", r, err)
	}
}

// TestUploadKilled lets an upload fail at each of its calls, and the one that goes on with it too. The third must make
// the object.
func TestUploadKilled(t *testing.T) {
	data := manyParts()[:defaultPartSize+8]
	for mode, row := range map[string]struct{ late, survives bool }{
		"before": {}, "after": {late: true}, "answer lost of": {true, true},
	} {
		through := false
		for n := 1; !through && !t.Failed(); n++ {
			t.Run(fmt.Sprintf("%s call %d", mode, n), func(t *testing.T) {
				m, j := new(Memory), DirJournal(t.TempDir())
				old := mustPut(t, m, testKey, "old")
				run := func(calls int) (ObjectInfo, []string, error) {
					p := &mortal{Memory: m, Journal: j, late: row.late, survives: row.survives, left: calls}
					info, err := Upload(t.Context(), p, testKey, bytes.NewReader(data), &UploadOptions{Journal: p})
					return info, p.calls, err
				}
				info, calls, err := run(n)
				if through = err == nil; through {
					wantUploaded(t, m, j, info, data)
					return
				}
				if !errors.Is(err, errKilled) {
					t.Fatalf("error is %v after %q", err, calls)
				}
				if object := m.find(testKey); object.info.ETag != old.ETag && !bytes.Equal(object.data, data) {
					t.Error("what failed has left something else")
				}
				if info, _, err := run(n); err == nil { // having less to do, it may be through
					wantUploaded(t, m, j, info, data)
					return
				}
				info, calls, err = run(1000)
				if err != nil {
					t.Fatalf("%v after %q", err, calls)
				}
				wantUploaded(t, m, j, info, data)
			})
		}
	}
}

// TestUploadIsRecordedFirst: what begins leaves a trace before its ID is known, and what cannot be recorded then is aborted.
func TestUploadIsRecordedFirst(t *testing.T) {
	for name, row := range map[string]struct {
		p     *mortal
		calls []string
		open  int // uploads
	}{
		"killed as it begins": {&mortal{left: 3, late: true}, []string{"Load", "Store", "Create"}, 1},
		"begun, not recorded": {
			&mortal{left: 4, survives: true}, []string{"Load", "Store", "Create", "Store", "Abort", "Remove"}, 0,
		},
	} {
		p := row.p
		p.Memory, p.Journal = new(Memory), DirJournal(t.TempDir())
		_, err := Upload(t.Context(), p, testKey, bytes.NewReader(manyParts()), &UploadOptions{Journal: p})
		if !errors.Is(err, errKilled) || !slices.Equal(p.calls, row.calls) || len(p.uploads) != row.open {
			t.Errorf("%s: %v after %q; %d uploads are open", name, err, p.calls, len(p.uploads))
		}
		if err := AbortUpload(t.Context(), p.Memory, p.Journal, testKey); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantNoUpload(t, p.Memory, p.Journal)
	}
}

// brokenSource cannot be read past two parts.
type brokenSource struct{ *bytes.Reader }

func (s brokenSource) ReadAt(p []byte, offset int64) (int, error) {
	if offset >= 2*defaultPartSize {
		return 0, io.ErrNoProgress
	}
	return s.Reader.ReadAt(p, offset)
}

// interrupt leaves an upload of which two parts are stored.
func interrupt(t *testing.T, s ObjectStorage, j Journal, key string, data []byte) {
	t.Helper()
	_, err := Upload(t.Context(), s, key, brokenSource{bytes.NewReader(data)}, &UploadOptions{Journal: j})
	if !errors.Is(err, io.ErrNoProgress) {
		t.Fatal(err)
	}
}

// TestUploadResumesWhatIsThere holds that what is stored is not sent again, and what differs is.
func TestUploadResumesWhatIsThere(t *testing.T) {
	data := manyParts()
	other := slices.Clone(data)
	other[defaultPartSize+5]++
	for _, row := range []struct {
		name   string
		source []byte
		sent   []int // parts that the second call sends
		hidden bool  // the server keeps no SHA-256
		opts   PutOptions
	}{
		{"the rest", data, []int{3}, false, PutOptions{}},
		{"what differs", other, []int{2, 3}, false, PutOptions{}},
		{"the rest, by MD5", data, []int{3}, true, PutOptions{}},
		{"what differs, by MD5", other, []int{2, 3}, true, PutOptions{}},
		{"another size", data[:len(data)-1], []int{1, 2, 3}, false, PutOptions{}},
		{"another type", data, []int{1, 2, 3}, false, PutOptions{ContentType: "application/dicom"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := &partWatcher{Memory: new(Memory)}
			j := DirJournal(t.TempDir())
			interrupt(t, w, j, testKey, data)
			for _, u := range w.uploads {
				if len(u.parts) != 2 {
					t.Fatalf("%d parts are stored", len(u.parts))
				}
				for n, p := range u.parts {
					if row.hidden {
						p.SHA256 = SHA256{}
						u.parts[n] = p
					}
				}
			}
			var mu sync.Mutex
			var sent []int
			w.part = func(n int) error {
				mu.Lock()
				defer mu.Unlock()
				sent = append(sent, n)
				return nil
			}
			info, err := Upload(t.Context(), w, testKey, bytes.NewReader(row.source), &UploadOptions{row.opts, j})
			if err != nil {
				t.Fatal(err)
			}
			wantUploaded(t, w.Memory, j, info, row.source)
			if slices.Sort(sent); !slices.Equal(sent, row.sent) {
				t.Errorf("sent %d; want %d", sent, row.sent)
			}
		})
	}
}

// TestUploadOutlivesRefusedPart: a part that arrives damaged fails the call, and not what is stored by then.
func TestUploadOutlivesRefusedPart(t *testing.T) {
	data := manyParts()
	w, j := &partWatcher{Memory: new(Memory)}, DirJournal(t.TempDir())
	w.part = func(n int) error {
		if n == 3 {
			return &Error{Kind: ErrChecksum}
		}
		return nil
	}
	_, err := Upload(t.Context(), w, testKey, bytes.NewReader(data), &UploadOptions{Journal: j})
	if !errors.Is(err, ErrChecksum) || len(w.uploads) != 1 {
		t.Fatalf("error is %v; %d uploads are open", err, len(w.uploads))
	}
	w.part = nil
	info, err := Upload(t.Context(), w, testKey, bytes.NewReader(data), &UploadOptions{Journal: j})
	if err != nil {
		t.Fatal(err)
	}
	wantUploaded(t, w.Memory, j, info, data)
}

// TestUploadOfWhatShrinks: a source that has become shorter since it told its size.
func TestUploadOfWhatShrinks(t *testing.T) {
	data := manyParts()
	shorter := io.NewSectionReader(bytes.NewReader(data[:defaultPartSize+4]), 0, int64(len(data)))
	m := new(Memory)
	_, err := Upload(t.Context(), m, testKey, shorter, nil)
	if e, ok := err.(*Error); !ok || e.Kind != ErrChecksum || len(m.uploads) > 0 || m.find(testKey) != nil {
		t.Errorf("error is %v; %d uploads are open", err, len(m.uploads))
	}
}

// unforgetting is a journal whose process is killed before it removes a record.
type unforgetting struct{ Journal }

func (unforgetting) Remove(context.Context, string, string) error { return nil }

// TestUploadFoundComplete goes on with uploads that were complete when their process was killed.
func TestUploadFoundComplete(t *testing.T) {
	data := manyParts()[:defaultPartSize+8]
	other := slices.Clone(data)
	other[7]++
	for name, row := range map[string]struct {
		source []byte
		opts   PutOptions
		placed []byte // by another, since
		want   error
		left   []byte // at the key
		sent   int    // parts
	}{
		"the same":                        {data, PutOptions{}, nil, nil, data, 0},
		"the same, with a condition":      {data, PutOptions{NoOverwrite: true, SHA256: SumSHA256(data)}, nil, nil, data, 0},
		"another source":                  {other, PutOptions{}, nil, nil, other, 2},
		"another source with a condition": {other, PutOptions{NoOverwrite: true}, nil, ErrPreconditionFailed, data, 2},
		"another content declared":        {data, PutOptions{SHA256: SumSHA256(other)}, nil, ErrChecksum, data, 0},
		"replaced since":                  {data, PutOptions{}, other, nil, data, 2},
		"replaced by a longer one":        {data, PutOptions{}, append(other, 1), nil, data, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w, j := &partWatcher{Memory: new(Memory)}, DirJournal(t.TempDir())
			if _, err := Upload(t.Context(), w, testKey, bytes.NewReader(data),
				&UploadOptions{Journal: unforgetting{j}}); err != nil {
				t.Fatal(err)
			}
			if row.placed != nil {
				mustPut(t, w, testKey, string(row.placed))
			}
			var sent atomic.Int64
			w.part = func(int) error { sent.Add(1); return nil }
			info, err := Upload(t.Context(), w, testKey, bytes.NewReader(row.source), &UploadOptions{row.opts, j})
			if !errors.Is(err, row.want) || int(sent.Load()) != row.sent {
				t.Errorf("%d parts were sent, error is %v; want %v", sent.Load(), err, row.want)
			}
			if err == nil {
				wantUploaded(t, w.Memory, j, info, row.left)
			} else if !bytes.Equal(w.find(testKey).data, row.left) {
				t.Error("the object has changed")
			}
			if row.want != nil {
				wantNoUpload(t, w.Memory, j)
			}
		})
	}
}

// TestUploadThatCannotSucceed holds that what no further call could complete is aborted and forgotten.
func TestUploadThatCannotSucceed(t *testing.T) {
	data := manyParts()[:defaultPartSize+8]
	for name, row := range map[string]struct {
		opts PutOptions
		want error
	}{
		"another content":    {PutOptions{SHA256: SumSHA256(nil)}, ErrChecksum},
		"another size":       {PutOptions{Size: 1}, ErrChecksum},
		"something is there": {PutOptions{NoOverwrite: true}, ErrPreconditionFailed},
		"another is there":   {PutOptions{IfMatch: "another"}, ErrPreconditionFailed},
	} {
		t.Run(name, func(t *testing.T) {
			m, j := new(Memory), DirJournal(t.TempDir())
			old, err := m.Put(t.Context(), testKey, bytes.NewReader(data), nil) // the same content
			if err != nil {
				t.Fatal(err)
			}
			_, err = Upload(t.Context(), m, testKey, bytes.NewReader(data), &UploadOptions{row.opts, j})
			if e, ok := err.(*Error); !ok || !errors.Is(err, row.want) || e.Op != "Upload" || e.Key != testKey {
				t.Errorf("error is %v; want %v", err, row.want)
			}
			if info, err := m.Stat(t.Context(), testKey); err != nil || info.ETag != old.ETag {
				t.Errorf("there is %+v, %v", info, err)
			}
			wantNoUpload(t, m, j)
		})
	}
}

// TestUploadBadRecords holds what a record gets that this package has not written so.
func TestUploadBadRecords(t *testing.T) {
	data := manyParts()
	dir := t.TempDir()
	j := DirJournal(dir)
	good := UploadRecord{
		Version: 1, Key: testKey, PartSize: defaultPartSize, Size: int64(len(data)), ContentType: "image/png", BegunAt: time.Now(),
	}
	if err := j.Store(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	name := filepath.Join(dir, entries[0].Name())
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the record's file has %v, %v", info.Mode(), err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"empty":              "",
		"cut off":            string(text[:len(text)/2]),
		"no JSON":            "<html>",
		"of another key":     strings.Replace(string(text), testKey, "mask/other", 1),
		"of a later version": strings.Replace(string(text), `"version":1`, `"version":2`, 1),
		"of another layout":  `{"id":"x"}`,
		"with small parts":   strings.Replace(string(text), `"part_size":16777216`, `"part_size":5242879`, 1),
		"with large parts":   strings.Replace(string(text), `"part_size":16777216`, `"part_size":5368709121`, 1),
		"of no size":         strings.Replace(string(text), `"size":33554440`, `"size":0`, 1),
		"of too many parts":  strings.Replace(string(text), `"size":33554440`, `"size":167772160001`, 1),
		"with a wrong hash":  strings.Replace(string(text), `"begun_at"`, `"sha256":"00","begun_at"`, 1),
	} {
		t.Run(what, func(t *testing.T) {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			m := new(Memory)
			_, err := Upload(t.Context(), m, testKey, bytes.NewReader(data), &UploadOptions{Journal: j})
			abortErr := AbortUpload(t.Context(), m, j, testKey)
			swept, sweepErr := SweepUploads(t.Context(), m, j, 0)
			if !errors.Is(err, ErrInvalidJournal) || !errors.Is(abortErr, ErrInvalidJournal) ||
				!errors.Is(sweepErr, ErrInvalidJournal) || len(swept) > 0 {
				t.Errorf("errors are %v; %v; %v", err, abortErr, sweepErr)
			}
			if left, err := os.ReadFile(name); err != nil || string(left) != text || len(m.uploads) > 0 || m.find(testKey) != nil {
				t.Errorf("something was done: %q, %v, %d uploads", left, err, len(m.uploads))
			}
		})
	}
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := AbortUpload(t.Context(), new(Memory), misfiled{j}, "mask/other"); !errors.Is(err, ErrInvalidJournal) {
		t.Errorf("a journal that gives the record of another key: %v", err)
	}
}

// misfiled is a journal that gives the record of testKey for every key.
type misfiled struct{ Journal }

func (j misfiled) Load(ctx context.Context, _ string) (UploadRecord, error) {
	return j.Journal.Load(ctx, testKey)
}

// TestUploadSharedJournal has two processes upload to one key at a time, by one journal.
func TestUploadSharedJournal(t *testing.T) {
	data := manyParts()[:defaultPartSize+8]
	other := bytes.Repeat([]byte("other"), len(data)/5+1)[:len(data)]
	for name, sources := range map[string][2][]byte{
		"the same":      {data, data},
		"another":       {data, other},
		"a shorter one": {data, other[1:]},
	} {
		t.Run(name, func(t *testing.T) {
			m, j := new(Memory), DirJournal(t.TempDir())
			var wg sync.WaitGroup
			for _, source := range sources {
				wg.Go(func() {
					info, err := Upload(t.Context(), m, testKey, bytes.NewReader(source), &UploadOptions{Journal: j})
					if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrInvalidArgument) {
						t.Error(err)
					}
					if err == nil && info.SHA256 != SumSHA256(source) {
						t.Errorf("stored %+v", info)
					}
				})
			}
			wg.Wait()
			if object := m.find(testKey); object != nil && !bytes.Equal(object.data, sources[0]) &&
				!bytes.Equal(object.data, sources[1]) {
				t.Error("the object is a mix")
			}
			info, err := Upload(t.Context(), m, testKey, bytes.NewReader(data), &UploadOptions{Journal: j})
			if err != nil {
				t.Fatal(err)
			}
			wantUploaded(t, m, j, info, data)
		})
	}
}

func TestUploadRefuses(t *testing.T) {
	m, j := new(Memory), DirJournal(t.TempDir())
	source := bytes.NewReader(manyParts())
	for name, row := range map[string]struct {
		key    string
		source Source
		opts   PutOptions
		want   error
	}{
		"key":            {"other/x", source, PutOptions{}, ErrInvalidKey},
		"no source":      {testKey, nil, PutOptions{}, ErrInvalidArgument},
		"type":           {testKey, source, PutOptions{ContentType: "png"}, ErrInvalidArgument},
		"two conditions": {testKey, source, PutOptions{IfMatch: "x", NoOverwrite: true}, ErrInvalidArgument},
		"size":           {testKey, io.NewSectionReader(source, 0, MaxObjectSize+1), PutOptions{}, ErrTooLarge},
	} {
		_, err := Upload(t.Context(), m, row.key, row.source, &UploadOptions{row.opts, j})
		if e, ok := err.(*Error); !ok || e.Kind != row.want || e.Op != "Upload" {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	wantNoUpload(t, m, j)
}

// An upload in parts that was open gives way to a smaller source, as to any other.
func TestUploadOfWhatBecameSmall(t *testing.T) {
	m, j := new(Memory), DirJournal(t.TempDir())
	interrupt(t, m, j, testKey, manyParts())
	if _, err := Upload(t.Context(), m, testKey, strings.NewReader("small"), &UploadOptions{Journal: j}); err != nil {
		t.Error(err)
	}
	wantNoUpload(t, m, j)
}

func TestUploadSmall(t *testing.T) {
	m, j := new(Memory), DirJournal(filepath.Join(t.TempDir(), "none"))
	for _, size := range []int{0, 1, maxSinglePut} {
		data := manyParts()[:size]
		info, err := Upload(t.Context(), m, testKey, bytes.NewReader(data), &UploadOptions{Journal: j})
		if err != nil {
			t.Fatal(err)
		}
		wantUploaded(t, m, j, info, data)
	}
	if _, err := os.Stat(string(j.(dirJournal))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the journal has a folder: %v", err)
	}
}

// TestAbortUploadThatHardlyBegan: of a record without an upload's ID it aborts the upload that began then, and no other.
func TestAbortUploadThatHardlyBegan(t *testing.T) {
	for begun, want := range map[time.Duration]int{-30 * 24 * time.Hour: 1, -time.Minute: 0, time.Minute: 0, time.Hour: 1} {
		m, j := new(Memory), DirJournal(t.TempDir())
		r := UploadRecord{
			Version: 1, Key: testKey, PartSize: MinPartSize, Size: 1, ContentType: "image/png", BegunAt: time.Now().Add(begun),
		}
		_, err := m.CreateMultipartUpload(t.Context(), testKey, nil)
		if err = errors.Join(err, j.Store(t.Context(), r)); err != nil {
			t.Fatal(err)
		}
		if err := AbortUpload(t.Context(), m, j, testKey); err != nil || len(m.uploads) != want {
			t.Errorf("recorded %v ago: %v; %d uploads are open", -begun, err, len(m.uploads))
		}
	}
}

// unlisted does not let one see which uploads are open.
type unlisted struct{ *Memory }

func (unlisted) ListMultipartUploads(context.Context, string) iter.Seq2[MultipartUpload, error] {
	return func(yield func(MultipartUpload, error) bool) { yield(MultipartUpload{}, &Error{Kind: ErrAccessDenied}) }
}

// TestUploadSaysWhatListingTakes: what hardly began cannot be found without a right that nothing else here takes.
func TestUploadSaysWhatListingTakes(t *testing.T) {
	m, j := unlisted{new(Memory)}, DirJournal(t.TempDir())
	r := UploadRecord{Version: 1, Key: testKey, PartSize: MinPartSize, Size: 1, ContentType: "image/png", BegunAt: time.Now()}
	if err := j.Store(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	_, err := Upload(t.Context(), m, testKey, bytes.NewReader(manyParts()), &UploadOptions{Journal: j})
	if !errors.Is(err, ErrAccessDenied) || !strings.Contains(err.Error(), "s3:ListBucketMultipartUploads") {
		t.Error(err)
	}
}

func TestSweepUploads(t *testing.T) {
	m, j := new(Memory), DirJournal(t.TempDir())
	interrupt(t, m, j, "mask/a", manyParts())
	interrupt(t, m, j, "mask/b", manyParts())
	if swept, err := SweepUploads(t.Context(), m, j, time.Hour); err != nil || len(swept) > 0 || len(m.uploads) != 2 {
		t.Errorf("too early: swept %q, %v", swept, err)
	}
	if err := AbortUpload(t.Context(), m, j, "mask/c"); !errors.Is(err, ErrNotFound) {
		t.Errorf("aborting what is not there: %v", err)
	}
	w := &partWatcher{Memory: m, abort: &Error{Kind: ErrAccessDenied}}
	swept, err := SweepUploads(t.Context(), w, j, 0)
	if got := KeyErrors(err); len(swept) > 0 || len(got) != 2 || !errors.Is(err, ErrAccessDenied) {
		t.Errorf("swept %q, %v", swept, err)
	}
	if err := AbortUpload(t.Context(), m, j, "mask/a"); err != nil || len(m.uploads) != 1 {
		t.Errorf("%v; %d uploads", err, len(m.uploads))
	}
	if swept, err := SweepUploads(t.Context(), m, j, 0); err != nil || !slices.Equal(swept, []string{"mask/b"}) {
		t.Errorf("swept %q, %v", swept, err)
	}
	wantNoUpload(t, m, j)
	if _, err := SweepUploads(t.Context(), m, nil, 0); !errors.Is(err, ErrInvalidArgument) {
		t.Errorf("no journal: %v", err)
	}
	if _, err := SweepUploads(t.Context(), struct{ ObjectStorage }{m}, j, 0); !errors.Is(err, ErrUnsupported) {
		t.Errorf("no parts: %v", err)
	}
}
