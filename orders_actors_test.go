package maskstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pacs-extension/maskstore"
)

// kindOf gives what an actor can tell errors apart by.
func kindOf(err error) string {
	var e *maskstore.Error
	for errors.As(err, &e) && e.Kind == nil && e.Err != nil {
		err = e.Err
	}
	if e != nil && e.Kind != nil {
		return e.Kind.Error()
	}
	return fmt.Sprint(err)
}

func (a *actor) group() *maskstore.Group { return a.groupOn(stops{a}) }

func (a *actor) groupOn(s maskstore.ObjectStorage) *maskstore.Group {
	g, err := maskstore.NewGroup(s, annotation, groupID, &maskstore.GroupOptions{Concurrency: 1})
	if err != nil {
		panic(err)
	}
	return g
}

// save is a client's upload.
type save struct {
	version   byte  // tells the content of its masks
	slices    []int // that it names; nil: slice 0
	supersede bool
	keep      bool
	unhashed  bool // it cannot compute a SHA-256
	silent    bool // it cannot read the ETags of its PUTs
	again     bool // it begins twice, as a viewer that was reloaded
}

var pngs sync.Map // by slice and version

// pngOf gives a mask's content. All are of one size.
func pngOf(slice int, version byte) []byte {
	which := [2]byte{byte(slice), version}
	if data, ok := pngs.Load(which); ok {
		return data.([]byte)
	}
	img := image.NewGray(image.Rect(0, 0, 2, 1))
	copy(img.Pix, which[:])
	var buf bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.NoCompression}).Encode(&buf, img); err != nil {
		panic(err)
	}
	pngs.Store(which, buf.Bytes())
	return buf.Bytes()
}

func keyOf(slice int) string {
	return maskstore.MaskKey{Annotation: annotation, Group: groupID, Slice: slice, Label: "liver"}.String()
}

func (s save) named() []int {
	if s.slices == nil {
		return []int{0}
	}
	return s.slices
}

func (s save) masks() map[string][]byte {
	masks := make(map[string][]byte)
	for _, i := range s.named() {
		masks[keyOf(i)] = pngOf(i, s.version)
	}
	return masks
}

// begin opens the upload.
func (s save) begin(a *actor, g *maskstore.Group) *maskstore.GroupUpload {
	d := declared{masks: s.masks(), hashed: !s.unhashed, reported: !s.silent, keep: s.keep}
	var specs []maskstore.MaskSpec
	for _, i := range s.named() {
		data := pngOf(i, s.version)
		spec := maskstore.MaskSpec{Slice: i, Label: "liver", Size: int64(len(data)), SHA256: maskstore.SumSHA256(data)}
		if s.unhashed {
			spec.SHA256 = maskstore.SHA256{}
		}
		specs = append(specs, spec)
	}
	creator := s.declares(a, d)
	up, err := g.Begin(context.Background(), specs,
		&maskstore.BeginOptions{Creator: creator, Supersede: s.supersede, Keep: s.keep})
	a.want("Begin", err, maskstore.ErrUploadOpen, maskstore.ErrDeleted)
	if up != nil {
		a.given(up, d.masks)
	}
	return up
}

func begins(s save) func(*actor) { return func(a *actor) { s.begin(a, a.group()) } }

// declares notes what an upload declares, under the name that it gives its creator.
func (s save) declares(a *actor, d declared) string {
	a.begins++
	a.knows("begins", a.begins)
	creator := fmt.Sprintf("%s %d", a.name, a.begins)
	if s.supersede {
		creator += " superseding"
	}
	a.w.ledger.declared[creator] = d
	return creator
}

// uploads is a program's Upload, with the storage's credentials.
func uploads(s save) func(*actor) { return uploadsTo(s, (*actor).group) }

// uploadsBatch is an Upload of more masks than it puts one by one, of a group whose ID is its own.
func uploadsBatch(a *actor) {
	s := save{version: 1}
	for i := range maskstore.DefaultConcurrency + 1 {
		s.slices = append(s.slices, i)
	}
	uploadsTo(s, func(a *actor) *maskstore.Group { return a.groupOn(batchStops{stops{a}}).AsNew() })(a)
}

func uploadsTo(s save, group func(*actor) *maskstore.Group) func(*actor) {
	return func(a *actor) {
		opts := &maskstore.GroupUploadOptions{}
		opts.Creator, opts.Supersede = s.declares(a, declared{masks: s.masks(), hashed: true}), s.supersede
		var files []maskstore.MaskFile
		for _, i := range s.named() {
			files = append(files, maskstore.MaskFile{Slice: i, Label: "liver", Body: maskstore.BytesBody(pngOf(i, s.version))})
		}
		_, err := group(a).Upload(context.Background(), files, opts)
		a.want("Upload", err, maskstore.ErrUploadOpen, maskstore.ErrDeleted, maskstore.ErrSuperseded, maskstore.ErrIncomplete,
			maskstore.ErrNotFound, maskstore.ErrExpired)
	}
}

// saves is Begin, the PUTs and Complete. Where a PUT fails or masks are missing, it renews and tries once more.
func saves(s save) func(*actor) {
	return func(a *actor) {
		g := a.group()
		up := s.begin(a, g)
		if up != nil && s.again {
			s.supersede = true
			up = s.begin(a, g)
		}
		if up != nil {
			s.finish(a, g, up, 2)
		}
	}
}

func (s save) finish(a *actor, g *maskstore.Group, up *maskstore.GroupUpload, rounds int) bool {
	var etags map[string]string
	if !s.silent {
		etags = make(map[string]string)
	}
	for {
		for i, m := range up.Masks {
			a.knows("puts", i, rounds, a.nameOfUpload(up, etags))
			u := a.urls[m.URL.URL]
			if u == nil {
				continue
			}
			switch status, etag := a.put(u); status {
			case http.StatusOK:
				if etags != nil {
					etags[m.Key] = etag
				}
			case 0, http.StatusPreconditionFailed, http.StatusNotFound, http.StatusForbidden:
			default:
				a.w.fail("%s: PUT: status %d", a.name, status)
			}
		}
		a.knows("completes", rounds, a.nameOfUpload(up, etags))
		done, err := g.Complete(context.Background(), up.UploadID, etags, nil)
		rounds--
		switch {
		case err == nil:
			if done.Manifest.UploadID != up.UploadID || done.Manifest.Revision != up.Revision {
				a.w.fail("%s completed revision %d and was told of another", a.name, up.Revision)
			}
			return true
		case rounds > 0 && errors.Is(err, errLost): // whether it was done, the next try tells
			a.want("Complete", err)
			continue
		case rounds == 0 || !errors.Is(err, maskstore.ErrIncomplete):
			a.want("Complete", err, maskstore.ErrIncomplete, maskstore.ErrSuperseded, maskstore.ErrDeleted, maskstore.ErrNotFound)
			return false
		}
		a.knows("renews", rounds, a.nameOfUpload(up, etags))
		if up, err = g.Renew(context.Background(), up.UploadID, etags, nil); err != nil {
			a.want("Renew", err, maskstore.ErrSuperseded, maskstore.ErrDeleted, maskstore.ErrNotFound)
			return false
		}
		a.given(up, s.masks())
	}
}

// stalledBody is a body that arrives some time after its request.
type stalledBody struct {
	io.Reader
	a    *actor
	once bool
}

func (b *stalledBody) Read(p []byte) (int, error) {
	if !b.once {
		b.once = true
		b.a.choose(func() []string { return []string{bodyArrives} })
		if b.a.gone {
			return 0, io.ErrUnexpectedEOF
		}
	}
	return b.Reader.Read(p)
}

// put makes the PUT of a URL. Status 0 is an answer that was lost.
func (a *actor) put(u *givenURL) (status int, etag string) {
	writer := a.writer()
	c := call{op: "PUT by URL", key: u.key, isPut: true, isWrite: true, inParts: a.w.stalls}
	answered, _ := a.do(context.Background(), c, func(ctx context.Context) error {
		var body io.Reader = bytes.NewReader(u.data)
		if a.w.stalls && !a.free {
			body = &stalledBody{Reader: body, a: a}
		}
		req, err := u.Request(ctx, body)
		if err != nil {
			return err
		}
		var b before
		req.Body = io.NopCloser(readThen{body, func() { b = a.w.ledger.at(u.key) }})
		answer := httptest.NewRecorder()
		a.w.server.serve(answer, req)
		status, etag = answer.Code, strings.Trim(answer.Header().Get("ETag"), `"`)
		if status == http.StatusOK {
			a.w.wrote(writer, b, u.key, etag, u.data, u.writeCondition)
		}
		return nil
	})
	if !answered {
		return 0, ""
	}
	a.saw("put", fmt.Sprint(status), a.w.version(u.key))
	return status, etag
}

// readThen calls then after each read.
type readThen struct {
	io.Reader
	then func()
}

func (r readThen) Read(p []byte) (int, error) {
	defer r.then()
	return r.Reader.Read(p)
}

// lateURLs puts by any URL that was ever given out, at any step, n times.
func lateURLs(n int) func(*actor) {
	return func(a *actor) {
		for range n {
			i := a.choose(func() []string {
				var texts []string
				for _, u := range a.w.urls {
					texts = append(texts, takesURL+u.name)
				}
				return texts
			})
			if a.gone {
				return
			}
			a.put(a.w.urls[i])
		}
	}
}

func deletes(a *actor) {
	err := a.group().Delete(context.Background())
	if !isSwept(err) {
		a.want("Delete", err)
	}
}

// isSwept says whether a Sweep is removing what Delete would delete.
func isSwept(err error) bool {
	return errors.Is(err, maskstore.ErrUnavailable) && strings.Contains(err.Error(), "a Sweep is removing")
}

func sweeps(a *actor) {
	_, err := maskstore.Sweep(context.Background(), stops{a}, nil)
	a.want("Sweep", err)
}

var readErrors = []error{maskstore.ErrNotFound, maskstore.ErrDeleted, maskstore.ErrIncomplete, maskstore.ErrReplaced}

// readsMasks reads the committed revision by Masks.
func readsMasks(a *actor) {
	var got []maskstore.MaskData
	for mask, err := range a.group().Masks(context.Background()) {
		if err != nil {
			a.want("Masks", err, readErrors...)
			return
		}
		got = append(got, mask)
	}
	a.w.ledger.readMasks(a, got)
}

// readsURLs gets the masks of the committed revision by their URLs, pinned.
func readsURLs(a *actor) {
	m, urls, err := a.group().DownloadURLs(context.Background(), nil)
	if err != nil {
		a.want("DownloadURLs", err, readErrors...)
		return
	}
	got := make(map[string][]byte)
	for _, u := range urls {
		a.do(context.Background(), call{op: "GET by URL", key: u.Key}, func(ctx context.Context) error {
			req, err := u.URL.Request(ctx, nil)
			if err != nil {
				return err
			}
			answer := httptest.NewRecorder()
			a.w.server.serve(answer, req)
			switch answer.Code {
			case http.StatusOK:
				got[u.Key] = answer.Body.Bytes()
			case http.StatusPreconditionFailed, http.StatusNotFound, http.StatusForbidden:
			default:
				a.w.fail("%s: GET: status %d", a.name, answer.Code)
			}
			return nil
		})
	}
	a.w.ledger.read(a, m, got, false)
}

// downloads reads the committed revision by Download.
func downloads(a *actor) {
	dir, err := os.MkdirTemp("", "orders")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	m, err := a.group().Download(context.Background(), dir)
	if err != nil {
		a.want("Download", err, readErrors...)
		return
	}
	got := make(map[string][]byte)
	for _, mask := range m.Masks {
		data, err := os.ReadFile(filepath.Join(dir, filepath.Base(mask.Key)))
		if err == nil {
			got[mask.Key] = data
		}
	}
	a.w.ledger.read(a, m, got, true)
}

// end is what comes when all others have ended: nothing is stuck for good.
func (a *actor) end() {
	how := a.choose(func() []string { return []string{"a save", "a day later a sweep and a save", "a delete"} })
	if a.gone {
		return
	}
	a.free, a.w.over = true, true
	switch how {
	case 0:
		a.saveLast()
	case 1:
		a.sweepLast()
		a.saveLast()
	case 2:
		a.deleteLast()
	}
}

// wait moves the clock past the time until which the docs say that a deleted group's ID is not free.
func (a *actor) wait() {
	if m := a.w.ledger.manifest; m.isTombstone() {
		if d := time.Until(m.URLsUntil); d > 0 {
			a.w.sleep(d.Truncate(time.Second) + time.Second)
		}
	}
}

// saveLast fails unless a fresh client can save and read.
func (a *actor) saveLast() {
	a.wait()
	g := a.group()
	s := save{version: 99, slices: []int{0, 1}, supersede: true}
	up := s.begin(a, g)
	if up == nil {
		a.w.fail("stuck: a fresh client cannot begin")
		return
	}
	if !s.finish(a, g, up, 3) {
		a.w.fail("stuck: a fresh client cannot complete")
		return
	}
	got := make(map[string][]byte)
	for mask, err := range g.Masks(context.Background()) {
		if err != nil {
			a.w.fail("stuck: what was saved last cannot be read: %v", err)
			return
		}
		got[mask.Key] = mask.Data
	}
	m, _ := g.Manifest(context.Background())
	a.w.ledger.read(a, m, got, true)
}

// sweepLast fails unless Sweep tells of, and clears away, all that it must.
func (a *actor) sweepLast() {
	old := a.w.ledger.manifest
	if old != nil {
		a.w.sleep(time.Until(old.URLsUntil).Truncate(time.Second) + 24*time.Hour + time.Second)
	}
	there := a.keys()
	report, err := maskstore.Sweep(context.Background(), stops{a}, nil)
	if err != nil {
		a.w.fail("stuck: Sweep: %v", err)
		return
	}
	now := a.w.ledger.manifest
	switch {
	case old == nil:
	case old.isTombstone():
		if left := a.keys(); len(left) > 0 {
			a.w.fail("stuck: Sweep leaves %q of a deleted group", left)
		}
	case old.Pending == nil:
		if now == nil || now.etag != old.etag || len(a.keys()) != len(there) {
			a.w.fail("Sweep touched a group at rest")
		}
	case old.Revision == 0:
		if left := a.keys(); len(left) != 1 || !now.isTombstone() {
			a.w.fail("stuck: Sweep leaves %q of a group never committed", left)
		}
	default:
		var spoiled []string
		for _, m := range old.Masks {
			if a.w.server.tagOf(m.Key) != m.ETag {
				spoiled = append(spoiled, m.Key)
			}
		}
		if now.Pending != nil || !slices.Equal(report.Spoiled, spoiled) {
			a.w.fail("Sweep reports %q as spoiled; want %q", report.Spoiled, spoiled)
		}
	}
}

func (a *actor) keys() []string {
	var keys []string
	for info := range a.w.server.List(context.Background(), groupPrefix, nil) {
		keys = append(keys, info.Key)
	}
	return keys
}

// deleteLast fails unless the group can be deleted.
func (a *actor) deleteLast() {
	err := a.group().Delete(context.Background())
	if isSwept(err) {
		a.wait()
		err = a.group().Delete(context.Background())
	}
	if err != nil {
		a.w.fail("stuck: Delete: %v", err)
	}
	for _, key := range a.keys() {
		if key != manifestKey {
			a.w.fail("stuck: Delete leaves %s", key)
		}
	}
}
