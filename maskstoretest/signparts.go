package maskstoretest

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/pacs-extension/maskstore"
)

// signedPartTests put parts as a client without credentials does.
var signedPartTests = map[string]func(*env){
	"PartsMakeTheObject": func(e *env) {
		key := e.key("x")
		id := e.begin(key, nil)
		var parts []maskstore.Part
		for i, content := range []string{pattern(maskstore.MinPartSize), "the end"} {
			u := e.signPart(key, id, i+1, content)
			if u.Method != http.MethodPut || u.ContentLength != int64(len(content)) {
				e.Errorf("signed %s with length %d", u.Method, u.ContentLength)
			}
			first, again := e.wantStatus(u, content, http.StatusOK), e.wantStatus(u, content, http.StatusOK)
			etag, err := strconv.Unquote(first.header.Get("ETag"))
			if err != nil || again.header.Get("ETag") != first.header.Get("ETag") {
				e.Errorf("answered with the ETags %q and %q", first.header.Get("ETag"), again.header.Get("ETag"))
			}
			parts = append(parts, maskstore.Part{
				PartNumber: i + 1, Size: int64(len(content)), ETag: etag, SHA256: maskstore.SumSHA256([]byte(content)),
			})
		}
		e.wantParts(key, id, parts)
		e.wantAbsent(key)
		_, err := e.multipart().CompleteMultipartUpload(e.Context(), key, id, parts, nil)
		e.must(err)
		e.wantContent(key, pattern(maskstore.MinPartSize)+"the end")
	},
	"SizeMayStayOpen": func(e *env) {
		key := e.key("x")
		id := e.begin(key, nil)
		u, err := e.multipart().UploadPartURL(e.Context(), key, id, maskstore.MaxPartNumber,
			&maskstore.UploadURLOptions{SHA256: maskstore.SumSHA256([]byte(signed))})
		e.must(err)
		e.wantStatus(u, signed, http.StatusOK)
		e.abort(key, id)
	},
	"TamperedIsRefused": func(e *env) {
		key := e.key("x")
		id, other := e.begin(key, nil), e.begin(key, nil)
		u := e.signPart(key, id, 1, signed)
		for name, row := range map[string]tamper{
			"another number":     {setQuery("partNumber", func(string) string { return "2" }), refused},
			"no number":          {setQuery("partNumber", nil), refused},
			"another upload":     {setQuery("uploadId", func(string) string { return other }), refused},
			"no upload":          {setQuery("uploadId", nil), refused},
			"the object instead": {edits(setQuery("partNumber", nil), setQuery("uploadId", nil)), refused},
			"another key":        tampers["AnotherKey"],
			"longer":             tampers["LongerBody"],
			"shorter":            tampers["ShorterBody"],
			"flipped bits":       tampers["FlippedBits"],
			"another checksum":   tampers["AnotherChecksum"],
			"no checksum":        tampers["NoChecksum"],
			"later expiry":       tampers["LaterExpiry"],
			"flipped signature":  tampers["FlippedSignature"],
			"abort instead":      tampers["DeleteInstead"],
			"list instead":       tampers["GetInstead"],
			"complete instead":   tampers["PostInstead"],
		} {
			e.Run(name, func(t *testing.T) { (&env{T: t, Options: e.Options}).tamper(u, row) })
		}
		e.wantParts(key, id, nil)
		e.wantParts(key, other, nil)
		e.wantAbsent(key)
		e.wantStatus(u, signed, http.StatusOK)
		e.abort(key, id)
		e.abort(key, other)
	},
	"EndedUploadTakesNoPart": func(e *env) {
		key := e.key("x")
		id := e.begin(key, nil)
		u := e.signPart(key, id, 1, signed)
		e.abort(key, id)
		e.wantStatus(u, signed, http.StatusNotFound)
		e.wantAbsent(key)

		id = e.begin(key, nil)
		u = e.signPart(key, id, 1, signed)
		_, err := e.multipart().CompleteMultipartUpload(e.Context(), key, id, e.parts(key, id, map[int]string{1: "content"}), nil)
		e.must(err)
		e.wantStatus(u, signed, http.StatusNotFound)
		e.wantContent(key, "content")
	},
	"ExpiresSaysWhen": func(e *env) {
		before := time.Now().Truncate(time.Second)
		u, err := e.multipart().UploadPartURL(e.Context(), e.key("x"), "id", 1,
			&maskstore.UploadURLOptions{SHA256: maskstore.SHA256{1}, TTL: time.Minute})
		e.must(err)
		if u.Expires.Before(before.Add(time.Minute)) || u.Expires.After(time.Now().Add(time.Minute)) {
			e.Errorf("signed at %v expires at %v", before, u.Expires)
		}
	},
	"BadInput": func(e *env) {
		sign := func(key, id string, n int, o *maskstore.UploadURLOptions) error {
			_, err := e.multipart().UploadPartURL(e.Context(), key, id, n, o)
			return err
		}
		sum := maskstore.SHA256{1}
		good := &maskstore.UploadURLOptions{SHA256: sum}
		e.badKeys(false, map[string]func(key string) error{
			"UploadPartURL": func(key string) error { return sign(key, "id", 1, good) },
		})
		wrong := func(err error, field string) {
			e.Helper()
			e.wantInput(err, "UploadPartURL", maskstore.ErrInvalidArgument, field)
		}
		for _, n := range []int{0, -1, maskstore.MaxPartNumber + 1} {
			wrong(sign(e.key("x"), "id", n, good), "partNumber")
		}
		wrong(sign(e.key("x"), "", 1, good), "uploadID")
		wrong(sign(e.key("x"), "id", 1, nil), "SHA256")
		for _, row := range []struct {
			field string
			opts  maskstore.UploadURLOptions
		}{
			{"SHA256", maskstore.UploadURLOptions{Size: 1}},
			{"ContentType", maskstore.UploadURLOptions{SHA256: sum, ContentType: "image/png"}},
			{"IfMatch", maskstore.UploadURLOptions{SHA256: sum, IfMatch: "etag"}},
			{"NoOverwrite", maskstore.UploadURLOptions{SHA256: sum, NoOverwrite: true}},
			{"Size", maskstore.UploadURLOptions{SHA256: sum, Size: -1}},
			{"Size", maskstore.UploadURLOptions{SHA256: sum, Size: maskstore.MaxPartSize + 1}},
			{"TTL", maskstore.UploadURLOptions{SHA256: sum, TTL: time.Second / 2}},
			{"TTL", maskstore.UploadURLOptions{SHA256: sum, TTL: maskstore.MaxURLTTL + 1}},
		} {
			wrong(sign(e.key("x"), "id", 1, &row.opts), row.field)
		}
	},
	"OptionsAreUnchanged": func(e *env) {
		key := e.key("x")
		id, opts := e.begin(key, nil), &maskstore.UploadURLOptions{
			Size: 7, SHA256: maskstore.SumSHA256([]byte(signed)), TTL: time.Minute,
		}
		wantUnchanged(e, opts, func() error { _, err := e.multipart().UploadPartURL(e.Context(), key, id, 1, opts); return err })
		e.abort(key, id)
	},
	"EndedContextIsRefused": func(e *env) {
		ctx, cancel := context.WithCancel(e.Context())
		cancel()
		_, err := e.multipart().UploadPartURL(ctx, e.key("x"), "id", 1, &maskstore.UploadURLOptions{SHA256: maskstore.SHA256{1}})
		e.wantErr(err, context.Canceled)
	},
}

var noSignedPartTests = map[string]func(*env){
	"IsUnsupported": func(e *env) {
		_, err := e.multipart().UploadPartURL(e.Context(), e.key("x"), "id", 1,
			&maskstore.UploadURLOptions{SHA256: maskstore.SHA256{1}})
		e.wantErr(err, maskstore.ErrUnsupported)
	},
}

// signPart signs the PUT of a part with this content.
func (e *env) signPart(key, uploadID string, n int, content string) maskstore.SignedURL {
	e.Helper()
	u, err := e.multipart().UploadPartURL(e.Context(), key, uploadID, n, &maskstore.UploadURLOptions{
		Size: int64(len(content)), SHA256: maskstore.SumSHA256([]byte(content)),
	})
	e.must(err)
	return u
}
