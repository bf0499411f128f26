package maskstoretest

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/pacs-extension/maskstore"
)

// multipartTests run through the MultipartStorage that maskstore.As finds, wrapped or not.
var multipartTests = map[string]func(*env){
	"PartsMakeTheObject": func(e *env) {
		key := e.key("x.png")
		one, two, three := pattern(maskstore.MinPartSize), pattern(maskstore.MinPartSize + 7)[7:], "the end"
		id := e.begin(key, nil)
		up := e.parts(key, id, map[int]string{7: three, 1: one, 4: two})
		e.wantAbsent(key)
		info, err := e.multipart().CompleteMultipartUpload(e.Context(), key, id, up, nil)
		e.must(err)
		e.wantContent(key, one+two+three)
		stat, err := e.storage.Stat(e.Context(), key)
		e.must(err)
		listed := e.list("", nil)[0]
		if info.ETag == "" || info.ETag != stat.ETag || info.ETag != listed.ETag || info.Key != key ||
			stat.Size != int64(len(one+two+three)) ||
			stat.ContentType != "image/png" || strings.Contains(info.ETag, `"`) {
			e.Errorf("complete gives %+v, Stat %+v, List %+v", info, stat, listed)
		}
		if sum := maskstore.SumSHA256([]byte(one + two + three)); !stat.SHA256.IsZero() && stat.SHA256 != sum {
			e.Errorf("SHA-256 is %v; want %v or none", stat.SHA256, sum)
		}
		across := &maskstore.GetOptions{Offset: maskstore.MinPartSize - 3, Length: 6, IfMatch: info.ETag}
		if _, got, err := e.get(key, across); got != one[len(one)-3:]+two[:3] || err != nil {
			e.Errorf("across two parts: got %q, %v", got, err)
		}
	},
	"VerifiedRanges": func(e *env) {
		key := e.key("x")
		const one, two = maskstore.MinPartSize, 2*maskstore.MinPartSize + 7 // where these parts end
		content := pattern(two) + "the end"
		id := e.begin(key, nil)
		up := e.parts(key, id, map[int]string{1: content[:one], 2: content[one:two], 3: content[two:]})
		_, err := e.multipart().CompleteMultipartUpload(e.Context(), key, id, up, nil)
		e.must(err)
		e.wantVerified(key, content, [][2]int64{
			{0, 0}, {0, 1}, {0, one}, {one - 1, 1}, {one, 1}, {one - 1, 2}, {one, two - one}, {one - 1, two - one + 2}, {two - 1, 2},
			{two, 0}, {two + 6, 1},
			{10, 20}, {10, 0}, {one + 10, 1 << 62},
		})
		for _, offset := range []int64{two + 7, two + 8} {
			_, err := e.storage.Get(e.Context(), key, &maskstore.GetOptions{Offset: offset, Verify: true})
			e.wantErr(err, maskstore.ErrInvalidRange)
		}
	},
	"OnePartIsEnough": func(e *env) {
		id := e.begin(e.key("x"), &maskstore.PutOptions{ContentType: "application/dicom"})
		up := e.parts(e.key("x"), id, map[int]string{maskstore.MaxPartNumber: "small"})
		_, err := e.multipart().CompleteMultipartUpload(e.Context(), e.key("x"), id, up, nil)
		e.must(err)
		e.wantContent(e.key("x"), "small")
		e.wantType("x", "application/dicom")
	},
	"PartIsWhatItsBodySays": func(e *env) {
		id := e.begin(e.key("x"), nil)
		right, other := maskstore.BytesBody([]byte("the content")), maskstore.BytesBody([]byte("the-content"))
		for name, body := range map[string]maskstore.Body{
			"shorter":         {Open: right.Open, Size: right.Size + 1},
			"longer":          {Open: right.Open, Size: right.Size - 1},
			"another SHA-256": {Open: other.Open, Size: right.Size, SHA256: right.SHA256},
		} {
			_, err := e.multipart().UploadPart(e.Context(), e.key("x"), id, 1, body)
			if !errors.Is(err, maskstore.ErrChecksum) {
				e.Errorf("%s: error is %v; want ErrChecksum", name, err)
			}
		}
		right.SHA256 = maskstore.SHA256{} // unknown
		part, err := e.multipart().UploadPart(e.Context(), e.key("x"), id, 1, right)
		e.must(err)
		if part.Size != 11 || part.PartNumber != 1 || part.ETag == "" {
			e.Errorf("got %+v", part)
		}
		_, err = e.multipart().CompleteMultipartUpload(e.Context(), e.key("x"), id, []maskstore.Part{part}, nil)
		e.must(err)
		e.wantContent(e.key("x"), "the content")
	},
	"LaterPartTakesTheEarlierOnesPlace": func(e *env) {
		id := e.begin(e.key("x"), nil)
		first := e.parts(e.key("x"), id, map[int]string{1: "first"})
		second := e.parts(e.key("x"), id, map[int]string{1: "second"})
		_, err := e.multipart().CompleteMultipartUpload(e.Context(), e.key("x"), id, first, nil)
		e.wantErr(err, maskstore.ErrInvalidArgument)
		e.wantAbsent(e.key("x"))
		_, err = e.multipart().CompleteMultipartUpload(e.Context(), e.key("x"), id, second, nil)
		e.must(err)
		e.wantContent(e.key("x"), "second")
	},
	"ListParts": func(e *env) {
		id := e.begin(e.key("x"), nil)
		var want []maskstore.Part
		e.wantParts(e.key("x"), id, want)
		want = e.parts(e.key("x"), id, map[int]string{10: "ten", 9: "nine", 100: "hundred", 1: "one"})
		e.wantParts(e.key("x"), id, want)
		for part, err := range e.multipart().ListParts(e.Context(), e.key("x"), id) {
			e.must(err)
			if part.PartNumber != 1 {
				e.Errorf("the first is %+v", part)
			}
			break
		}
		e.abort(e.key("x"), id)
	},
	"ListMultipartUploadsOfAKey": func(e *env) {
		key := e.key("x")
		if open := e.open(key); len(open) > 0 {
			e.Errorf("open are %+v", open)
		}
		first, second := e.begin(key, nil), e.begin(key, nil)
		if first == second || first == "" {
			e.Errorf("upload IDs are %q and %q", first, second)
		}
		for _, up := range e.open(key) {
			if up.Key != key || up.Initiated.IsZero() {
				e.Errorf("open is %+v", up)
			}
		}
		ids := func() (ids []string) {
			for _, up := range e.open(key) {
				ids = append(ids, up.UploadID)
			}
			slices.Sort(ids)
			return ids
		}
		if want := slices.Sorted(slices.Values([]string{first, second})); !slices.Equal(ids(), want) {
			e.Errorf("open are %q; want %q", ids(), want)
		}
		e.abort(key, first)
		if !slices.Equal(ids(), []string{second}) {
			e.Errorf("open are %q; want %q", ids(), second)
		}
		e.abort(key, second)
		if len(ids()) > 0 {
			e.Errorf("open are %q", ids())
		}
	},
	"AbortLeavesNothing": func(e *env) {
		key := e.key("x")
		e.put(key, "old", nil)
		id := e.begin(key, nil)
		up := e.parts(key, id, map[int]string{1: "new"})
		e.abort(key, id)
		e.abortNone(key, id)
		_, err := e.multipart().UploadPart(e.Context(), key, id, 1, maskstore.BytesBody([]byte("new")))
		e.wantErr(err, maskstore.ErrNotFound)
		_, err = e.multipart().CompleteMultipartUpload(e.Context(), key, id, up, nil)
		e.wantErr(err, maskstore.ErrNotFound)
		for _, err := range e.multipart().ListParts(e.Context(), key, id) {
			e.wantErr(err, maskstore.ErrNotFound)
		}
		e.wantContent(key, "old")
	},
	"CompletedIsClosed": func(e *env) {
		key := e.key("x")
		id := e.begin(key, nil)
		up := e.parts(key, id, map[int]string{1: "content"})
		_, err := e.multipart().CompleteMultipartUpload(e.Context(), key, id, up, nil)
		e.must(err)
		_, err = e.multipart().UploadPart(e.Context(), key, id, 2, maskstore.BytesBody([]byte("more")))
		e.wantErr(err, maskstore.ErrNotFound)
		e.abortNone(key, id)
		e.wantContent(key, "content")
	},
	"UploadOfAnotherKey": func(e *env) {
		id := e.begin(e.key("x"), nil)
		_, err := e.multipart().UploadPart(e.Context(), e.key("y"), id, 1, maskstore.BytesBody([]byte("content")))
		e.wantErr(err, maskstore.ErrNotFound)
		e.abortNone(e.key("y"), id)
		e.wantParts(e.key("x"), id, nil)
		e.abort(e.key("x"), id)
	},
	"PartsThatDoNotFitAreRefused": func(e *env) {
		key := e.key("x")
		id := e.begin(key, nil)
		up := e.parts(key, id, map[int]string{1: pattern(maskstore.MinPartSize), 2: "short", 3: "end"})
		wrong := up[0]
		wrong.ETag = up[1].ETag
		for name, parts := range map[string][]maskstore.Part{
			"none":                nil,
			"out of order":        {up[2], up[0]},
			"twice":               {up[0], up[0]},
			"short in the middle": up,
			"another ETag":        {wrong},
			"never uploaded":      {up[0], {PartNumber: 4, ETag: up[1].ETag}},
		} {
			_, err := e.multipart().CompleteMultipartUpload(e.Context(), key, id, parts, nil)
			var input *maskstore.InputError
			if !errors.Is(err, maskstore.ErrInvalidArgument) || !errors.As(err, &input) || input.Want == "" {
				e.Errorf("%s: error is %v", name, err)
			}
			e.wantAbsent(key)
		}
		_, err := e.multipart().CompleteMultipartUpload(e.Context(), key, id, []maskstore.Part{up[0], up[2]}, nil)
		e.must(err)
		e.wantContent(key, pattern(maskstore.MinPartSize)+"end")
	},
	"ConditionsAreJudgedAtCompletion": func(e *env) {
		key := e.key("x")
		id := e.begin(key, nil)
		up := e.parts(key, id, map[int]string{1: "new"})
		complete := func(opts maskstore.PutOptions) error {
			_, err := e.multipart().CompleteMultipartUpload(e.Context(), key, id, up, &opts)
			return err
		}
		e.wantErr(complete(maskstore.PutOptions{IfMatch: up[0].ETag}), maskstore.ErrPreconditionFailed)
		e.wantAbsent(key)
		old := e.put(key, "old", nil)
		e.wantErr(complete(maskstore.PutOptions{NoOverwrite: true}), maskstore.ErrPreconditionFailed)
		e.wantErr(complete(maskstore.PutOptions{IfMatch: "another"}), maskstore.ErrPreconditionFailed)
		e.wantContent(key, "old")
		e.must(complete(maskstore.PutOptions{IfMatch: old.ETag})) // a failed completion left the upload open
		e.wantContent(key, "new")
	},
	"BadInput": func(e *env) {
		id := e.begin(e.key("upload"), nil)
		part := []maskstore.Part{{PartNumber: 1, ETag: "x"}}
		e.badKeys(false, map[string]func(key string) error{
			"CreateMultipartUpload": func(key string) error {
				_, err := e.multipart().CreateMultipartUpload(e.Context(), key, nil)
				return err
			},
			"UploadPart": func(key string) error {
				_, err := e.multipart().UploadPart(e.Context(), key, id, 1, unread{e}.body())
				return err
			},
			"ListParts": func(key string) (err error) {
				for _, err = range e.multipart().ListParts(e.Context(), key, id) {
				}
				return err
			},
			"CompleteMultipartUpload": func(key string) error {
				_, err := e.multipart().CompleteMultipartUpload(e.Context(), key, id, part, nil)
				return err
			},
			"AbortMultipartUpload": func(key string) error { return e.multipart().AbortMultipartUpload(e.Context(), key, id) },
		})
		e.badKeys(true, map[string]func(key string) error{
			"ListMultipartUploads": func(prefix string) (err error) {
				for _, err = range e.multipart().ListMultipartUploads(e.Context(), prefix) {
				}
				return err
			},
		})
		for _, n := range []int{0, -1, maskstore.MaxPartNumber + 1} {
			_, err := e.multipart().UploadPart(e.Context(), e.key("upload"), id, n, unread{e}.body())
			e.wantInput(err, "UploadPart", maskstore.ErrInvalidArgument, "partNumber")
		}
		_, err := e.multipart().UploadPart(e.Context(), e.key("upload"), "", 1, unread{e}.body())
		e.wantInput(err, "UploadPart", maskstore.ErrInvalidArgument, "uploadID")
		_, err = e.multipart().CompleteMultipartUpload(e.Context(), e.key("upload"), "", part, nil)
		e.wantInput(err, "CompleteMultipartUpload", maskstore.ErrInvalidArgument, "uploadID")
		e.wantInput(e.multipart().AbortMultipartUpload(e.Context(), e.key("upload"), ""), "AbortMultipartUpload",
			maskstore.ErrInvalidArgument, "uploadID")
		for _, err = range e.multipart().ListParts(e.Context(), e.key("upload"), "") {
		}
		e.wantInput(err, "ListParts", maskstore.ErrInvalidArgument, "uploadID")
		for _, row := range badWrites {
			switch row.field { // those that count
			case "ContentType":
				_, err := e.multipart().CreateMultipartUpload(e.Context(), e.key("upload"), &row.opts)
				e.wantInput(err, "CreateMultipartUpload", maskstore.ErrInvalidArgument, row.field)
			case "IfMatch", "NoOverwrite":
				_, err := e.multipart().CompleteMultipartUpload(e.Context(), e.key("upload"), id, part, &row.opts)
				e.wantInput(err, "CompleteMultipartUpload", maskstore.ErrInvalidArgument, row.field)
			}
		}
		e.abort(e.key("upload"), id)
	},
	"OptionsAreUnchanged": func(e *env) {
		key, id := e.key("x"), ""
		begin := &maskstore.PutOptions{ContentType: "application/dicom"}
		wantUnchanged(e, begin, func() (err error) {
			id, err = e.multipart().CreateMultipartUpload(e.Context(), key, begin)
			return err
		})
		up := e.parts(key, id, map[int]string{1: "content"})
		given, end := slices.Clone(up), &maskstore.PutOptions{NoOverwrite: true}
		wantUnchanged(e, end, func() error {
			_, err := e.multipart().CompleteMultipartUpload(e.Context(), key, id, up, end)
			return err
		})
		if !slices.Equal(up, given) {
			e.Errorf("the parts were %+v; after the call they are %+v", given, up)
		}
	},
	"EndedContextIsRefused": func(e *env) {
		id := e.begin(e.key("x"), nil)
		up := e.parts(e.key("x"), id, map[int]string{1: "content"})
		ctx, cancel := context.WithCancel(e.Context())
		cancel()
		_, err := e.multipart().CreateMultipartUpload(ctx, e.key("x"), nil)
		e.wantErr(err, context.Canceled)
		_, err = e.multipart().UploadPart(ctx, e.key("x"), id, 1, maskstore.BytesBody([]byte("other")))
		e.wantErr(err, context.Canceled)
		_, err = e.multipart().CompleteMultipartUpload(ctx, e.key("x"), id, up, nil)
		e.wantErr(err, context.Canceled)
		e.wantErr(e.multipart().AbortMultipartUpload(ctx, e.key("x"), id), context.Canceled)
		e.wantAbsent(e.key("x"))
		e.wantParts(e.key("x"), id, up)
		e.abort(e.key("x"), id)
	},
	"ContextEndsDuringCompletion": func(e *env) {
		key, id := e.key("x"), ""
		var up []maskstore.Part
		complete := func(ctx context.Context) error {
			_, err := e.multipart().CompleteMultipartUpload(ctx, key, id, up, nil)
			return err
		}
		e.cancelled(func() {
			e.must(e.storage.Delete(e.Context(), key))
			id = e.begin(key, nil)
			up = e.parts(key, id, map[int]string{1: pattern(maskstore.MinPartSize), 2: "the end"})
		}, complete, func(done bool) {
			if !done && complete(e.Context()) != nil { // a server may complete it still, or have begun to take it apart
				e.abortNone(key, id)
				if _, _, err := e.get(key, nil); errors.Is(err, maskstore.ErrNotFound) {
					return
				}
			}
			e.wantContent(key, pattern(maskstore.MinPartSize)+"the end")
		})
	},
}

func (e *env) begin(key string, opts *maskstore.PutOptions) (uploadID string) {
	e.Helper()
	id, err := e.multipart().CreateMultipartUpload(e.Context(), key, opts)
	e.must(err)
	return id
}

// parts uploads these, by number, and gives them in order.
func (e *env) parts(key, uploadID string, contents map[int]string) []maskstore.Part {
	e.Helper()
	var parts []maskstore.Part
	for n, content := range contents {
		part, err := e.multipart().UploadPart(e.Context(), key, uploadID, n, maskstore.BytesBody([]byte(content)))
		e.must(err)
		if part.PartNumber != n || part.Size != int64(len(content)) || part.ETag == "" || strings.Contains(part.ETag, `"`) {
			e.Errorf("part %d of %d bytes is %+v", n, len(content), part)
		}
		parts = append(parts, part)
	}
	slices.SortFunc(parts, func(a, b maskstore.Part) int { return a.PartNumber - b.PartNumber })
	return parts
}

// wantParts fails unless these are stored.
func (e *env) wantParts(key, uploadID string, want []maskstore.Part) {
	e.Helper()
	i := 0
	for part, err := range e.multipart().ListParts(e.Context(), key, uploadID) {
		e.must(err)
		if i >= len(want) || part.PartNumber != want[i].PartNumber || part.Size != want[i].Size || part.ETag != want[i].ETag {
			e.Fatalf("part %d is %+v; want %+v", i, part, want)
		}
		i++
	}
	if i != len(want) {
		e.Fatalf("%d parts; want %d", i, len(want))
	}
}

// open gives the open uploads of a key.
func (e *env) open(key string) []maskstore.MultipartUpload {
	e.Helper()
	var open []maskstore.MultipartUpload
	for up, err := range e.multipart().ListMultipartUploads(e.Context(), key) {
		e.must(err)
		open = append(open, up)
	}
	return open
}

func (e *env) abort(key, uploadID string) {
	e.Helper()
	e.must(e.multipart().AbortMultipartUpload(e.Context(), key, uploadID))
}

// abortNone aborts an upload that is not there, of which MinIO says nothing.
func (e *env) abortNone(key, uploadID string) {
	e.Helper()
	if err := e.multipart().AbortMultipartUpload(e.Context(), key, uploadID); err != nil {
		e.wantErr(err, maskstore.ErrNotFound)
	}
}
