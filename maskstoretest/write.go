package maskstoretest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing/iotest"

	"github.com/pacs-extension/maskstore"
)

// large is over one part of a multipart upload, into which a storage may cut what it puts.
const large = maskstore.MinPartSize + 1<<20

var writeTests = map[string]func(*env){
	"SizeAndSHA256AsDeclared": func(e *env) {
		for _, content := range []string{"content", pattern(100_000), pattern(large)} {
			sum := maskstore.SumSHA256([]byte(content))
			for _, opts := range []maskstore.PutOptions{
				{SHA256: sum}, {Size: int64(len(content))}, {Size: int64(len(content)), SHA256: sum},
			} {
				e.put(e.key("x"), content, &opts)
				e.wantContent(e.key("x"), content)
			}
		}
		e.put(e.key("empty"), "", &maskstore.PutOptions{SHA256: maskstore.SumSHA256(nil)})
		e.wantContent(e.key("empty"), "")
	},
	"OtherSizeOrSHA256ThanDeclared": func(e *env) {
		key := e.key("x")
		e.put(key, "old", nil)
		for _, content := range []string{"", "content", pattern(100_000), pattern(large)} {
			n := int64(len(content))
			other := maskstore.SumSHA256([]byte("another"))
			for _, opts := range []maskstore.PutOptions{
				{SHA256: other}, {Size: n + 1}, {Size: max(n-1, 1)}, {Size: max(n, 1), SHA256: other},
			} {
				_, err := e.storage.Put(e.Context(), key, strings.NewReader(content), &opts)
				e.wantErr(err, maskstore.ErrChecksum)
				_, err = e.storage.Put(e.Context(), e.key("none"), io.LimitReader(strings.NewReader(content), n), &opts)
				e.wantErr(err, maskstore.ErrChecksum)
			}
		}
		e.wantContent(key, "old")
		e.wantAbsent(e.key("none"))
	},
	"FailingReaderLeavesTheOldObject": func(e *env) {
		broken := errors.New("the disk broke")
		key := e.key("x")
		e.put(key, "old", nil)
		for _, n := range []int{0, 1, 100_000, large} {
			for name, body := range map[string]io.Reader{
				"error":          io.MultiReader(strings.NewReader(pattern(n)), iotest.ErrReader(broken)),
				"data and error": &lastRead{pattern(n), broken},
				"cut short":      io.MultiReader(strings.NewReader(pattern(n)), iotest.ErrReader(io.ErrUnexpectedEOF)),
			} {
				want := broken
				if name == "cut short" {
					want = io.ErrUnexpectedEOF
				}
				_, err := e.storage.Put(e.Context(), key, body, nil)
				e.wantErr(err, want)
				e.wantContent(key, "old")
			}
			_, err := e.storage.Put(e.Context(), e.key("none"), &lastRead{pattern(n), broken},
				&maskstore.PutOptions{Size: int64(n) + 5})
			e.wantErr(err, broken)
			e.wantAbsent(e.key("none"))
		}
	},
	"OddReadersAreRead": func(e *env) {
		content := pattern(10_000)
		for name, body := range map[string]io.Reader{
			"data and EOF": iotest.DataErrReader(strings.NewReader(content)),
			"byte by byte": iotest.OneByteReader(strings.NewReader(content)),
			"halves":       iotest.HalfReader(strings.NewReader(content)),
			"empty reads":  &emptyReads{r: strings.NewReader(content)},
		} {
			_, err := e.storage.Put(e.Context(), e.key(name), body, nil)
			e.must(err)
			e.wantContent(e.key(name), content)
		}
	},
	"BodyBeginsWhereItStands": func(e *env) {
		body := strings.NewReader("a head and the content")
		body.Seek(11, io.SeekStart)
		_, err := e.storage.Put(e.Context(), e.key("x"), body, &maskstore.PutOptions{Size: 11})
		e.must(err)
		e.wantContent(e.key("x"), "the content")
	},
	"UnknownLength": func(e *env) {
		for _, n := range []int{0, 1, large, 3*maskstore.MinPartSize + 1} {
			_, err := e.storage.Put(e.Context(), e.key("x"), io.LimitReader(strings.NewReader(pattern(n)), int64(n)), nil)
			e.must(err)
			e.wantContent(e.key("x"), pattern(n))
		}
	},
	"NoOverwrite": func(e *env) {
		for _, n := range []int{7, large} {
			key := e.key(fmt.Sprint(n))
			e.put(key, pattern(n), &maskstore.PutOptions{NoOverwrite: true})
			_, err := e.storage.Put(e.Context(), key, strings.NewReader(pattern(n+1)), &maskstore.PutOptions{NoOverwrite: true})
			e.wantErr(err, maskstore.ErrPreconditionFailed)
			e.wantContent(key, pattern(n))
			e.must(e.storage.Delete(e.Context(), key))
			e.put(key, "again", &maskstore.PutOptions{NoOverwrite: true})
			e.wantContent(key, "again")
		}
	},
	"IfMatch": func(e *env) {
		for _, n := range []int{7, large} {
			key := e.key(fmt.Sprint(n))
			first := e.put(key, "first", nil)
			second := e.put(key, pattern(n), &maskstore.PutOptions{IfMatch: first.ETag})
			e.wantContent(key, pattern(n))
			_, err := e.storage.Put(e.Context(), key, strings.NewReader(pattern(n+1)), &maskstore.PutOptions{IfMatch: first.ETag})
			e.wantErr(err, maskstore.ErrPreconditionFailed)
			e.wantContent(key, pattern(n))
			e.put(key, "third", &maskstore.PutOptions{IfMatch: second.ETag})
			e.wantContent(key, "third")
		}
	},
	"IfMatchOnAMissingKey": func(e *env) {
		etag := e.put(e.key("other"), "content", nil).ETag
		_, err := e.storage.Put(e.Context(), e.key("x"), strings.NewReader("content"), &maskstore.PutOptions{IfMatch: etag})
		e.wantErr(err, maskstore.ErrPreconditionFailed)
		e.wantAbsent(e.key("x"))
	},
	"OneOfManyCreates": func(e *env) {
		e.race("x", maskstore.PutOptions{NoOverwrite: true})
	},
	"OneOfManyReplaces": func(e *env) {
		e.race("x", maskstore.PutOptions{IfMatch: e.put(e.key("x"), "old", nil).ETag})
	},
	"EndedContextIsRefused": func(e *env) {
		key := e.key("x")
		e.put(key, "old", nil)
		ctx, cancel := context.WithCancel(e.Context())
		cancel()
		for op, call := range map[string]func() error{
			"Put":    func() error { _, err := e.storage.Put(ctx, key, strings.NewReader("new"), nil); return err },
			"Get":    func() error { _, err := e.storage.Get(ctx, key, nil); return err },
			"Stat":   func() error { _, err := e.storage.Stat(ctx, key); return err },
			"Delete": func() error { return e.storage.Delete(ctx, key) },
			"List": func() error {
				for _, err := range e.storage.List(ctx, e.prefix, nil) {
					return err
				}
				return nil
			},
		} {
			err := call()
			e.wantErr(err, context.Canceled)
			var typed *maskstore.Error
			if errors.As(err, &typed); typed.Op != op || typed.Kind != nil {
				e.Errorf("%s: error of %s has kind %v", op, typed.Op, typed.Kind)
			}
		}
		e.wantContent(key, "old")
	},
	"ContextEndsInTheMiddleOfABody": func(e *env) {
		key := e.key("x")
		e.put(key, "old", nil)
		for _, n := range []int{1, 100_000, large, 3 * maskstore.MinPartSize} {
			ctx, cancel := context.WithCancel(e.Context())
			body := io.MultiReader(strings.NewReader(pattern(n)), &calling{cancel}, strings.NewReader(pattern(n)))
			_, err := e.storage.Put(ctx, key, body, nil)
			e.wantErr(err, context.Canceled)
			e.wantContent(key, "old")
		}
	},
	"ContextEndsWithABody": func(e *env) {
		key := e.key("x")
		e.put(key, "old", nil)
		for _, n := range []int{1, 100_000, large} {
			ctx, cancel := context.WithCancel(e.Context())
			_, err := e.storage.Put(ctx, key, io.MultiReader(strings.NewReader(pattern(n)), &calling{cancel}), nil)
			e.wantErr(err, context.Canceled)
			e.wantContent(key, "old")
		}
	},
	"ContextEndsOnTheWay": func(e *env) {
		for _, n := range []int{1000, large} {
			e.cancelled(func() { e.put(e.key("x"), "old", nil) }, func(ctx context.Context) error {
				_, err := e.storage.Put(ctx, e.key("x"), strings.NewReader(pattern(n)), nil)
				return err
			}, func(done bool) { e.wantEither("x", pattern(n), "old", done) })
		}
	},
}

// race lets 32 writers put at once under a condition, and fails unless one of them does, and what it wrote is there.
func (e *env) race(name string, opts maskstore.PutOptions) {
	e.Helper()
	key := e.key(name)
	var won atomic.Int32
	var winner atomic.Value
	var writers sync.WaitGroup
	start := make(chan struct{})
	for i := range 32 {
		writers.Go(func() {
			<-start
			content := fmt.Sprintf("writer %d", i)
			_, err := e.storage.Put(e.Context(), key, strings.NewReader(content), &opts)
			switch {
			case err == nil:
				won.Add(1)
				winner.Store(content)
			case !errors.Is(err, maskstore.ErrPreconditionFailed):
				e.Errorf("%s: %v; want ErrPreconditionFailed", content, err)
			}
		})
	}
	close(start)
	writers.Wait()
	if n := won.Load(); n != 1 {
		e.Fatalf("%d of 32 writers succeeded", n)
	}
	e.wantContent(key, winner.Load().(string))
}

// lastRead gives an error together with its last bytes.
type lastRead struct {
	rest string
	err  error
}

func (r *lastRead) Read(p []byte) (int, error) {
	n := copy(p, r.rest)
	if r.rest = r.rest[n:]; r.rest == "" {
		return n, r.err
	}
	return n, nil
}

// emptyReads gives nothing at every other read, which io.Reader allows.
type emptyReads struct {
	r    io.Reader
	even bool
}

func (r *emptyReads) Read(p []byte) (int, error) {
	if r.even = !r.even; r.even {
		return 0, nil
	}
	return r.r.Read(p)
}

// calling has no bytes and calls do when it is read.
type calling struct{ do func() }

func (c *calling) Read([]byte) (int, error) {
	c.do()
	return 0, io.EOF
}
