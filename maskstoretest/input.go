package maskstoretest

import (
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/pacs-extension/maskstore"
)

var inputTests = map[string]func(*env){
	"BadKeys": func(e *env) {
		e.badKeys(false, map[string]func(key string) error{
			"Put":    func(key string) error { _, err := e.storage.Put(e.Context(), key, unread{e}, nil); return err },
			"Get":    func(key string) error { _, err := e.storage.Get(e.Context(), key, nil); return err },
			"Stat":   func(key string) error { _, err := e.storage.Stat(e.Context(), key); return err },
			"Delete": func(key string) error { return e.storage.Delete(e.Context(), key) },
		})
	},
	"BadPrefixes": func(e *env) {
		list := func(prefix string, opts *maskstore.ListOptions) (err error) {
			for _, err = range e.storage.List(e.Context(), prefix, opts) {
			}
			return err
		}
		e.badKeys(true, map[string]func(key string) error{
			"List": func(prefix string) error { return list(prefix, nil) },
		})
		e.badKeys(true, map[string]func(key string) error{
			"List": func(after string) error {
				if after == "" { // no StartAfter at all
					return list("", nil)
				}
				return list(e.prefix, &maskstore.ListOptions{StartAfter: after})
			},
		})
	},
	"BadPutOptions": func(e *env) {
		e.put(e.key("x"), "old", nil)
		for _, row := range badWrites {
			_, err := e.storage.Put(e.Context(), e.key("x"), unread{e}, &row.opts)
			e.wantInput(err, "Put", maskstore.ErrInvalidArgument, row.field)
		}
		e.wantContent(e.key("x"), "old")
	},
	"NoBody": func(e *env) {
		_, err := e.storage.Put(e.Context(), e.key("x"), nil, nil)
		e.wantInput(err, "Put", maskstore.ErrInvalidArgument, "body")
		e.wantKeys("", nil)
	},
	"BadGetOptions": func(e *env) {
		e.put(e.key("x"), "old", nil)
		sum := maskstore.SumSHA256([]byte("old"))
		for _, row := range []struct {
			field string
			opts  maskstore.GetOptions
		}{
			{"Offset", maskstore.GetOptions{Offset: -1}},
			{"Offset", maskstore.GetOptions{Offset: -1 << 63, Length: 1}},
			{"Length", maskstore.GetOptions{Length: -1}},
			{"SHA256", maskstore.GetOptions{SHA256: sum, Offset: 1}},
			{"SHA256", maskstore.GetOptions{SHA256: sum, Length: 3}},
			{"SHA256", maskstore.GetOptions{SHA256: sum, Length: 3, Verify: true}},
			{"Offset", maskstore.GetOptions{Offset: -1, Verify: true}},
			{"Length", maskstore.GetOptions{Length: -1, Verify: true}},
			{"IfMatch", maskstore.GetOptions{IfMatch: `"quoted"`}},
			{"IfMatch", maskstore.GetOptions{IfMatch: "a\r\nx-amz-b: c"}},
		} {
			_, err := e.storage.Get(e.Context(), e.key("x"), &row.opts)
			e.wantInput(err, "Get", maskstore.ErrInvalidArgument, row.field)
		}
	},
	"BadListOptions": func(e *env) {
		e.put(e.key("x"), "old", nil)
		for _, row := range []struct {
			field string
			opts  maskstore.ListOptions
		}{
			{"Delimiter", maskstore.ListOptions{Delimiter: "_"}},
			{"Delimiter", maskstore.ListOptions{Delimiter: "//"}},
			{"Limit", maskstore.ListOptions{Limit: -1}},
		} {
			n, err := 0, error(nil)
			for _, err = range e.storage.List(e.Context(), e.prefix, &row.opts) {
				n++
			}
			e.wantInput(err, "List", maskstore.ErrInvalidArgument, row.field)
			if n != 1 {
				e.Errorf("%+v: %d entries; want the error alone", row.opts, n)
			}
		}
	},
	"OptionsAreUnchanged": func(e *env) {
		key, sum := e.key("x.png"), maskstore.SumSHA256([]byte("content"))
		first := &maskstore.PutOptions{ContentType: "application/dicom", Size: 7, SHA256: sum, NoOverwrite: true}
		wantUnchanged(e, first, func() error {
			_, err := e.storage.Put(e.Context(), key, strings.NewReader("content"), first)
			return err
		})
		stat, err := e.storage.Stat(e.Context(), key)
		e.must(err)
		over := &maskstore.PutOptions{IfMatch: stat.ETag}
		wantUnchanged(e, over, func() error {
			_, err := e.storage.Put(e.Context(), key, strings.NewReader("content"), over)
			return err
		})
		stat, err = e.storage.Stat(e.Context(), key)
		e.must(err)
		for _, get := range []*maskstore.GetOptions{
			{}, {IfMatch: stat.ETag, SHA256: sum}, {IfMatch: stat.ETag, Offset: 1, Length: 3},
		} {
			wantUnchanged(e, get, func() error { _, _, err := e.get(key, get); return err })
		}
		list := &maskstore.ListOptions{Delimiter: "/", StartAfter: e.prefix + "a", Limit: 5}
		wantUnchanged(e, list, func() error { e.list("", list); return nil })
	},
}

var signInputTests = map[string]func(*env){
	"BadKeys": func(e *env) {
		e.badKeys(false, map[string]func(key string) error{
			"UploadURL":   func(key string) error { _, err := e.storage.UploadURL(e.Context(), key, nil); return err },
			"DownloadURL": func(key string) error { _, err := e.storage.DownloadURL(e.Context(), key, nil); return err },
		})
	},
	"BadOptions": func(e *env) {
		for _, row := range badWrites {
			o := row.opts
			_, err := e.storage.UploadURL(e.Context(), e.key("x"), &maskstore.UploadURLOptions{
				ContentType: o.ContentType, Size: o.Size, IfMatch: o.IfMatch, NoOverwrite: o.NoOverwrite,
			})
			e.wantInput(err, "UploadURL", maskstore.ErrInvalidArgument, row.field)
		}
		_, err := e.storage.UploadURL(e.Context(), e.key("x"), &maskstore.UploadURLOptions{Size: maskstore.MaxPutSize + 1})
		e.wantInput(err, "UploadURL", maskstore.ErrInvalidArgument, "Size")
		for _, contentType := range badTypes {
			_, err := e.storage.DownloadURL(e.Context(), e.key("x"), &maskstore.DownloadURLOptions{ContentType: contentType})
			e.wantInput(err, "DownloadURL", maskstore.ErrInvalidArgument, "ContentType")
		}
		for _, name := range []string{"a\r\nb.png", "a\x00.png", "\xff.png"} {
			_, err := e.storage.DownloadURL(e.Context(), e.key("x"), &maskstore.DownloadURLOptions{Filename: name})
			e.wantInput(err, "DownloadURL", maskstore.ErrInvalidArgument, "Filename")
		}
	},
	"BadTTL": func(e *env) {
		for _, ttl := range []time.Duration{
			-time.Second, -1, 1, time.Second / 2, time.Second - 1, maskstore.MaxURLTTL + 1, 8 * 24 * time.Hour, 1<<63 - 1,
		} {
			_, err := e.storage.UploadURL(e.Context(), e.key("x"), &maskstore.UploadURLOptions{TTL: ttl})
			e.wantInput(err, "UploadURL", maskstore.ErrInvalidArgument, "TTL")
			_, err = e.storage.DownloadURL(e.Context(), e.key("x"), &maskstore.DownloadURLOptions{TTL: ttl})
			e.wantInput(err, "DownloadURL", maskstore.ErrInvalidArgument, "TTL")
		}
	},
	"OptionsAreUnchanged": func(e *env) {
		for _, up := range []*maskstore.UploadURLOptions{
			{}, {IfMatch: "etag"},
			{ContentType: "application/dicom", Size: 7, SHA256: maskstore.SHA256{1}, NoOverwrite: true, TTL: time.Minute},
		} {
			wantUnchanged(e, up, func() error { _, err := e.storage.UploadURL(e.Context(), e.key("x"), up); return err })
		}
		for _, down := range []*maskstore.DownloadURLOptions{
			{}, {ContentType: "application/dicom", Filename: "x", TTL: time.Minute},
		} {
			wantUnchanged(e, down, func() error { _, err := e.storage.DownloadURL(e.Context(), e.key("x"), down); return err })
		}
	},
}

var noSigningTests = map[string]func(*env){
	"IsUnsupported": func(e *env) {
		_, err := e.storage.UploadURL(e.Context(), e.key("x"), nil)
		e.wantErr(err, maskstore.ErrUnsupported)
		_, err = e.storage.DownloadURL(e.Context(), e.key("x"), nil)
		e.wantErr(err, maskstore.ErrUnsupported)
	},
}

// badPaths are neither keys nor prefixes.
var badPaths = []string{
	"", "/", "mask", "/mask/a", "Mask/a", "masks/a", "other/a", "mask0/a", " mask/a", "../mask/a", "./mask/a",
	"mask//a", "mask/a//b", "mask/./a", "mask/a/../b", "mask/../a", "mask/a/..//", "mask/a/./b",
	"mask/a\x00b", "mask/a\nb", "mask/a\x7f", "mask/\u0085a", "mask/\ufffe", "mask/a\uffff/b", "mask/\xff", "mask/a\xc3",
	"mask/\xed\xa0\x80",
	"mask/" + strings.Repeat("s", maskstore.MaxSegmentBytes+1),
	"mask/" + strings.Repeat("간", maskstore.MaxSegmentBytes/3+1) + "/a",
	"mask/" + strings.Repeat("k/", maskstore.MaxKeyBytes/2),
}

// badKeys are no keys, though they can be prefixes.
var badKeys = []string{"mask/", "mask/a/", "mask/.", "mask/..", "mask/a/.", "mask/a/.."}

// badKeys fails unless each method refuses each bad key, and nothing is changed.
func (e *env) badKeys(prefixes bool, methods map[string]func(key string) error) {
	e.Helper()
	e.put(e.key("x"), "old", nil)
	field, bad := "key", slices.Concat(badPaths, badKeys)
	if prefixes {
		field, bad = "prefix", badPaths
	}
	for op, call := range methods {
		for _, key := range bad {
			e.wantInput(call(key), op, maskstore.ErrInvalidKey, field)
		}
	}
	e.wantContent(e.key("x"), "old")
	e.wantKeys("", nil, "x")
}

var badTypes = []string{"png", "image/", "/png", "image png", "image/png\r\nX-Evil: 1", "image/png; charset", "í/png"}

// badWrites are wrong for every write.
var badWrites = slices.Concat([]badWrite{
	{"Size", maskstore.PutOptions{Size: -1}},
	{"Size", maskstore.PutOptions{Size: -1 << 63}},
	{"NoOverwrite", maskstore.PutOptions{NoOverwrite: true, IfMatch: "x"}},
	{"IfMatch", maskstore.PutOptions{IfMatch: `"quoted"`}},
	{"IfMatch", maskstore.PutOptions{IfMatch: "a b"}},
	{"IfMatch", maskstore.PutOptions{IfMatch: "a\nb"}},
	{"IfMatch", maskstore.PutOptions{IfMatch: "é"}},
}, func() (rows []badWrite) {
	for _, contentType := range badTypes {
		rows = append(rows, badWrite{"ContentType", maskstore.PutOptions{ContentType: contentType}})
	}
	return rows
}())

type badWrite struct {
	field string
	opts  maskstore.PutOptions
}

// wantInput fails unless err says that this input of op was wrong, and what would be right.
func (e *env) wantInput(err error, op string, kind error, field string) {
	e.Helper()
	var typed *maskstore.Error
	var input *maskstore.InputError
	if !errors.As(err, &typed) || !errors.As(err, &input) {
		e.Errorf("%s: error is %T %v; want an *Error of an *InputError of %s", op, err, err, field)
		return
	}
	if typed.Op != op || typed.Kind != kind || input.Field != field || input.Problem == "" || input.Want == "" {
		e.Errorf("%s: error is %+v; want kind %q and field %s", op, err, kind, field)
	}
}

// wantUnchanged fails where a call that is given the options fails, or changes them.
func wantUnchanged[T any](e *env, opts *T, call func() error) {
	e.Helper()
	given := *opts
	e.must(call())
	if !reflect.DeepEqual(*opts, given) {
		e.Errorf("%T was %+v; after the call it is %+v", opts, given, *opts)
	}
}

// unread is a body that must not be read.
type unread struct{ e *env }

func (u unread) Read([]byte) (int, error) {
	u.e.Error("the body was read before the input was refused")
	return 0, io.EOF
}

// body is an upload's body of it.
func (u unread) body() maskstore.Body {
	return maskstore.Body{Size: 1, Open: func() (io.ReadCloser, error) { return io.NopCloser(u), nil }}
}
