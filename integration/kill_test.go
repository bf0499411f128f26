package integration

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"image"
	"image/png"
	"io"
	random "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/integration/miniotest"
)

// long is whether the rows of faults are run at their full length, which takes some minutes each.
var long = os.Getenv("MASKSTORE_TEST_LONG") != ""

// atLength gives the one of two sizes that the rows of faults have.
func atLength(short, full int) int {
	if long {
		return full
	}
	return short
}

// recovery is how long servers may take until they are well again, on a machine that is busy.
const recovery = 2 * time.Minute

// say prints a figure of a row.
func say(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Logf("kills: "+format, args...)
}

// startNodes starts servers for this test alone, which are gone after it.
func startNodes(t *testing.T, n int, dir string) *miniotest.Nodes {
	t.Helper()
	nodes, err := miniotest.StartNodes(t.Context(), n, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := nodes.Stop(); err != nil {
			t.Error(err)
		}
	})
	return nodes
}

// site is servers with a bucket, and what is to be stored there.
type site struct {
	nodes   *miniotest.Nodes
	dir     string // in which the servers store
	bucket  string
	files   []maskstore.MaskFile
	large   string // a file that goes in parts
	sum     maskstore.SHA256
	journal string       // of the uploads in parts
	left    int          // uploads in parts that nobody knows of
	broken  atomic.Int64 // requests that got no answer
}

// watched is a site's transport, which counts the requests that get no answer.
type watched struct {
	http.RoundTripper
	broken *atomic.Int64
}

func (w *watched) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.RoundTripper.RoundTrip(r)
	if err != nil && r.Context().Err() == nil {
		w.broken.Add(1)
	}
	return resp, err
}

// newSite gives a site of n nodes for this test alone.
func newSite(t *testing.T, n int, dir string) *site {
	t.Helper()
	s := &site{
		nodes: startNodes(t, n, dir), dir: dir, large: filepath.Join(t.TempDir(), "large"),
		journal: filepath.Join(t.TempDir(), "journal"),
	}
	if n == 1 {
		// As a storage's own client does. Less is too little where the machine is busy: a server whose client goes away while
		// it completes an upload may lose both the upload and the object.
		s.nodes.Client.Transport.(*http.Transport).ResponseHeaderTimeout = time.Minute
	}
	s.nodes.Client = &http.Client{Transport: &watched{s.nodes.Client.Transport, &s.broken}}
	var err error
	if s.bucket, err = s.nodes.NewBucket(t.Context()); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 33<<20) // three parts
	rand.Read(data)
	s.sum = maskstore.SumSHA256(data)
	if err := os.WriteFile(s.large, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return s
}

// open gives the bucket to a client of its own, as a process that was started anew has one.
func (s *site) open() *maskstore.MinIO {
	storage, err := maskstore.NewMinIO(context.Background(), s.nodes.Options(s.bucket))
	if err != nil {
		panic(err) // it sends nothing, and the options are ours
	}
	return storage
}

// annotation is that of all groups here.
const annotation = "brain"

func openGroup(s maskstore.ObjectStorage, id string) *maskstore.Group {
	g, err := maskstore.NewGroup(s, annotation, id, nil)
	if err != nil {
		panic(err) // as above
	}
	return g
}

// save is an upload that is killed.
type save struct {
	group  string                      // empty: of no group
	upload func(context.Context) error // by this process
	job    func(*testing.T) *job       // by another one
	settle func(context.Context) error // by a client that was started after the kill
	lost   func(*testing.T) int        // how much of what was settled is not there, or there too much
}

// saves are the ways to upload.
var saves = map[string]func(*site) *save{
	"group by URLs":  groupByURLs,
	"group by batch": groupByBatch,
	"parts resumed":  func(s *site) *save { return inParts(s, false) },
	"parts aborted":  func(s *site) *save { return inParts(s, true) },
}

// newJob gives a job on the site's bucket.
func (s *site) newJob() *job {
	n := s.nodes
	return &job{
		Endpoint: n.Endpoint, Region: n.Region, AccessKey: n.AccessKey, SecretKey: n.SecretKey, Bucket: s.bucket,
		Masks: len(s.files),
	}
}

func groupByURLs(s *site) *save {
	v := &viewer{
		DirectUploader: &maskstore.DirectUploader{Client: s.nodes.Client, KeepGoing: true}, group: openGroup(s.open(), ""),
		files: s.files,
	}
	return &save{
		group:  v.group.ID(),
		upload: v.upload,
		job: func(t *testing.T) *job {
			j := s.newJob()
			j.Group, j.URLs = v.group.ID(), make(map[string]maskstore.RevealedURL)
			up, err := v.group.Begin(t.Context(), specsOf(s.files), nil)
			if err != nil {
				t.Fatal(err)
			}
			v.uploadID = up.UploadID
			for _, m := range up.Masks {
				j.URLs[m.Key] = m.URL.Reveal()
			}
			return j
		},
		settle: func(ctx context.Context) error {
			v.group = openGroup(s.open(), v.group.ID())
			return v.upload(ctx)
		},
		lost: func(t *testing.T) int { return s.lostMasks(t, v.group.ID()) },
	}
}

func groupByBatch(s *site) *save {
	g := openGroup(s.open(), "")
	save := &save{
		group: g.ID(),
		upload: func(ctx context.Context) error {
			_, err := g.Upload(ctx, s.files, nil)
			return err
		},
		job: func(*testing.T) *job { return s.newJob() },
	}
	save.settle = func(ctx context.Context) error {
		opts := &maskstore.GroupUploadOptions{BeginOptions: maskstore.BeginOptions{Supersede: true}}
		_, err := openGroup(s.open(), save.group).Upload(ctx, s.files, opts)
		return err
	}
	save.lost = func(t *testing.T) int {
		lost := s.lostMasks(t, save.group)
		for info, err := range s.open().List(t.Context(), "mask/_", nil) {
			t.Errorf("the batch has left %q, %v", info.Key, err)
			lost++
		}
		return lost
	}
	return save
}

// inParts uploads a large file in parts. It is settled by going on with it, or by aborting it.
func inParts(s *site, aborted bool) *save {
	key := "mask/" + annotation + "/large/" + rand.Text()
	journal := maskstore.DirJournal(s.journal)
	upload := func(ctx context.Context) error {
		_, err := maskstore.UploadFile(ctx, s.open(), key, s.large, &maskstore.UploadOptions{Journal: journal})
		return err
	}
	save := &save{
		upload: upload,
		job: func(*testing.T) *job {
			j := s.newJob()
			j.Key, j.File, j.Journal = key, s.large, s.journal
			return j
		},
		settle: upload,
		lost:   func(t *testing.T) int { return s.lostLarge(t, key, aborted) },
	}
	if aborted {
		save.settle = func(ctx context.Context) error {
			_, err := maskstore.SweepUploads(ctx, s.open(), journal, 0)
			return err
		}
	}
	return save
}

// lostLarge counts what is not as it should be with the large file at key: the object, unless it may have been aborted, but
// one that is there must be whole; and parts and records that were left. It deletes the object, and aborts those uploads.
func (s *site) lostLarge(t *testing.T, key string, mayMiss bool) (lost int) {
	t.Helper()
	count := func(what string, err error) {
		if err != nil {
			t.Errorf("%s: %v", what, err)
			lost++
		}
	}
	obj, err := s.open().Get(t.Context(), key, &maskstore.GetOptions{SHA256: s.sum})
	if err == nil {
		_, err = io.Copy(io.Discard, obj.Body)
		obj.Body.Close()
		count("the object", err)
	} else if !mayMiss || !errors.Is(err, maskstore.ErrNotFound) {
		count("the object", err)
	}
	for r, err := range maskstore.DirJournal(s.journal).Records(t.Context()) {
		count("the journal", errors.Join(errors.New("it still has "+r.Key), err))
	}
	for up, err := range s.open().ListMultipartUploads(t.Context(), key) {
		if err == nil {
			s.left++
			t.Errorf("an upload is left, begun at %v", up.Initiated)
			err = s.open().AbortMultipartUpload(t.Context(), up.Key, up.UploadID)
		}
		count("uploads left", err)
	}
	parts, err := filepath.Glob(s.dir + "/node0/.minio.sys/multipart/*/*/xl.meta")
	count("open uploads", err)
	for _, name := range parts {
		count("open uploads", errors.New(name))
	}
	count("delete", s.open().Delete(t.Context(), key))
	return lost
}

// noise gives n masks that are the same in every process, and no two alike.
func noise(n int) []maskstore.MaskFile {
	files := make([]maskstore.MaskFile, n)
	for i := range files {
		source := random.New(random.NewPCG(1, uint64(i)))
		img := image.NewGray(image.Rect(0, 0, 20+i%40, 50))
		for k := range img.Pix {
			img.Pix[k] = byte(source.Uint32())
		}
		var buf bytes.Buffer
		png.Encode(&buf, img) // to memory: it cannot fail
		files[i] = maskstore.MaskFile{Slice: i, Label: "noise", Body: maskstore.BytesBody(buf.Bytes())}
	}
	return files
}

func specsOf(files []maskstore.MaskFile) []maskstore.MaskSpec {
	specs := make([]maskstore.MaskSpec, len(files))
	for i, f := range files {
		specs[i] = f.Spec()
	}
	return specs
}

// viewer uploads the masks of a group by signed URLs.
type viewer struct {
	*maskstore.DirectUploader
	group    *maskstore.Group
	files    []maskstore.MaskFile
	uploadID string // of the upload that the PACS server has begun; empty: none yet
}

// upload begins the upload, or goes on with it. A PUT of an earlier attempt may still land: that is what Renew settles.
func (v *viewer) upload(ctx context.Context) (err error) {
	for range 5 {
		if err = v.round(ctx); !errors.Is(err, maskstore.ErrPreconditionFailed) && !errors.Is(err, maskstore.ErrIncomplete) {
			break
		}
	}
	return err
}

func (v *viewer) round(ctx context.Context) error {
	var up *maskstore.GroupUpload
	var err error
	if v.uploadID == "" {
		up, err = v.group.Begin(ctx, specsOf(v.files), &maskstore.BeginOptions{Supersede: true})
	} else {
		up, err = v.group.Renew(ctx, v.uploadID, nil, nil)
	}
	if err != nil {
		return err
	}
	v.uploadID = up.UploadID
	etags, err := v.UploadAll(ctx, itemsOf(up, v.files))
	if err != nil {
		return err
	}
	_, err = v.group.Complete(ctx, v.uploadID, etags, nil)
	return err
}

// itemsOf gives what is to be put to the URLs of an upload.
func itemsOf(up *maskstore.GroupUpload, files []maskstore.MaskFile) []maskstore.DirectItem {
	bodies := make(map[string]maskstore.Body, len(files))
	for _, f := range files {
		bodies[maskstore.MaskKey{Annotation: up.Annotation, Group: up.Group, Slice: f.Slice, Label: f.Label}.String()] = f.Body
	}
	var items []maskstore.DirectItem
	for _, m := range up.Masks {
		if !m.Unchanged {
			items = append(items, maskstore.DirectItem{Key: m.Key, URL: m.URL, Body: bodies[m.Key]})
		}
	}
	return items
}

// lostMasks counts the site's files that the committed group does not give back byte for byte, and what is there too much.
func (s *site) lostMasks(t *testing.T, group string) int {
	t.Helper()
	lost, err := s.readMasks(t.Context(), group)
	if err != nil {
		t.Error(err)
	}
	return lost
}

// readMasks counts as lostMasks does. What cannot be read is lost, and in the error.
func (s *site) readMasks(ctx context.Context, group string) (lost int, err error) {
	g, files := openGroup(s.open(), group), s.files
	want := make(map[string]maskstore.SHA256, len(files))
	for _, f := range files {
		want[maskstore.MaskKey{Annotation: g.Annotation(), Group: g.ID(), Slice: f.Slice, Label: f.Label}.String()] = f.Body.SHA256
	}
	others := 0
	for m, err := range g.Masks(ctx) {
		if err != nil {
			return len(want) + others, err
		}
		if maskstore.SumSHA256(m.Data) != want[m.Key] {
			others++
		}
		delete(want, m.Key)
	}
	manifest, err := g.Manifest(ctx)
	if err != nil {
		return len(files), err
	}
	return len(want) + others + len(manifest.Unexpected), nil
}
