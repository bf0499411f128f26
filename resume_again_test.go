package maskstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// unread is a storage whose objects may be written, and not read or looked at.
type unread struct{ *partWatcher }

func (unread) Stat(context.Context, string) (ObjectInfo, error) {
	return ObjectInfo{}, &Error{Kind: ErrAccessDenied}
}

// TestUploadEndedByAnother: an upload that another has ended before it had a part begins anew, once.
func TestUploadEndedByAnother(t *testing.T) {
	data := manyParts()
	for _, row := range []struct {
		name   string
		stored int  // parts when it is ended
		always bool // each time
		swept  bool // with its record
		denied bool // the object cannot be read
		want   error
	}{
		{name: "before its first part"},
		{name: "before its first part, where none may read", denied: true},
		{name: "before its first part, each time", always: true, want: ErrNotFound},
		{name: "after its first part", stored: 1, want: ErrNotFound},
		{name: "with its record", swept: true, want: ErrNotFound},
	} {
		for journal, j := range map[string]Journal{"a journal": DirJournal(t.TempDir()), "no journal": nil} {
			if row.swept && j == nil {
				continue
			}
			t.Run(row.name+", "+journal, func(t *testing.T) {
				w := &partWatcher{Memory: new(Memory)}
				var mu sync.Mutex
				ended := 0
				end := func(id string) error {
					ended++
					if row.swept {
						return AbortUpload(t.Context(), w.Memory, j, testKey)
					}
					return w.Memory.AbortMultipartUpload(t.Context(), testKey, id)
				}
				w.part = func(n int) error {
					if n <= row.stored {
						return nil
					}
					mu.Lock()
					defer mu.Unlock()
					for up := range w.ListMultipartUploads(t.Context(), testKey) {
						for ended == 0 || row.always {
							if parts, err := storedParts(t.Context(), w.Memory, testKey, up.UploadID); err != nil || len(parts) == row.stored {
								return cmp.Or(err, end(up.UploadID))
							}
							time.Sleep(time.Millisecond)
						}
					}
					return nil
				}
				var storage ObjectStorage = w
				if row.denied {
					storage = unread{w}
				}
				_, err := Upload(t.Context(), storage, testKey, bytes.NewReader(data),
					&UploadOptions{Journal: j, PutOptions: PutOptions{NoOverwrite: true}})
				if !errors.Is(err, row.want) || ended == 0 {
					t.Fatalf("error is %v, want %v; ended %d times", err, row.want, ended)
				}
				if object := w.find(testKey); (object == nil) != (err != nil) || err == nil && !bytes.Equal(object.data, data) ||
					len(w.uploads) > 0 {
					t.Errorf("stored is %v; %d uploads are open", object != nil, len(w.uploads))
				}
				if j != nil {
					if r, err := loadRecord(t.Context(), j, testKey); err != nil || r.Key != "" {
						t.Errorf("recorded is %+v, %v", r, err)
					}
				}
			})
		}
	}
}

// lossy is a Memory that loses something of an upload as it completes it, so many times.
type lossy struct {
	*Memory
	lose   func(m *Memory, uploadID string) error
	times  int
	done   bool // the first completion is done all the same
	spoil  bool // what has lost something is not completed any more, as MinIO may leave it
	spoilt map[string]bool
}

func (l *lossy) CompleteMultipartUpload(
	ctx context.Context, key, uploadID string, parts []Part, opts *PutOptions,
) (ObjectInfo, error) {
	if l.spoilt[uploadID] {
		return ObjectInfo{}, &Error{Kind: ErrInvalidArgument}
	}
	if l.times > 0 {
		l.times--
		l.spoilt = map[string]bool{uploadID: l.spoil}
		if l.done {
			l.done = false
			if _, err := l.Memory.CompleteMultipartUpload(ctx, key, uploadID, parts, opts); err != nil {
				return ObjectInfo{}, err
			}
		}
		return ObjectInfo{}, l.lose(l.Memory, uploadID)
	}
	return l.Memory.CompleteMultipartUpload(ctx, key, uploadID, parts, opts)
}

// TestUploadLostInCompletion: what a server lost of an upload whose completion was cut off is sent again, once.
func TestUploadLostInCompletion(t *testing.T) {
	data := manyParts()
	loseAll := func(m *Memory, uploadID string) error {
		return cmp.Or(m.AbortMultipartUpload(t.Context(), testKey, uploadID), error(&Error{Kind: ErrNotFound, Err: errNoUpload}))
	}
	losePart := func(m *Memory, uploadID string) error {
		delete(m.uploads[uploadID].parts, 2)
		return &Error{Kind: ErrInvalidArgument}
	}
	loseAnswer := func(*Memory, string) error { return &Error{Kind: ErrNotFound, Err: errNoUpload} }
	for _, row := range []struct {
		name  string
		lose  func(m *Memory, uploadID string) error
		times int
		done  bool
		spoil bool
		want  error
	}{
		{"all", loseAll, 1, false, false, nil},
		{"a part", losePart, 1, false, false, nil},
		{"a part, for good", losePart, 1, false, true, nil},
		{"all, twice", loseAll, 2, false, false, ErrNotFound},
		{"a part, twice", losePart, 2, false, false, ErrInvalidArgument},
		{"the answer alone", loseAnswer, 1, true, false, nil},
	} {
		for journal, j := range map[string]Journal{"a journal": DirJournal(t.TempDir()), "no journal": nil} {
			t.Run(row.name+", "+journal, func(t *testing.T) {
				l := &lossy{Memory: new(Memory), lose: row.lose, times: row.times, done: row.done, spoil: row.spoil}
				opts := &UploadOptions{Journal: j, PutOptions: PutOptions{NoOverwrite: true}}
				_, err := Upload(t.Context(), l, testKey, bytes.NewReader(data), opts)
				if !errors.Is(err, row.want) {
					t.Fatalf("error is %v, want %v", err, row.want)
				}
				if object := l.find(testKey); err == nil && (object == nil || !bytes.Equal(object.data, data) || len(l.uploads) > 0) {
					t.Errorf("stored is %v; %d uploads are open", object != nil, len(l.uploads))
				}
			})
		}
	}
}
