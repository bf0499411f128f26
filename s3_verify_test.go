package maskstore

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// partsServer has one object, which was put in parts, or at once where there is one and whole is set.
type partsServer struct {
	parts  []string
	etag   string // empty: e1
	whole  bool
	flip   int              // the byte of the object that comes with another bit; -1: none
	faults map[string]fault // by the requests that they are of

	mu       sync.Mutex
	requests []string // such as "HEAD 2" and "GET bytes=0-5"
	headers  []http.Header
}

// fault may change the headers of an answer, or give another one.
type fault func(w http.ResponseWriter) (answered bool)

func (s *partsServer) content() string { return strings.Join(s.parts, "") }

func (s *partsServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimSpace(r.Method + " " + r.URL.Query().Get("partNumber") + r.Header.Get("Range"))
	s.mu.Lock()
	s.requests, s.headers = append(s.requests, name), append(s.headers, r.Header)
	s.mu.Unlock()
	from, to, status := 0, len(s.content()), http.StatusOK
	sums := make([]SHA256, len(s.parts))
	for i, part := range s.parts {
		sums[i] = SumSHA256([]byte(part))
	}
	sum := compositeChecksum(sums)
	if s.whole {
		sum = sums[0].Base64()
	}
	if number, err := strconv.Atoi(r.URL.Query().Get("partNumber")); err == nil {
		from, status, sum = len(strings.Join(s.parts[:number-1], "")), http.StatusPartialContent, sums[number-1].Base64()
		to = from + len(s.parts[number-1])
	}
	if first, last, ok := parseRange(r.Header.Get("Range"), int64(to)); ok {
		from, to, status, sum = int(first), int(last), http.StatusPartialContent, ""
	}
	h := w.Header()
	h.Set("ETag", quoteETag(cmp.Or(s.etag, "e1")))
	h.Set("X-Amz-Checksum-Sha256", sum)
	h.Set("Content-Length", fmt.Sprint(to-from))
	if status == http.StatusPartialContent {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(s.content())))
	}
	if f := s.faults[name]; f != nil && f(w) {
		return
	}
	w.WriteHeader(status)
	body := []byte(s.content())
	if s.flip >= 0 {
		body[s.flip] ^= 1
	}
	w.Write(body[from:to])
}

var uneven = []string{"0123456789", "abc", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "-"}

func TestS3GetVerifiesParts(t *testing.T) {
	for _, test := range []struct {
		parts    []string
		opts     GetOptions
		want     string
		requests int
		second   string // the GET of what is read
	}{
		{uneven, GetOptions{}, strings.Join(uneven, ""), 6, "GET bytes=0-39"},
		{uneven, GetOptions{Verify: true}, strings.Join(uneven, ""), 6, "GET bytes=0-39"},
		{uneven, GetOptions{Verify: true, Offset: 2, Length: 3}, "234", 6, "GET bytes=0-9"},
		{uneven, GetOptions{Verify: true, Offset: 9, Length: 1}, "9", 6, "GET bytes=0-9"},
		{uneven, GetOptions{Verify: true, Offset: 10, Length: 3}, "abc", 6, "GET bytes=10-12"},
		{uneven, GetOptions{Verify: true, Offset: 9, Length: 5}, "9abcA", 6, "GET bytes=0-38"},
		{uneven, GetOptions{Verify: true, Offset: 37}, "YZ-", 6, "GET bytes=13-39"},
		{uneven, GetOptions{Verify: true, Offset: 39, Length: 1 << 62}, "-", 6, "GET bytes=39-39"},
		{[]string{"even", "even", "e"}, GetOptions{IfMatch: "e1"}, "eveneven" + "e", 5, "GET bytes=0-8"},
		{[]string{"the one"}, GetOptions{Verify: true, Offset: 4}, "one", 3, "GET bytes=0-6"},
		{[]string{"the one", ""}, GetOptions{}, "the one", 4, "GET bytes=0-6"},
		{[]string{""}, GetOptions{Verify: true, Length: 5}, "", 3, "GET"},
		{uneven, GetOptions{SHA256: SumSHA256([]byte(strings.Join(uneven, "")))}, strings.Join(uneven, ""), 1, ""},
		{uneven, GetOptions{Offset: 9, Length: 5}, "9abcA", 1, ""}, // not verified
	} {
		inBubble(t, fmt.Sprintf("%d parts, %+v", len(test.parts), test.opts), func(t *testing.T) {
			server := &partsServer{parts: test.parts, flip: -1}
			storage := testS3(t, server)
			obj, err := storage.Get(t.Context(), testKey, &test.opts)
			if err != nil {
				t.Fatal(err)
			}
			defer obj.Body.Close()
			got, err := io.ReadAll(obj.Body)
			if err != nil || string(got) != test.want || obj.Size != int64(len(server.content())) || !obj.SHA256.IsZero() {
				t.Errorf("got %q of %+v, %v; want %q", got, obj.ObjectInfo, err, test.want)
			}
			last := len(server.requests) - 1
			if last+1 != test.requests || test.second != "" && server.requests[last] != test.second {
				t.Errorf("requests are %q; want %d, the last %q", server.requests, test.requests, test.second)
			}
			for i, h := range server.headers {
				if i > 0 && h.Get("If-Match") != `"e1"` {
					t.Errorf("request %d has If-Match %q", i, h.Get("If-Match"))
				}
			}
			for i, p := range obj.Parts {
				if want := (Part{
					PartNumber: i + 1, Size: int64(len(test.parts[i])), SHA256: SumSHA256([]byte(test.parts[i])),
				}); p != want {
					t.Errorf("part %d is %+v; want %+v", i, p, want)
				}
			}
			if known := len(obj.Parts) == len(test.parts); known != (test.second != "") {
				t.Errorf("%d parts are known", len(obj.Parts))
			}
		})
	}
}

// A flipped bit of any byte is told by the whole read, and by that of each range that lies in the same part; those of
// others do not see it. Nobody gets as many bytes as were asked for.
func TestS3GetFlippedBits(t *testing.T) {
	for _, parts := range [][]string{uneven, {"of one PUT, and long"}} {
		whole := len(parts) == 1
		inBubble(t, parts[0], func(t *testing.T) {
			for flip := range len(strings.Join(parts, "")) {
				start := 0
				for _, part := range parts {
					end := start + len(part)
					for _, o := range []GetOptions{
						{}, {Verify: true},
						{Verify: true, Offset: int64(start), Length: int64(len(part))},
						{Verify: true, Offset: int64(start), Length: 1},
						{Verify: true, Offset: int64(end - 1), Length: 1},
					} {
						server := &partsServer{parts: parts, whole: whole, flip: flip}
						obj, err := testS3(t, server).Get(t.Context(), testKey, &o)
						if err != nil {
							t.Fatal(err)
						}
						hit := o.Offset == 0 && o.Length == 0 || flip >= start && flip < end
						want := min(cmp.Or(o.Length, obj.Size), obj.Size-o.Offset)
						n, err := io.ReadFull(obj.Body, make([]byte, want))
						if hit != errors.Is(err, ErrChecksum) || !hit && err != nil || hit && n == int(want) {
							t.Errorf("byte %d, %+v: %d bytes, %v", flip, o, n, err)
						}
						if _, again := io.Copy(io.Discard, obj.Body); hit != errors.Is(again, ErrChecksum) {
							t.Errorf("byte %d, %+v: then %v", flip, o, again)
						}
						obj.Body.Close()
					}
					start = end
				}
			}
		})
	}
}

// Where the server does not tell what to verify by, a read goes unverified, and one with Verify is refused.
func TestS3GetUnverifiable(t *testing.T) {
	set := func(name, value string) fault {
		return func(w http.ResponseWriter) bool { w.Header().Set(name, value); return false }
	}
	sum := func(value string) fault { return set("X-Amz-Checksum-Sha256", value) }
	status := func(code int) fault {
		return func(w http.ResponseWriter) bool { w.WriteHeader(code); return true }
	}
	for name, faults := range map[string]map[string]fault{
		"no checksum":                 {"GET": sum("")},
		"no number of parts":          {"GET": sum("x-")},
		"a number that is none":       {"GET": sum("x--4")},
		"too many parts":              {"GET": sum("x-10001")},
		"a composite of other parts":  {"GET": sum(compositeChecksum(make([]SHA256, 4)))},
		"no checksum of a part":       {"HEAD 2": sum("")},
		"the checksum of another":     {"HEAD 2": sum(SumSHA256(nil).Base64())},
		"another size":                {"HEAD 2": set("Content-Length", "4")},
		"a number that is not there":  {"HEAD 2": status(416)},
		"parts are not supported":     {"HEAD 2": status(501)},
		"parts are not understood":    {"HEAD 2": status(400)},
		"the whole, in place of each": {"HEAD 2": status(200)},
	} {
		inBubble(t, name, func(t *testing.T) {
			for _, verify := range []bool{false, true} {
				server := &partsServer{parts: uneven, flip: 20, faults: faults}
				obj, err := testS3(t, server).Get(t.Context(), testKey, &GetOptions{Verify: verify})
				if verify {
					if !errors.Is(err, ErrUnsupported) || !strings.Contains(fmt.Sprint(err), "SHA-256") {
						t.Errorf("error is %v", err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(obj.Body); len(got) != len(server.content()) || err != nil || obj.Parts != nil {
					t.Errorf("got %q, %v, %d parts", got, err, len(obj.Parts))
				}
				obj.Body.Close()
			}
		})
	}
}

func TestS3GetOfPartsFails(t *testing.T) {
	refuse := func(status int, code string) fault {
		return func(w http.ResponseWriter) bool {
			w.Header().Del("Content-Length")
			w.WriteHeader(status)
			fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
			return true
		}
	}
	answer := func(contentRange, body string) fault {
		return func(w http.ResponseWriter) bool {
			w.Header().Set("Content-Range", contentRange)
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.WriteHeader(http.StatusPartialContent)
			io.WriteString(w, body)
			return true
		}
	}
	const read = "GET bytes=10-12"
	for _, test := range []struct {
		name          string
		request       string
		fault         fault
		open, reading error
	}{
		{"replaced before its parts are known", "HEAD 3", refuse(412, ""), ErrPreconditionFailed, nil},
		{"replaced before it is read", read, refuse(412, "PreconditionFailed"), ErrPreconditionFailed, nil},
		{"deleted before it is read", read, refuse(404, "NoSuchKey"), ErrNotFound, nil},
		{"a HEAD is denied", "HEAD 1", refuse(403, ""), ErrAccessDenied, nil},
		{"another range", read, answer("bytes 13-38/40", uneven[2]), ErrBadResponse, nil},
		{"another part in the range's name", read, answer("bytes 10-12/40", "xyz"), nil, ErrChecksum},
		{"a shorter range", read, answer("bytes 10-11/40", "ab"), nil, ErrChecksum},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			server := &partsServer{parts: uneven, flip: -1, faults: map[string]fault{test.request: test.fault}}
			obj, err := testS3(t, server).Get(t.Context(), testKey, &GetOptions{Offset: 11, Length: 1, Verify: true})
			if !errors.Is(err, test.open) {
				t.Fatalf("opening: %v; want %v", err, test.open)
			}
			if err != nil {
				return
			}
			defer obj.Body.Close()
			if got, err := io.ReadAll(obj.Body); !errors.Is(err, test.reading) || len(got) > 0 {
				t.Errorf("got %q, %v; want %v", got, err, test.reading)
			}
		})
	}
}

// An object that is replaced while its parts are asked for is read as it then is, unless that happens all the time.
func TestS3GetOfPartsStartsOver(t *testing.T) {
	for _, row := range []struct {
		name     string
		replaced int // times, each by the request for the second part
		deleted  bool
		opts     GetOptions
		want     error
	}{
		{name: "replaced once", replaced: 1},
		{name: "replaced thrice", replaced: 3},
		{name: "replaced each time", replaced: 4, want: ErrPreconditionFailed},
		{name: "deleted", replaced: 1, deleted: true, want: ErrNotFound},
		{name: "replaced, by its ETag", replaced: 1, opts: GetOptions{IfMatch: "e0"}, want: ErrPreconditionFailed},
	} {
		inBubble(t, row.name, func(t *testing.T) {
			var mu sync.Mutex
			replaced := 0
			server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				if replaced < row.replaced && r.URL.Query().Get("partNumber") == "2" {
					replaced++
				}
				version := fmt.Sprint("e", replaced)
				gone := row.deleted && replaced > 0
				mu.Unlock()
				match := r.Header.Get("If-Match")
				switch {
				case gone:
					w.WriteHeader(http.StatusNotFound)
					if r.Method == http.MethodGet {
						io.WriteString(w, "<Error><Code>NoSuchKey</Code></Error>")
					}
				case match != "" && match != quoteETag(version):
					w.WriteHeader(http.StatusPreconditionFailed)
				default:
					(&partsServer{parts: append(uneven[:4:4], version), etag: version, flip: -1}).ServeHTTP(w, r)
				}
			})
			obj, err := testS3(t, server).Get(t.Context(), testKey, &row.opts)
			if !errors.Is(err, row.want) || replaced != row.replaced {
				t.Fatalf("error is %v, want %v; replaced %d times", err, row.want, replaced)
			}
			if err != nil {
				return
			}
			defer obj.Body.Close()
			version := fmt.Sprint("e", replaced)
			if got, err := io.ReadAll(obj.Body); err != nil || string(got) != strings.Join(uneven, "")+version ||
				obj.ETag != version {
				t.Errorf("got %q of %+v, %v", got, obj.ObjectInfo, err)
			}
		})
	}
}

// A client that limits its connections to one can still read.
func TestS3GetOfPartsByOneConnection(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		s := testS3(t, &partsServer{parts: uneven, flip: -1})
		s.http.Transport.(*http.Transport).MaxConnsPerHost = 1
		obj, err := s.Get(t.Context(), testKey, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer obj.Body.Close()
		if _, err := io.Copy(io.Discard, obj.Body); err != nil {
			t.Error(err)
		}
	})
}
