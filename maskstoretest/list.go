package maskstoretest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pacs-extension/maskstore"
)

// around is what sorts next to the common prefix a/ by bytes, though not by letters.
var around = []string{"a-", "a-b/x", "a.", "a.b", "a/x", "a/y/z", "a0", "a1/x", "aa", "b"}

var listTests = map[string]func(*env){
	"ByteOrder": func(e *env) {
		names := []string{
			"A", "B/c", "_", "a!", "a b", "a-b", "a.b", "a/b", "a0", "aB", "a_b", "ab", "b", "~", "caf\u00e9", "cafe\u0301", "간",
			"肝", "\U0001fac0", "\ufffd",
		}
		e.putNames(names...)
		slices.Sort(names)
		e.wantKeys("", nil, names...)
	},
	"Empty": func(e *env) {
		e.wantKeys("", nil)
		e.wantKeys("none/", &maskstore.ListOptions{Delimiter: "/", StartAfter: e.prefix + "none/a", Limit: 5})
	},
	"PrefixIsPartOfASegment": func(e *env) {
		e.putNames("dir/0001_liver.png", "dir/0001_spleen.png", "dir/0010_liver.png", "dir0/x")
		e.wantKeys("dir/0001_", nil, "dir/0001_liver.png", "dir/0001_spleen.png")
		e.wantKeys("dir/00", &maskstore.ListOptions{Delimiter: "/"}, "dir/0001_liver.png", "dir/0001_spleen.png",
			"dir/0010_liver.png")
		e.wantKeys("di", &maskstore.ListOptions{Delimiter: "/"}, "dir/", "dir0/")
		e.wantKeys("dir/0001_liver.png", nil, "dir/0001_liver.png")
		e.wantKeys("dir/0001_liver.png/", nil)
	},
	"PrefixIsAllOfMask": func(e *env) {
		e.putNames("x")
		for info, err := range e.storage.List(e.Context(), "mask/", &maskstore.ListOptions{StartAfter: e.prefix, Limit: 1}) {
			e.must(err)
			if info.Key != e.prefix+"x" {
				e.Errorf("got %s", info.Key)
			}
		}
	},
	"OddPrefixes": func(e *env) {
		for _, dir := range []string{"with space", "a+b", "a%20b", "a&b", "a#b?c", `a"b'c`, "간", "cafe\u0301"} {
			e.putNames(dir + "/x")
			e.wantKeys(dir, nil, dir+"/x")
			e.wantKeys(dir+"/", &maskstore.ListOptions{Delimiter: "/"}, dir+"/x")
			e.wantKeys(dir, &maskstore.ListOptions{Delimiter: "/"}, dir+"/")
		}
	},
	"DelimiterRollsUp": func(e *env) {
		e.putNames(around...)
		e.wantKeys("", &maskstore.ListOptions{Delimiter: "/"}, "a-", "a-b/", "a.", "a.b", "a/", "a0", "a1/", "aa", "b")
		e.wantKeys("a/", &maskstore.ListOptions{Delimiter: "/"}, "a/x", "a/y/")
		for _, info := range e.list("", &maskstore.ListOptions{Delimiter: "/"}) {
			if isPrefix := strings.HasSuffix(info.Key, "/"); info.IsPrefix != isPrefix || isPrefix != (info.ETag == "") {
				e.Errorf("%+v", info)
			}
			if info.IsPrefix && info != (maskstore.ObjectInfo{Key: info.Key, IsPrefix: true}) {
				e.Errorf("common prefix has more than its key: %+v", info)
			}
		}
	},
	"StartAfter": func(e *env) {
		e.putNames(around...)
		for i, name := range around {
			e.wantKeys("", &maskstore.ListOptions{StartAfter: e.prefix + name}, around[i+1:]...)
			e.wantKeys("", &maskstore.ListOptions{StartAfter: e.prefix + name + "!"}, around[i+1:]...)
		}
		e.wantKeys("", &maskstore.ListOptions{StartAfter: e.prefix}, around...)
		e.wantKeys("", &maskstore.ListOptions{StartAfter: "mask/"}, around...)
		e.wantKeys("", &maskstore.ListOptions{StartAfter: e.prefix + "c"})
		e.wantKeys("a/", &maskstore.ListOptions{StartAfter: e.prefix + "a-b/x"}, "a/x", "a/y/z")
		e.wantKeys("a/", &maskstore.ListOptions{StartAfter: e.prefix + "a0"})
	},
	"StartAfterACommonPrefix": func(e *env) {
		e.putNames(around...)
		all := []string{"a-", "a-b/", "a.", "a.b", "a/", "a0", "a1/", "aa", "b"}
		for _, row := range []struct {
			after string
			want  []string
		}{
			{"a.b", all[4:]},   // a key before the common prefix
			{"a.c", all[4:]},   // none, between the two
			{"a/", all[5:]},    // the common prefix skips all under it
			{"a/x", all[5:]},   // as does a key under it,
			{"a/xx", all[5:]},  // or what lies between two,
			{"a/y/z", all[5:]}, // or is the last,
			{"a/zzz", all[5:]}, // or comes after that
			{"a0", all[6:]},
			{"a1/", all[7:]},
			{"a-b/zz", all[2:]},
		} {
			e.wantKeys("", &maskstore.ListOptions{Delimiter: "/", StartAfter: e.prefix + row.after}, row.want...)
		}
		// Without a delimiter a common prefix is a key like any other.
		e.wantKeys("", &maskstore.ListOptions{StartAfter: e.prefix + "a/"}, "a/x", "a/y/z", "a0", "a1/x", "aa", "b")
		// What is under the prefix listed is rolled up below it only.
		e.wantKeys("a/", &maskstore.ListOptions{Delimiter: "/", StartAfter: e.prefix + "a/"}, "a/x", "a/y/")
		e.wantKeys("a/", &maskstore.ListOptions{Delimiter: "/", StartAfter: e.prefix + "a/x"}, "a/y/")
		e.wantKeys("a/", &maskstore.ListOptions{Delimiter: "/", StartAfter: e.prefix + "a/y/"})
	},
	"PagesByStartAfter": func(e *env) {
		e.putNames(around...)
		for _, delimiter := range []string{"", "/"} {
			var all, paged []string
			for _, info := range e.list("", &maskstore.ListOptions{Delimiter: delimiter}) {
				all = append(all, info.Key)
			}
			for after := ""; ; {
				page := e.list("", &maskstore.ListOptions{Delimiter: delimiter, StartAfter: after, Limit: 2})
				if len(page) == 0 {
					break
				}
				for _, info := range page {
					paged = append(paged, info.Key)
				}
				after = e.prefix + page[len(page)-1].Key
			}
			if !slices.Equal(paged, all) {
				e.Errorf("delimiter %q: pages give %q; want %q", delimiter, paged, all)
			}
		}
	},
	"Limit": func(e *env) {
		e.putNames(around...)
		for limit := 1; limit <= len(around)+1; limit++ {
			e.wantKeys("", &maskstore.ListOptions{Limit: limit}, around[:min(limit, len(around))]...)
		}
		e.wantKeys("", &maskstore.ListOptions{Delimiter: "/", Limit: 5}, "a-", "a-b/", "a.", "a.b", "a/")
	},
	"NoTypesNoChecksums": func(e *env) {
		e.putNames("0001_liver.png", "0002_liver.png")
		for _, info := range e.list("", nil) {
			if info.ContentType != "" || !info.SHA256.IsZero() || info.Size != 14 || info.ETag == "" || info.LastModified.IsZero() ||
				info.IsPrefix {
				e.Errorf("got %+v", info)
			}
		}
	},
	"BrokenOutOfAndRangedAgain": func(e *env) {
		e.putNames("a", "b", "c")
		seq := e.storage.List(e.Context(), e.prefix, &maskstore.ListOptions{Limit: 2})
		for range 3 {
			for info, err := range seq {
				e.must(err)
				if info.Key != e.prefix+"a" {
					e.Fatalf("first is %s", info.Key)
				}
				break
			}
		}
		var got []string
		for info, err := range seq {
			e.must(err)
			got = append(got, strings.TrimPrefix(info.Key, e.prefix))
		}
		if !slices.Equal(got, []string{"a", "b"}) {
			e.Errorf("got %q", got)
		}
	},
	"OptionsAreReadOnce": func(e *env) {
		e.putNames("a", "b", "c")
		opts := &maskstore.ListOptions{Limit: 2}
		seq := e.storage.List(e.Context(), e.prefix, opts)
		opts.Limit = 1
		n := 0
		for _, err := range seq {
			e.must(err)
			n++
		}
		if n != 2 {
			e.Errorf("%d entries; want the 2 of the options as they were", n)
		}
	},
	"MoreThanAPage": func(e *env) {
		names := make([]string, 1203)
		for i := range names {
			names[i] = fmt.Sprintf("g%d/%04d_liver.png", i/401, i)
		}
		e.putMany(names)
		e.wantKeys("", nil, names...)
		e.wantKeys("", &maskstore.ListOptions{Limit: 1000}, names[:1000]...)
		e.wantKeys("", &maskstore.ListOptions{Limit: 1001}, names[:1001]...)
		e.wantKeys("", &maskstore.ListOptions{StartAfter: e.prefix + names[99]}, names[100:]...)
		e.wantKeys("", &maskstore.ListOptions{Delimiter: "/"}, "g0/", "g1/", "g2/")
		e.wantKeys("g1/", &maskstore.ListOptions{Delimiter: "/"}, names[401:802]...)
		ctx, cancel := context.WithCancel(e.Context())
		defer cancel()
		n, err := 0, error(nil)
		for _, err = range e.storage.List(ctx, e.prefix, nil) {
			cancel()
			n++
		}
		e.wantErr(err, context.Canceled)
		if n > 1001 {
			e.Errorf("%d entries after the context's end", n)
		}
	},
	"MoreCommonPrefixesThanAPage": func(e *env) {
		names, dirs := make([]string, 1100), make([]string, 1100)
		for i := range names {
			dirs[i] = fmt.Sprintf("g%04d/", i)
			names[i] = dirs[i] + "metadata.json"
		}
		e.putMany(names)
		e.wantKeys("", &maskstore.ListOptions{Delimiter: "/"}, dirs...)
		e.wantKeys("", &maskstore.ListOptions{Delimiter: "/", StartAfter: e.prefix + dirs[9], Limit: 1050}, dirs[10:1060]...)
	},
}

// putNames puts an object at each name, whose content is the name.
func (e *env) putNames(names ...string) {
	e.Helper()
	for _, name := range names {
		e.put(e.prefix+name, name, nil)
	}
}

// putMany puts an object at each name, several at a time.
func (e *env) putMany(names []string) {
	e.Helper()
	items := make([]maskstore.UploadItem, len(names))
	for i, name := range names {
		items[i] = maskstore.UploadItem{Key: e.prefix + name, Body: maskstore.BytesBody([]byte(name))}
	}
	if _, err := maskstore.UploadAll(e.Context(), e.storage, items, nil); err != nil {
		e.Fatal(err)
	}
}
