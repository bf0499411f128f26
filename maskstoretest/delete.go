package maskstoretest

import (
	"context"
	"fmt"

	"github.com/pacs-extension/maskstore"
)

var deleteTests = map[string]func(*env){
	"ContextEndsOnTheWay": func(e *env) {
		keys := []string{e.key("a"), e.key("b"), e.key("c")}
		e.cancelled(func() { e.putNames("a", "b", "c") }, func(ctx context.Context) error {
			return e.storage.Delete(ctx, keys...)
		}, func(done bool) {
			if !done {
				e.must(e.storage.Delete(e.Context(), keys...))
			}
			e.wantKeys("", nil)
		})
	},
	"One": func(e *env) {
		e.putNames("a", "b")
		e.must(e.storage.Delete(e.Context(), e.key("a")))
		e.wantAbsent(e.key("a"))
		e.wantKeys("", nil, "b")
	},
	"None": func(e *env) {
		e.putNames("a")
		e.must(e.storage.Delete(e.Context()))
		e.wantKeys("", nil, "a")
	},
	"AbsentIsNoError": func(e *env) {
		e.putNames("a", "b")
		e.must(e.storage.Delete(e.Context(), e.key("none")))
		e.must(e.storage.Delete(e.Context(), e.key("a"), e.key("none"), e.key("dir/none")))
		e.must(e.storage.Delete(e.Context(), e.key("a")))
		e.wantKeys("", nil, "b")
	},
	"TwiceInOneCall": func(e *env) {
		e.putNames("a", "b")
		e.must(e.storage.Delete(e.Context(), e.key("a"), e.key("a")))
		e.wantKeys("", nil, "b")
	},
	"NothingElse": func(e *env) {
		e.putNames("dir/x", "dir/xx", "dir/x.png", "dir-x")
		e.must(e.storage.Delete(e.Context(), e.key("dir"), e.key("dir/x")))
		e.wantKeys("", nil, "dir-x", "dir/x.png", "dir/xx")
	},
	"OddKeys": func(e *env) {
		keys := []string{
			"with space", " leading", "trailing ", "a+b", "a%20b", "a&b<c>", `a"b'c`, "a#b?c", "cafe\u0301", "caf\u00e9", "간",
			"\U0001fac0", "\u2028", "\ufffd",
		}
		e.putNames(keys...)
		for i, key := range keys {
			keys[i] = e.prefix + key
		}
		e.must(e.storage.Delete(e.Context(), keys[:1]...))
		e.wantAbsent(keys[0])
		e.must(e.storage.Delete(e.Context(), keys...))
		e.wantKeys("", nil)
	},
	"Many": func(e *env) {
		names, keys := make([]string, 1500), make([]string, 1500)
		for i := range names {
			names[i] = fmt.Sprintf("%04d_liver.png", i)
			keys[i] = e.prefix + names[i]
		}
		e.putMany(append(names, "kept"))
		e.must(e.storage.Delete(e.Context(), keys...))
		e.wantKeys("", nil, "kept")
	},
	"BadKeyAmongGoodDeletesNothing": func(e *env) {
		e.putNames("a", "b")
		for _, keys := range [][]string{{e.prefix + "a", "other/x", e.prefix + "b"}, {e.prefix + "a", e.prefix + "b", e.prefix}} {
			err := e.storage.Delete(e.Context(), keys...)
			e.wantErr(err, maskstore.ErrInvalidKey)
		}
		e.wantKeys("", nil, "a", "b")
	},
	"Prefix": func(e *env) {
		e.putNames("g/a", "g/b/c", "g-", "g0", "h/x")
		n, err := maskstore.DeletePrefix(e.Context(), e.storage, e.prefix+"g/", nil)
		e.must(err)
		if n != 2 {
			e.Errorf("%d objects were deleted; want 2", n)
		}
		e.wantKeys("", nil, "g-", "g0", "h/x")
		n, err = maskstore.DeletePrefix(e.Context(), e.storage, e.prefix+"g/", nil)
		e.must(err)
		if n != 0 {
			e.Errorf("%d objects were deleted; want none", n)
		}
	},
	"PrefixThatIsTooWideIsRefused": func(e *env) {
		e.putNames("g/a")
		h := &hooked{ObjectStorage: e.storage, before: func(string, string) error { return errLost }} // should one get through
		for _, prefix := range []string{"", "/", "mask", "mask/", "m", e.prefix + "g", e.prefix + "g//", "other/"} {
			_, err := maskstore.DeletePrefix(e.Context(), h, prefix, nil)
			e.wantErr(err, maskstore.ErrInvalidKey)
		}
		if len(h.calls) > 0 {
			e.Errorf("calls were %q; want none", h.calls)
		}
		e.wantKeys("", nil, "g/a")
	},
}
