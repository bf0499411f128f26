package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pacs-extension/maskstore"
)

const (
	diskSize = 128 << 20
	// diskSlack is left on a disk that is filled: too little for a group. A server that has noticed writes nothing more when
	// less than 1 % is free.
	diskSlack = 512 << 10
)

// disk is what a server stores on, and can be full.
type disk struct {
	dir  string
	what string // it is
	// full: where no file system could be mounted, the answers of one that is full are played to a client.
	full atomic.Bool
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	d := &disk{dir: t.TempDir(), what: "a tmpfs"}
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", 0, fmt.Sprint("size=", diskSize)); err != nil {
		d.what = "the answers of a full disk, since no tmpfs can be mounted: " + err.Error()
		return d
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(d.dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *disk) mounted() bool { return d.what == "a tmpfs" }

// fill takes all space but the slack, and empty gives it back.
func (d *disk) fill(t *testing.T) {
	t.Helper()
	d.full.Store(!d.mounted())
	if !d.mounted() {
		return
	}
	var stat syscall.Statfs_t
	err := syscall.Statfs(d.dir, &stat)
	if err == nil {
		err = os.WriteFile(filepath.Join(d.dir, "ballast"), make([]byte, int64(stat.Bavail)*stat.Bsize-diskSlack), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (d *disk) empty(t *testing.T) {
	t.Helper()
	d.full.Store(false)
	if err := os.Remove(filepath.Join(d.dir, "ballast")); err != nil && d.mounted() {
		t.Fatal(err)
	}
}

// RoundTrip answers for a disk that is full.
func (d *disk) RoundTrip(r *http.Request) (*http.Response, error) {
	if !d.full.Load() || r.Method != http.MethodPut {
		return http.DefaultTransport.RoundTrip(r)
	}
	if r.Body != nil {
		r.Body.Close()
	}
	const answer = "<Error><Code>XMinioStorageFull</Code>" +
		"<Message>Storage backend has reached its minimum free drive threshold.</Message></Error>"
	return &http.Response{
		Status: "507 Insufficient Storage", StatusCode: http.StatusInsufficientStorage,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/xml"}}, Body: io.NopCloser(strings.NewReader(answer)),
		ContentLength: int64(len(answer)), Request: r,
	}, nil
}

// TestFaultsDiskFull fills the server's disk, and frees it again.
func TestFaultsDiskFull(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	s := newSite(t, 1, d.dir)
	s.files = noise(atLength(300, 1000))
	if !d.mounted() {
		s.nodes.Client = &http.Client{Transport: d}
	}
	before := openGroup(s.open(), "")
	if _, err := before.Upload(t.Context(), s.files, nil); err != nil {
		t.Fatal(err)
	}
	d.fill(t)

	deadline := time.Duration(atLength(3, 60)) * time.Second
	saves := map[string]*save{
		"group by URLs": groupByURLs(s), "group by batch": groupByBatch(s), "parts resumed": inParts(s, false),
	}
	for name, save := range saves {
		took, err := mustFail(t, name, deadline, save.upload)
		say(t, "disk full, %s: after %v of at most %v: %v", name, took, deadline, firstOf(err))
	}
	// What the server has taken all the same must be there.
	claimed := make(map[string]maskstore.SHA256)
	storage := s.open()
	mustFail(t, "Put", deadline, func(ctx context.Context) error {
		for _, f := range s.files {
			body, err := f.Body.Open()
			if err != nil {
				t.Fatal(err)
			}
			info, err := storage.Put(ctx,
				maskstore.MaskKey{Annotation: annotation, Group: "single", Slice: f.Slice, Label: f.Label}.String(), body, nil)
			if err != nil {
				return err
			}
			claimed[info.Key] = f.Body.SHA256
		}
		return nil
	})
	lost := s.lostMasks(t, before.ID())
	for key, sum := range claimed {
		var data []byte
		item := maskstore.DownloadItem{Key: key, SHA256: sum, Sink: maskstore.BytesSink(&data)}
		if _, err := maskstore.DownloadAll(t.Context(), storage, []maskstore.DownloadItem{item}, nil); err != nil {
			t.Error(err)
			lost++
		}
	}
	for name, save := range saves {
		if save.group == "" {
			continue
		}
		if _, err := openGroup(storage, save.group).Manifest(t.Context()); !errors.Is(err, maskstore.ErrIncomplete) &&
			!errors.Is(err, maskstore.ErrNotFound) {
			t.Errorf("%s: the manifest is there, %v; nothing was committed", name, err)
		}
	}

	d.empty(t)
	s.awaitSpace(t)
	for name, save := range saves {
		if err := save.settle(t.Context()); err != nil {
			t.Errorf("%s, space freed: %v", name, err)
		}
		lost += save.lost(t)
	}
	say(t, "disk full (%s): %d masks from before and %d taken meanwhile are there, all completed when space was free, %d lost",
		d.what, len(s.files), len(claimed), lost)
	if lost > 0 {
		t.Errorf("%d lost", lost)
	}
}

// awaitSpace waits until the server has noticed that there is space for all: it looks once a second.
func (s *site) awaitSpace(t *testing.T) {
	t.Helper()
	storage := s.open()
	const key = "mask/brain/single/0000_space.png"
	data, err := os.ReadFile(s.large)
	if err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		if _, err = storage.Put(t.Context(), key, bytes.NewReader(data), nil); err == nil {
			break
		}
		if time.Since(begun) > recovery {
			t.Fatal(err)
		}
	}
	if err := storage.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}
