package integration

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/maskstoretest"
)

// The fault table. Each test breaks the library's requests in one way, at many points, and prints its figures. By default
// the points are few and spread; all are covered, in some minutes, by
//
//	MASKSTORE_TEST_LONG=1 go test -run TestFaults -v -timeout 60m . ./integration/...
var wholeTable = os.Getenv("MASKSTORE_TEST_LONG") != ""

// points gives the points from 1 to last: all of the table's many, or a few of them, the first and the last included.
func points(few, many, last int) []int64 {
	n := few
	if wholeTable {
		n = many
	}
	n = max(min(n, last), 2)
	all := make([]int64, n)
	for i := range all {
		all[i] = 1 + int64(i)*int64(last-1)/int64(n-1)
	}
	return all
}

// tally counts what became of the points of a row.
type tally struct {
	*testing.T
	mu     sync.Mutex
	counts map[string]int
}

func newTally(t *testing.T) *tally { return &tally{T: t, counts: map[string]int{}} }

func (c *tally) count(what string) { c.add(what, 1) }

func (c *tally) add(what string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[what] += n
}

// hit counts the faults that had an effect at a point. Without one the point proves nothing, and fails.
func (c *tally) hit(fired int, point string, args ...any) {
	c.Helper()
	c.add("faults that fired", fired)
	if fired == 0 {
		c.Errorf("no fault fired: "+point, args...)
	}
}

// print prints the row. What must not be is named, and fails it unless it is 0.
func (c *tally) print(row string, good []string, bad ...string) {
	c.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var figures []string
	for _, what := range append(good, "faults that fired") {
		figures = append(figures, fmt.Sprintf("%d %s", c.counts[what], what))
	}
	for _, what := range bad {
		figures = append(figures, fmt.Sprintf("%d %s", c.counts[what], what))
		if c.counts[what] != 0 {
			c.Errorf("%s: %d %s; want 0", row, c.counts[what], what)
		}
	}
	c.Logf("faults: %s: %s", row, strings.Join(figures, ", "))
}

// each calls f for every point, many at a time, since most of the time passes in pauses.
func each[T any](all []T, atATime int, f func(T)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, atATime)
	for _, point := range all {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(point)
		})
	}
	wg.Wait()
}

// faultEnv is a bucket of the plain server, reached soundly and by broken transports. At its end no goroutine is left.
type faultEnv struct {
	*testing.T
	opts  maskstore.S3Options
	sound *maskstore.MinIO
}

func newFaultEnv(t *testing.T) *faultEnv {
	t.Helper()
	plain.Client.CloseIdleConnections()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		plain.Client.CloseIdleConnections()
		for range 600 { // what was closed takes a moment to end
			if runtime.NumGoroutine() <= before {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		stacks := make([]byte, 1<<20)
		t.Errorf("%d goroutines are left, of %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
	})
	e := &faultEnv{T: t, opts: newBucket(t, plain)}
	e.opts.HTTPClient = &http.Client{Transport: e.transport()}
	var err error
	if e.sound, err = maskstore.NewMinIO(t.Context(), e.opts); err != nil {
		t.Fatal(err)
	}
	return e
}

// transport gives one of its own, which is closed at the end.
func (e *faultEnv) transport() *http.Transport {
	transport := plain.Client.Transport.(*http.Transport).Clone()
	e.Cleanup(transport.CloseIdleConnections)
	return transport
}

// over gives the storage by that transport.
func (e *faultEnv) over(transport http.RoundTripper) *maskstore.MinIO {
	e.Helper()
	opts := e.opts
	opts.HTTPClient = &http.Client{Transport: transport}
	s, err := maskstore.NewMinIO(e.Context(), opts)
	if err != nil {
		e.Fatal(err)
	}
	return s
}

// faulty gives the storage with faults in its requests, on that plan.
func (e *faultEnv) faulty(plan func(maskstoretest.Call) maskstoretest.Fault) (*maskstore.MinIO, *maskstoretest.Faulty) {
	e.Helper()
	f := &maskstoretest.Faulty{Plan: plan}
	return e.over(f.RoundTripper(e.opts.HTTPClient.Transport)), f
}

// key gives a key that is used nowhere else.
func (e *faultEnv) key() string { return "mask/a/g/0001_" + strings.ToLower(rand.Text()) + ".png" }

// content gives n random bytes.
func content(n int) []byte {
	data := make([]byte, n)
	rand.Read(data)
	return data
}

// lies gives what lies at the key; nil: nothing does.
func (e *faultEnv) lies(key string) []byte {
	obj, err := e.sound.Get(context.WithoutCancel(e.Context()), key, nil)
	if errors.Is(err, maskstore.ErrNotFound) {
		return nil
	}
	if err != nil {
		e.Error(err)
		return nil
	}
	defer obj.Body.Close()
	data, err := io.ReadAll(obj.Body)
	if err != nil {
		e.Error(err)
	}
	return data
}

// uploads counts the open uploads of the key, and the parts that are stored in them, and aborts them.
func (e *faultEnv) uploads(key string) (open, parts int) {
	ctx := context.WithoutCancel(e.Context())
	for upload, err := range e.sound.ListMultipartUploads(ctx, key) {
		if err != nil {
			e.Error(err)
			return open, parts
		}
		open++
		for _, err := range e.sound.ListParts(ctx, key, upload.UploadID) {
			if err != nil {
				e.Error(err)
				break
			}
			parts++
		}
		if err := e.sound.AbortMultipartUpload(ctx, key, upload.UploadID); err != nil {
			e.Error(err)
		}
	}
	return open, parts
}

// first gives a fault to the first request of an operation alone.
func first(op string, fault maskstoretest.Fault) func(maskstoretest.Call) maskstoretest.Fault {
	done := false
	return func(c maskstoretest.Call) maskstoretest.Fault {
		if done || c.Op != op {
			return maskstoretest.Fault{}
		}
		done = true
		return fault
	}
}

// always gives a fault to all requests of an operation.
func always(op string, fault maskstoretest.Fault) func(maskstoretest.Call) maskstoretest.Fault {
	return func(c maskstoretest.Call) maskstoretest.Fault {
		if c.Op != op {
			return maskstoretest.Fault{}
		}
		return fault
	}
}

// wantTyped fails unless err is one of those kinds, as an *Error that tells its method.
func wantTyped(t *testing.T, err error, kinds ...error) {
	t.Helper()
	e, ok := errors.AsType[*maskstore.Error](err)
	if !ok || e.Op == "" {
		t.Errorf("error is %T %v; want an *Error with its Op", err, err)
	}
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return
		}
	}
	t.Errorf("error is %v; want one of %q", err, kinds)
}
