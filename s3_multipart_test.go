package maskstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

func TestS3MultipartUpload(t *testing.T) {
	inBubble(t, "whole", func(t *testing.T) {
		b := newBucket(nil)
		s := testS3(t, b)
		id, err := s.CreateMultipartUpload(t.Context(), testKey, nil)
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, MinPartSize)
		one, err := s.UploadPart(t.Context(), testKey, id, 1, BytesBody(first))
		if err != nil || one.PartNumber != 1 || one.Size != MinPartSize || one.SHA256 != SumSHA256(first) {
			t.Fatalf("part is %+v, %v", one, err)
		}
		two, err := s.UploadPart(t.Context(), testKey, id, 2, BytesBody([]byte("end")))
		if err != nil {
			t.Fatal(err)
		}
		info, err := s.CompleteMultipartUpload(t.Context(), testKey, id, []Part{one, two}, &PutOptions{NoOverwrite: true})
		if err != nil || info.Size != MinPartSize+3 || !bytes.Equal(b.objects[testKey].data, append(first, "end"...)) ||
			!strings.HasSuffix(info.ETag, "-2") {
			t.Errorf("got %+v, %v", info, err)
		}
		if err := s.AbortMultipartUpload(t.Context(), testKey, id); !errors.Is(err, ErrNotFound) {
			t.Errorf("aborting what is complete: %v", err)
		}
	})
	inBubble(t, "aborted as the context ended", func(t *testing.T) {
		b := newBucket(nil)
		o := testOptions()
		next := serve(t, b).Transport
		ctx, cancel := context.WithCancel(t.Context())
		o.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(r)
			if r.Method == http.MethodDelete {
				cancel()
			}
			return resp, err
		})}
		s, err := NewS3(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		id, err := s.CreateMultipartUpload(ctx, testKey, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.AbortMultipartUpload(ctx, testKey, id); err != nil || len(b.uploads) != 0 {
			t.Errorf("error is %v; %d uploads", err, len(b.uploads))
		}
	})
	inBubble(t, "a failed condition leaves it open", func(t *testing.T) {
		b := newBucket(nil)
		s := testS3(t, b)
		id, err := s.CreateMultipartUpload(t.Context(), testKey, nil)
		if err != nil {
			t.Fatal(err)
		}
		part, err := s.UploadPart(t.Context(), testKey, id, 1, BytesBody([]byte("x")))
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.CompleteMultipartUpload(t.Context(), testKey, id, []Part{part}, &PutOptions{IfMatch: "gone"})
		if !errors.Is(err, ErrPreconditionFailed) || len(b.uploads) != 1 {
			t.Errorf("error is %v; %d uploads", err, len(b.uploads))
		}
		b.objects[testKey] = objectInBucket{etag: `"old"`}
		_, err = s.CompleteMultipartUpload(t.Context(), testKey, id, []Part{part}, &PutOptions{NoOverwrite: true})
		if !errors.Is(err, ErrPreconditionFailed) || len(b.uploads) != 1 {
			t.Errorf("over an object: error is %v; %d uploads", err, len(b.uploads))
		}
		if _, err := s.CompleteMultipartUpload(t.Context(), testKey, id, []Part{part}, nil); err != nil {
			t.Error(err)
		}
	})
}

func TestS3MultipartInput(t *testing.T) {
	server := &scripted{answers: []answer{stored}}
	s := testS3(t, server)
	ctx := t.Context()
	part := Part{PartNumber: 1, ETag: "e"}
	uploadPart := func(key, id string, n int) error {
		_, err := s.UploadPart(ctx, key, id, n, BytesBody([]byte("x")))
		return err
	}
	complete := func(id string, parts ...Part) error {
		_, err := s.CompleteMultipartUpload(ctx, testKey, id, parts, nil)
		return err
	}
	var listErr error
	for _, listErr = range s.ListParts(ctx, testKey, "") {
	}
	for name, err := range map[string]error{
		"part 0": uploadPart(testKey, "id", 0), "part 10001": uploadPart(testKey, "id", MaxPartNumber+1),
		"no ID": uploadPart(testKey, "", 1),
		"key":   uploadPart("other/x", "id", 1), "no parts": complete("id"), "disorder": complete("id", part, part),
		"completing without an ID": complete("", part), "aborting without an ID": s.AbortMultipartUpload(ctx, testKey, ""),
		"aborting with a line break": s.AbortMultipartUpload(ctx, testKey, "a\nb"), "completing with one": complete("a\nb", part),
		"listing without an ID": listErr,
	} {
		if !errors.Is(err, ErrInvalidArgument) && !errors.Is(err, ErrInvalidKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(server.bodies) > 0 {
		t.Errorf("%d requests", len(server.bodies))
	}
}

// Both listings go through all pages, and end where a server leads in circles.
func TestS3MultipartListings(t *testing.T) {
	const parts, uploads = "<ListPartsResult><Bucket>bucket</Bucket><Key>" + testKey +
		"</Key><UploadId>id</UploadId>%s<IsTruncated>%v</IsTruncated>" +
		"<NextPartNumberMarker>%s</NextPartNumberMarker></ListPartsResult>",
		"<ListMultipartUploadsResult><Bucket>bucket</Bucket><Prefix>mask/</Prefix>%s<IsTruncated>%v</IsTruncated>" +
			"<NextKeyMarker>%s</NextKeyMarker></ListMultipartUploadsResult>"
	var queries []url.Values
	answers := func(format string, pages ...string) http.Handler {
		queries = nil
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			queries = append(queries, r.URL.Query())
			n := len(queries)
			next := ""
			if n < len(pages) {
				next = fmt.Sprint(n)
			}
			fmt.Fprintf(w, format, pages[min(n, len(pages))-1], next != "", next)
		})
	}
	sum := SumSHA256([]byte("x"))
	inBubble(t, "parts", func(t *testing.T) {
		var got []Part
		page := func(n int) string {
			return fmt.Sprintf(
				"<Part><PartNumber>%d</PartNumber><Size>1</Size><ETag>\"e\"</ETag><ChecksumSHA256>%s</ChecksumSHA256></Part>",
				n, sum.Base64())
		}
		for part, err := range testS3(t, answers(parts, page(1), page(2))).ListParts(t.Context(), testKey, "id") {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, part)
		}
		if want := []Part{{1, 1, "e", sum}, {2, 1, "e", sum}}; !slices.Equal(got, want) || len(queries) != 2 ||
			queries[1].Get("part-number-marker") != "1" {
			t.Errorf("got %+v by %v", got, queries)
		}
	})
	inBubble(t, "uploads", func(t *testing.T) {
		var got []string
		server := answers(uploads, "<Upload><Key>mask/a+b</Key><UploadId>1</UploadId></Upload>",
			"<Upload><Key>mask/c</Key><UploadId>2</UploadId></Upload>")
		for u, err := range testS3(t, server).ListMultipartUploads(t.Context(), "mask/") {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, u.Key+" "+u.UploadID)
		}
		if !slices.Equal(got, []string{"mask/a+b 1", "mask/c 2"}) || len(queries) != 2 || queries[1].Get("key-marker") != "1" {
			t.Errorf("got %q by %v", got, queries)
		}
	})
	page := func(format, entries string, more bool, next string) answer {
		return answer{status: 200, text: fmt.Sprintf(format, entries, more, next)}
	}
	const part, upload = "<Part><PartNumber>1</PartNumber></Part>", "<Upload><Key>mask/a</Key><UploadId>1</UploadId></Upload>"
	for _, row := range []struct {
		name     string
		uploads  bool
		pages    []answer
		requests int
	}{
		{"parts in circles", false, []answer{page(parts, "", true, "7")}, 2},
		{"uploads in circles", true, []answer{page(uploads, "", true, "7")}, 2},
		{"parts without a next page", false, []answer{page(parts, part, true, "")}, 1},
		{"uploads without a next page", true, []answer{page(uploads, upload, true, "")}, 1},
		{"parts without a third page", false, []answer{page(parts, "", true, "7"), page(parts, "", true, "")}, 2},
		{"uploads without a third page", true, []answer{page(uploads, "", true, "7"), page(uploads, "", true, "")}, 2},
		{"parts back and forth", false, []answer{page(parts, "", true, "7"), page(parts, "", true, "3"), page(parts, "", true, "7")}, 2},
		{"a part twice", false, []answer{page(parts, part, true, "1"), page(parts, part, false, "")}, 2},
		{"parts of another key", false, []answer{page(strings.ReplaceAll(parts, testKey, "mask/other"), part, false, "")}, 1},
		{"parts of another upload", false, []answer{page(strings.ReplaceAll(parts, ">id<", ">other<"), part, false, "")}, 1},
		{"uploads of another prefix", true, []answer{page(uploads, strings.ReplaceAll(upload, "mask/", "masks/"), false, "")}, 1},
		{"an upload without an ID", true, []answer{page(uploads, strings.ReplaceAll(upload, ">1<", "><"), false, "")}, 1},
	} {
		inBubble(t, row.name, func(t *testing.T) {
			end := map[bool]string{false: parts, true: uploads}[row.uploads]
			server := &scripted{answers: append(row.pages, row.pages[0], page(end, "", false, ""))}
			var err error
			if row.uploads {
				for _, err = range testS3(t, server).ListMultipartUploads(t.Context(), "mask/") {
				}
			} else {
				for _, err = range testS3(t, server).ListParts(t.Context(), testKey, "id") {
				}
			}
			if !errors.Is(err, ErrBadResponse) || len(server.bodies) != row.requests {
				t.Errorf("error is %v after %d requests", err, len(server.bodies))
			}
		})
	}
}

// An upload that is gone is told in a few words. The server's are within reach of errors.As.
func TestS3NoSuchUpload(t *testing.T) {
	for _, c := range s3Calls() {
		if c.op != "ListParts" && c.op != "CompleteMultipartUpload" && c.op != "AbortMultipartUpload" {
			continue
		}
		inBubble(t, c.op, func(t *testing.T) {
			server := &scripted{answers: []answer{{
				status: 404, code: "NoSuchUpload", text: "The specified upload does not exist.",
				header: map[string]string{"X-Amz-Request-Id": "R1"},
			}}}
			err := c.call(t.Context(), testS3(t, server))
			want := fmt.Sprintf("maskstore: %s %q: not found: no such upload", c.op, testKey)
			if err == nil || err.Error() != want {
				t.Errorf("error is %v; want %s", err, want)
			}
			api, ok := errors.AsType[smithy.APIError](err)
			if answer, _ := errors.AsType[*awshttp.ResponseError](err); !ok || api.ErrorCode() != "NoSuchUpload" || answer == nil ||
				answer.RequestID != "R1" {
				t.Errorf("the server's error is %v, its answer %v", api, answer)
			}
		})
	}
}

// What was written stays written when it cannot be described, or someone else writes there at once.
func TestS3WrittenButNotDescribed(t *testing.T) {
	done := answer{status: 200, text: `<CompleteMultipartUploadResult><ETag>"e1"</ETag></CompleteMultipartUploadResult>`}
	copied := answer{
		status: 200,
		text:   `<CopyObjectResult><ETag>"e1"</ETag><LastModified>2026-01-02T03:04:05Z</LastModified></CopyObjectResult>`,
	}
	for name, head := range map[string]answer{
		"denied": {status: 403}, "lost": {lose: true}, "deleted": {status: 404}, "replaced": objectAnswer("", "ETag", `"e2"`),
	} {
		inBubble(t, name, func(t *testing.T) {
			server := &scripted{answers: []answer{done, head}}
			parts := []Part{{PartNumber: 1, Size: MinPartSize, ETag: "a"}, {PartNumber: 2, Size: 7, ETag: "b"}}
			got, err := testS3(t, server).CompleteMultipartUpload(t.Context(), testKey, "id", parts, nil)
			if want := (ObjectInfo{Key: testKey, Size: MinPartSize + 7, ETag: "e1"}); got != want || err != nil {
				t.Errorf("completed: %+v, %v", got, err)
			}
			server = &scripted{answers: []answer{copied, head}}
			got, err = testS3(t, server).Copy(t.Context(), testKey+"2", testKey, nil)
			want := ObjectInfo{Key: testKey, ETag: "e1", LastModified: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
			if got != want || err != nil {
				t.Errorf("copied: %+v, %v", got, err)
			}
		})
	}
}

// What a MinIO that was killed in the middle of a completion answers to the next is told as parts that it does not take.
func TestS3CompletionBrokenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &scripted{answers: []answer{{status: 400, code: "XMinioObjectExistsAsDirectory"}}}
		_, err := testS3(t, server).CompleteMultipartUpload(t.Context(), testKey, "id", []Part{{PartNumber: 1, ETag: "a"}}, nil)
		if !errors.Is(err, ErrInvalidArgument) {
			t.Error(err)
		}
	})
}

// What an attempt whose answer was lost has begun is aborted, and nothing else.
func TestS3CreateAnswerLost(t *testing.T) {
	part := map[string][]byte{"1": []byte("x")}
	refuse := func(sort string) func(*bucket, http.ResponseWriter, *http.Request) bool {
		return func(_ *bucket, w http.ResponseWriter, r *http.Request) bool {
			if sortOf(r) == sort {
				w.WriteHeader(403)
				fmt.Fprint(w, "<Error><Code>AccessDenied</Code></Error>")
			}
			return sortOf(r) == sort
		}
	}
	type answers = []func(w http.ResponseWriter, do func()) // of the first attempts
	refusal := func(status int, code string) func(http.ResponseWriter, func()) {
		return func(w http.ResponseWriter, do func()) {
			if code == "InternalError" {
				do()
			}
			w.WriteHeader(status)
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>Some words.</Message></Error>", code)
		}
	}
	slow := refusal(503, "SlowDown")
	for _, row := range []struct {
		name  string
		fails answers
		begun time.Duration                                                // by another, after the first attempt; 0: nothing
		parts map[string][]byte                                            // that the other has stored
		fault func(b *bucket, w http.ResponseWriter, r *http.Request) bool // of what comes after
		left  []string
	}{
		{name: "lost", fails: answers{lose}},
		{name: "lost often", fails: slices.Repeat(answers{lose}, 5)},
		{name: "another's, with a part", fails: answers{lose}, begun: time.Millisecond, parts: part, left: []string{"other"}},
		{name: "another's, of long before", fails: answers{lose}, begun: -2 * time.Second, left: []string{"other"}},
		{name: "another's, of after it", fails: answers{lose}, begun: time.Minute, left: []string{"other"}},
		{name: "another's, of the same seconds", fails: answers{lose}, begun: time.Millisecond}, // as documented
		{name: "another's, between the attempts", fails: answers{lose, slow, slow, slow, slow, slow, slow, slow}, begun: 5 * time.Second, left: []string{"other"}},
		{name: "lost between refusals", fails: answers{slow, slow, slow, slow, slow, slow, lose, slow}},
		{name: "an internal error", fails: answers{refusal(500, "InternalError")}},
		{name: "a proxy's error", fails: answers{status503}},
		{name: "slow down", fails: answers{slow}, begun: time.Millisecond, left: []string{"other"}},
		{name: "unavailable", fails: answers{refusal(503, "ServiceUnavailable")}, begun: time.Millisecond, left: []string{"other"}},
		{name: "no lost answer", begun: time.Millisecond, left: []string{"other"}},
		{name: "listed without times", fails: answers{lose}, fault: func(b *bucket, _ http.ResponseWriter, r *http.Request) bool {
			for id := range b.begun {
				b.begun[id] = time.Time{}
			}
			return false
		}, left: []string{"upload1"}},
		{name: "listing denied", fails: answers{lose}, fault: refuse(listUploads), left: []string{"upload1"}},
		{name: "parts denied", fails: answers{lose}, fault: refuse(listParts), left: []string{"upload1"}},
		{name: "abort denied", fails: answers{lose}, fault: refuse(abortUpload), left: []string{"upload1"}},
	} {
		inBubble(t, row.name, func(t *testing.T) {
			var b *bucket
			attempts := 0
			b = newBucket(func(w http.ResponseWriter, r *http.Request, do func()) bool {
				if sortOf(r) != createUpload {
					return row.fault != nil && row.fault(b, w, r)
				}
				if attempts == 0 && row.begun != 0 {
					b.uploads["other"], b.begun["other"] = row.parts, time.Now().Add(row.begun)
					if row.parts == nil {
						b.uploads["other"] = map[string][]byte{}
					}
				}
				if attempts++; attempts <= len(row.fails) {
					row.fails[attempts-1](w, do)
					return true
				}
				return false
			})
			id, err := testS3(t, b).CreateMultipartUpload(t.Context(), testKey, nil)
			if err != nil || b.uploads[id] == nil {
				t.Fatalf("%q, %v; sent %q", id, err, b.requests)
			}
			delete(b.uploads, id)
			if left := slices.Sorted(maps.Keys(b.uploads)); !slices.Equal(left, row.left) {
				t.Errorf("left are %q, want %q; sent %q", left, row.left, b.requests)
			}
			if len(row.fails) == 0 && len(b.requests) != 1 {
				t.Errorf("sent %q", b.requests)
			}
		})
	}
}

// TestS3UploadBehindProxy: a 404 without S3's code is a proxy's that has lost the server. What is recorded stays so.
func TestS3UploadBehindProxy(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		b, lost := newBucket(nil), false
		s := testS3(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if lost {
				http.Error(w, "no such backend", http.StatusNotFound)
				return
			}
			b.ServeHTTP(w, r)
		}))
		data, j := manyParts(), DirJournal(t.TempDir())
		interrupt(t, s, j, testKey, data)
		before, err := j.Load(t.Context(), testKey)
		if err != nil {
			t.Fatal(err)
		}
		lost = true
		_, uploadErr := Upload(t.Context(), s, testKey, bytes.NewReader(data), &UploadOptions{Journal: j})
		swept, sweepErr := SweepUploads(t.Context(), s, j, 0)
		if !errors.Is(uploadErr, ErrBadResponse) || !errors.Is(sweepErr, ErrBadResponse) || len(swept) > 0 {
			t.Errorf("%v; swept %q, %v", uploadErr, swept, sweepErr)
		}
		if after, err := j.Load(t.Context(), testKey); err != nil || after != before || len(b.uploads) != 1 {
			t.Errorf("recorded is %+v, %v; before: %+v; %d uploads are open", after, err, before, len(b.uploads))
		}
	})
}
