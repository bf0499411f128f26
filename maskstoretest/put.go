package maskstoretest

import (
	"bytes"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/pacs-extension/maskstore"
)

var putTests = map[string]func(*env){
	"ContentComesBack": func(e *env) {
		key, content := e.key("g/0001_liver.png"), pattern(3000)
		put := e.put(key, content, nil)
		e.wantContent(key, content)
		if put.Key != key || put.Size != 3000 || put.IsPrefix {
			e.Errorf("Put gives %+v", put)
		}
	},
	"EmptyObject": func(e *env) {
		key := e.key("empty")
		if put := e.put(key, "", nil); put.Size != 0 || put.ETag == "" {
			e.Errorf("Put gives %+v", put)
		}
		e.wantContent(key, "")
		info, err := e.storage.Stat(e.Context(), key)
		e.must(err)
		if info.Size != 0 {
			e.Errorf("Stat gives %+v", info)
		}
	},
	"OverwriteReplaces": func(e *env) {
		key := e.key("x")
		first := e.put(key, "a longer one", &maskstore.PutOptions{ContentType: "text/plain"})
		second := e.put(key, "short", nil)
		e.wantContent(key, "short")
		if first.ETag == second.ETag {
			e.Error("another content has the same ETag")
		}
		info, err := e.storage.Stat(e.Context(), key)
		e.must(err)
		if info.ContentType != "application/octet-stream" || info.Size != 5 {
			e.Errorf("Stat gives %+v", info)
		}
	},
	"TypeByExtension": func(e *env) {
		for name, want := range map[string]string{
			"0001_liver.png": "image/png",
			"metadata.json":  "application/json",
			"notes.html":     "application/octet-stream", // so that no browser runs it
			"png":            "application/octet-stream",
			"dir.png/x":      "application/octet-stream",
		} {
			e.put(e.key(name), "x", nil)
			e.wantType(name, want)
		}
	},
	"TypeAsSet": func(e *env) {
		for name, want := range map[string]string{"a.png": "application/dicom", "b": "text/plain; charset=utf-8"} {
			e.put(e.key(name), "x", &maskstore.PutOptions{ContentType: want})
			e.wantType(name, want)
		}
	},
	"OddKeys": func(e *env) {
		room := maskstore.MaxKeyBytes - len(e.prefix)
		for _, name := range []string{
			"0001_간_우엽.png", "0001_肝臓.png", "0001_печень.png", "🫀",
			"caf\u00e9.png", "cafe\u0301.png", // NFC and NFD, two keys
			"with space", " leading", "trailing ", "two  spaces/x", "a+b", "a%b", "a%20b", "%2F", "a&b=c", `a"b'c`, "a#b", "a?b=c",
			"a;b,c", "<xml>&amp;", "(a)[b]{c}", "a=b@c:d!e$f*g~h^i`j|k", `back\slash`, "..a", "a..", ".hidden", "_x", "-x", "\u200b",
			"\u2028", "\ufffd", "\U0010ffff",
			strings.Repeat("s", maskstore.MaxSegmentBytes),
			strings.Repeat("장", maskstore.MaxSegmentBytes/3),
			strings.Repeat(strings.Repeat("k", 200)+"/", room/201) + strings.Repeat("k", room%201),
		} {
			key := e.key(name)
			e.put(key, name, nil)
			e.wantContent(key, name)
		}
		for _, info := range e.list("", nil) {
			e.wantContent(e.prefix+info.Key, info.Key)
		}
		if n := len(e.list("", nil)); n != len(e.named) {
			e.Errorf("%d keys are listed; want %d", n, len(e.named))
		}
	},
	"CaseCounts": func(e *env) {
		e.put(e.key("a"), "small", nil)
		e.put(e.key("A"), "capital", nil)
		e.wantContent(e.key("a"), "small")
		e.wantContent(e.key("A"), "capital")
	},
	"StatTellsWhatPutTold": func(e *env) {
		key := e.key("g/0001_liver.png")
		put := e.put(key, "content", nil)
		stat, err := e.storage.Stat(e.Context(), key)
		e.must(err)
		got, _, err := e.get(key, nil)
		e.must(err)
		sum := maskstore.SumSHA256([]byte("content"))
		for name, info := range map[string]maskstore.ObjectInfo{"Put": put, "Stat": stat, "Get": got} {
			if info.Key != key || info.Size != 7 || info.ETag != put.ETag || info.ContentType != "image/png" || info.IsPrefix ||
				!info.SHA256.IsZero() && info.SHA256 != sum {
				e.Errorf("%s gives %+v", name, info)
			}
		}
		if stat.SHA256 != got.SHA256 {
			e.Errorf("Stat gives SHA-256 %q, Get %q", stat.SHA256, got.SHA256)
		}
		if age := time.Since(stat.LastModified); age < -24*time.Hour || age > 24*time.Hour {
			e.Errorf("LastModified is %v", stat.LastModified)
		}
	},
	"ETagIsOpaqueAndUnquoted": func(e *env) {
		key := e.key("x")
		put := e.put(key, "content", nil)
		stat, err := e.storage.Stat(e.Context(), key)
		e.must(err)
		got, _, err := e.get(key, &maskstore.GetOptions{Length: 1})
		e.must(err)
		etags := []string{put.ETag, stat.ETag, got.ETag, e.list("", nil)[0].ETag}
		for _, etag := range etags {
			if etag == "" || strings.ContainsAny(etag, "\" \t") || etag != put.ETag {
				e.Fatalf("ETags of Put, Stat, Get and List are %q", etags)
			}
		}
	},
	"MissingIsNotFound": func(e *env) {
		key := e.key("x")
		_, err := e.storage.Get(e.Context(), key, nil)
		e.wantErr(err, maskstore.ErrNotFound)
		e.wantErr(err, fs.ErrNotExist)
		_, err = e.storage.Get(e.Context(), key, &maskstore.GetOptions{Offset: 5, IfMatch: "x"})
		e.wantErr(err, maskstore.ErrNotFound)
		_, err = e.storage.Stat(e.Context(), key)
		e.wantErr(err, maskstore.ErrNotFound)
		e.wantErr(err, fs.ErrNotExist)
	},
	"DirectoryIsNotFound": func(e *env) {
		e.put(e.key("dir/x"), "x", nil)
		_, err := e.storage.Get(e.Context(), e.key("dir"), nil)
		e.wantErr(err, maskstore.ErrNotFound)
		e.wantAbsent(e.key("dir"))
	},
	"CallersBytesAreNotKept": func(e *env) {
		data := []byte("content")
		_, err := e.storage.Put(e.Context(), e.key("x"), bytes.NewReader(data), nil)
		e.must(err)
		copy(data, "changed")
		obj, err := e.storage.Get(e.Context(), e.key("x"), nil)
		e.must(err)
		got, err := io.ReadAll(obj.Body)
		e.must(err)
		e.must(obj.Body.Close())
		copy(got, "altered")
		e.wantContent(e.key("x"), "content")
	},
	"OptionsAreNotChanged": func(e *env) {
		opts := maskstore.PutOptions{Size: 1, SHA256: maskstore.SumSHA256([]byte("x"))}
		before := opts
		e.put(e.key("x"), "x", &opts)
		if opts != before {
			e.Errorf("Put made %+v of %+v", opts, before)
		}
	},
	"BodyIsReadToItsEndAndNotClosed": func(e *env) {
		for _, opts := range []*maskstore.PutOptions{nil, {Size: 7}} {
			body := &closer{Reader: strings.NewReader("content")}
			_, err := e.storage.Put(e.Context(), e.key("x"), body, opts)
			e.must(err)
			if n, err := body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				e.Errorf("after Put, Read gives %d, %v", n, err)
			}
			if body.closed {
				e.Error("Put closed the body")
			}
		}
	},
}

// closer is a reader that knows whether it was closed.
type closer struct {
	io.Reader
	closed bool
}

func (c *closer) Close() error {
	c.closed = true
	return nil
}

// wantType fails unless both Stat and Get give this content type.
func (e *env) wantType(name, want string) {
	e.Helper()
	stat, err := e.storage.Stat(e.Context(), e.key(name))
	e.must(err)
	got, _, err := e.get(e.key(name), nil)
	e.must(err)
	if stat.ContentType != want || got.ContentType != want {
		e.Errorf("%s has type %q by Stat, %q by Get; want %q", name, stat.ContentType, got.ContentType, want)
	}
}
