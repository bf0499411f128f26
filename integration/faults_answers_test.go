package integration

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/maskstoretest"
)

// mutation is a call that changes what is stored. It comes out right whatever becomes of its answers.
type mutation struct {
	name  string
	op    string                        // the request whose answer is broken
	setUp func(e *faultEnv, key string) // nil: nothing lies at the key
	do    func(ctx context.Context, s *maskstore.MinIO, key string) error
	want  error
	done  func(e *faultEnv, key string) bool // whether what is stored is what was to be
}

// prepare gives a new key, at which lies what the call needs.
func (m *mutation) prepare(e *faultEnv) (key string) {
	key = e.key()
	if m.setUp != nil {
		m.setUp(e, key)
	}
	return key
}

var (
	newContent, oldContent = content(2 << 10), content(1 << 10)
	partsContent           = content(5<<20 + 1)
)

func setUpOld(e *faultEnv, key string) {
	if _, err := e.sound.Put(e.Context(), key, bytes.NewReader(oldContent), nil); err != nil {
		e.Error(err)
	}
}

func lies(want []byte) func(*faultEnv, string) bool {
	return func(e *faultEnv, key string) bool { return bytes.Equal(e.lies(key), want) }
}

func put(opts maskstore.PutOptions) func(context.Context, *maskstore.MinIO, string) error {
	return func(ctx context.Context, s *maskstore.MinIO, key string) error {
		_, err := s.Put(ctx, key, bytes.NewReader(newContent), &opts)
		return err
	}
}

func putParts(opts maskstore.PutOptions) func(context.Context, *maskstore.MinIO, string) error {
	return func(ctx context.Context, s *maskstore.MinIO, key string) error {
		return putInParts(ctx, s, key, partsContent, &opts)
	}
}

// oldETag gives what an object of that content has.
func (e *faultEnv) oldETag() string {
	info, err := e.sound.Put(e.Context(), e.key(), bytes.NewReader(oldContent), nil)
	if err != nil {
		e.Fatal(err)
	}
	return info.ETag
}

func mutations(e *faultEnv) []mutation {
	old := e.oldETag()
	all := []mutation{
		{"put", "PutObject", setUpOld, put(maskstore.PutOptions{}), nil, lies(newContent)},
		{"put over nothing", "PutObject", nil, put(maskstore.PutOptions{NoOverwrite: true}), nil, lies(newContent)},
		{"put over nothing, but there is", "PutObject", setUpOld, put(maskstore.PutOptions{NoOverwrite: true}), maskstore.ErrPreconditionFailed, lies(oldContent)},
		{"put over its ETag", "PutObject", setUpOld, put(maskstore.PutOptions{IfMatch: old}), nil, lies(newContent)},
		{"put over another ETag", "PutObject", setUpOld, put(maskstore.PutOptions{IfMatch: "another"}), maskstore.ErrPreconditionFailed, lies(oldContent)},
		{"put over what is gone", "PutObject", nil, put(maskstore.PutOptions{IfMatch: old}), maskstore.ErrPreconditionFailed, lies(nil)},
		{"delete", "DeleteObject", setUpOld, func(ctx context.Context, s *maskstore.MinIO, key string) error { return s.Delete(ctx, key) }, nil, lies(nil)},
		{"delete of many", "DeleteObjects", setUpOld, func(ctx context.Context, s *maskstore.MinIO, key string) error { return s.Delete(ctx, key, key+"2") }, nil, lies(nil)},
		{"copy", "CopyObject", setUpOld, copyTo2(maskstore.CopyOptions{}), nil, func(e *faultEnv, key string) bool { return bytes.Equal(e.lies(key+"2"), oldContent) }},
		{"copy of its ETag", "CopyObject", setUpOld, copyTo2(maskstore.CopyOptions{IfMatch: old}), nil, func(e *faultEnv, key string) bool { return bytes.Equal(e.lies(key+"2"), oldContent) }},
		{"copy of another ETag", "CopyObject", setUpOld, copyTo2(maskstore.CopyOptions{IfMatch: "another"}), maskstore.ErrPreconditionFailed, func(e *faultEnv, key string) bool { return e.lies(key+"2") == nil }},
		{"abort", "AbortMultipartUpload", nil, func(ctx context.Context, s *maskstore.MinIO, key string) error {
			id, err := s.CreateMultipartUpload(ctx, key, nil)
			if err != nil {
				return err
			}
			if _, err = s.UploadPart(ctx, key, id, 1, maskstore.BytesBody(newContent)); err == nil {
				err = s.AbortMultipartUpload(ctx, key, id)
			}
			if ctx.Err() != nil { // then it is for the caller to abort
				err = cmp.Or(s.AbortMultipartUpload(context.WithoutCancel(ctx), key, id), err)
			}
			return err
		}, nil, lies(nil)},
		{"batch", "PutObject", nil, putBatch, nil, batchLies},
		{"batch, its proof", "ListObjectsV2", nil, putBatch, nil, batchLies},
	}
	for _, op := range []string{"CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"} {
		all = append(all,
			mutation{"parts", op, setUpOld, putParts(maskstore.PutOptions{}), nil, lies(partsContent)},
			mutation{"parts over nothing", op, nil, putParts(maskstore.PutOptions{NoOverwrite: true}), nil, lies(partsContent)},
			mutation{
				"parts over nothing, but there is", op, setUpOld, putParts(maskstore.PutOptions{NoOverwrite: true}),
				maskstore.ErrPreconditionFailed, lies(oldContent),
			},
			mutation{"parts over its ETag", op, setUpOld, putParts(maskstore.PutOptions{IfMatch: old}), nil, lies(partsContent)},
			mutation{
				"parts over another ETag", op, setUpOld, putParts(maskstore.PutOptions{IfMatch: "another"}),
				maskstore.ErrPreconditionFailed, lies(oldContent),
			},
		)
	}
	return all
}

func copyTo2(opts maskstore.CopyOptions) func(context.Context, *maskstore.MinIO, string) error {
	return func(ctx context.Context, s *maskstore.MinIO, key string) error {
		_, err := s.Copy(ctx, key, key+"2", &opts)
		return err
	}
}

// putBatch puts 70 objects under the key.
func putBatch(ctx context.Context, s *maskstore.MinIO, key string) error {
	items := make([]maskstore.UploadItem, 70)
	for i := range items {
		items[i] = maskstore.UploadItem{Key: fmt.Sprintf("%s/%d", key, i), Body: maskstore.BytesBody(newContent)}
	}
	infos, err := s.PutBatch(ctx, items, nil)
	if slices.ContainsFunc(infos, func(info maskstore.ObjectInfo) bool { return info.Key == "" }) {
		return errors.Join(err, errors.New("not all were stored"))
	}
	return err
}

func batchLies(e *faultEnv, key string) bool {
	n := 0
	for info, err := range e.sound.List(e.Context(), key+"/", nil) {
		if err != nil || info.Size != int64(len(newContent)) {
			return false
		}
		n++
	}
	return n == 70
}

// times gives a fault to the first n requests of an operation.
func times(n int, op string, fault maskstoretest.Fault) func(maskstoretest.Call) maskstoretest.Fault {
	return func(c maskstoretest.Call) maskstoretest.Fault {
		if c.Op != op || n == 0 {
			return maskstoretest.Fault{}
		}
		n--
		return fault
	}
}

// The answer to what was done is lost, once or twice, by the network or by a proxy that tells another.
func TestFaultsLostAnswer(t *testing.T) {
	e := newFaultEnv(t)
	type loss struct {
		mutation
		fault maskstoretest.Fault
		n     int
	}
	var all []loss
	for _, m := range mutations(e) {
		faults := []maskstoretest.Fault{
			{Done: true},
			// Without a code of S3's: SlowDown and its like say that nothing was done.
			{Done: true, Answer: &maskstoretest.Answer{Status: http.StatusServiceUnavailable}},
			{Done: true, Answer: &maskstoretest.Answer{Status: http.StatusInternalServerError, Body: "<html>"}},
			{Done: true, Answer: &maskstoretest.Answer{Status: http.StatusGatewayTimeout}},
		}
		if !wholeTable {
			all = append(all, loss{m, faults[0], 1}, loss{m, faults[1], 1})
			continue
		}
		for _, fault := range faults {
			all = append(all, loss{m, fault, 1}, loss{m, fault, 2})
		}
	}
	row := newTally(t)
	each(all, 16, func(l loss) {
		row.count("calls")
		key := l.prepare(e)
		s, f := e.faulty(times(l.n, l.op, l.fault))
		err := l.do(t.Context(), s, key)
		row.hit(len(f.Fired()), "%s, the answer to %s lost", l.name, l.op)
		if !errors.Is(err, l.want) || !l.done(e, key) {
			row.count("wrong outcomes")
			t.Errorf("%s, the answer to %s lost %d times as %+v: %v; want %v", l.name, l.op, l.n, l.fault.Answer, err, l.want)
		}
		open, parts := e.uploads(key)
		row.add("parts left", parts)
		row.add("empty uploads left", open)
	})
	row.print("the answer lost after the commit", []string{"calls"}, "wrong outcomes", "parts left", "empty uploads left")
}

// A success that says nothing, or says that it is none, with and without the call having been made.
func TestFaultsEmptySuccess(t *testing.T) {
	e := newFaultEnv(t)
	bodies := map[string]maskstoretest.Fault{
		"error":     {Answer: &maskstoretest.Answer{Status: 200, Body: "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"}},
		"empty":     {Answer: &maskstoretest.Answer{Status: 200}},
		"blank":     {Answer: &maskstoretest.Answer{Status: 200, Body: "   \n"}},
		"HTML":      {Answer: &maskstoretest.Answer{Status: 200, Body: "<html><body>Please log in.</body></html>"}},
		"cut":       {Answer: &maskstoretest.Answer{Status: 200, Body: `<?xml version="1.0"?><CompleteMultipartUploadResult><ETag>"1`}},
		"broke off": {Answer: &maskstoretest.Answer{Status: 200, Body: `<?xml version="1.0"?><CopyObjectResult><ETag>"1`}, Response: maskstoretest.Damage{ResetAt: 30}},
	}
	type point struct {
		mutation
		body  string
		fault maskstoretest.Fault
		n     int
	}
	var all []point
	many := []int{1}
	if wholeTable {
		many = append(many, 2, 100)
	}
	for _, m := range mutations(e) {
		if !slices.Contains([]string{
			"CompleteMultipartUpload", "CopyObject", "DeleteObject", "DeleteObjects", "PutObject",
		}, m.op) {
			continue
		}
		if !wholeTable && strings.Contains(m.name, " over ") { // with a condition
			continue
		}
		for body, fault := range bodies {
			for _, n := range many {
				all = append(all, point{m, body, fault, n})
				fault.Done = true
				all = append(all, point{m, body, fault, n})
			}
		}
	}
	row := newTally(t)
	each(all, 32, func(p point) {
		row.count("answers")
		key := p.prepare(e)
		s, f := e.faulty(times(p.n, p.op, p.fault))
		err := p.do(t.Context(), s, key)
		row.hit(len(f.Fired()), "%s: %s in answer to %s", p.name, p.body, p.op)
		switch {
		case err == nil && (p.want != nil || !p.done(e, key)):
			row.count("false successes")
			t.Errorf("%s: %s in answer to %s, done %v", p.name, p.body, p.op, p.fault.Done)
		case err == nil:
			row.count("true successes")
		default:
			row.count("told as an error")
			if _, ok := errors.AsType[*maskstore.Error](err); !ok {
				t.Errorf("%s: %s in answer to %s: error is %T %v", p.name, p.body, p.op, err, err)
			}
		}
		_, parts := e.uploads(key)
		row.add("parts left", parts)
	})
	row.print("200 with an error, nothing, blanks, HTML, half a body",
		[]string{"answers", "true successes", "told as an error"}, "false successes", "parts left")
}
