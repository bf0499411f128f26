package integration

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/maskstoretest"
)

// groupJob is a call that changes a group. Run again after it failed, it comes out right.
type groupJob struct {
	name  string
	setUp func(g *groupState)
	do    func(ctx context.Context, s maskstore.ObjectStorage, g *groupState) error
	done  func(g *groupState) bool
}

// groupState is a group on sound storage.
type groupState struct {
	*testing.T
	sound      maskstore.ObjectStorage
	annotation string
	id         string
	files      []maskstore.MaskFile
	changed    []maskstore.MaskFile // of the same names
	upload     *maskstore.GroupUpload
	etags      map[string]string
	later      time.Duration // than now, of the last sweep
}

func newGroupState(t *testing.T, sound maskstore.ObjectStorage) *groupState {
	t.Helper()
	g := &groupState{T: t, sound: sound, annotation: "a-" + strings.ToLower(rand.Text()), id: "g", etags: map[string]string{}}
	for slice := range 23 {
		var data bytes.Buffer
		picture := &image.Gray{Pix: bytes.Repeat([]byte{byte(slice)}, 64), Stride: 8, Rect: image.Rect(0, 0, 8, 8)}
		png.Encode(&data, picture) // to memory: it cannot fail
		g.files = append(g.files, maskstore.MaskFile{Slice: slice % 20, Label: "x", Body: maskstore.BytesBody(data.Bytes())})
	}
	g.files, g.changed = g.files[:20], g.files[20:]
	return g
}

func (g *groupState) must(err error) {
	g.Helper()
	if err != nil {
		g.Error(err)
	}
}

func (g *groupState) group(s maskstore.ObjectStorage, id string) *maskstore.Group {
	group, err := maskstore.NewGroup(s, g.annotation, id, nil)
	g.must(err)
	return group
}

func (g *groupState) key(f maskstore.MaskFile) string {
	return maskstore.MaskKey{Annotation: g.annotation, Group: g.id, Slice: f.Slice, Label: f.Label}.String()
}

// begin opens an upload, and puts the first n of its masks.
func (g *groupState) begin(n int) {
	var specs []maskstore.MaskSpec
	for _, f := range g.files[:3] {
		specs = append(specs, f.Spec())
	}
	var err error
	g.upload, err = g.group(g.sound, g.id).Begin(g.Context(), specs, nil)
	g.must(err)
	g.put(n)
}

func (g *groupState) put(n int) {
	for _, f := range g.files[:n] {
		r, err := f.Body.Open()
		g.must(err)
		info, err := g.sound.Put(g.Context(), g.key(f), r, nil)
		g.must(errors.Join(err, r.Close()))
		g.etags[g.key(f)] = info.ETag
	}
}

func (g *groupState) save() {
	_, err := g.group(g.sound, g.id).Upload(g.Context(), g.files[:3], nil)
	g.must(err)
}

// holds tells whether the committed revision is these files.
func (g *groupState) holds(files []maskstore.MaskFile) bool {
	want := make(map[string]maskstore.Body, len(files))
	for _, f := range files {
		want[g.key(f)] = f.Body
	}
	for m, err := range g.group(g.sound, g.id).Masks(context.WithoutCancel(g.Context())) {
		if err != nil || !bytes.Equal(m.Data, read(g.T, want[m.Key])) {
			return false
		}
		delete(want, m.Key)
	}
	return len(want) == 0
}

// state gives the error that a reader of the group gets.
func (g *groupState) state() error {
	_, err := g.group(g.sound, g.id).Manifest(context.WithoutCancel(g.Context()))
	return err
}

// errMisreported is of a call that succeeded, and left the group alone, or reported other masks than lie there.
var errMisreported = errors.New("it did nothing, or reported what is not so")

// sweeping gives what sweeps the group three days after the last time, when what a sweep that failed wrote is at rest too.
func sweeping(done func(*groupState) bool) func(context.Context, maskstore.ObjectStorage, *groupState) error {
	return func(ctx context.Context, s maskstore.ObjectStorage, g *groupState) error {
		g.later += 72 * time.Hour
		now := func() time.Time { return time.Now().Add(g.later) }
		report, err := maskstore.Sweep(ctx, s, &maskstore.SweepOptions{Annotation: g.annotation, Now: now})
		if len(report.Spoiled) > 0 {
			g.Errorf("Sweep calls %q lost, which is there", report.Spoiled)
		}
		if err == nil && len(report.Tombstoned)+len(report.Removed)+len(report.Dropped) == 0 && !done(g) {
			err = errMisreported
		}
		return err
	}
}

// buried tells whether nothing is left but the tombstone.
func (g *groupState) buried() bool {
	return errors.Is(g.state(), maskstore.ErrDeleted) && g.objects() == 1
}

// gone tells whether nothing is left.
func (g *groupState) gone() bool {
	return errors.Is(g.state(), maskstore.ErrNotFound) && g.objects() == 0
}

// swept tells whether nothing is left but perhaps a tombstone.
func (g *groupState) swept() bool { return g.buried() || g.gone() }

// dropped tells whether the revision is there, and no upload is open.
func (g *groupState) dropped() bool {
	for info, err := range maskstore.Groups(context.WithoutCancel(g.Context()), g.sound, g.annotation, nil) {
		return err == nil && info.Open == nil && g.holds(g.files[:3])
	}
	return false
}

var groupJobs = []groupJob{
	{"Begin", nil, func(ctx context.Context, s maskstore.ObjectStorage, g *groupState) error {
		_, err := g.group(s, g.id).Begin(ctx, []maskstore.MaskSpec{g.files[0].Spec()}, &maskstore.BeginOptions{Supersede: true})
		return err
	}, func(g *groupState) bool {
		for info, err := range maskstore.Groups(context.WithoutCancel(g.Context()), g.sound, g.annotation, nil) {
			return err == nil && info.Open != nil && info.Open.Masks == 1
		}
		return false
	}},
	{"Renew", func(g *groupState) { g.begin(1) }, func(ctx context.Context, s maskstore.ObjectStorage, g *groupState) error {
		up, err := g.group(s, g.id).Renew(ctx, g.upload.UploadID, g.etags, nil)
		if err == nil && !(up.Masks[0].Unchanged && !up.Masks[1].Unchanged) {
			err = errMisreported
		}
		return err
	}, func(g *groupState) bool { return errors.Is(g.state(), maskstore.ErrIncomplete) }},
	{"Complete", func(g *groupState) { g.begin(3) }, func(ctx context.Context, s maskstore.ObjectStorage, g *groupState) error {
		_, err := g.group(s, g.id).Complete(ctx, g.upload.UploadID, g.etags, &maskstore.CompleteOptions{VerifyContent: true})
		return err
	}, func(g *groupState) bool { return g.holds(g.files[:3]) }},
	{"Upload of a new group", nil, func(ctx context.Context, s maskstore.ObjectStorage, g *groupState) error {
		group := g.group(s, "") // which on MinIO goes by tar files
		g.id = group.ID()
		_, err := group.Upload(ctx, g.files, nil)
		return err
	}, func(g *groupState) bool { return g.holds(g.files) }},
	{"Upload over a group", func(g *groupState) { g.save() }, func(ctx context.Context, s maskstore.ObjectStorage, g *groupState) error {
		_, err := g.group(s, g.id).Upload(ctx, g.changed,
			&maskstore.GroupUploadOptions{BeginOptions: maskstore.BeginOptions{Supersede: true}})
		return err
	}, func(g *groupState) bool { return g.holds(g.changed) }},
	{"Adopt", func(g *groupState) { g.put(3) }, func(ctx context.Context, s maskstore.ObjectStorage, g *groupState) error {
		_, err := g.group(s, g.id).Adopt(ctx, nil)
		return err
	}, func(g *groupState) bool { return g.holds(g.files[:3]) }},
	{"Delete", func(g *groupState) { g.save() }, func(ctx context.Context, s maskstore.ObjectStorage, g *groupState) error {
		return g.group(s, g.id).Delete(ctx)
	}, (*groupState).buried},
	{"Sweep of what was never committed", func(g *groupState) { g.begin(2) },
		sweeping((*groupState).swept), (*groupState).swept},
	{"Sweep of an abandoned re-save", func(g *groupState) { g.save(); g.begin(0) },
		sweeping((*groupState).dropped), (*groupState).dropped},
	{"Sweep of a tombstone", func(g *groupState) { g.save(); g.must(g.group(g.sound, g.id).Delete(g.Context())); g.put(1) },
		sweeping((*groupState).gone), (*groupState).gone},
}

// objects counts what lies in the group.
func (g *groupState) objects() (n int) {
	for _, err := range g.sound.List(context.WithoutCancel(g.Context()), "mask/"+g.annotation+"/", nil) {
		g.must(err)
		n++
	}
	return n
}

// prepare gives a new group, in the state that the job needs.
func (job *groupJob) prepare(t *testing.T, sound maskstore.ObjectStorage) *groupState {
	t.Helper()
	g := newGroupState(t, sound)
	if job.setUp != nil {
		job.setUp(g)
	}
	return g
}

// count tells how many requests, or calls, a sound run of the job makes.
func (job *groupJob) count(
	t *testing.T, sound maskstore.ObjectStorage, broken func(*maskstoretest.Faulty) maskstore.ObjectStorage,
) int {
	t.Helper()
	g, f := job.prepare(t, sound), &maskstoretest.Faulty{}
	if err := job.do(t.Context(), broken(f), g); err != nil || !job.done(g) {
		t.Errorf("%s without a fault: %v", job.name, err)
	}
	return len(f.Calls())
}

// at gives a fault to the nth call alone.
func at(n int, fault maskstoretest.Fault) *maskstoretest.Faulty {
	return &maskstoretest.Faulty{Plan: func(c maskstoretest.Call) maskstoretest.Fault {
		if c.N != n {
			return maskstoretest.Fault{}
		}
		return fault
	}}
}

// The answer to each single request, and of each call of a storage, is lost while a group is written.
func TestFaultsGroupLostAnswer(t *testing.T) {
	e := newFaultEnv(t)
	overMinIO := func(f *maskstoretest.Faulty) maskstore.ObjectStorage {
		return e.over(f.RoundTripper(e.opts.HTTPClient.Transport))
	}
	memory := &maskstore.Memory{BaseURL: "http://127.0.0.1:1"} // which signs, but nobody serves it
	overMemory := func(f *maskstoretest.Faulty) maskstore.ObjectStorage { return f.Storage(memory) }
	requests, calls := newTally(t), newTally(t)
	for _, job := range groupJobs {
		each(points(4, 1<<20, job.count(t, e.sound, overMinIO)), 16, func(n int64) {
			requests.count("requests")
			g := job.prepare(t, e.sound)
			f := at(int(n), maskstoretest.Fault{Done: true})
			err := job.do(t.Context(), overMinIO(f), g)
			requests.hit(len(f.Fired()), "%s, request %d", job.name, n)
			if err != nil || !job.done(g) {
				requests.count("wrong outcomes")
				t.Errorf("%s, the answer to request %d lost: %v", job.name, n, err)
			}
		})
		each(points(1<<20, 1<<20, job.count(t, memory, overMemory)), 1, func(n int64) {
			for _, fault := range []maskstoretest.Fault{{Done: true}, {Err: errors.New("boom")}} {
				calls.count("calls")
				g := job.prepare(t, memory)
				f := at(int(n), fault)
				err := job.do(t.Context(), overMemory(f), g)
				calls.hit(len(f.Fired()), "%s, call %d", job.name, n)
				if err == nil {
					calls.count("got over it")
				} else {
					calls.count("told as an error, and done by another run")
					if _, ok := errors.AsType[*maskstore.Error](err); !ok {
						t.Errorf("%s: %T %v", job.name, err, err)
					}
					err = job.do(t.Context(), memory, g)
				}
				if err != nil || !job.done(g) {
					calls.count("wrong outcomes")
					t.Errorf("%s, call %d failing, done %v: %v", job.name, n, fault.Done, err)
				}
			}
		})
	}
	requests.print("groups, the answer to each request lost", []string{"requests"}, "wrong outcomes")
	calls.print("groups, each call of the storage failing, done or not",
		[]string{"calls", "got over it", "told as an error, and done by another run"}, "wrong outcomes")
}

// canceller ends a context as the answer to the nth request has come.
type canceller struct {
	next   http.RoundTripper
	left   atomic.Int64 // until the last of them
	cancel context.CancelFunc
}

func (c *canceller) RoundTrip(r *http.Request) (*http.Response, error) {
	last := c.left.Add(-1) == 0
	resp, err := c.next.RoundTrip(r)
	if last {
		c.cancel()
	}
	return resp, err
}

// cancelAt gives a storage with which the context ends at the nth request: before it is sent, or after it was answered. From
// then on the server stalls but for what aborts an upload, so that a call which goes on is late. In the end it is refused.
func (e *faultEnv) cancelAt(n int, before bool) (s *maskstore.MinIO, ctx context.Context) {
	ctx, cancel := context.WithCancel(e.Context())
	e.Cleanup(cancel)
	f := &maskstoretest.Faulty{Plan: func(c maskstoretest.Call) (fault maskstoretest.Fault) {
		if before && c.N == n {
			fault.Hook = cancel
		}
		if (fault.Hook != nil || ctx.Err() != nil) && c.Op != "AbortMultipartUpload" {
			fault.Delay, fault.Answer = 2*patience, &maskstoretest.Answer{Status: http.StatusForbidden}
		}
		return fault
	}}
	transport := f.RoundTripper(e.opts.HTTPClient.Transport)
	if !before {
		c := &canceller{next: transport, cancel: cancel}
		c.left.Store(int64(n))
		transport = c
	}
	return e.over(transport), ctx
}

// ended tells how often the context was ended.
func ended(ctx context.Context) int {
	if ctx.Err() == nil {
		return 0
	}
	return 1
}

// patience is how long a call may take to come back after its context has ended: more than it needs on a machine that is
// busy, less than one takes that waits for a server that stalls.
const patience = 30 * time.Second

// The context ends at each single request, while a group is written. Another run does what is left.
func TestFaultsGroupCancelled(t *testing.T) {
	e := newFaultEnv(t)
	over := func(f *maskstoretest.Faulty) maskstore.ObjectStorage {
		return e.over(f.RoundTripper(e.opts.HTTPClient.Transport))
	}
	row := newTally(t)
	for _, job := range groupJobs {
		each(points(4, 1<<20, job.count(t, e.sound, over)), 16, func(n int64) {
			for _, before := range []bool{true, false} {
				row.count("points")
				g := job.prepare(t, e.sound)
				s, ctx := e.cancelAt(int(n), before)
				begun := time.Now()
				err := job.do(ctx, s, g)
				row.hit(ended(ctx), "%s, request %d, before it %v", job.name, n, before)
				if took := time.Since(begun); took > patience {
					row.count("late")
					t.Errorf("%s, cancelled at request %d: came back after %v", job.name, n, took)
				}
				switch {
				case errors.Is(err, context.Canceled):
					row.count("told as cancelled, and done by another run")
					err = job.do(t.Context(), e.sound, g)
				case err == nil:
					row.count("done by then")
				}
				if err != nil || !job.done(g) {
					row.count("wrong outcomes")
					t.Errorf("%s, cancelled at request %d, before it %v: %v", job.name, n, before, err)
				}
			}
		})
	}
	row.print(fmt.Sprintf("groups, cancelled at every request, back within %v", patience),
		[]string{"points", "told as cancelled, and done by another run", "done by then"}, "wrong outcomes", "late")
}
