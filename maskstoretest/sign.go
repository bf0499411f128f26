package maskstoretest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/pacs-extension/maskstore"
)

var signTests = map[string]func(*env){
	"PutThenGet": func(e *env) {
		key, content := e.key("g/0001_liver.png"), pattern(3000)
		put := e.signPut(key, boundTo(content))
		if put.Method != http.MethodPut || put.ContentLength != 3000 {
			e.Errorf("signed %s with length %d", put.Method, put.ContentLength)
		}
		answer := e.wantStatus(put, content, http.StatusOK)
		stat, err := e.storage.Stat(e.Context(), key)
		e.must(err)
		if etag := answer.header.Get("ETag"); etag != `"`+stat.ETag+`"` || stat.ContentType != "image/png" || stat.Size != 3000 {
			e.Errorf("PUT answers ETag %s; Stat gives %+v", etag, stat)
		}
		if got := e.wantStatus(e.signGet(key, nil), "", http.StatusOK); got.body != content ||
			got.header.Get("ETag") != `"`+stat.ETag+`"` {
			e.Errorf("GET answers %s, %v", brief(got.body), got.header)
		}
	},
	"NothingIsBoundThatIsNotSet": func(e *env) {
		key := e.key("x.png")
		u := e.signPut(key, nil)
		own := u.Header.Clone() // what the storage asks for of every write, such as encryption
		for name := range own {
			if !strings.HasPrefix(name, "X-Amz-Server-Side-") {
				e.Errorf("asks for the header %s", name)
			}
		}
		if u.ContentLength != 0 {
			e.Errorf("asks for length %d", u.ContentLength)
		}
		for _, content := range []string{"one", "another", ""} {
			e.wantStatus(u, content, http.StatusOK)
			e.wantContent(key, content)
		}
		u.Header = own
		u.Header.Set("Content-Type", "application/dicom")
		e.wantStatus(u, "dicom", http.StatusOK)
		e.wantType("x.png", "application/dicom")
	},
	"EachBoundAlone": func(e *env) {
		key := e.key("x")
		sum := maskstore.SumSHA256([]byte("new"))
		for name, opts := range map[string]maskstore.UploadURLOptions{
			"type": {ContentType: "image/png"}, "type with a parameter": {ContentType: "text/plain; charset=utf-8"},
			"size": {Size: 3}, "SHA-256": {SHA256: sum},
		} {
			e.put(key, "old", nil)
			u := e.signPut(key, &opts)
			if answer := e.send(u, "new", nil); answer.status != http.StatusOK {
				e.Errorf("%s: status %d %s", name, answer.status, answer.body)
			}
			e.wantContent(key, "new")
		}
	},
	"OddKeys": func(e *env) {
		for _, name := range []string{
			"0001_간_우엽.png", "cafe\u0301", "with space", " leading", "a+b", "a%20b", "a&b=c", `a"b'c`, "a#b?c", "a;b,c", "<x>",
			"a=b@c:d!e$f*g~h",
			strings.Repeat("장", maskstore.MaxSegmentBytes/3),
		} {
			key := e.key(name)
			e.wantStatus(e.signPut(key, boundTo(name)), name, http.StatusOK)
			e.wantContent(key, name)
			if got := e.wantStatus(e.signGet(key, nil), "", http.StatusOK); got.body != name {
				e.Errorf("GET of %s answers %s", key, brief(got.body))
			}
		}
	},
	"ManyAtOnce": func(e *env) {
		var signers sync.WaitGroup
		for i := range 32 {
			key := e.key(fmt.Sprintf("%04d_liver.png", i))
			signers.Go(func() {
				u, err := e.storage.UploadURL(e.Context(), key, boundTo(key))
				if err != nil {
					e.Error(err)
					return
				}
				if answer := e.send(u, key, nil); answer.status != http.StatusOK {
					e.Errorf("%s: status %d %s", key, answer.status, answer.body)
				}
			})
		}
		signers.Wait()
		for _, key := range e.named {
			e.wantContent(key, key)
		}
	},
	"SigningAsksForNoObject": func(e *env) {
		u := e.signGet(e.key("x"), nil)
		e.wantStatus(u, "", http.StatusNotFound)
		e.put(e.key("x"), "content", nil)
		e.wantStatus(u, "", http.StatusOK)
	},
	"NoOverwriteWorksOnce": func(e *env) {
		e.wantWorksOnce(e.key("x"), &maskstore.UploadURLOptions{NoOverwrite: true})
	},
	"IfMatchWorksOnce": func(e *env) {
		e.wantWorksOnce(e.key("x"), &maskstore.UploadURLOptions{IfMatch: e.put(e.key("x"), "old", nil).ETag})
	},
	"IfMatchOfAnotherETag": func(e *env) {
		key := e.key("x")
		u := e.signPut(key, &maskstore.UploadURLOptions{IfMatch: e.put(key, "old", nil).ETag})
		e.put(key, "newer", nil)
		e.wantStatus(u, "late", http.StatusPreconditionFailed)
		e.wantContent(key, "newer")
	},
	"IfMatchOfAKeyThatIsGone": func(e *env) {
		key := e.key("x")
		u := e.signPut(key, &maskstore.UploadURLOptions{IfMatch: e.put(key, "old", nil).ETag})
		e.must(e.storage.Delete(e.Context(), key))
		e.wantStatus(u, "late", http.StatusNotFound)
		e.wantAbsent(key)
	},
	"ExpiresSaysWhen": func(e *env) {
		for _, ttl := range []time.Duration{time.Second, time.Minute, 90*time.Second + 1, time.Hour} {
			before := time.Now().Truncate(time.Second)
			put := e.signPut(e.key("x"), &maskstore.UploadURLOptions{TTL: ttl})
			get := e.signGet(e.key("x"), &maskstore.DownloadURLOptions{TTL: ttl})
			after := time.Now()
			for _, u := range []maskstore.SignedURL{put, get} {
				if s := ttl.Truncate(time.Second); u.Expires.Before(before.Add(s)) || u.Expires.After(after.Add(s)) {
					e.Errorf("TTL %v: %s signed at %v expires at %v", ttl, u.Method, before, u.Expires)
				}
			}
		}
		if u := e.signPut(e.key("x"), nil); !u.Expires.After(time.Now()) {
			e.Errorf("by default a URL expires at %v", u.Expires)
		}
	},
	"ExpiredIsRefused": func(e *env) {
		key := e.key("x")
		e.put(key, "old", nil)
		put := e.signPut(key, &maskstore.UploadURLOptions{TTL: time.Second})
		get := e.signGet(key, &maskstore.DownloadURLOptions{TTL: time.Second})
		// What ends is time by the server's clock, and nothing tells of it but the answer.
		for again := time.Tick(100 * time.Millisecond); e.send(get, "", nil).status == http.StatusOK; <-again {
			if time.Since(get.Expires) > time.Minute {
				e.Fatal("a minute after its end the URL still works")
			}
		}
		e.wantStatus(get, "", http.StatusForbidden)
		e.wantStatus(put, "late", http.StatusForbidden)
		e.wantContent(key, "old")
	},
	"EndedContextIsRefused": func(e *env) {
		ctx, cancel := context.WithCancel(e.Context())
		cancel()
		_, err := e.storage.UploadURL(ctx, e.key("x"), nil)
		e.wantErr(err, context.Canceled)
		_, err = e.storage.DownloadURL(ctx, e.key("x"), nil)
		e.wantErr(err, context.Canceled)
	},
	"RevealedURLWorksElsewhere": func(e *env) {
		wire, err := json.Marshal(e.signPut(e.key("x.png"), boundTo("content")).Reveal())
		e.must(err)
		var revealed maskstore.RevealedURL
		e.must(json.Unmarshal(wire, &revealed))
		e.wantStatus(revealed.SignedURL(), "content", http.StatusOK)
		e.wantContent(e.key("x.png"), "content")
	},
	"SignatureIsNotPrinted": func(e *env) {
		u := e.signPut(e.key("x"), boundTo("content"))
		var logged bytes.Buffer
		slog.New(slog.NewJSONHandler(&logged, nil)).Info("signed", "url", u, "in", []any{u, &u, map[string]any{"u": u}})
		slog.New(slog.NewTextHandler(&logged, nil)).Info("signed", "url", u)
		marshalled, err := json.Marshal(struct{ U any }{u})
		e.must(err)
		printed := fmt.Sprintf("%v %+v %#v %s %q %x %d %v", u, u, u, u, u, u, u, []*maskstore.SignedURL{&u}) + logged.String() +
			string(marshalled)
		for name, values := range queryOf(u) {
			if len(values[0]) > 15 && strings.Contains(printed, values[0]) || strings.Contains(printed, name) {
				e.Errorf("%s was printed", name)
			}
		}
		if !strings.Contains(printed, "PUT") {
			e.Errorf("nothing tells what it is: %s", printed)
		}
	},
}

var signedGetTests = map[string]func(*env){
	"TypeByExtension": func(e *env) {
		// Whatever was uploaded, a browser gets no page to run.
		e.put(e.key("0001_liver.png"), "<script>", &maskstore.PutOptions{ContentType: "text/html"})
		got := e.wantStatus(e.signGet(e.key("0001_liver.png"), nil), "", http.StatusOK)
		got.wantDownload(e, "image/png", "0001_liver.png")
	},
	"TypeAndFilenameAsSet": func(e *env) {
		e.put(e.key("x"), "content", nil)
		for _, name := range []string{"간 마스크.png", "liver.png", `a "quoted" name.png`, "a;b=c, d.png", "cafe\u0301 100%.png"} {
			u := e.signGet(e.key("x"), &maskstore.DownloadURLOptions{ContentType: "application/dicom", Filename: name})
			e.wantStatus(u, "", http.StatusOK).wantDownload(e, "application/dicom", name)
		}
	},
	"RangeIsFree": func(e *env) {
		e.put(e.key("x"), "0123456789", nil)
		u := e.signGet(e.key("x"), nil)
		got := e.send(u, "", func(r *http.Request) { r.Header.Set("Range", "bytes=2-4") })
		if got.status != http.StatusPartialContent || got.body != "234" || got.header.Get("Content-Range") != "bytes 2-4/10" {
			e.Errorf("got %d %q, %v", got.status, got.body, got.header)
		}
		got = e.send(u, "", func(r *http.Request) { r.Header.Set("Range", "bytes=10-") })
		if got.status != http.StatusRequestedRangeNotSatisfiable {
			e.Errorf("past the end: status %d", got.status)
		}
	},
	"IfMatchIsFree": func(e *env) {
		old := e.put(e.key("x"), "old", nil)
		u := e.signGet(e.key("x"), nil)
		pin := func(r *http.Request) { r.Header.Set("If-Match", `"`+old.ETag+`"`) }
		if got := e.send(u, "", pin); got.status != http.StatusOK || got.body != "old" {
			e.Errorf("pinned to what is there: got %d %q", got.status, got.body)
		}
		e.put(e.key("x"), "new", nil)
		if got := e.send(u, "", pin); got.status != http.StatusPreconditionFailed {
			e.Errorf("pinned to what is gone: got %d %q", got.status, got.body)
		}
		if got := e.wantStatus(u, "", http.StatusOK); got.body != "new" {
			e.Errorf("unpinned: got %q", got.body)
		}
	},
}

// answer is a server's.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) wantDownload(e *env, contentType, filename string) {
	e.Helper()
	kind, params, err := mime.ParseMediaType(a.header.Get("Content-Disposition"))
	if got := a.header.Get("Content-Type"); got != contentType || kind != "attachment" || params["filename"] != filename ||
		err != nil {
		e.Errorf("answered with type %q and disposition %q", got, a.header.Get("Content-Disposition"))
	}
}

// boundTo binds a signed PUT to a PNG of this content.
func boundTo(content string) *maskstore.UploadURLOptions {
	return &maskstore.UploadURLOptions{
		ContentType: "image/png", Size: int64(len(content)), SHA256: maskstore.SumSHA256([]byte(content)),
	}
}

func (e *env) signPut(key string, opts *maskstore.UploadURLOptions) maskstore.SignedURL {
	e.Helper()
	u, err := e.storage.UploadURL(e.Context(), key, opts)
	e.must(err)
	return u
}

// wantWorksOnce puts by one URL again and again.
func (e *env) wantWorksOnce(key string, opts *maskstore.UploadURLOptions) {
	e.Helper()
	u := e.signPut(key, opts)
	e.wantStatus(u, "first", http.StatusOK)
	e.wantStatus(u, "first", http.StatusPreconditionFailed)
	e.wantStatus(u, "second", http.StatusPreconditionFailed)
	e.wantContent(key, "first")
}

func (e *env) signGet(key string, opts *maskstore.DownloadURLOptions) maskstore.SignedURL {
	e.Helper()
	u, err := e.storage.DownloadURL(e.Context(), key, opts)
	e.must(err)
	return u
}

// send makes the signed request, edited before it is sent, and with a body unless it is a GET.
func (e *env) send(u maskstore.SignedURL, body string, edit func(*http.Request)) answer {
	e.Helper()
	var r io.Reader
	if u.Method != http.MethodGet {
		r = strings.NewReader(body)
	}
	req, err := u.Request(e.Context(), r)
	if err == nil && edit != nil {
		edit(req)
	}
	if err != nil {
		e.Error(err)
		return answer{}
	}
	resp, err := e.Client.Do(req)
	if err != nil {
		e.Error(err)
		return answer{}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		e.Error(err)
	}
	return answer{resp.StatusCode, resp.Header, string(data)}
}

func (e *env) wantStatus(u maskstore.SignedURL, body string, want int) answer {
	e.Helper()
	got := e.send(u, body, nil)
	if got.status != want {
		e.Fatalf("%v: status %d; want %d: %s", u, got.status, want, got.body)
	}
	return got
}

func queryOf(u maskstore.SignedURL) url.Values {
	parsed, err := url.Parse(u.URL)
	if err != nil {
		return nil
	}
	return parsed.Query()
}
