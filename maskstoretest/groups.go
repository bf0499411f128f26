package maskstoretest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pacs-extension/maskstore"
)

// TestGroups holds a storage to what maskstore.Group builds on it: the rules of an upload, of reading, deleting and
// sweeping, with other clients' calls put between any two of its requests. It makes one storage and works under
// annotations with random IDs, which it deletes. Without signing (Options.NoSigning) no group can be begun, so it
// fails at once. Nil options are of a storage that can do everything.
func TestGroups(t *testing.T, newStorage func(t *testing.T) maskstore.ObjectStorage, opts *Options) {
	client := http.DefaultClient
	if opts != nil && opts.Client != nil {
		client = opts.Client
	}
	if opts != nil && opts.NoSigning {
		t.Fatal("a storage that signs nothing cannot begin a group")
	}
	storage, leaves := newStorage(t), 0
	for _, area := range []struct {
		name  string
		tests map[string]func(*groupEnv)
	}{
		{"Begin", groupBeginTests},
		{"Renew", groupRenewTests},
		{"Complete", groupCompleteTests},
		{"Read", groupReadTests},
		{"Delete", groupDeleteTests},
		{"Sweep", groupSweepTests},
		{"Race", groupRaceTests},
		{"Cancel", groupCancelTests},
	} {
		t.Run(area.name, func(t *testing.T) {
			for name, test := range area.tests {
				t.Run(name, func(t *testing.T) {
					leaves++
					e := &groupEnv{T: t, storage: storage, client: client, annotation: "test-" + strings.ToLower(rand.Text())}
					t.Cleanup(e.deleteAll)
					test(e)
				})
			}
		})
	}
	t.Logf("%s: %d leaves over %T", t.Name(), leaves, storage)
}

// groupEnv is what one test of groups works with.
type groupEnv struct {
	*testing.T
	storage    maskstore.ObjectStorage
	client     *http.Client
	annotation string

	mu    sync.Mutex
	ahead time.Duration // of the groups' clock, before the real one
}

func (e *groupEnv) deleteAll() {
	prefix, _ := maskstore.AnnotationPrefix(e.annotation)
	_, err := maskstore.DeletePrefix(context.Background(), e.storage, prefix, nil)
	e.must(err)
}

func (e *groupEnv) now() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Now().Add(e.ahead)
}

// wait lets the groups' clock, not the server's, go on.
func (e *groupEnv) wait(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ahead += d
}

// group gives a handle of the group with that ID.
func (e *groupEnv) group(id string) *maskstore.Group { return e.groupOn(e.storage, id) }

// groupOn gives a handle that works through s.
func (e *groupEnv) groupOn(s maskstore.ObjectStorage, id string) *maskstore.Group {
	e.Helper()
	g, err := maskstore.NewGroup(&clocked{s, e}, e.annotation, id, &maskstore.GroupOptions{Now: e.now})
	e.must(err)
	return g
}

// clocked is a storage whose URLs expire by the groups' clock.
type clocked struct {
	maskstore.ObjectStorage
	e *groupEnv
}

func (c *clocked) Unwrap() maskstore.ObjectStorage { return c.ObjectStorage }

func (c *clocked) UploadURL(ctx context.Context, key string, opts *maskstore.UploadURLOptions) (maskstore.SignedURL, error) {
	url, err := c.ObjectStorage.UploadURL(ctx, key, opts)
	url.Expires = url.Expires.Add(time.Until(c.e.now()).Round(time.Second))
	return url, err
}

func (e *groupEnv) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

func (e *groupEnv) wantErr(err, want error) {
	e.Helper()
	if !errors.Is(err, want) {
		e.Fatalf("error is %v; want %v", err, want)
	}
}

// files are masks of slices 0 to n-1, all of one size, their content told by version.
func files(n int, version byte) []maskstore.MaskFile {
	masks := make([]maskstore.MaskFile, n)
	for i := range masks {
		masks[i] = maskstore.MaskFile{Slice: i, Label: "liver", Body: maskstore.BytesBody(maskPNG(byte(i), version))}
	}
	return masks
}

// maskPNG is a PNG whose size does not depend on its two pixels.
func maskPNG(a, b byte) []byte {
	img := image.NewGray(image.Rect(0, 0, 2, 1))
	img.Pix[0], img.Pix[1] = a, b
	var buf bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.NoCompression}).Encode(&buf, img); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

func hashed(masks []maskstore.MaskFile) []maskstore.MaskSpec {
	specs := make([]maskstore.MaskSpec, len(masks))
	for i, m := range masks {
		specs[i] = m.Spec()
	}
	return specs
}

// unhashed is what a client says of its masks that cannot compute a SHA-256.
func unhashed(masks []maskstore.MaskFile) []maskstore.MaskSpec {
	specs := hashed(masks)
	for i := range specs {
		specs[i].SHA256 = maskstore.SHA256{}
	}
	return specs
}

func read(b maskstore.Body) []byte {
	r, err := b.Open()
	if err != nil {
		panic(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		panic(err)
	}
	return data
}

// begin begins an upload that must succeed.
func (e *groupEnv) begin(
	g *maskstore.Group, specs []maskstore.MaskSpec, opts *maskstore.BeginOptions,
) *maskstore.GroupUpload {
	e.Helper()
	up, err := g.Begin(e.Context(), specs, opts)
	e.must(err)
	return up
}

// put makes the PUT of a signed URL as any HTTP client does, and gives the answer's status and ETag.
func (e *groupEnv) put(url maskstore.SignedURL, data []byte) (int, string) {
	e.Helper()
	req, err := url.Request(e.Context(), bytes.NewReader(data))
	e.must(err)
	resp, err := e.client.Do(req)
	e.must(err)
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, strings.Trim(resp.Header.Get("ETag"), `"`)
}

// putAll puts those masks of the upload that have a URL, all of which must succeed, and gives their ETags.
func (e *groupEnv) putAll(up *maskstore.GroupUpload, masks []maskstore.MaskFile) map[string]string {
	e.Helper()
	etags := make(map[string]string)
	for _, m := range up.Masks {
		if m.Unchanged {
			continue
		}
		i := slices.IndexFunc(masks, func(f maskstore.MaskFile) bool { return f.Slice == m.Slice && f.Label == m.Label })
		if i < 0 {
			e.Fatalf("%s is to be put and was not named", m.Key)
		}
		status, etag := e.put(m.URL, read(masks[i].Body))
		if status != http.StatusOK {
			e.Fatalf("PUT of %s: status %d", m.Key, status)
		}
		etags[m.Key] = etag
	}
	return etags
}

// save uploads and commits masks as the group's next revision.
func (e *groupEnv) save(g *maskstore.Group, masks []maskstore.MaskFile) *maskstore.Manifest {
	e.Helper()
	up := e.begin(g, hashed(masks), &maskstore.BeginOptions{Supersede: true})
	done, err := g.Complete(e.Context(), up.UploadID, e.putAll(up, masks), nil)
	e.must(err)
	return done.Manifest
}

// wantMasks fails unless the committed revision is exactly masks, byte for byte.
func (e *groupEnv) wantMasks(g *maskstore.Group, revision int, masks []maskstore.MaskFile) {
	e.Helper()
	m, err := g.Manifest(e.Context())
	e.must(err)
	if m.Revision != revision {
		e.Fatalf("revision %d is committed; want %d", m.Revision, revision)
	}
	i := 0
	for got, err := range g.Masks(e.Context()) {
		e.must(err)
		if i >= len(masks) || got.Slice != masks[i].Slice || got.Label != masks[i].Label ||
			!bytes.Equal(got.Data, read(masks[i].Body)) {
			e.Fatalf("mask %d of the revision, %s, is not the one saved", i, got.Key)
		}
		i++
	}
	if i != len(masks) {
		e.Fatalf("the revision has %d masks; want %d", i, len(masks))
	}
}

// wantProblems fails unless err is ErrIncomplete and the masks, in order, have these problems.
func (e *groupEnv) wantProblems(done *maskstore.Completion, err error, want ...maskstore.Problem) {
	e.Helper()
	e.wantErr(err, maskstore.ErrIncomplete)
	var got []maskstore.Problem
	for _, v := range done.Verdicts {
		got = append(got, v.Problem)
	}
	if !slices.Equal(got, want) {
		e.Fatalf("problems are %q; want %q", got, want)
	}
	if done.Manifest != nil {
		e.Fatal("a manifest came beside ErrIncomplete")
	}
}

// overwrite puts an object with the storage's credentials, as a stranger to the group's rules does.
func (e *groupEnv) overwrite(key string, data []byte) {
	e.Helper()
	_, err := e.storage.Put(e.Context(), key, bytes.NewReader(data), nil)
	e.must(err)
}

func (e *groupEnv) key(g *maskstore.Group, slice int) string {
	return maskstore.MaskKey{Annotation: e.annotation, Group: g.ID(), Slice: slice, Label: "liver"}.String()
}

func (e *groupEnv) metadataKey(g *maskstore.Group) string {
	key, err := maskstore.MetadataKey(e.annotation, g.ID())
	e.must(err)
	return key
}

// hooked is a storage that can be stopped before and after each call, to let something else happen in between or to lose
// an answer.
type hooked struct {
	maskstore.ObjectStorage
	before func(op, key string) error
	after  func(op, key string, err error) error

	mu    sync.Mutex
	calls []string // "Op", in order
}

func (h *hooked) Unwrap() maskstore.ObjectStorage { return h.ObjectStorage }

func (h *hooked) call(op, key string, do func() error) error {
	h.mu.Lock()
	h.calls = append(h.calls, op)
	h.mu.Unlock()
	if h.before != nil {
		if err := h.before(op, key); err != nil {
			return err
		}
	}
	err := do()
	if h.after != nil {
		return h.after(op, key, err)
	}
	return err
}

// count gives how often op was called.
func (h *hooked) count(op string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, call := range h.calls {
		if call == op {
			n++
		}
	}
	return n
}

func (h *hooked) Put(
	ctx context.Context, key string, body io.Reader, opts *maskstore.PutOptions,
) (info maskstore.ObjectInfo, err error) {
	err = h.call("Put", key, func() (err error) { info, err = h.ObjectStorage.Put(ctx, key, body, opts); return err })
	return info, err
}

func (h *hooked) Get(ctx context.Context, key string, opts *maskstore.GetOptions) (obj *maskstore.Object, err error) {
	err = h.call("Get", key, func() (err error) { obj, err = h.ObjectStorage.Get(ctx, key, opts); return err })
	return obj, err
}

func (h *hooked) Stat(ctx context.Context, key string) (info maskstore.ObjectInfo, err error) {
	err = h.call("Stat", key, func() (err error) { info, err = h.ObjectStorage.Stat(ctx, key); return err })
	return info, err
}

func (h *hooked) Delete(ctx context.Context, keys ...string) error {
	return h.call("Delete", strings.Join(keys, " "), func() error { return h.ObjectStorage.Delete(ctx, keys...) })
}

func (h *hooked) List(
	ctx context.Context, prefix string, opts *maskstore.ListOptions,
) iter.Seq2[maskstore.ObjectInfo, error] {
	return func(yield func(maskstore.ObjectInfo, error) bool) {
		var all []maskstore.ObjectInfo
		err := h.call("List", prefix, func() error {
			for info, err := range h.ObjectStorage.List(ctx, prefix, opts) {
				if err != nil {
					return err
				}
				all = append(all, info)
			}
			return nil
		})
		for _, info := range all {
			if !yield(info, nil) {
				return
			}
		}
		if err != nil {
			yield(maskstore.ObjectInfo{}, err)
		}
	}
}

// once gives a hook that runs do before the first call of op on a key with that ending, and lets every call through.
func once(op, suffix string, do func()) func(string, string) error {
	var first sync.Once
	return func(gotOp, key string) error {
		if gotOp == op && strings.HasSuffix(key, suffix) {
			first.Do(do)
		}
		return nil
	}
}

var errLost = fmt.Errorf("the connection was reset: %w", maskstore.ErrUnavailable)

// loseAnswer gives a hook that loses the answer to the first call of op on a key with that ending.
func loseAnswer(op, suffix string) func(string, string, error) error {
	var first sync.Once
	return func(gotOp, key string, err error) error {
		if gotOp == op && strings.HasSuffix(key, suffix) {
			first.Do(func() { err = errLost })
		}
		return err
	}
}
