package maskstore

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// objectAnswer answers a GET with text.
func objectAnswer(text string, header ...string) answer {
	a := answer{status: 200, text: text, header: map[string]string{
		"ETag": `"e1"`, "Content-Type": "image/png", "Last-Modified": "Mon, 02 Jan 2006 15:04:05 GMT",
		"Content-Length": fmt.Sprint(len(text)),
	}}
	for i := 0; i < len(header); i += 2 {
		if a.header[header[i]] = header[i+1]; header[i+1] == "" {
			delete(a.header, header[i])
		}
	}
	return a
}

func TestS3GetBodies(t *testing.T) {
	sum := SumSHA256([]byte("hello"))
	const sumHeader = "X-Amz-Checksum-Sha256"
	for _, test := range []struct {
		name    string
		answer  answer
		opts    GetOptions
		want    string
		openErr error
		readErr error
	}{
		{"whole", objectAnswer("hello"), GetOptions{}, "hello", nil, nil},
		{"empty", objectAnswer(""), GetOptions{}, "", nil, nil},
		{"the server's checksum", objectAnswer("hello", sumHeader, sum.Base64()), GetOptions{}, "hello", nil, nil},
		{"a flipped bit", objectAnswer("hellO", sumHeader, sum.Base64()), GetOptions{}, "", nil, ErrChecksum},
		{"composite", objectAnswer("hello", sumHeader, SumSHA256(nil).Base64()+"-2", "X-Amz-Checksum-Type", "COMPOSITE"), GetOptions{}, "hello", nil, nil},
		{"composite, no number", objectAnswer("hello", sumHeader, SumSHA256(nil).Base64(), "X-Amz-Checksum-Type", "COMPOSITE"), GetOptions{}, "hello", nil, nil},
		{"the caller's checksum", objectAnswer("hello"), GetOptions{SHA256: sum}, "hello", nil, nil},
		{"the caller's over the server's", objectAnswer("hello", sumHeader, sum.Base64()), GetOptions{SHA256: SumSHA256(nil)}, "", nil, ErrChecksum},
		{"another content", objectAnswer("hellO"), GetOptions{SHA256: sum}, "", nil, ErrChecksum},
		{"empty, another content", objectAnswer(""), GetOptions{SHA256: sum}, "", nil, ErrChecksum},
		{"short", answer{status: 200, text: "hell", short: true, header: map[string]string{"ETag": `"e1"`}}, GetOptions{}, "hell", nil, ErrUnavailable},
		{"no ETag", objectAnswer("hello", "ETag", ""), GetOptions{}, "", ErrBadResponse, nil},
		{"no size", objectAnswer("hello", "Content-Length", "", "Transfer-Encoding", "chunked"), GetOptions{}, "", ErrBadResponse, nil},
		{"an ETag that is none", objectAnswer("hello", "ETag", `"e 1"`), GetOptions{}, "", ErrBadResponse, nil},
		{"range", objectAnswer("el", "Content-Range", "bytes 1-2/5"), GetOptions{Offset: 1, Length: 2}, "el", nil, nil},
		{"range, checksum of the whole", objectAnswer("el", "Content-Range", "bytes 1-2/5", sumHeader, sum.Base64()), GetOptions{Offset: 1, Length: 2}, "el", nil, nil},
		{"range to the end", objectAnswer("lo", "Content-Range", "bytes 3-4/5"), GetOptions{Offset: 3}, "lo", nil, nil},
		{"no range", objectAnswer("hello"), GetOptions{Offset: 1}, "", ErrBadResponse, nil},
		{"another range", objectAnswer("lo", "Content-Range", "bytes 3-4/5"), GetOptions{Offset: 1, Length: 2}, "", ErrBadResponse, nil},
		{"range of unknown size", objectAnswer("el", "Content-Range", "bytes 1-2/*"), GetOptions{Offset: 1, Length: 2}, "", ErrBadResponse, nil},
		{"past the end", answer{status: 416, code: "InvalidRange"}, GetOptions{Offset: 5}, "", ErrInvalidRange, nil},
		{"condition", answer{status: 412, code: "PreconditionFailed"}, GetOptions{IfMatch: "e2"}, "", ErrPreconditionFailed, nil},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			if test.answer.header["Content-Range"] != "" {
				test.answer.status = 206
			}
			server := &scripted{answers: []answer{test.answer}}
			opened, err := testS3(t, server).Get(t.Context(), testKey, &test.opts)
			if !errors.Is(err, test.openErr) {
				t.Fatalf("opening: %v; want %v", err, test.openErr)
			}
			if got := server.headers[0].Get("If-Match"); got != "" && test.opts.IfMatch == "" ||
				test.opts.IfMatch != "" && got != quoteETag(test.opts.IfMatch) {
				t.Errorf("If-Match is %q", got)
			}
			if err != nil {
				return
			}
			defer opened.Body.Close()
			if opened.Size != 5 && test.name != "empty" && !strings.HasPrefix(test.name, "empty") || opened.ETag != "e1" ||
				opened.Key != testKey {
				t.Errorf("got %+v", opened.ObjectInfo)
			}
			// A server may tell the checksum of a range or a part in place of the whole's.
			if sent := test.answer.header[sumHeader]; opened.SHA256 != parseBase64(sent) &&
				test.answer.header["X-Amz-Checksum-Type"] == "" && test.answer.status == 200 ||
				!opened.SHA256.IsZero() && test.answer.status == 206 {
				t.Errorf("SHA-256 is %v", opened.SHA256)
			}
			got, err := io.ReadAll(opened.Body)
			if !errors.Is(err, test.readErr) || test.readErr == nil && string(got) != test.want {
				t.Errorf("got %q, %v; want %q, %v", got, err, test.want, test.readErr)
			}
			if e, ok := err.(*Error); err != nil && (!ok || e.Op != "Get" || e.Key != testKey) {
				t.Errorf("error is %#v", err)
			}
			want := map[GetOptions]string{{Offset: 1, Length: 2}: "bytes=1-2", {Offset: 3}: "bytes=3-"}[test.opts]
			if got := server.headers[0].Get("Range"); got != want {
				t.Errorf("Range is %q, want %q", got, want)
			}
		})
	}
}

func TestS3GetOfAnEmptyObject(t *testing.T) {
	past := answer{status: 416, code: "InvalidRange"}
	gone := answer{status: 404, code: "NoSuchKey"}
	for _, test := range []struct {
		name    string
		answers []answer
		want    error
	}{
		{"empty", []answer{past, objectAnswer("")}, nil},
		{"not empty by then", []answer{past, objectAnswer("x")}, ErrInvalidRange},
		{"gone by then", []answer{past, gone}, ErrNotFound},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			opened, err := testS3(t, &scripted{answers: test.answers}).Get(t.Context(), testKey, &GetOptions{Length: 5})
			if !errors.Is(err, test.want) {
				t.Fatalf("error is %v", err)
			}
			if err != nil {
				return
			}
			if got, err := io.ReadAll(opened.Body); len(got) > 0 || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			opened.Body.Close()
		})
	}
}

func TestS3ContextEndsReads(t *testing.T) {
	for name, sent := range map[string]string{"before the rest is sent": "hello", "as the rest has come": "hello, you"} {
		inBubble(t, name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			opened, err := testS3(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("ETag", `"e1"`)
				w.Header().Set("Content-Length", "10")
				io.WriteString(w, sent)
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			})).Get(ctx, testKey, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer opened.Body.Close()
			if _, err := io.ReadFull(opened.Body, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
			cancel()
			_, err = opened.Body.Read(make([]byte, 5))
			if e, ok := err.(*Error); !errors.Is(err, context.Canceled) || !ok || e.Op != "Get" || e.Kind != nil {
				t.Errorf("reading on: %v", err)
			}
		})
	}
}

func pageAnswer(keys, dirs []string, next string) answer {
	var b strings.Builder
	b.WriteString("<ListBucketResult><EncodingType>url</EncodingType>")
	for _, key := range keys {
		fmt.Fprintf(&b,
			`<Contents><Key>%s</Key><Size>7</Size><ETag>"e1"</ETag><LastModified>2026-01-02T03:04:05Z</LastModified></Contents>`, key)
	}
	for _, dir := range dirs {
		fmt.Fprintf(&b, "<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>", dir)
	}
	fmt.Fprintf(&b, "<IsTruncated>%v</IsTruncated><NextContinuationToken>%s</NextContinuationToken></ListBucketResult>",
		next != "", next)
	return answer{status: 200, text: b.String()}
}

func TestS3Listing(t *testing.T) {
	inBubble(t, "pages", func(t *testing.T) {
		server := &scripted{answers: []answer{
			pageAnswer([]string{"mask/a", "mask/c%2B+%EA%B0%84"}, []string{"mask/b/"}, "t1"), pageAnswer(nil, nil, "t2"),
			pageAnswer([]string{"mask/d%01"}, nil, ""),
		}}
		var got []string
		for info, err := range testS3(t, server).List(t.Context(), "mask/", &ListOptions{Delimiter: "/"}) {
			if err != nil {
				t.Fatal(err)
			}
			if info.IsPrefix != strings.HasSuffix(info.Key, "/") ||
				!info.IsPrefix && (info.Size != 7 || info.ETag != "e1" || info.LastModified.IsZero()) {
				t.Errorf("got %+v", info)
			}
			got = append(got, info.Key)
		}
		if diff := cmp.Diff([]string{"mask/a", "mask/b/", "mask/c+ 간", "mask/d\x01"}, got); diff != "" {
			t.Error(diff)
		}
	})
	// Which some servers give with each page that has keys under it.
	inBubble(t, "a common prefix of two pages", func(t *testing.T) {
		server := &scripted{
			answers: []answer{
				pageAnswer([]string{"mask/a"}, []string{"mask/b/"}, "t1"), pageAnswer([]string{"mask/c"}, []string{"mask/b/"}, ""),
			},
		}
		var got []string
		for info, err := range testS3(t, server).List(t.Context(), "mask/", &ListOptions{Delimiter: "/"}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, info.Key)
		}
		if diff := cmp.Diff([]string{"mask/a", "mask/b/", "mask/c"}, got); diff != "" {
			t.Error(diff)
		}
	})
	inBubble(t, "a server that does not know where to start", func(t *testing.T) {
		server := &scripted{
			answers: []answer{pageAnswer([]string{"mask/a", "mask/b", "mask/c"}, nil, ""), pageAnswer([]string{"mask/a"}, nil, "t1")},
		}
		s := testS3(t, server)
		var got []string
		for info, err := range s.List(t.Context(), "mask/", &ListOptions{StartAfter: "mask/b"}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, info.Key)
		}
		if !slices.Equal(got, []string{"mask/c"}) {
			t.Errorf("got %q", got)
		}
		for _, err := range s.List(t.Context(), "mask/", &ListOptions{StartAfter: "mask/b"}) {
			if !errors.Is(err, ErrBadResponse) {
				t.Errorf("the first page again and again: %v", err)
			}
		}
	})
	inBubble(t, "broken out of", func(t *testing.T) {
		server := &scripted{answers: []answer{pageAnswer([]string{"mask/a", "mask/b"}, nil, "t1")}}
		for range testS3(t, server).List(t.Context(), "mask/", nil) {
			break
		}
		if len(server.bodies) != 1 {
			t.Errorf("%d requests", len(server.bodies))
		}
	})
	inBubble(t, "limit", func(t *testing.T) {
		server := &scripted{answers: []answer{pageAnswer([]string{"mask/a", "mask/b"}, nil, "t1")}}
		n := 0
		for _, err := range testS3(t, server).List(t.Context(), "mask/", &ListOptions{Limit: 2}) {
			if n++; err != nil {
				t.Fatal(err)
			}
		}
		if n != 2 || len(server.bodies) != 1 {
			t.Errorf("%d entries of %d requests", n, len(server.bodies))
		}
	})
	long := pageAnswer([]string{"mask/a"}, nil, "")
	long.text = strings.Repeat(" ", maxListing) + long.text
	for name, page := range map[string]answer{
		"no end":              long,
		"the same page again": pageAnswer([]string{"mask/a"}, nil, "t1"),
		"no next page":        {status: 200, text: "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"},
		"a key not encoded":   pageAnswer([]string{"mask/%zz"}, nil, ""),
		"cut off":             {status: 200, text: "<ListBucketResult><Contents><Key>mask/a</Key>"},
		"nothing, again":      pageAnswer(nil, nil, "t1"),
		"another prefix's":    pageAnswer([]string{"masks/a"}, nil, ""),
		"another directory":   pageAnswer(nil, []string{"other/"}, ""),
		"a key twice":         pageAnswer([]string{"mask/a", "mask/a"}, nil, ""),
	} {
		inBubble(t, name, func(t *testing.T) {
			var last error
			n := 0
			for _, err := range testS3(t, &scripted{answers: []answer{page}}).List(t.Context(), "mask/", nil) {
				if last = err; n > 5 {
					break
				}
				n++
			}
			if !errors.Is(last, ErrBadResponse) {
				t.Errorf("after %d entries: %v", n, last)
			}
		})
	}
}

// deleter deletes what it is asked to, save what refuse gives a code for.
type deleter struct {
	batches []int
	refuse  func(key string) string
	whole   int // the status of each answer, where it is not 0
}

func (d *deleter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var doc struct {
		Quiet  bool
		Object []struct{ Key string }
	}
	body, _ := io.ReadAll(r.Body)
	sum := md5.Sum(body)
	if xml.Unmarshal(body, &doc) != nil || !r.URL.Query().Has("delete") ||
		r.Header.Get("Content-MD5") != base64.StdEncoding.EncodeToString(sum[:]) {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	d.batches = append(d.batches, len(doc.Object))
	if d.whole != 0 {
		w.WriteHeader(d.whole)
		io.WriteString(w, "<Error><Code>AccessDenied</Code></Error>")
		return
	}
	io.WriteString(w, "<DeleteResult>")
	for _, o := range doc.Object {
		if code := d.refuse(o.Key); code != "" {
			fmt.Fprintf(w, "<Error><Key>%s</Key><Code>%s</Code><Message>m</Message></Error>", o.Key, code)
		}
	}
	io.WriteString(w, "</DeleteResult>")
}

func TestS3Deletions(t *testing.T) {
	keys := make([]string, 2500)
	for i := range keys {
		keys[i] = fmt.Sprintf("mask/a/g/%04d_x.png", i)
	}
	inBubble(t, "some refused", func(t *testing.T) {
		d := &deleter{refuse: func(key string) string {
			return map[string]string{keys[7]: "AccessDenied", keys[1007]: "InternalError", keys[2499]: "SlowDown"}[key]
		}}
		err := testS3(t, d).Delete(t.Context(), keys...)
		type failed struct {
			Key  string
			Kind string
		}
		var got []failed
		for _, e := range KeyErrors(err) {
			got = append(got, failed{e.Key, e.Kind.Error()})
		}
		want := []failed{
			{keys[7], ErrAccessDenied.Error()}, {keys[1007], ErrUnavailable.Error()}, {keys[2499], ErrThrottled.Error()},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		once := slices.Repeat([]int{1}, s3Attempts-1) // again, for the keys that it was too busy for
		if want := slices.Concat([]int{1000, 1000}, once, []int{500}, once); !slices.Equal(d.batches, want) {
			t.Errorf("batches of %v", d.batches)
		}
	})
	inBubble(t, "some too busy for once", func(t *testing.T) {
		asked := map[string]int{}
		d := &deleter{refuse: func(key string) string {
			asked[key]++
			if busy := key == keys[7] || key == keys[9]; busy && asked[key] < 3 {
				return "SlowDown"
			}
			return ""
		}}
		if err := testS3(t, d).Delete(t.Context(), keys[:10]...); err != nil || !slices.Equal(d.batches, []int{10, 2, 2}) {
			t.Errorf("%v; batches of %v", err, d.batches)
		}
	})
	inBubble(t, "the context ends in a pause", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := testS3(t, &deleter{refuse: func(string) string { return "SlowDown" }}).Delete(ctx, keys[:2]...)
		if got := KeyErrors(err); len(got) != 2 || !errors.Is(got[1], context.DeadlineExceeded) || got[1].Kind != nil {
			t.Errorf("got %v", err)
		}
	})
	inBubble(t, "all refused", func(t *testing.T) {
		d := &deleter{whole: 403}
		err := testS3(t, d).Delete(t.Context(), keys...)
		if got := KeyErrors(err); len(got) != len(keys) || got[2499].Key != keys[2499] || !errors.Is(got[2499], ErrAccessDenied) {
			t.Errorf("%d errors", len(got))
		}
	})
	inBubble(t, "none asked for", func(t *testing.T) {
		d := &deleter{}
		if err := testS3(t, d).Delete(t.Context()); err != nil || len(d.batches) > 0 {
			t.Errorf("%v, %d requests", err, len(d.batches))
		}
	})
}

func TestS3Copies(t *testing.T) {
	head := objectAnswer("")
	head.header["Content-Length"] = "5"
	copied := answer{
		status: 200,
		text:   `<CopyObjectResult><ETag>"e1"</ETag><LastModified>2026-01-02T03:04:05Z</LastModified></CopyObjectResult>`,
	}
	const tooLarge = "<Error><Code>InvalidRequest</Code>" +
		"<Message>The specified copy source is larger than the maximum allowable size</Message></Error>"
	for _, test := range []struct {
		name    string
		answers []answer
		want    error
		key     string // that the error is about
	}{
		{"copied", []answer{copied, head}, nil, ""},
		{"another source", []answer{{status: 412, code: "PreconditionFailed"}}, ErrPreconditionFailed, testKey},
		{"absent", []answer{{status: 404, code: "NoSuchKey"}}, ErrNotFound, testKey},
		{"too large", []answer{{status: 400, text: tooLarge}}, ErrTooLarge, testKey},
		{"no ETag", []answer{{status: 200, text: "<CopyObjectResult></CopyObjectResult>"}}, ErrBadResponse, testKey + "2"},
		{"late failure", []answer{{status: 200, text: "<Error><Code>InternalError</Code></Error>"}}, ErrUnavailable, testKey},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			server := &scripted{answers: test.answers}
			info, err := testS3(t, server).Copy(t.Context(), testKey, testKey+"2", &CopyOptions{IfMatch: "e0"})
			if !errors.Is(err, test.want) {
				t.Fatalf("error is %v; want %v", err, test.want)
			}
			if err != nil {
				if e := err.(*Error); e.Key != test.key || e.Op != "Copy" {
					t.Errorf("the error is of %s %s", e.Op, e.Key)
				}
				return
			}
			sent := server.headers[0]
			if info.Key != testKey+"2" || info.ETag != "e1" || info.Size != 5 || info.ContentType != "image/png" {
				t.Errorf("got %+v", info)
			}
			if sent.Get("X-Amz-Copy-Source") != "bucket/"+testKey || sent.Get("X-Amz-Copy-Source-If-Match") != `"e0"` ||
				sent.Get("X-Amz-Server-Side-Encryption") != "AES256" {
				t.Errorf("sent %v", sent)
			}
		})
	}
}
