package maskstore

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// bucket is a server that stores objects, in parts too, by conditions too, and fails where fault says so.
type bucket struct {
	// fault may answer in the bucket's place (true), having had it done by do or not.
	fault func(w http.ResponseWriter, r *http.Request, do func()) bool

	mu       sync.Mutex
	objects  map[string]objectInBucket
	uploads  map[string]map[string][]byte // by ID, by part number
	begun    map[string]time.Time         // of those that listings tell, by ID
	requests []string                     // such as "PUT ?partNumber"
	headers  []http.Header
}

type objectInBucket struct {
	data      []byte
	etag, sum string
}

// sorts of requests, as they stand in bucket.requests.
const (
	putWhole       = "PUT"
	createUpload   = "POST uploads"
	putPart        = "PUT partNumber"
	completeUpload = "POST uploadId"
	abortUpload    = "DELETE uploadId"
	listUploads    = "GET uploads"
	listParts      = "GET uploadId"
)

func sortOf(r *http.Request) string {
	for _, name := range []string{"uploads", "partNumber", "uploadId", "delete", "list-type"} {
		if r.URL.Query().Has(name) {
			return r.Method + " " + name
		}
	}
	return r.Method
}

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // what does not arrive whole is not stored
	}
	b.mu.Lock()
	b.requests = append(b.requests, sortOf(r))
	b.headers = append(b.headers, r.Header)
	b.mu.Unlock()
	if b.fault != nil && b.fault(w, r, func() { b.do(discardAnswer{}, r, body) }) {
		return
	}
	b.do(w, r, body)
}

// discardAnswer is an answer that is lost.
type discardAnswer struct{}

func (discardAnswer) Header() http.Header         { return http.Header{} }
func (discardAnswer) Write(p []byte) (int, error) { return len(p), nil }
func (discardAnswer) WriteHeader(int)             {}

func (b *bucket) do(w http.ResponseWriter, r *http.Request, body []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key, id := strings.TrimPrefix(r.URL.Path, "/bucket/"), r.URL.Query().Get("uploadId")
	refuse := func(status int, code string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
	}
	put := func(data []byte, etag, sum string) bool {
		old, there := b.objects[key]
		switch {
		case r.Header.Get("If-None-Match") == "*" && there,
			r.Header.Get("If-Match") != "" && there && r.Header.Get("If-Match") != old.etag:
			refuse(412, "PreconditionFailed")
			return false
		case r.Header.Get("If-Match") != "" && !there:
			refuse(404, "NoSuchKey")
			return false
		}
		b.objects[key] = objectInBucket{data, etag, sum}
		return true
	}
	switch sortOf(r) {
	case "HEAD":
		o, ok := b.objects[key]
		if !ok {
			w.WriteHeader(404)
			return
		}
		w.Header().Set("ETag", o.etag)
		w.Header().Set("Content-Length", fmt.Sprint(len(o.data)))
		w.Header().Set("X-Amz-Checksum-Sha256", o.sum)
	case putWhole:
		if want := r.Header.Get("X-Amz-Checksum-Sha256"); want != SumSHA256(body).Base64() {
			refuse(400, "XAmzContentChecksumMismatch")
			return
		}
		etag := fmt.Sprintf(`"%x"`, md5.Sum(body))
		w.Header().Set("ETag", etag)
		put(body, etag, SumSHA256(body).Base64())
	case createUpload:
		id = fmt.Sprint("upload", len(b.requests))
		b.uploads[id], b.begun[id] = map[string][]byte{}, time.Now()
		fmt.Fprintf(w, "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>", id)
	case putPart:
		if b.uploads[id] == nil || r.Header.Get("X-Amz-Checksum-Sha256") != SumSHA256(body).Base64() {
			refuse(400, "XAmzContentChecksumMismatch")
			return
		}
		b.uploads[id][r.URL.Query().Get("partNumber")] = body
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, md5.Sum(body)))
		w.Header().Set("X-Amz-Checksum-Sha256", SumSHA256(body).Base64())
	case completeUpload:
		var doc struct {
			Part []struct{ PartNumber, ETag, ChecksumSHA256 string }
		}
		if b.uploads[id] == nil || xml.Unmarshal(body, &doc) != nil {
			refuse(404, "NoSuchUpload")
			return
		}
		var parts []SHA256
		var data, sums []byte
		for _, p := range doc.Part {
			part := b.uploads[id][p.PartNumber]
			if p.ChecksumSHA256 != SumSHA256(part).Base64() {
				refuse(400, "InvalidPart")
				return
			}
			sum := md5.Sum(part)
			parts = append(parts, SumSHA256(part))
			data, sums = append(data, part...), append(sums, sum[:]...)
		}
		etag := fmt.Sprintf(`"%x-%d"`, md5.Sum(sums), len(parts))
		if put(data, etag, compositeChecksum(parts)) {
			delete(b.uploads, id)
			fmt.Fprintf(w, "<CompleteMultipartUploadResult><ETag>%s</ETag></CompleteMultipartUploadResult>", etag)
		}
	case abortUpload:
		if b.uploads[id] == nil {
			refuse(404, "NoSuchUpload")
			return
		}
		delete(b.uploads, id)
		w.WriteHeader(204)
	case listUploads:
		fmt.Fprint(w, "<ListMultipartUploadsResult><Bucket>bucket</Bucket>")
		for id, begun := range b.begun {
			if b.uploads[id] != nil {
				fmt.Fprintf(w, "<Upload><Key>%s</Key><UploadId>%s</UploadId><Initiated>%s</Initiated></Upload>",
					r.URL.Query().Get("prefix"), id, begun.UTC().Format("2006-01-02T15:04:05.000Z"))
			}
		}
		fmt.Fprint(w, "</ListMultipartUploadsResult>")
	case listParts:
		fmt.Fprintf(w, "<ListPartsResult><Key>%s</Key><UploadId>%s</UploadId>", key, id)
		for n := range b.uploads[id] {
			fmt.Fprintf(w, "<Part><PartNumber>%s</PartNumber></Part>", n)
		}
		fmt.Fprint(w, "</ListPartsResult>")
	default:
		refuse(501, "NotImplemented")
	}
}

func newBucket(fault func(http.ResponseWriter, *http.Request, func()) bool) *bucket {
	return &bucket{
		fault: fault, objects: map[string]objectInBucket{}, uploads: map[string]map[string][]byte{}, begun: map[string]time.Time{},
	}
}

// count tells how many requests of a sort there were.
func (b *bucket) count(sort string) (n int) {
	for _, r := range b.requests {
		if r == sort {
			n++
		}
	}
	return n
}

// once gives a fault of the first request of a sort.
func once(sort string, f func(w http.ResponseWriter, do func())) func(http.ResponseWriter, *http.Request, func()) bool {
	var done sync.Once
	return func(w http.ResponseWriter, r *http.Request, do func()) (fault bool) {
		if sortOf(r) == sort {
			done.Do(func() { fault = true })
		}
		if fault {
			f(w, do)
		}
		return fault
	}
}

func lose(_ http.ResponseWriter, do func())      { do(); panic(http.ErrAbortHandler) }
func loseAsked(http.ResponseWriter, func())      { panic(http.ErrAbortHandler) }
func status503(w http.ResponseWriter, do func()) { do(); w.WriteHeader(503) }
func empty200(_ http.ResponseWriter, do func())  { do() }
func empty200Undone(http.ResponseWriter, func()) {}
func conflict(w http.ResponseWriter, _ func()) {
	w.WriteHeader(409)
	io.WriteString(w, "<Error><Code>ConditionalRequestConflict</Code></Error>")
}

func TestS3Put(t *testing.T) {
	const mib = 1 << 20
	for _, size := range []int{0, 1, 8*mib - 1, 8 * mib, 8*mib + 1, 16 * mib, 16*mib + 1} {
		content := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		for name, test := range map[string]struct {
			body io.Reader
			opts PutOptions
		}{
			"size known":     {bytes.NewReader(content), PutOptions{Size: int64(size), SHA256: SumSHA256(content)}},
			"size unknown":   {bytes.NewReader(content), PutOptions{ContentType: "image/x"}},
			"no seeker":      {struct{ io.Reader }{bytes.NewReader(content)}, PutOptions{NoOverwrite: true}},
			"read by halves": {iotest.HalfReader(bytes.NewReader(content)), PutOptions{SHA256: SumSHA256(content)}},
			"data with EOF":  {iotest.DataErrReader(bytes.NewReader(content)), PutOptions{Size: int64(size)}},
		} {
			inBubble(t, fmt.Sprint(size, " ", name), func(t *testing.T) {
				b := newBucket(nil)
				info, err := testS3(t, b).Put(t.Context(), testKey, test.body, &test.opts)
				got := b.objects[testKey]
				if err != nil || !bytes.Equal(got.data, content) || got.etag != `"`+info.ETag+`"` || info.Size != int64(size) ||
					info.Key != testKey {
					t.Errorf("stored %d bytes, %+v, %v", len(got.data), info, err)
				}
				if len(b.uploads) > 0 {
					t.Errorf("left %d uploads", len(b.uploads))
				}
				if size <= maxSinglePut && test.opts.Size > 0 && len(b.requests) != 1 {
					t.Errorf("sent %q", b.requests)
				}
				for i, h := range b.headers {
					switch b.requests[i] {
					case putWhole, createUpload:
						want := "image/png"
						if test.opts.ContentType != "" {
							want = test.opts.ContentType
						}
						if h.Get("X-Amz-Server-Side-Encryption") != "AES256" || h.Get("Content-Type") != want || h.Get("X-Amz-Acl") != "" {
							t.Errorf("%s with %v", b.requests[i], h)
						}
					}
					if strings.Contains(h.Get("Content-Encoding"), "aws-chunked") || h.Get("X-Amz-Trailer") != "" {
						t.Errorf("%s carries a trailer: %v", b.requests[i], h)
					}
				}
			})
		}
	}
}

// Over TLS the SDK would send its checksums in a trailer, which many servers refuse.
func TestS3PutOverTLS(t *testing.T) {
	b := newBucket(nil)
	server := httptest.NewTLSServer(b)
	defer server.Close()
	o := testOptions()
	o.Endpoint, o.HTTPClient = server.URL, server.Client()
	s := openS3(t, o)
	for _, body := range [][]byte{smallBody, largeBody} {
		if _, err := s.Put(t.Context(), testKey, bytes.NewReader(body), nil); err != nil ||
			!bytes.Equal(b.objects[testKey].data, body) {
			t.Errorf("stored %d bytes, %v", len(b.objects[testKey].data), err)
		}
	}
	for i, h := range b.headers {
		if strings.Contains(h.Get("Content-Encoding"), "aws-chunked") || h.Get("X-Amz-Trailer") != "" {
			t.Errorf("%s carries a trailer: %v", b.requests[i], h)
		}
	}
}

// bodies of one request, and of three parts.
var smallBody, largeBody = []byte("small"), bytes.Repeat([]byte("large"), 4<<20)

// What fails leaves the old object, no part, and an error that tells.
func TestS3PutFails(t *testing.T) {
	boom := errors.New("boom")
	for _, test := range []struct {
		name string
		body io.Reader
		opts PutOptions
		want error
	}{
		{"read error", io.MultiReader(bytes.NewReader(smallBody), iotest.ErrReader(boom)), PutOptions{}, boom},
		{"read error, size known", io.MultiReader(bytes.NewReader(smallBody), iotest.ErrReader(boom)), PutOptions{Size: 99}, boom},
		{"late read error", io.MultiReader(bytes.NewReader(largeBody), iotest.ErrReader(boom)), PutOptions{}, boom},
		{"shorter", bytes.NewReader(smallBody), PutOptions{Size: 6}, ErrChecksum},
		{"longer", bytes.NewReader(smallBody), PutOptions{Size: 4}, ErrChecksum},
		{"large and shorter", bytes.NewReader(largeBody), PutOptions{Size: int64(len(largeBody)) + 1}, ErrChecksum},
		{"large and longer", bytes.NewReader(largeBody), PutOptions{Size: int64(len(largeBody)) - 1}, ErrChecksum},
		{"far larger", io.MultiReader(bytes.NewReader(largeBody), bytes.NewReader(largeBody)), PutOptions{Size: int64(len(largeBody))}, ErrChecksum},
		{"another content", bytes.NewReader(smallBody), PutOptions{SHA256: SumSHA256(nil)}, ErrChecksum},
		{"large and another content", bytes.NewReader(largeBody), PutOptions{SHA256: SumSHA256(nil)}, ErrChecksum},
		{"no overwrite", bytes.NewReader(smallBody), PutOptions{NoOverwrite: true}, ErrPreconditionFailed},
		{"large, no overwrite", bytes.NewReader(largeBody), PutOptions{NoOverwrite: true}, ErrPreconditionFailed},
		{"another ETag", bytes.NewReader(smallBody), PutOptions{IfMatch: "none"}, ErrPreconditionFailed},
		{"large, another ETag", bytes.NewReader(largeBody), PutOptions{IfMatch: "none"}, ErrPreconditionFailed},
		{"size over the maximum", bytes.NewReader(smallBody), PutOptions{Size: MaxObjectSize + 1}, ErrTooLarge},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			b := newBucket(nil)
			old := objectInBucket{[]byte("old"), `"old"`, ""}
			b.objects[testKey] = old
			_, err := testS3(t, b).Put(t.Context(), testKey, test.body, &test.opts)
			if e, ok := err.(*Error); !errors.Is(err, test.want) || !ok || e.Op != "Put" || e.Key != testKey {
				t.Errorf("error is %v; want %v", err, test.want)
			}
			if got := b.objects[testKey]; got.etag != old.etag || len(b.uploads) > 0 {
				t.Errorf("there are an object %s and %d uploads", got.etag, len(b.uploads))
			}
		})
	}
}

func TestS3PutOverNothing(t *testing.T) {
	for name, body := range map[string][]byte{"small": smallBody, "large": largeBody} {
		inBubble(t, name, func(t *testing.T) {
			b := newBucket(nil)
			_, err := testS3(t, b).Put(t.Context(), testKey, bytes.NewReader(body), &PutOptions{IfMatch: "gone"})
			if !errors.Is(err, ErrPreconditionFailed) || errors.Is(err, ErrNotFound) || len(b.uploads) > 0 {
				t.Errorf("error is %v; %d uploads", err, len(b.uploads))
			}
		})
	}
}

// An own success whose answer was lost is one; the same content, put by another before, is none.
func TestS3PutAnswersLost(t *testing.T) {
	small, large := smallBody, largeBody
	for _, test := range []struct {
		name  string
		body  []byte
		there []byte // what lies at the key before
		fault func(http.ResponseWriter, *http.Request, func()) bool
		opts  PutOptions
		want  error
	}{
		{"lost", small, nil, once(putWhole, lose), PutOptions{NoOverwrite: true}, nil},
		{"lost before it came", small, nil, once(putWhole, loseAsked), PutOptions{NoOverwrite: true}, nil},
		{"503 though done", small, nil, once(putWhole, status503), PutOptions{NoOverwrite: true}, nil},
		{"no ETag, done", small, nil, once(putWhole, empty200), PutOptions{}, nil},
		{"no ETag, not done", small, nil, once(putWhole, empty200Undone), PutOptions{}, ErrBadResponse},
		{"conflict", small, nil, once(putWhole, conflict), PutOptions{NoOverwrite: true}, nil},
		{"lost over the old one", small, []byte("old"), once(putWhole, lose), PutOptions{IfMatch: "old"}, nil},
		{"another was there, lost", small, []byte("old"), once(putWhole, lose), PutOptions{NoOverwrite: true}, ErrPreconditionFailed},
		{"the same was there", small, small, nil, PutOptions{NoOverwrite: true}, ErrPreconditionFailed},
		{"large: create lost before it came", large, nil, once(createUpload, loseAsked), PutOptions{}, nil},
		{"large: create lost", large, nil, once(createUpload, lose), PutOptions{}, nil},
		{"large: 503 though begun", large, nil, once(createUpload, status503), PutOptions{}, nil},
		{"large: part lost", large, nil, once(putPart, lose), PutOptions{NoOverwrite: true}, nil},
		{"large: complete lost", large, nil, once(completeUpload, lose), PutOptions{NoOverwrite: true}, nil},
		{"large: complete lost before it came", large, nil, once(completeUpload, loseAsked), PutOptions{}, nil},
		{"large: complete lost over the old one", large, []byte("old"), once(completeUpload, lose), PutOptions{IfMatch: "old"}, nil},
		{"large: another was there, complete lost", large, []byte("old"), once(completeUpload, lose), PutOptions{NoOverwrite: true},
			ErrPreconditionFailed},
		{"large: 503 though complete", large, nil, once(completeUpload, status503), PutOptions{NoOverwrite: true}, nil},
		{"large: no ETag, done", large, nil, once(completeUpload, empty200), PutOptions{}, nil},
		{"large: no ETag, not done", large, nil, once(completeUpload, empty200Undone), PutOptions{}, ErrBadResponse},
		{"large: no upload ID", large, nil, once(createUpload, empty200Undone), PutOptions{}, ErrBadResponse},
		{"large: part without an ETag", large, nil, once(putPart, empty200), PutOptions{}, ErrBadResponse},
		{"large: conflict", large, nil, once(completeUpload, conflict), PutOptions{NoOverwrite: true}, nil},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			b := newBucket(test.fault)
			if test.there != nil {
				b.objects[testKey] = objectInBucket{test.there, `"old"`, SumSHA256(test.there).Base64()}
			}
			info, err := testS3(t, b).Put(t.Context(), testKey, bytes.NewReader(test.body), &test.opts)
			if !errors.Is(err, test.want) {
				t.Fatalf("error is %v; want %v; sent %q", err, test.want, b.requests)
			}
			if len(b.uploads) > 0 {
				t.Errorf("left %d uploads", len(b.uploads))
			}
			if got := b.objects[testKey]; err == nil &&
				(!bytes.Equal(got.data, test.body) || got.etag != `"`+info.ETag+`"` || info.Size != int64(len(test.body))) {
				t.Errorf("stored %d bytes of %s, got %+v", len(got.data), got.etag, info)
			}
		})
	}
}

// The same content in parts, put by another before, is no own success either.
func TestS3PutSamePartsTwice(t *testing.T) {
	inBubble(t, "large", func(t *testing.T) {
		b := newBucket(nil)
		s := testS3(t, b)
		if _, err := s.Put(t.Context(), testKey, bytes.NewReader(largeBody), nil); err != nil {
			t.Fatal(err)
		}
		_, err := s.Put(t.Context(), testKey, bytes.NewReader(largeBody), &PutOptions{NoOverwrite: true})
		if !errors.Is(err, ErrPreconditionFailed) || len(b.uploads) > 0 {
			t.Errorf("error is %v; %d uploads", err, len(b.uploads))
		}
	})
}

// Where a completion was lost, and the upload cannot be ended, the same content that lies there is no success.
func TestS3PutOfWhatStaysOpen(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		b := newBucket(nil)
		s := testS3(t, b)
		if _, err := s.Put(t.Context(), testKey, bytes.NewReader(largeBody), nil); err != nil {
			t.Fatal(err)
		}
		lost := once(completeUpload, loseAsked)
		b.fault = func(w http.ResponseWriter, r *http.Request, do func()) bool {
			if sortOf(r) == abortUpload {
				w.WriteHeader(http.StatusForbidden)
				return true
			}
			return lost(w, r, do)
		}
		_, err := s.Put(t.Context(), testKey, bytes.NewReader(largeBody), &PutOptions{NoOverwrite: true})
		if !errors.Is(err, ErrPreconditionFailed) || len(b.uploads) != 1 {
			t.Errorf("error is %v; %d uploads", err, len(b.uploads))
		}
	})
}

// However the context ends, the upload is aborted.
func TestS3PutCancelled(t *testing.T) {
	for _, sort := range []string{createUpload, putPart, completeUpload} {
		inBubble(t, sort, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			b := newBucket(func(_ http.ResponseWriter, r *http.Request, _ func()) bool {
				if sortOf(r) != sort {
					return false
				}
				cancel()
				if sort == createUpload {
					time.Sleep(time.Second) // of the bubble's time: until the context's end has come through
					return false
				}
				<-r.Context().Done()
				return true
			})
			_, err := testS3(t, b).Put(ctx, testKey, bytes.NewReader(largeBody), nil)
			time.Sleep(time.Minute) // of the bubble's time: for what of the server is still at work
			synctest.Wait()
			if e, ok := err.(*Error); !errors.Is(err, context.Canceled) || !ok || e.Kind != nil {
				t.Errorf("error is %v", err)
			}
			if len(b.uploads) > 0 || b.count(abortUpload) == 0 || len(b.objects) > 0 {
				t.Errorf("sent %q; %d uploads, %d objects", b.requests, len(b.uploads), len(b.objects))
			}
		})
	}
}

func TestS3PutSaysWhatStays(t *testing.T) {
	inBubble(t, "abort denied", func(t *testing.T) {
		b := newBucket(func(w http.ResponseWriter, r *http.Request, _ func()) bool {
			if sortOf(r) == abortUpload {
				w.WriteHeader(403)
				io.WriteString(w, "<Error><Code>AccessDenied</Code></Error>")
				return true
			}
			return false
		})
		_, err := testS3(t, b).Put(t.Context(), testKey, bytes.NewReader(largeBody), &PutOptions{SHA256: SumSHA256(nil)})
		if e, ok := err.(*Error); !ok || e.Kind != ErrChecksum || !strings.Contains(err.Error(), "s3:AbortMultipartUpload") ||
			!strings.Contains(err.Error(), "billed") {
			t.Errorf("error is %v", err)
		}
	})
}

// A burst of 503 of two seconds fails none of many puts.
func TestS3PutThroughABurst(t *testing.T) {
	inBubble(t, "burst", func(t *testing.T) {
		start := time.Now()
		b := newBucket(func(w http.ResponseWriter, _ *http.Request, _ func()) bool {
			slow := time.Since(start) < 2*time.Second
			if slow {
				w.WriteHeader(503)
				io.WriteString(w, "<Error><Code>SlowDown</Code></Error>")
			}
			return slow
		})
		items := make([]UploadItem, 2000)
		for i := range items {
			items[i] = UploadItem{Key: fmt.Sprintf("mask/a/g/%04d_x.png", i), Body: BytesBody(smallBody)}
		}
		if _, err := UploadAll(t.Context(), testS3(t, b), items, &ParallelOptions{Concurrency: 200, KeepGoing: true}); err != nil {
			t.Errorf("%d failed, such as %v", len(KeyErrors(err)), KeyErrors(err)[0])
		}
		if len(b.objects) != len(items) {
			t.Errorf("stored %d", len(b.objects))
		}
	})
}
