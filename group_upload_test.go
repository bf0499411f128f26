package maskstore_test

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/png"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/maskstoretest"
)

func maskFiles(t *testing.T, n int) (files []maskstore.MaskFile) {
	t.Helper()
	for i := range n {
		var data bytes.Buffer
		if err := png.Encode(&data, image.NewGray(image.Rect(0, 0, 8, 8+i))); err != nil {
			t.Fatal(err)
		}
		files = append(files, maskstore.MaskFile{Slice: i, Label: "liver", Body: maskstore.BytesBody(data.Bytes())})
	}
	return files
}

// An Upload that failed is run again: what it had put is not put again, whether a mask was missing or the commit.
func TestUploadRunAgain(t *testing.T) {
	files := maskFiles(t, 5)
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		fails int // which Put of the first run: the manifest's comes first
		puts  int // of masks, by the second run
	}{
		"the fourth mask": {1 + 4, 2},
		"the commit":      {1 + 5 + 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			memory, puts, again := new(maskstore.Memory), 0, 0
			first := &maskstoretest.Faulty{Plan: func(call maskstoretest.Call) (f maskstoretest.Fault) {
				if call.Op == "Put" {
					if puts++; puts == tt.fails {
						f.Err = broken
					}
				}
				return f
			}}
			second := &maskstoretest.Faulty{Plan: func(call maskstoretest.Call) (f maskstoretest.Fault) {
				if call.Op == "Put" && path.Ext(call.Key) == ".png" {
					again++
				}
				return f
			}}
			upload := func(s maskstore.ObjectStorage) (*maskstore.Completion, error) {
				g, err := maskstore.NewGroup(s, "ct-42", "seg-1", &maskstore.GroupOptions{Concurrency: 1})
				if err != nil {
					t.Fatal(err)
				}
				return g.Upload(t.Context(), files, &maskstore.GroupUploadOptions{
					BeginOptions: maskstore.BeginOptions{Creator: "mover", SupersedeOwn: true},
				})
			}
			if _, err := upload(first.Storage(memory)); !errors.Is(err, broken) {
				t.Fatalf("error is %v", err)
			}
			done, err := upload(second.Storage(memory))
			if err != nil || len(done.Manifest.Masks) != len(files) || again != tt.puts {
				t.Errorf("the second run put %d masks, want %d: %v", again, tt.puts, err)
			}
		})
	}
}

// batches is a storage that stores batches too, and counts them.
type batches struct {
	*maskstore.Memory
	n      int
	before func(context.Context) error // comes before what is put, or in its place; nil: nothing
}

func (b *batches) PutBatch(
	ctx context.Context, items []maskstore.UploadItem, opts *maskstore.ParallelOptions,
) ([]maskstore.ObjectInfo, error) {
	b.n++
	for _, item := range items {
		if item.IfMatch != "" || item.NoOverwrite {
			return nil, errors.New("a batch has no conditions")
		}
	}
	if b.before != nil {
		if err := b.before(ctx); err != nil {
			return make([]maskstore.ObjectInfo, len(items)), err
		}
	}
	return maskstore.UploadAll(ctx, b.Memory, items, opts)
}

// Only where nobody else can put anything does Upload store by a batch, which has no conditions.
func TestUploadByBatch(t *testing.T) {
	many := maskstore.DefaultConcurrency + 1
	for name, tt := range map[string]struct {
		id      string
		masks   int
		inPlace bool // something lies at a mask's key
		ttl     time.Duration
		want    int
	}{
		"new group":            {"", many, false, 0, 1},
		"few masks":            {"", many - 1, false, 0, 0},
		"ID of the caller's":   {"seg-1", many, false, 0, 0},
		"something lies there": {"", many, true, 0, 0},
		"time for a batch":     {"", many, false, 17 * time.Minute, 1},
		"too little of it":     {"", many, false, 16*time.Minute - 1, 0},
		"no time for a batch":  {"", many, false, time.Minute, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := &batches{Memory: new(maskstore.Memory)}
			g, err := maskstore.NewGroup(b, "ct-42", tt.id, nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.inPlace {
				key := maskstore.MaskKey{Annotation: "ct-42", Group: g.ID(), Slice: 3, Label: "liver"}.String()
				if _, err := b.Put(t.Context(), key, strings.NewReader("other"), nil); err != nil {
					t.Fatal(err)
				}
			}
			opts := &maskstore.GroupUploadOptions{BeginOptions: maskstore.BeginOptions{TTL: tt.ttl}}
			done, err := g.Upload(t.Context(), maskFiles(t, tt.masks), opts)
			if err != nil || len(done.Manifest.Masks) != tt.masks || b.n != tt.want {
				t.Errorf("%d batches, want %d; %v", b.n, tt.want, err)
			}
		})
	}
}

func TestUploadRefusesALease(t *testing.T) {
	g, err := maskstore.NewGroup(new(maskstore.Memory), "ct-42", "seg-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, ttl := range []time.Duration{-1, maskstore.MaxURLTTL + 1} {
		_, err := g.Upload(t.Context(), maskFiles(t, 1),
			&maskstore.GroupUploadOptions{BeginOptions: maskstore.BeginOptions{TTL: ttl}})
		if !errors.Is(err, maskstore.ErrInvalidArgument) {
			t.Errorf("%v: error is %v", ttl, err)
		}
	}
}

func TestReadMaskDirPassesOver(t *testing.T) {
	dir := t.TempDir()
	for name, file := range map[string]string{"metadata.json": "{}", ".hidden": "?", "0001_liver.png": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if files, err := maskstore.ReadMaskDir(dir); err != nil || len(files) != 1 {
		t.Errorf("read %v, %v", files, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "0002.png"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := maskstore.ReadMaskDir(dir); !errors.Is(err, maskstore.ErrInvalidArgument) {
		t.Errorf("a file that is no mask: error is %v", err)
	}
}

// A batch ends while others are still kept out, though their clocks are ahead as far as clocks may differ: they never meet
// one that is under way, nor what the server stores of it within a minute of its end.
func TestBatchEndsWithItsLease(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"the lease ends": 2 * time.Hour, "the context ends": time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				defer cancel()
				b := &batches{Memory: &maskstore.Memory{BaseURL: "http://127.0.0.1:1"}}
				g, err := maskstore.NewGroup(b, "ct-42", "", nil)
				if err != nil {
					t.Fatal(err)
				}
				other, err := maskstore.NewGroup(b.Memory, "ct-42", g.ID(), &maskstore.GroupOptions{
					Now: func() time.Time { return time.Now().Add(15 * time.Minute) },
				})
				if err != nil {
					t.Fatal(err)
				}
				begin := func() error {
					_, err := other.Begin(t.Context(), []maskstore.MaskSpec{{Label: "liver", Size: 1}}, nil)
					return err
				}
				b.before = func(ctx context.Context) error {
					<-ctx.Done()
					time.Sleep(time.Minute - 1)
					if err := begin(); !errors.Is(err, maskstore.ErrUploadOpen) {
						t.Errorf("others begin before the batch has ended: %v", err)
					}
					return ctx.Err()
				}
				_, err = g.Upload(ctx, maskFiles(t, maskstore.DefaultConcurrency+1), nil)
				if ended := ctx.Err() != nil; errors.Is(err, context.DeadlineExceeded) != ended ||
					errors.Is(err, maskstore.ErrExpired) == ended {
					t.Errorf("error is %v, that of the context %v", err, ctx.Err())
				}
				time.Sleep(maskstore.UploadLease)
				if err := begin(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A batch that was superseded while it ran overwrites what was committed: readers are told.
func TestLateBatch(t *testing.T) {
	b := &batches{Memory: new(maskstore.Memory)}
	g, err := maskstore.NewGroup(b, "ct-42", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	files, others := maskFiles(t, 20), maskFiles(t, 20)
	for i := range others {
		others[i].Slice = 19 - i
	}
	b.before = func(ctx context.Context) error {
		other, err := maskstore.NewGroup(b.Memory, "ct-42", g.ID(), nil)
		if err == nil {
			_, err = other.Upload(ctx, others, &maskstore.GroupUploadOptions{BeginOptions: maskstore.BeginOptions{Supersede: true}})
		}
		return err
	}
	if _, err := g.Upload(t.Context(), files, nil); !errors.Is(err, maskstore.ErrSuperseded) {
		t.Errorf("error of the batch's upload is %v", err)
	}
	var told error
	for _, told = range g.Masks(t.Context()) {
		break
	}
	if !errors.Is(told, maskstore.ErrReplaced) {
		t.Errorf("the first mask that is read gives %v", told)
	}
}

// A Body that cannot be read ends an Upload with its error, also where that is one of a storage.
func TestUploadOfABodyThatIsGone(t *testing.T) {
	gone := &maskstore.Error{Op: "Get", Key: "mask/source/x", Kind: maskstore.ErrNotFound}
	for name, fail := range map[string]func() (io.ReadCloser, error){
		"opened": func() (io.ReadCloser, error) { return nil, gone },
		"read":   func() (io.ReadCloser, error) { return io.NopCloser(iotest.ErrReader(gone)), nil },
	} {
		g, err := maskstore.NewGroup(&maskstore.Memory{BaseURL: "http://127.0.0.1:1"}, "a", "g", nil)
		if err != nil {
			t.Fatal(err)
		}
		files := maskFiles(t, 1)
		opened, open := 0, files[0].Body.Open
		files[0].Body.Open = func() (io.ReadCloser, error) {
			if opened++; opened > 1 {
				return fail()
			}
			return open()
		}
		_, err = g.Upload(t.Context(), files, nil)
		if !errors.Is(err, maskstore.ErrNotFound) || !strings.Contains(err.Error(), gone.Key) || opened != 2 {
			t.Errorf("%s: %v after %d times", name, err, opened)
		}
	}
}

// putWatcher is a storage that wants each Put to bind its content, and records its conditions.
type putWatcher struct {
	*maskstore.Memory
	t    *testing.T
	puts map[string]maskstore.PutOptions
}

func (w *putWatcher) Put(
	ctx context.Context, key string, body io.Reader, opts *maskstore.PutOptions,
) (maskstore.ObjectInfo, error) {
	data, err := io.ReadAll(body)
	if err != nil || opts.Size != int64(len(data)) || opts.SHA256 != maskstore.SumSHA256(data) {
		w.t.Errorf("%s: the Put does not bind its content: %+v, %v", key, opts, err)
	}
	w.puts[key] = maskstore.PutOptions{IfMatch: opts.IfMatch, NoOverwrite: opts.NoOverwrite}
	return w.Memory.Put(ctx, key, bytes.NewReader(data), opts)
}

// The PUTs of an Upload bind their content, and what lies at the key: another's is not overwritten.
func TestUploadBindsItsPuts(t *testing.T) {
	w := &putWatcher{new(maskstore.Memory), t, map[string]maskstore.PutOptions{}}
	g, err := maskstore.NewGroup(w, "ct-42", "seg-1", &maskstore.GroupOptions{Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	files, key, want := maskFiles(t, 2), "mask/ct-42/seg-1/0000_liver.png", maskstore.PutOptions{NoOverwrite: true}
	for range 2 {
		done, err := g.Upload(t.Context(), files[:1], nil)
		if err != nil || w.puts[key] != want {
			t.Fatalf("put with %+v, want %+v: %v", w.puts[key], want, err)
		}
		files[0].Body, want = files[1].Body, maskstore.PutOptions{IfMatch: done.Manifest.Masks[0].ETag}
	}
}
