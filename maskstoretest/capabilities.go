package maskstoretest

import (
	"context"

	"github.com/pacs-extension/maskstore"
)

// copyTests run through the Copier that maskstore.As finds, wrapped or not.
var copyTests = map[string]func(*env){
	"ContentAndType": func(e *env) {
		src := e.put(e.key("src.png"), "content", &maskstore.PutOptions{ContentType: "application/dicom"})
		info, err := e.copier().Copy(e.Context(), src.Key, e.key("dst"), nil)
		e.must(err)
		e.wantContent(e.key("dst"), "content")
		e.wantType("dst", "application/dicom")
		stat, err := e.storage.Stat(e.Context(), e.key("dst"))
		e.must(err)
		if info.Key != stat.Key || info.Size != 7 || info.ETag != stat.ETag || info.ETag == "" {
			e.Errorf("Copy gives %+v; Stat %+v", info, stat)
		}
		e.wantContent(src.Key, "content")
	},
	"Overwrites": func(e *env) {
		e.put(e.key("src"), "new", nil)
		e.put(e.key("dst"), "an older one", nil)
		_, err := e.copier().Copy(e.Context(), e.key("src"), e.key("dst"), nil)
		e.must(err)
		e.wantContent(e.key("dst"), "new")
	},
	"IsNoLink": func(e *env) {
		e.put(e.key("src"), "content", nil)
		_, err := e.copier().Copy(e.Context(), e.key("src"), e.key("dst"), nil)
		e.must(err)
		e.put(e.key("src"), "changed", nil)
		e.wantContent(e.key("dst"), "content")
		e.must(e.storage.Delete(e.Context(), e.key("src")))
		e.wantContent(e.key("dst"), "content")
	},
	"OddKeys": func(e *env) {
		for _, name := range []string{
			"with space", "a+b", "a%20b", "a&b=c", `a"b'c`, "a#b?c", "?versionId=x", "caf\u00e9", "cafe\u0301", "간/우엽.png",
		} {
			e.put(e.key(name), name, nil)
			_, err := e.copier().Copy(e.Context(), e.key(name), e.key("copy of "+name), nil)
			e.must(err)
			e.wantContent(e.key("copy of "+name), name)
		}
	},
	"IfMatch": func(e *env) {
		first := e.put(e.key("src"), "first", nil)
		second := e.put(e.key("src"), "second", nil)
		_, err := e.copier().Copy(e.Context(), e.key("src"), e.key("dst"), &maskstore.CopyOptions{IfMatch: first.ETag})
		e.wantErr(err, maskstore.ErrPreconditionFailed)
		e.wantAbsent(e.key("dst"))
		_, err = e.copier().Copy(e.Context(), e.key("src"), e.key("dst"), &maskstore.CopyOptions{IfMatch: second.ETag})
		e.must(err)
		e.wantContent(e.key("dst"), "second")
	},
	"AbsentSource": func(e *env) {
		e.put(e.key("dst"), "old", nil)
		_, err := e.copier().Copy(e.Context(), e.key("none"), e.key("dst"), nil)
		e.wantErr(err, maskstore.ErrNotFound)
		e.wantContent(e.key("dst"), "old")
	},
	"BadInput": func(e *env) {
		e.badKeys(false, map[string]func(key string) error{
			"Copy": func(src string) error { _, err := e.copier().Copy(e.Context(), src, e.key("dst"), nil); return err },
		})
		e.must(e.storage.Delete(e.Context(), e.key("x")))
		e.badKeys(false, map[string]func(key string) error{
			"Copy": func(dst string) error { _, err := e.copier().Copy(e.Context(), e.key("x"), dst, nil); return err },
		})
		_, err := e.copier().Copy(e.Context(), e.key("x"), e.key("dst"), &maskstore.CopyOptions{IfMatch: `"quoted"`})
		e.wantInput(err, "Copy", maskstore.ErrInvalidArgument, "IfMatch")
		e.wantAbsent(e.key("dst"))
	},
	"OptionsAreUnchanged": func(e *env) {
		opts := &maskstore.CopyOptions{IfMatch: e.put(e.key("src"), "content", nil).ETag}
		wantUnchanged(e, opts, func() error {
			_, err := e.copier().Copy(e.Context(), e.key("src"), e.key("dst"), opts)
			return err
		})
	},
	"EndedContextIsRefused": func(e *env) {
		e.put(e.key("src"), "content", nil)
		ctx, cancel := context.WithCancel(e.Context())
		cancel()
		_, err := e.copier().Copy(ctx, e.key("src"), e.key("dst"), nil)
		e.wantErr(err, context.Canceled)
		e.wantAbsent(e.key("dst"))
	},
	"ContextEndsOnTheWay": func(e *env) {
		e.put(e.key("src"), "new", nil)
		e.cancelled(func() { e.put(e.key("dst"), "old", nil) }, func(ctx context.Context) error {
			_, err := e.copier().Copy(ctx, e.key("src"), e.key("dst"), nil)
			return err
		}, func(done bool) { e.wantEither("dst", "new", "old", done) })
	},
}

func (e *env) copier() maskstore.Copier {
	e.Helper()
	return capability[maskstore.Copier](e, "Copier, and NoCopy")
}

func (e *env) multipart() maskstore.MultipartStorage {
	e.Helper()
	return capability[maskstore.MultipartStorage](e, "MultipartStorage, and NoMultipart")
}

// capability gives what As must find; missing names it, and the option that says that there is none.
func capability[T any](e *env, missing string) T {
	e.Helper()
	c, ok := maskstore.As[T](e.storage)
	if !ok {
		e.Fatalf("As finds no %s is not set", missing)
	}
	return c
}

var noCopyTests = map[string]func(*env){
	"AsFindsNone": func(e *env) {
		if c, ok := maskstore.As[maskstore.Copier](e.storage); ok {
			e.Errorf("As finds %T", c)
		}
	},
}

var noMultipartTests = map[string]func(*env){
	"AsFindsNone": func(e *env) {
		if m, ok := maskstore.As[maskstore.MultipartStorage](e.storage); ok {
			e.Errorf("As finds %T", m)
		}
	},
}
