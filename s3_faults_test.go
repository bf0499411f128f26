package maskstore

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

// An upload that begins as its context ends is aborted, not forgotten.
func TestS3UploadBegunTooLate(t *testing.T) {
	name, _ := writeTestFile(t, maxSinglePut+1)
	inBubble(t, "", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b := newBucket(func(_ http.ResponseWriter, r *http.Request, _ func()) bool {
			if sortOf(r) == createUpload {
				cancel()
				time.Sleep(time.Second) // of the bubble's time: the answer comes after the end
			}
			return false
		})
		_, err := UploadFile(ctx, testS3(t, b), testKey, name, nil)
		if !errors.Is(err, context.Canceled) || !slices.Equal(b.requests, []string{createUpload, abortUpload}) ||
			len(b.uploads) > 0 {
			t.Errorf("%v; %q, %d uploads left", err, b.requests, len(b.uploads))
		}
	})
}

// S3 reads a bare plus in the name of a copy's source as a space.
func TestS3CopySource(t *testing.T) {
	for key, want := range map[string]string{
		"mask/a/g/1+1.bin": "bucket/mask/a/g/1%2B1.bin",
		"mask/a/g/a b%?é":  "bucket/mask/a/g/a%20b%25%3F%C3%A9",
	} {
		inBubble(t, key, func(t *testing.T) {
			server := &scripted{answers: []answer{{status: 404, code: "NoSuchKey"}}}
			if _, err := testS3(t, server).Copy(t.Context(), key, testKey, nil); !errors.Is(err, ErrNotFound) {
				t.Fatal(err)
			}
			if got := server.headers[0].Get("X-Amz-Copy-Source"); got != want {
				t.Errorf("got %q; want %q", got, want)
			}
		})
	}
}

// A range that ends past what an offset can say goes to the end.
func TestS3LongRange(t *testing.T) {
	for length, want := range map[int64]string{
		7: "bytes=5-11", math.MaxInt64 - 5: "bytes=5-9223372036854775806", math.MaxInt64: "bytes=5-",
	} {
		inBubble(t, want, func(t *testing.T) {
			server := &scripted{answers: []answer{{status: 404, code: "NoSuchKey"}}}
			_, err := testS3(t, server).Get(t.Context(), testKey, &GetOptions{Offset: 5, Length: length})
			if !errors.Is(err, ErrNotFound) {
				t.Fatal(err)
			}
			if got := server.headers[0].Get("Range"); got != want {
				t.Errorf("got %q", got)
			}
		})
	}
}

// An object comes as it is stored, whatever the caller's client asks for by itself.
func TestS3AsksForNoCompression(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		a := objectAnswer("content")
		server := &scripted{answers: []answer{a}}
		if _, err := testS3(t, server).Get(t.Context(), testKey, nil); err != nil {
			t.Fatal(err)
		}
		if got := server.headers[0].Get("Accept-Encoding"); got != "identity" {
			t.Errorf("Accept-Encoding is %q", got)
		}
	})
}

// Programs that trace or measure wrap the default transport.
func TestS3OverAWrappedTransport(t *testing.T) {
	original := http.DefaultTransport
	defer func() { http.DefaultTransport = original }()
	http.DefaultTransport = &wrappedTransport{original}
	s, err := NewS3(t.Context(), S3Options{Bucket: "bucket", Region: "us-east-1", AccessKey: "a", SecretKey: "s"})
	if err != nil || s.http.Transport != http.DefaultTransport {
		t.Errorf("%v, over a %T", err, s.http.Transport)
	}
}

type wrappedTransport struct{ http.RoundTripper }

// A part's body that is not what it promises, or breaks off, is no fault of the network, and not tried again.
func TestS3PartOfAnotherLength(t *testing.T) {
	boom := errors.New("boom")
	for name, row := range map[string]struct {
		body io.Reader
		want error
	}{
		"shorter":    {strings.NewReader("abc"), ErrChecksum},
		"longer":     {strings.NewReader("abcdefgh"), ErrChecksum},
		"breaks off": {io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(boom)), boom},
	} {
		inBubble(t, name, func(t *testing.T) {
			opened := 0
			body := Body{Size: 4, SHA256: SumSHA256([]byte("abcd")), Open: func() (io.ReadCloser, error) {
				opened++
				return io.NopCloser(row.body), nil
			}}
			// The server would wait for more, and refuses what it gets: only the body's own error tells what is wrong.
			server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
			})
			_, err := testS3(t, server).UploadPart(t.Context(), testKey, "id", 1, body)
			if !errors.Is(err, row.want) || errors.Is(err, ErrUnavailable) || opened != 1 {
				t.Errorf("opened %d times: %v", opened, err)
			}
		})
	}
}

// A body that is damaged on its way is sent again, one that is not what it promises is not, and none is read without need.
func TestS3DamagedOnTheWay(t *testing.T) {
	opened := 0
	counted := func(body Body) Body {
		open := body.Open
		body.Open = func() (io.ReadCloser, error) { opened++; return open() }
		return body
	}
	wrong := BytesBody(smallBody)
	wrong.SHA256 = SumSHA256(nil)
	part := func(body Body) func(context.Context, *S3, string) error {
		return func(ctx context.Context, s *S3, id string) error {
			_, err := s.UploadPart(ctx, testKey, id, 1, counted(body))
			return err
		}
	}
	put := func(data []byte) func(context.Context, *S3, string) error {
		return func(ctx context.Context, s *S3, _ string) error {
			_, err := s.Put(ctx, testKey, bytes.NewReader(data), nil)
			return err
		}
	}
	for _, row := range []struct {
		name     string
		sort     string
		damaged  int // how many of the first requests of that sort are
		do       func(ctx context.Context, s *S3, id string) error
		want     error
		requests int // of that sort
		opened   int
	}{
		{"put, once", putWhole, 1, put(smallBody), nil, 2, 0},
		{"put, always", putWhole, s3Attempts, put(smallBody), ErrChecksum, s3Attempts, 0},
		{"put in parts, once", putPart, 1, put(largeBody), nil, 3, 0},
		{"part, never", putPart, 0, part(BytesBody(smallBody)), nil, 1, 1},
		{"part, once", putPart, 1, part(BytesBody(smallBody)), nil, 2, 3},
		{"part, always", putPart, s3Attempts, part(BytesBody(smallBody)), ErrChecksum, s3Attempts, 2 * s3Attempts},
		{"part of another content", putPart, 0, part(wrong), ErrChecksum, 1, 2},
	} {
		inBubble(t, row.name, func(t *testing.T) {
			b := newBucket(nil)
			b.uploads["id"] = map[string][]byte{}
			var damaged atomic.Int64
			s := testS3(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if sortOf(r) == row.sort && int(damaged.Add(1)) <= row.damaged {
					body, err := io.ReadAll(r.Body)
					if err != nil {
						t.Error(err)
					}
					body[0] ^= 1
					r.Body = io.NopCloser(bytes.NewReader(body))
				}
				b.ServeHTTP(w, r)
			}))
			opened = 0
			err := row.do(t.Context(), s, "id")
			if fired := min(int(damaged.Load()), row.damaged); fired != row.damaged {
				t.Errorf("%d requests were damaged; want %d", fired, row.damaged)
			}
			if !errors.Is(err, row.want) || (err == nil) != (row.want == nil) || b.count(row.sort) != row.requests ||
				opened != row.opened {
				t.Errorf("%v after %d requests, opened %d times", err, b.count(row.sort), opened)
			}
		})
	}
}

// A page of a listing that breaks off is asked for again.
func TestS3ListingBreaksOff(t *testing.T) {
	page := answer{status: 200, text: "<ListBucketResult><Contents><Key>" + testKey + "</Key></Contents></ListBucketResult>"}
	broken := page
	broken.short = true
	inBubble(t, "once", func(t *testing.T) {
		server := &scripted{answers: []answer{broken, page}}
		var keys []string
		for info, err := range testS3(t, server).List(t.Context(), "mask/", nil) {
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, info.Key)
		}
		if !slices.Equal(keys, []string{testKey}) || len(server.times) != 2 {
			t.Errorf("%q after %d requests", keys, len(server.times))
		}
	})
	inBubble(t, "always", func(t *testing.T) {
		server := &scripted{answers: []answer{broken}}
		for _, err := range testS3(t, server).List(t.Context(), "mask/", nil) {
			if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "broke off") {
				t.Error(err)
			}
		}
		if len(server.times) != s3Attempts {
			t.Errorf("%d requests", len(server.times))
		}
	})
}

// Keys are as escaped as the server says, which may say so before or after them.
func TestS3ListingEscapes(t *testing.T) {
	const contents, encoded = "<Contents><Key>mask/a+b%41&amp;</Key></Contents>", "<EncodingType>url</EncodingType>"
	for body, want := range map[string]string{
		contents: "mask/a+b%41&", contents + encoded: "mask/a bA&", encoded + contents: "mask/a bA&",
	} {
		page, err := parseListing([]byte("<ListBucketResult>" + body + "</ListBucketResult>"))
		if err != nil || len(page.entries) != 1 || page.entries[0].Key != want {
			t.Errorf("%s: %+v, %v", body, page, err)
		}
	}
	wrong := "<ListBucketResult>" + encoded + "<Contents><Key>mask/100%</Key></Contents></ListBucketResult>"
	if page, err := parseListing([]byte(wrong)); err == nil {
		t.Errorf("%+v", page)
	}
}

// A stream may be longer than the parts planned for it can hold.
func TestS3PutEndlessStream(t *testing.T) {
	for size, want := range map[int64]error{9: nil, 10: nil, 11: ErrTooLarge} {
		c := &countingReader{r: io.LimitReader(neverEnding('x'), size), limit: 10}
		n, err := io.Copy(io.Discard, c)
		if !errors.Is(err, want) || !errors.Is(c.err, want) || want == nil && n != size || n > 10 {
			t.Errorf("%d bytes of %d: %v", n, size, err)
		}
	}
}

type neverEnding byte

func (b neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

// What no server says is gone may still be there.
func TestS3UnprovenDeletions(t *testing.T) {
	for _, row := range []struct {
		answer answer
		keys   int   // that are to be deleted
		left   int   // that give an error
		want   error // its kind
	}{
		{answer{status: 204}, 1, 0, nil},
		{answer{status: 404, code: "NoSuchKey"}, 1, 0, nil},
		{answer{status: 404, text: "<html>no such page</html>"}, 1, 1, ErrBadResponse},
		{answer{status: 200, text: "<html>welcome</html>"}, 1, 1, ErrBadResponse},
		{answer{status: 200}, 2, 2, ErrBadResponse},
		{answer{status: 200, text: " \n"}, 2, 2, ErrBadResponse},
		{answer{status: 200, text: "<html>welcome</html>"}, 2, 2, ErrBadResponse},
		{answer{status: 200, text: "<DeleteResult><Error>"}, 2, 2, ErrBadResponse},
		{answer{status: 200, text: "<Error><Code>InternalError</Code></Error>"}, 2, 2, ErrBadResponse},
		{answer{status: 200, text: "<DeleteResult/>", short: true}, 2, 2, ErrUnavailable},
		{answer{status: 200, text: "<DeleteResult/>"}, 2, 0, nil},
		{answer{status: 200, text: `<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></DeleteResult>`}, 2, 0, nil},
		{answer{status: 200, text: deniedAnswer(testKey + "2")}, 2, 1, ErrAccessDenied},
		{answer{status: 200, text: "<DeleteResult><Error><Key>" + testKey + "2</Key><Code>NoSuchKey</Code></Error></DeleteResult>"}, 2, 0, nil},
		{answer{status: 200, text: deniedAnswer(testKey + "3")}, 2, 2, ErrBadResponse},
		{answer{status: 200, text: deniedAnswer("")}, 2, 2, ErrBadResponse},
		{answer{status: 200, text: deniedAnswer(testKey+"2", testKey+"3")}, 2, 2, ErrBadResponse},
		{answer{status: 200, text: deniedAnswer(testKey+"2", testKey+"3")}, 2, 2, ErrAccessDenied},
		{answer{status: 200, text: deniedAnswer(testKey+"2", testKey+"2")}, 2, 2, ErrBadResponse},
	} {
		inBubble(t, fmt.Sprint(row.answer, row.keys), func(t *testing.T) {
			server := &scripted{answers: []answer{row.answer}}
			err := testS3(t, server).Delete(t.Context(), []string{testKey, testKey + "2"}[:row.keys]...)
			if got := KeyErrors(err); len(got) != row.left || !errors.Is(err, row.want) {
				t.Errorf("%d errors: %v", len(got), err)
			}
			sum := md5.Sum([]byte(server.bodies[0]))
			if md5 := server.headers[0].Get("Content-Md5"); row.keys > 1 && md5 != base64.StdEncoding.EncodeToString(sum[:]) {
				t.Errorf("Content-MD5 is %q", md5)
			}
		})
	}
}

// deniedAnswer tells that these keys were not deleted.
func deniedAnswer(keys ...string) string {
	text := "<DeleteResult>"
	for _, key := range keys {
		text += "<Error><Key>" + key + "</Key><Code>AccessDenied</Code></Error>"
	}
	return text + "</DeleteResult>"
}

// An answer in which a bit of a key has flipped is asked for again.
func TestS3DeletionOfAFlippedKey(t *testing.T) {
	inBubble(t, "once", func(t *testing.T) {
		server := &scripted{answers: []answer{
			{status: 200, text: deniedAnswer(testKey + "3")}, {status: 200, text: deniedAnswer(testKey + "2")},
		}}
		err := testS3(t, server).Delete(t.Context(), testKey, testKey+"2")
		if got := KeyErrors(err); len(got) != 1 || got[0].Key != testKey+"2" || !errors.Is(err, ErrAccessDenied) ||
			len(server.bodies) != 2 {
			t.Errorf("%v after %d requests", err, len(server.bodies))
		}
	})
}

// A burst of 503 of two seconds fails none of many calls, those that go by the SDK among them, and costs few attempts.
func TestS3CallsThroughABurst(t *testing.T) {
	const calls = 200
	part := BytesBody(smallBody)
	for sort, call := range map[string]func(ctx context.Context, s *S3, key, id string, parts []Part) error{
		putWhole: func(ctx context.Context, s *S3, key, _ string, _ []Part) error {
			return second(s.Copy(ctx, key, key+"2", nil))
		},
		createUpload: func(ctx context.Context, s *S3, key, _ string, _ []Part) error {
			return second(s.CreateMultipartUpload(ctx, key, nil))
		},
		completeUpload: func(ctx context.Context, s *S3, key, id string, parts []Part) error {
			return second(s.CompleteMultipartUpload(ctx, key, id, parts, nil))
		},
		listParts: func(ctx context.Context, s *S3, key, id string, _ []Part) error {
			return second(storedParts(ctx, s, key, id))
		},
		abortUpload: func(ctx context.Context, s *S3, key, id string, _ []Part) error {
			return s.AbortMultipartUpload(ctx, key, id)
		},
		"DELETE": func(ctx context.Context, s *S3, key, _ string, _ []Part) error { return s.Delete(ctx, key) },
	} {
		inBubble(t, sort, func(t *testing.T) {
			start, server := time.Now(), new(s3Server)
			server.before = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
				slow := time.Since(start) < 2*time.Second
				if slow {
					w.WriteHeader(503)
					io.WriteString(w, "<Error><Code>SlowDown</Code></Error>")
				}
				return slow
			}
			s := testS3(t, server)
			var wg sync.WaitGroup
			for i := range calls {
				key := fmt.Sprintf("mask/a/g/%04d_x.png", i)
				mustPut(t, &server.Memory, key, "x")
				id, err := server.CreateMultipartUpload(t.Context(), key, nil)
				if err != nil {
					t.Fatal(err)
				}
				stored, err := server.UploadPart(t.Context(), key, id, 1, part)
				if err != nil {
					t.Fatal(err)
				}
				wg.Go(func() {
					if err := call(t.Context(), s, key, id, []Part{stored}); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			attempts := 0
			for _, request := range server.requests {
				if request == sort {
					attempts++
				}
			}
			if attempts <= calls || attempts > 6*calls {
				t.Errorf("%d calls took %d attempts", calls, attempts)
			}
		})
	}
}
