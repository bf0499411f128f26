package maskstoretest

import (
	"context"
	"io"

	"github.com/pacs-extension/maskstore"
)

var getTests = map[string]func(*env){
	"Ranges": func(e *env) {
		key, content := e.key("x.png"), pattern(1000)
		put := e.put(key, content, nil)
		for _, row := range []struct{ offset, length, from, to int64 }{
			{0, 0, 0, 1000},
			{0, 1, 0, 1},
			{0, 1000, 0, 1000},
			{0, 5000, 0, 1000},
			{1, 0, 1, 1000},
			{10, 20, 10, 30},
			{999, 0, 999, 1000},
			{999, 1, 999, 1000},
			{900, 200, 900, 1000},
			{500, 1 << 62, 500, 1000},
			{1, 1<<63 - 1, 1, 1000},
		} {
			info, got, err := e.get(key, &maskstore.GetOptions{Offset: row.offset, Length: row.length})
			if err != nil || got != content[row.from:row.to] {
				e.Errorf("%+v: got %s, %v", row, brief(got), err)
			}
			if info.Size != 1000 || info.ETag != put.ETag || info.ContentType != "image/png" ||
				!info.SHA256.IsZero() && info.SHA256 != maskstore.SumSHA256([]byte(content)) {
				e.Errorf("%+v: the whole object is %+v", row, info)
			}
		}
	},
	"VerifiedRanges": func(e *env) {
		key := e.key("x.png")
		e.put(key, pattern(1000), nil)
		e.wantVerified(key, pattern(1000), [][2]int64{
			{0, 0}, {0, 1}, {0, 1000}, {0, 5000}, {1, 0}, {10, 20}, {999, 0}, {999, 1}, {900, 1 << 62}, {1, 1<<63 - 1},
		})
	},
	"RangePastTheEndIsRefused": func(e *env) {
		key := e.key("x")
		e.put(key, pattern(1000), nil)
		for _, opts := range []maskstore.GetOptions{
			{Offset: 1000}, {Offset: 1001}, {Offset: 1000, Length: 1}, {Offset: 1 << 62, Length: 1 << 62},
		} {
			for _, opts.Verify = range []bool{false, true} {
				_, err := e.storage.Get(e.Context(), key, &opts)
				e.wantErr(err, maskstore.ErrInvalidRange)
			}
		}
	},
	"RangeOfAnEmptyObject": func(e *env) {
		key := e.key("x")
		e.put(key, "", nil)
		if info, got, err := e.get(key, &maskstore.GetOptions{Length: 5}); got != "" || info.Size != 0 || err != nil {
			e.Errorf("got %q, %+v, %v", got, info, err)
		}
		e.wantVerified(key, "", [][2]int64{{0, 0}, {0, 5}})
		for _, verify := range []bool{false, true} {
			_, err := e.storage.Get(e.Context(), key, &maskstore.GetOptions{Offset: 1, Verify: verify})
			e.wantErr(err, maskstore.ErrInvalidRange)
		}
	},
	"IfMatch": func(e *env) {
		key := e.key("x")
		first := e.put(key, "first", nil)
		second := e.put(key, "second", nil)
		if _, got, err := e.get(key, &maskstore.GetOptions{IfMatch: second.ETag}); got != "second" || err != nil {
			e.Errorf("got %q, %v", got, err)
		}
		if _, got, err := e.get(key, &maskstore.GetOptions{IfMatch: second.ETag, Offset: 2, Length: 2}); got != "co" ||
			err != nil {
			e.Errorf("got %q, %v", got, err)
		}
		for _, opts := range []maskstore.GetOptions{
			{IfMatch: first.ETag}, {IfMatch: "none"}, {IfMatch: first.ETag, Offset: 2},
			{IfMatch: first.ETag, Offset: 2, Verify: true},
		} {
			_, err := e.storage.Get(e.Context(), key, &opts)
			e.wantErr(err, maskstore.ErrPreconditionFailed)
		}
	},
	"SHA256IsVerifiedAtTheEnd": func(e *env) {
		for name, content := range map[string]string{"empty": "", "small": "content", "large": pattern(200_000)} {
			key := e.key(name)
			e.put(key, content, nil)
			sum := maskstore.SumSHA256([]byte(content))
			if _, got, err := e.get(key, &maskstore.GetOptions{SHA256: sum}); got != content || err != nil {
				e.Errorf("%s: got %s, %v", name, brief(got), err)
			}
			sum[0]++
			_, _, err := e.get(key, &maskstore.GetOptions{SHA256: sum})
			e.wantErr(err, maskstore.ErrChecksum)
		}
	},
	"HalfReadBodyCloses": func(e *env) {
		key := e.key("x")
		e.put(key, pattern(1<<20), nil)
		obj, err := e.storage.Get(e.Context(), key, &maskstore.GetOptions{SHA256: maskstore.SumSHA256([]byte(pattern(1 << 20)))})
		e.must(err)
		_, err = io.ReadFull(obj.Body, make([]byte, 1000))
		e.must(err)
		e.must(obj.Body.Close())
	},
	"OpenBodyOutlivesAnOverwrite": func(e *env) {
		key, old := e.key("x"), pattern(100_000)
		e.put(key, old, nil)
		obj, err := e.storage.Get(e.Context(), key, nil)
		e.must(err)
		defer obj.Body.Close()
		head := make([]byte, 10)
		_, err = io.ReadFull(obj.Body, head)
		e.must(err)
		e.put(key, "new", nil)
		// The old content to its end, or an error: never a mix.
		if rest, err := io.ReadAll(obj.Body); err == nil && string(head)+string(rest) != old {
			e.Errorf("read %s", brief(string(head)+string(rest)))
		}
		e.wantContent(key, "new")
	},
	"EndOfContextEndsReads": func(e *env) {
		for _, size := range []int{2000, 8 << 20} { // of the smaller one, all has come by then
			body, cancel := e.getCancellable(size)
			_, err := io.ReadFull(body, make([]byte, 1000))
			e.must(err)
			cancel()
			_, err = io.Copy(io.Discard, body)
			e.wantErr(err, context.Canceled)
		}
	},
	"EndOfContextAfterTheEndOfReads": func(e *env) {
		body, cancel := e.getCancellable(2000)
		_, err := io.Copy(io.Discard, body)
		e.must(err)
		cancel()
		if n, err := body.Read(make([]byte, 1)); n > 0 || err != io.EOF {
			e.Errorf("%d bytes, %v; want io.EOF again", n, err)
		}
	},
}

// getCancellable gives the content of a new object by a context of its own.
func (e *env) getCancellable(size int) (io.Reader, context.CancelFunc) {
	e.Helper()
	key := e.key("x")
	e.put(key, pattern(size), nil)
	ctx, cancel := context.WithCancel(e.Context())
	e.Cleanup(cancel)
	obj, err := e.storage.Get(ctx, key, nil)
	e.must(err)
	e.Cleanup(func() { obj.Body.Close() })
	return obj.Body, cancel
}

// wantVerified reads ranges, each an offset and a length, with Verify. A storage that keeps no SHA-256 must refuse them.
func (e *env) wantVerified(key, content string, ranges [][2]int64) {
	e.Helper()
	whole, err := e.storage.Get(e.Context(), key, nil)
	e.must(err)
	e.must(whole.Body.Close())
	for _, r := range ranges {
		want := content[r[0]:]
		if r[1] > 0 {
			want = want[:min(r[1], int64(len(want)))]
		}
		info, got, err := e.get(key, &maskstore.GetOptions{Offset: r[0], Length: r[1], Verify: true})
		if whole.SHA256.IsZero() && whole.Parts == nil {
			e.wantErr(err, maskstore.ErrUnsupported)
		} else if err != nil || got != want || info != whole.ObjectInfo {
			e.Errorf("%d bytes from %d: got %s of %+v, %v; want %s", r[1], r[0], brief(got), info, err, brief(want))
		}
	}
}
