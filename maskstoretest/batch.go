package maskstoretest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing/iotest"

	"github.com/pacs-extension/maskstore"
)

// manyItems do not fit into the smallest batch that a storage may make.
const manyItems = 70

// batchTests run through the BatchPutter that maskstore.As finds, wrapped or not.
var batchTests = map[string]func(*env){
	"StoresAllInOrder": func(e *env) {
		items := e.items(manyItems)
		items[3].Body = maskstore.BytesBody([]byte(pattern(300_000)))
		items[4].Body = maskstore.BytesBody(nil)
		items[5].ContentType = "application/dicom"
		items[6].Key = e.key("간/우엽 a+b%20c")
		items[7].Body.SHA256 = maskstore.SHA256{} // unknown
		infos, err := e.batch().PutBatch(e.Context(), items, nil)
		e.must(err)
		e.wantBatch(items, infos)
	},
	"Overwrites": func(e *env) {
		items := e.items(3)
		e.put(items[1].Key, "an older and a longer one", &maskstore.PutOptions{ContentType: "text/plain"})
		infos, err := e.batch().PutBatch(e.Context(), items, nil)
		e.must(err)
		e.wantBatch(items, infos)
		infos, err = e.batch().PutBatch(e.Context(), items, nil) // over the same
		e.must(err)
		e.wantBatch(items, infos)
	},
	"None": func(e *env) {
		infos, err := e.batch().PutBatch(e.Context(), nil, nil)
		if err != nil || len(infos) > 0 {
			e.Errorf("%v, %v", infos, err)
		}
	},
	"KeepGoing": func(e *env) {
		items, broken := e.items(manyItems), errors.New("the disk broke")
		content := items[40].Body.Open
		items[0].Body.Open = func() (io.ReadCloser, error) { return nil, broken }
		items[20].Body.Open = func() (io.ReadCloser, error) { return io.NopCloser(iotest.ErrReader(broken)), nil }
		items[40].Body.Open = func() (io.ReadCloser, error) {
			r, err := content()
			return io.NopCloser(io.MultiReader(io.LimitReader(r, 900), iotest.ErrReader(broken))), err
		}
		items[41].Body.Size++
		items[42].Body.Size--
		items[69].Body.SHA256 = maskstore.SumSHA256([]byte("another"))
		failing := []int{0, 20, 40, 41, 42, 69}
		var last maskstore.Progress
		calls, bytes := 0, int64(0)
		infos, err := e.batch().PutBatch(e.Context(), items,
			&maskstore.ParallelOptions{KeepGoing: true, OnProgress: func(p maskstore.Progress) { calls, last = calls+1, p }})
		if !errors.Is(err, broken) || !errors.Is(err, maskstore.ErrChecksum) {
			e.Errorf("error is %v; want both that of the disk, and ErrChecksum", err)
		}
		var failed []string
		for _, err := range maskstore.KeyErrors(err) {
			failed = append(failed, err.Key)
		}
		slices.Sort(failed)
		var want []string
		for i, item := range items {
			if slices.Contains(failing, i) {
				want = append(want, item.Key)
			} else {
				bytes += item.Body.Size
			}
		}
		if !slices.Equal(failed, want) {
			e.Errorf("KeyErrors gives %q; want %q", failed, want)
		}
		e.wantBatch(items, infos, failing...)
		if calls != manyItems || last.Done != manyItems || last.Total != manyItems || last.Bytes != bytes {
			e.Errorf("%d calls of OnProgress, at the end with %+v; want %d items, %d bytes", calls, last, manyItems, bytes)
		}
	},
	"FirstErrorStops": func(e *env) {
		items, broken := e.items(2), errors.New("the disk broke")
		items[1].Body.Open = func() (io.ReadCloser, error) { return nil, broken }
		infos, err := e.batch().PutBatch(e.Context(), items, nil)
		e.wantErr(err, broken)
		if errs := maskstore.KeyErrors(err); len(errs) != 1 || errs[0].Key != items[1].Key {
			e.Errorf("error %v does not name the one key", err)
		}
		if len(infos) != 2 || infos[1] != (maskstore.ObjectInfo{}) {
			e.Errorf("gives %+v", infos)
		}
		e.wantAbsent(items[1].Key)
	},
	"ConditionsAndDuplicatesAreRefused": func(e *env) {
		for name, change := range map[string]func(items []maskstore.UploadItem){
			"NoOverwrite": func(items []maskstore.UploadItem) { items[1].NoOverwrite = true },
			"IfMatch":     func(items []maskstore.UploadItem) { items[1].IfMatch = "etag" },
			"duplicate":   func(items []maskstore.UploadItem) { items[1].Key = items[0].Key },
		} {
			items := e.items(2)
			for i := range items {
				items[i].Body = unread{e}.body()
			}
			change(items)
			_, err := e.batch().PutBatch(e.Context(), items, &maskstore.ParallelOptions{KeepGoing: true})
			var input *maskstore.InputError
			if !errors.Is(err, maskstore.ErrInvalidArgument) || !errors.As(err, &input) {
				e.Errorf("%s: error is %v; want one of the argument", name, err)
			}
		}
		e.wantKeys("", nil)
	},
	"BadInput": func(e *env) {
		put := func(item maskstore.UploadItem, opts *maskstore.ParallelOptions) error {
			_, err := e.batch().PutBatch(e.Context(), []maskstore.UploadItem{item}, opts)
			return err
		}
		e.badKeys(false, map[string]func(key string) error{
			"PutBatch": func(key string) error { return put(maskstore.UploadItem{Key: key, Body: unread{e}.body()}, nil) },
		})
		good := maskstore.UploadItem{Key: e.key("x"), Body: unread{e}.body()}
		for field, change := range map[string]func(*maskstore.UploadItem){
			"ContentType": func(i *maskstore.UploadItem) { i.ContentType = "png" },
			"Body.Size":   func(i *maskstore.UploadItem) { i.Body.Size = -1 },
			"Body.Open":   func(i *maskstore.UploadItem) { i.Body.Open = nil },
		} {
			bad := good
			change(&bad)
			e.wantInput(put(bad, nil), "PutBatch", maskstore.ErrInvalidArgument, field)
		}
		e.wantInput(put(good, &maskstore.ParallelOptions{Concurrency: -1}), "PutBatch", maskstore.ErrInvalidArgument,
			"Concurrency")
		e.wantContent(e.key("x"), "old")
	},
	"EndedContextIsRefused": func(e *env) {
		for _, keepGoing := range []bool{false, true} {
			items := e.items(2)
			ctx, cancel := context.WithCancel(e.Context())
			cancel()
			_, err := e.batch().PutBatch(ctx, items, &maskstore.ParallelOptions{KeepGoing: keepGoing})
			if !errors.Is(err, context.Canceled) {
				e.Errorf("error is %v; want that of the context", err)
			}
			e.wantKeys("", nil)
		}
	},
	"ContextEndsOnTheWay": func(e *env) {
		for _, keepGoing := range []bool{false, true} {
			ctx, cancel := context.WithCancel(e.Context())
			items := e.items(1)
			open := items[0].Body.Open
			items[0].Body.Open = func() (io.ReadCloser, error) { cancel(); return open() }
			_, err := e.batch().PutBatch(ctx, items, &maskstore.ParallelOptions{KeepGoing: keepGoing})
			if !errors.Is(err, context.Canceled) {
				e.Errorf("error is %v; want that of the context", err)
			}
		}
	},
	"OptionsAreUnchanged": func(e *env) {
		items := e.items(3)
		items[1].ContentType = "application/dicom"
		items[2].Body.SHA256 = maskstore.SHA256{}
		given := slices.Clone(items)
		opts := &maskstore.ParallelOptions{Concurrency: 2, KeepGoing: true}
		wantUnchanged(e, opts, func() error { _, err := e.batch().PutBatch(e.Context(), items, opts); return err })
		for i, item := range items {
			item.Body.Open, given[i].Body.Open = nil, nil // functions do not compare
			if fmt.Sprint(item) != fmt.Sprint(given[i]) {
				e.Errorf("item %d was %+v; after the call it is %+v", i, given[i], item)
			}
		}
	},
}

var noBatchTests = map[string]func(*env){
	"AsFindsNone": func(e *env) {
		if b, ok := maskstore.As[maskstore.BatchPutter](e.storage); ok {
			e.Errorf("As finds %T", b)
		}
	},
}

func (e *env) batch() maskstore.BatchPutter {
	e.Helper()
	return capability[maskstore.BatchPutter](e, "BatchPutter, and NoBatch")
}

// items gives n small items, no two alike.
func (e *env) items(n int) []maskstore.UploadItem {
	items := make([]maskstore.UploadItem, n)
	for i := range items {
		items[i] = maskstore.UploadItem{
			Key:  e.key(fmt.Sprintf("%04d.png", i)),
			Body: maskstore.BytesBody([]byte(pattern(1000 + i)[i:])),
		}
	}
	return items
}

// wantBatch fails unless the items are stored as they say, and the infos are theirs. At the keys of those that failed lies
// nothing.
func (e *env) wantBatch(items []maskstore.UploadItem, infos []maskstore.ObjectInfo, failed ...int) {
	e.Helper()
	if len(infos) != len(items) {
		e.Fatalf("%d infos of %d items", len(infos), len(items))
	}
	for i, item := range items {
		info := infos[i]
		if slices.Contains(failed, i) {
			if info != (maskstore.ObjectInfo{}) {
				e.Errorf("item %d has failed, and is %+v", i, info)
			}
			e.wantAbsent(item.Key)
			continue
		}
		r, err := item.Body.Open()
		e.must(err)
		content, err := io.ReadAll(r)
		e.must(err)
		e.wantContent(item.Key, string(content))
		contentType := item.ContentType
		if contentType == "" {
			contentType = "application/octet-stream"
			if strings.HasSuffix(item.Key, ".png") {
				contentType = "image/png"
			}
		}
		e.wantType(strings.TrimPrefix(item.Key, e.prefix), contentType)
		stat, err := e.storage.Stat(e.Context(), item.Key)
		e.must(err)
		if info.Key != item.Key || info.Size != int64(len(content)) || info.ETag == "" || info.ETag != stat.ETag ||
			info.Size != stat.Size {
			e.Errorf("item %d is %+v; Stat gives %+v", i, info, stat)
		}
		for _, sum := range []maskstore.SHA256{info.SHA256, stat.SHA256} {
			if !sum.IsZero() && sum != maskstore.SumSHA256(content) {
				e.Errorf("item %d has another SHA-256: %+v, %+v", i, info, stat)
			}
		}
	}
}
