package maskstoretest_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/maskstoretest"
)

// newMemory gives a Memory that answers its signed URLs, and in which nothing may be left.
func newMemory(t *testing.T) maskstore.ObjectStorage {
	m := &maskstore.Memory{}
	t.Cleanup(func() {
		for info, err := range m.List(context.Background(), "mask/", nil) {
			t.Errorf("left over: %s, %v", info.Key, err)
		}
		for up, err := range m.ListMultipartUploads(context.Background(), "mask/") {
			t.Errorf("left open: upload %s of %s, %v", up.UploadID, up.Key, err)
		}
	})
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	m.BaseURL = server.URL
	return m
}

func newBatching(t *testing.T) maskstore.ObjectStorage {
	return batching{newMemory(t).(*maskstore.Memory)}
}
func newUnwrapping(t *testing.T) maskstore.ObjectStorage { return unwrapping{newBatching(t)} }
func newDeciding(t *testing.T) maskstore.ObjectStorage {
	return &deciding{ObjectStorage: newBatching(t), seen: map[string]int{}}
}

func TestMemory(t *testing.T) {
	maskstoretest.Test(t, newMemory, &maskstoretest.Options{NoBatch: true})
}
func TestMemoryGroups(t *testing.T) { maskstoretest.TestGroups(t, newMemory, nil) }

func TestUnwrapping(t *testing.T)       { maskstoretest.Test(t, newUnwrapping, nil) }
func TestUnwrappingGroups(t *testing.T) { maskstoretest.TestGroups(t, newUnwrapping, nil) }

func TestDecidingGroups(t *testing.T) { maskstoretest.TestGroups(t, newDeciding, nil) }

// The suite must reach a wrapped storage's capabilities through the wrapper.
func TestDeciding(t *testing.T) {
	d := newDeciding(t).(*deciding)
	maskstoretest.Test(t, func(*testing.T) maskstore.ObjectStorage { return d }, nil)
	for _, op := range []string{
		"Put", "Copy", "CreateMultipartUpload", "UploadPart", "UploadPartURL", "ListParts", "CompleteMultipartUpload",
		"AbortMultipartUpload", "ListMultipartUploads", "PutBatch",
	} {
		if d.seen[op] == 0 {
			t.Errorf("%s went past the wrapper", op)
		}
	}
}

// A storage that says what it cannot do passes.
func TestBare(t *testing.T) {
	maskstoretest.Test(t, func(t *testing.T) maskstore.ObjectStorage { return bare{newMemory(t)} },
		&maskstoretest.Options{NoSigning: true, NoCopy: true, NoMultipart: true, NoBatch: true})
}

// A storage that signs nothing may still put in parts.
func TestUnsigned(t *testing.T) {
	maskstoretest.Test(t, func(t *testing.T) maskstore.ObjectStorage { return unsigned{newMemory(t).(*maskstore.Memory)} },
		&maskstoretest.Options{NoSigning: true, NoBatch: true})
}

// unwrapping is a wrapper that changes nothing.
type unwrapping struct{ maskstore.ObjectStorage }

func (u unwrapping) Unwrap() maskstore.ObjectStorage { return u.ObjectStorage }

// batching puts a batch one by one.
type batching struct{ *maskstore.Memory }

func (b batching) PutBatch(
	ctx context.Context, items []maskstore.UploadItem, opts *maskstore.ParallelOptions,
) ([]maskstore.ObjectInfo, error) {
	for _, item := range items {
		if item.IfMatch != "" || item.NoOverwrite {
			input := &maskstore.InputError{Field: "IfMatch", Problem: "or NoOverwrite is set", Want: "neither"}
			return nil, &maskstore.Error{Op: "PutBatch", Key: item.Key, Kind: maskstore.ErrInvalidArgument, Err: input}
		}
	}
	infos, err := maskstore.UploadAll(ctx, b.Memory, items, opts)
	if e, ok := err.(*maskstore.Error); ok {
		e.Op = "PutBatch"
	}
	return infos, err
}

// bare can neither sign, copy, put in parts nor in batches.
type bare struct{ maskstore.ObjectStorage }

var errNoSigning = &maskstore.Error{Op: "sign", Kind: maskstore.ErrUnsupported, Err: errors.New("there is no server")}

func (bare) UploadURL(context.Context, string, *maskstore.UploadURLOptions) (maskstore.SignedURL, error) {
	return maskstore.SignedURL{}, errNoSigning
}

func (bare) DownloadURL(context.Context, string, *maskstore.DownloadURLOptions) (maskstore.SignedURL, error) {
	return maskstore.SignedURL{}, errNoSigning
}

// unsigned cannot sign.
type unsigned struct{ *maskstore.Memory }

func (unsigned) UploadURL(context.Context, string, *maskstore.UploadURLOptions) (maskstore.SignedURL, error) {
	return maskstore.SignedURL{}, errNoSigning
}

func (unsigned) DownloadURL(context.Context, string, *maskstore.DownloadURLOptions) (maskstore.SignedURL, error) {
	return maskstore.SignedURL{}, errNoSigning
}

func (unsigned) UploadPartURL(
	context.Context, string, string, int, *maskstore.UploadURLOptions,
) (maskstore.SignedURL, error) {
	return maskstore.SignedURL{}, errNoSigning
}

// deciding counts the calls that go through it, and hands out capabilities that count as well.
type deciding struct {
	maskstore.ObjectStorage
	mu   sync.Mutex
	seen map[string]int
}

func (d *deciding) count(op string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen[op]++
}

func (d *deciding) Put(
	ctx context.Context, key string, body io.Reader, opts *maskstore.PutOptions,
) (maskstore.ObjectInfo, error) {
	d.count("Put")
	return d.ObjectStorage.Put(ctx, key, body, opts)
}

func (d *deciding) As(target any) bool {
	switch target := target.(type) {
	case *maskstore.Copier:
		inner, ok := maskstore.As[maskstore.Copier](d.ObjectStorage)
		*target = countingCopier{d, inner}
		return ok
	case *maskstore.MultipartStorage:
		inner, ok := maskstore.As[maskstore.MultipartStorage](d.ObjectStorage)
		*target = countingMultipart{d, inner}
		return ok
	case *maskstore.BatchPutter:
		inner, ok := maskstore.As[maskstore.BatchPutter](d.ObjectStorage)
		*target = countingBatch{d, inner}
		return ok
	}
	return false
}

type countingCopier struct {
	d     *deciding
	inner maskstore.Copier
}

func (c countingCopier) Copy(
	ctx context.Context, src, dst string, opts *maskstore.CopyOptions,
) (maskstore.ObjectInfo, error) {
	c.d.count("Copy")
	return c.inner.Copy(ctx, src, dst, opts)
}

type countingBatch struct {
	d     *deciding
	inner maskstore.BatchPutter
}

func (b countingBatch) PutBatch(
	ctx context.Context, items []maskstore.UploadItem, opts *maskstore.ParallelOptions,
) ([]maskstore.ObjectInfo, error) {
	b.d.count("PutBatch")
	return b.inner.PutBatch(ctx, items, opts)
}

type countingMultipart struct {
	d     *deciding
	inner maskstore.MultipartStorage
}

func (c countingMultipart) CreateMultipartUpload(
	ctx context.Context, key string, opts *maskstore.PutOptions,
) (string, error) {
	c.d.count("CreateMultipartUpload")
	return c.inner.CreateMultipartUpload(ctx, key, opts)
}

func (c countingMultipart) UploadPart(
	ctx context.Context, key, uploadID string, n int, body maskstore.Body,
) (maskstore.Part, error) {
	c.d.count("UploadPart")
	return c.inner.UploadPart(ctx, key, uploadID, n, body)
}

func (c countingMultipart) UploadPartURL(
	ctx context.Context, key, uploadID string, n int, opts *maskstore.UploadURLOptions,
) (maskstore.SignedURL, error) {
	c.d.count("UploadPartURL")
	return c.inner.UploadPartURL(ctx, key, uploadID, n, opts)
}

func (c countingMultipart) ListParts(ctx context.Context, key, uploadID string) iter.Seq2[maskstore.Part, error] {
	c.d.count("ListParts")
	return c.inner.ListParts(ctx, key, uploadID)
}

func (c countingMultipart) CompleteMultipartUpload(
	ctx context.Context, key, uploadID string, parts []maskstore.Part, opts *maskstore.PutOptions,
) (maskstore.ObjectInfo, error) {
	c.d.count("CompleteMultipartUpload")
	return c.inner.CompleteMultipartUpload(ctx, key, uploadID, parts, opts)
}

func (c countingMultipart) AbortMultipartUpload(ctx context.Context, key, uploadID string) error {
	c.d.count("AbortMultipartUpload")
	return c.inner.AbortMultipartUpload(ctx, key, uploadID)
}

func (c countingMultipart) ListMultipartUploads(
	ctx context.Context, prefix string,
) iter.Seq2[maskstore.MultipartUpload, error] {
	c.d.count("ListMultipartUploads")
	return c.inner.ListMultipartUploads(ctx, prefix)
}
