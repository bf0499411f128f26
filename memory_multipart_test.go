package maskstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMemoryMultipart(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	m := &Memory{Now: func() time.Time { return now }}
	ctx := t.Context()
	id, err := m.CreateMultipartUpload(ctx, testKey, &PutOptions{ContentType: "image/x-mask"})
	if err != nil {
		t.Fatal(err)
	}
	put := func(n int, content []byte) Part {
		t.Helper()
		part, err := m.UploadPart(ctx, testKey, id, n, BytesBody(content))
		want := Part{PartNumber: n, Size: int64(len(content)), ETag: part.ETag, SHA256: SumSHA256(content)}
		if err != nil || part != want || part.ETag == "" {
			t.Fatalf("UploadPart = %+v, %v; want %+v", part, err, want)
		}
		return part
	}
	large := bytes.Repeat([]byte("a"), MinPartSize)
	last := put(7, []byte("end"))
	replaced := put(2, []byte("replaced"))
	first := put(2, large)
	small := put(3, large[1:])

	parts, err := collect(m.ListParts(ctx, testKey, id))
	if diff := cmp.Diff([]Part{first, small, last}, parts); err != nil || diff != "" {
		t.Errorf("ListParts: %v (-want +got):\n%s", err, diff)
	}
	if _, err := m.Stat(ctx, testKey); !errors.Is(err, ErrNotFound) {
		t.Errorf("the object is there before its upload is complete: %v", err)
	}

	for name, test := range map[string]struct {
		parts []Part
		opts  *PutOptions
		want  error
	}{
		"no parts":        {nil, nil, ErrInvalidArgument},
		"order":           {[]Part{last, first}, nil, ErrInvalidArgument},
		"twice":           {[]Part{first, first}, nil, ErrInvalidArgument},
		"number 0":        {[]Part{{PartNumber: 0}}, nil, ErrInvalidArgument},
		"number 10001":    {[]Part{{PartNumber: 10001}}, nil, ErrInvalidArgument},
		"not uploaded":    {[]Part{first, {PartNumber: 5, ETag: first.ETag}}, nil, ErrInvalidArgument},
		"a replaced one":  {[]Part{replaced, last}, nil, ErrInvalidArgument},
		"a small one":     {[]Part{first, small, last}, nil, ErrInvalidArgument},
		"IfMatch":         {[]Part{first, last}, &PutOptions{IfMatch: "0"}, ErrPreconditionFailed},
		"both conditions": {[]Part{first, last}, &PutOptions{IfMatch: "0", NoOverwrite: true}, ErrInvalidArgument},
	} {
		if _, err := m.CompleteMultipartUpload(ctx, testKey, id, test.parts, test.opts); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	mustPut(t, m, testKey, "old")
	_, err = m.CompleteMultipartUpload(ctx, testKey, id, []Part{first, last}, &PutOptions{NoOverwrite: true})
	if !errors.Is(err, ErrPreconditionFailed) {
		t.Errorf("NoOverwrite: %v", err)
	}
	if got := mustGet(t, m, testKey, nil); got != "old" {
		t.Errorf("content = %q", got)
	}

	now = now.Add(time.Hour)
	info, err := m.CompleteMultipartUpload(ctx, testKey, id, []Part{first, last}, nil)
	// The MD5 of the two MD5s, as md5sum computes it.
	want := ObjectInfo{
		Key: testKey, Size: MinPartSize + 3, ETag: "cc8f6f16b44b75adde6349ab98aee432-2", LastModified: now,
		ContentType: "image/x-mask",
	}
	if diff := cmp.Diff(want, info); err != nil || diff != "" {
		t.Errorf("CompleteMultipartUpload: %v (-want +got):\n%s", err, diff)
	}
	content := string(large) + "end"
	if got := mustGet(t, m, testKey, &GetOptions{SHA256: SumSHA256([]byte(content))}); got != content {
		t.Errorf("%d bytes, want %d", len(got), len(content))
	}
	if _, err := m.CompleteMultipartUpload(ctx, testKey, id, []Part{first, last}, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	copied, err := m.Copy(ctx, testKey, "mask/copy", nil)
	if err != nil || copied.SHA256 != SumSHA256([]byte(content)) || strings.Contains(copied.ETag, "-") {
		t.Errorf("Copy = %+v, %v", copied, err)
	}
}

func TestMemoryMultipartRefuses(t *testing.T) {
	m := new(Memory)
	ctx := t.Context()
	id, err := m.CreateMultipartUpload(ctx, testKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	part, err := m.UploadPart(ctx, testKey, id, 1, BytesBody([]byte("old")))
	if err != nil {
		t.Fatal(err)
	}
	errRead := errors.New("the disk is on fire")
	text := func(s string) Body { return BytesBody([]byte(s)) }
	reading := func(r io.Reader) Body {
		return Body{Open: func() (io.ReadCloser, error) { return io.NopCloser(r), nil }, Size: 3}
	}
	upload := func(key, id string, n int, body Body) error {
		_, err := m.UploadPart(ctx, key, id, n, body)
		return err
	}
	for name, test := range map[string]struct{ got, want error }{
		"part 0":             {upload(testKey, id, 0, text("")), ErrInvalidArgument},
		"part 10001":         {upload(testKey, id, MaxPartNumber+1, text("")), ErrInvalidArgument},
		"no body":            {upload(testKey, id, 1, Body{}), ErrInvalidArgument},
		"over 5 GiB":         {upload(testKey, id, 1, Body{Open: text("").Open, Size: MaxPartSize + 1}), ErrInvalidArgument},
		"failing reader":     {upload(testKey, id, 1, reading(iotest.ErrReader(errRead))), errRead},
		"short reader":       {upload(testKey, id, 1, reading(strings.NewReader("ne"))), ErrChecksum},
		"long reader":        {upload(testKey, id, 1, reading(strings.NewReader("new!"))), ErrChecksum},
		"not empty":          {upload(testKey, id, 1, Body{Open: text("new").Open}), ErrChecksum},
		"failing open":       {upload(testKey, id, 1, Body{Open: func() (io.ReadCloser, error) { return nil, errRead }, Size: 3}), errRead},
		"other upload":       {upload(testKey, "x", 1, text("new")), ErrNotFound},
		"other key":          {upload("mask/other", id, 1, text("new")), ErrNotFound},
		"bad key":            {upload("other", id, 1, text("new")), ErrInvalidKey},
		"abort of another":   {m.AbortMultipartUpload(ctx, testKey, "x"), ErrNotFound},
		"abort of bad key":   {m.AbortMultipartUpload(ctx, "other", id), ErrInvalidKey},
		"create for bad key": {func() error { _, err := m.CreateMultipartUpload(ctx, "other", nil); return err }(), ErrInvalidKey},
		"parts of another":   {func() error { _, err := collect(m.ListParts(ctx, testKey, "x")); return err }(), ErrNotFound},
		"list outside":       {func() error { _, err := collect(m.ListMultipartUploads(ctx, "")); return err }(), ErrInvalidKey},
	} {
		if !errors.Is(test.got, test.want) {
			t.Errorf("%s: %v, want %v", name, test.got, test.want)
		}
	}
	parts, err := collect(m.ListParts(ctx, testKey, id))
	if diff := cmp.Diff([]Part{part}, parts); err != nil || diff != "" {
		t.Errorf("the part did not stay: %v\n%s", err, diff)
	}
}

func TestMemoryListMultipartUploads(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	m := &Memory{Now: func() time.Time { now = now.Add(time.Second); return now }}
	ctx := t.Context()
	var ids []string
	for _, key := range []string{"mask/b/2", "mask/b/1", "mask/b/2", "mask/c/1"} {
		id, err := m.CreateMultipartUpload(ctx, key, nil)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	list := func(prefix string) (got []string) {
		t.Helper()
		uploads, err := collect(m.ListMultipartUploads(ctx, prefix))
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range uploads {
			got = append(got, fmt.Sprint(u.Key, " ", u.UploadID))
		}
		return got
	}
	want := []string{"mask/b/1 " + ids[1], "mask/b/2 " + ids[0], "mask/b/2 " + ids[2]}
	if diff := cmp.Diff(want, list("mask/b/")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := m.AbortMultipartUpload(ctx, "mask/b/2", ids[0]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{want[0], want[2]}, list("mask/b")); diff != "" {
		t.Errorf("after an abort (-want +got):\n%s", diff)
	}
	if err := m.AbortMultipartUpload(ctx, "mask/b/2", ids[0]); !errors.Is(err, ErrNotFound) {
		t.Errorf("aborted again: %v", err)
	}
}

// What a browser needs to put a part, and what it gets where it may not.
func TestMemoryServesParts(t *testing.T) {
	m, client := served(t)
	id, err := m.CreateMultipartUpload(t.Context(), testKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	const content = "the part"
	signed, err := m.UploadPartURL(t.Context(), testKey, id, 1,
		&UploadURLOptions{Size: int64(len(content)), SHA256: SumSHA256([]byte(content))})
	put := func(body string) (*http.Response, string) {
		return send(t, client, signedRequest(t, signed, err, body))
	}
	ask := signedRequest(t, signed, err, "")
	ask.Method, ask.Header, ask.ContentLength, ask.Body = http.MethodOptions, http.Header{
		"Origin": {"https://viewer.example"}, "Access-Control-Request-Method": {"PUT"},
		"Access-Control-Request-Headers": {"x-amz-checksum-sha256"},
	}, 0, nil
	if answer, _ := send(t, client, ask); answer.StatusCode != http.StatusOK ||
		answer.Header.Get("Access-Control-Allow-Headers") != "x-amz-checksum-sha256" {
		t.Errorf("preflight: %v", answer)
	}
	if answer, body := put("the lart"); answer.StatusCode != http.StatusBadRequest ||
		errorCode(t, body) != "XAmzContentChecksumMismatch" || len(m.uploads[id].parts) > 0 {
		t.Errorf("another content: %v %s", answer, body)
	}
	answer, body := put(content)
	h := answer.Header
	if answer.StatusCode != http.StatusOK || body != "" || h.Get("ETag") != quoteETag(md5Hex([]byte(content))) ||
		h.Get("x-amz-checksum-sha256") != SumSHA256([]byte(content)).Base64() ||
		!strings.Contains(h.Get("Access-Control-Expose-Headers"), "ETag") {
		t.Errorf("PUT: %v %s", answer, body)
	}
	if err := m.AbortMultipartUpload(t.Context(), testKey, id); err != nil {
		t.Fatal(err)
	}
	if answer, body := put(content); answer.StatusCode != http.StatusNotFound || errorCode(t, body) != "NoSuchUpload" {
		t.Errorf("after the abort: %v %s", answer, body)
	}
}
