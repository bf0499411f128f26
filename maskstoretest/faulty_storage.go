package maskstoretest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"reflect"

	"github.com/pacs-extension/maskstore"
)

// Storage gives a storage that makes its calls on s, and breaks them. The capabilities of s that As finds in it break
// as well. What a client does with a URL that s signed does not pass through it.
//
// Damage ends as it does between a storage and its server: a reset is ErrUnavailable, a flipped bit ErrChecksum where a
// SHA-256 tells: PutOptions.SHA256, a part's Body.SHA256, and of a whole read GetOptions.SHA256 or else the object's, or its
// parts'. A range ends so with GetOptions.Verify, wherever in what is read the bit is. Where nothing tells, as in any other
// range and in what is put without a SHA-256, the damaged bytes are read, or stored, without an error. What goes over the
// wire, with the checksums that a storage adds by itself and the attempts that it makes again, RoundTripper damages.
func (f *Faulty) Storage(s maskstore.ObjectStorage) maskstore.ObjectStorage {
	return &faultyStorage{f, s}
}

type faultyStorage struct {
	faulty *Faulty
	inner  maskstore.ObjectStorage
}

// As finds the capabilities whose calls can be broken.
func (s *faultyStorage) As(target any) bool {
	var ok bool
	switch target := target.(type) {
	case *maskstore.Copier:
		var inner maskstore.Copier
		if inner, ok = maskstore.As[maskstore.Copier](s.inner); ok {
			*target = faultyCopier{s.faulty, inner}
		}
	case *maskstore.MultipartStorage:
		var inner maskstore.MultipartStorage
		if inner, ok = maskstore.As[maskstore.MultipartStorage](s.inner); ok {
			*target = faultyMultipart{s.faulty, inner}
		}
	case *maskstore.BatchPutter:
		var inner maskstore.BatchPutter
		if inner, ok = maskstore.As[maskstore.BatchPutter](s.inner); ok {
			*target = faultyBatch{s.faulty, inner}
		}
	}
	return ok
}

// errSending is what the body of a Put or a part gives where its connection is reset: an error of a body that has no kind is
// the caller's own.
var errSending = &maskstore.Error{Kind: maskstore.ErrUnavailable, Err: errReset}

// call plans a call of a method, and makes it unless the plan is against it.
func call[T any](ctx context.Context, f *Faulty, op, key string, do func(*planned) (T, error)) (T, error) {
	var none T
	fault := f.next(Call{Op: op, Key: key})
	if err := fault.begin(ctx); err != nil {
		return none, failed(op, key, err)
	}
	got, err := do(fault)
	if fault.Done {
		return none, failed(op, key, fault.lost())
	}
	return got, err
}

// failed gives err as a storage does.
func failed(op, key string, err error) error {
	if e, ok := err.(*maskstore.Error); ok && e.Op == "" {
		return &maskstore.Error{Op: op, Key: cmp.Or(e.Key, key), Kind: e.Kind, Err: e.Err}
	}
	if _, ok := errors.AsType[*maskstore.Error](err); ok {
		return err
	}
	kind := maskstore.ErrUnavailable
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		kind = nil
	case err == maskstore.ErrUnsupported, reflect.TypeOf(err) == reflect.TypeOf(kind): // the type of all other kinds
		kind, err = err, nil
	}
	return &maskstore.Error{Op: op, Key: key, Kind: kind, Err: err}
}

// listing plans a call whose answer is a sequence, of which Done loses the end alone.
func listing[T any](ctx context.Context, f *Faulty, op, prefix string, inner iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		fault := f.next(Call{Op: op, Key: prefix})
		if err := fault.begin(ctx); err != nil {
			yield(none, failed(op, prefix, err))
			return
		}
		for item, err := range inner {
			if !yield(item, err) || err != nil {
				return
			}
		}
		if fault.Done {
			yield(none, failed(op, prefix, fault.lost()))
		}
	}
}

func (s *faultyStorage) UploadURL(
	ctx context.Context, key string, opts *maskstore.UploadURLOptions,
) (maskstore.SignedURL, error) {
	return call(ctx, s.faulty, "UploadURL", key, func(*planned) (maskstore.SignedURL, error) {
		return s.inner.UploadURL(ctx, key, opts)
	})
}

func (s *faultyStorage) DownloadURL(
	ctx context.Context, key string, opts *maskstore.DownloadURLOptions,
) (maskstore.SignedURL, error) {
	return call(ctx, s.faulty, "DownloadURL", key, func(*planned) (maskstore.SignedURL, error) {
		return s.inner.DownloadURL(ctx, key, opts)
	})
}

func (s *faultyStorage) Put(
	ctx context.Context, key string, body io.Reader, opts *maskstore.PutOptions,
) (maskstore.ObjectInfo, error) {
	return call(ctx, s.faulty, "Put", key, func(fault *planned) (maskstore.ObjectInfo, error) {
		if body != nil {
			body = fault.sent(ctx, io.NopCloser(body), errSending)
		}
		return s.inner.Put(ctx, key, body, opts)
	})
}

func (s *faultyStorage) Get(ctx context.Context, key string, opts *maskstore.GetOptions) (*maskstore.Object, error) {
	return call(ctx, s.faulty, "Get", key, func(fault *planned) (*maskstore.Object, error) {
		object, err := s.inner.Get(ctx, key, opts)
		if err != nil {
			return nil, err
		}
		if fault.Done {
			return nil, object.Body.Close()
		}
		if fault.Response == (Damage{}) {
			return object, nil
		}
		var o maskstore.GetOptions
		if opts != nil {
			o = *opts
		}
		checked := &checkedBody{key: key, hash: sha256.New(), size: object.Size - o.Offset}
		if o.Length > 0 {
			checked.size = min(checked.size, o.Length)
		}
		if o.Verify {
			checked.flipAt = (fault.Response.FlipBit + 7) / 8
		}
		if o.Offset == 0 && o.Length == 0 {
			checked.pieces = object.Parts
			if sum := cmp.Or(o.SHA256, object.SHA256); !sum.IsZero() {
				checked.pieces = []maskstore.Part{{Size: object.Size, SHA256: sum}}
			}
		}
		checked.ReadCloser = fault.comes(ctx, object.Body, fmt.Errorf("the answer broke off: %w", errReset))
		object.Body = checked
		return object, nil
	})
}

// checkedBody is a damaged body that ends as a storage's own does, which was checked before the damage.
type checkedBody struct {
	io.ReadCloser
	key    string
	pieces []maskstore.Part // that are still to come, by which it is checked; none: nothing tells
	hash   hash.Hash        // of the first of them
	n      int64            // how many bytes of it have come
	wrong  error            // what one that came has instead
	isTold bool             // that error is due, and not at the end of all
	flipAt int64            // the byte, counted from 1, whose damage is told, whatever the pieces; 0: none
	read   int64            // how many bytes have come
	size   int64            // how many come if all goes well
}

func (b *checkedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.check(p[:n])
	if err != nil && err != io.EOF {
		return n, failed("Get", b.key, err)
	}
	if b.wrong != nil && (b.isTold || b.read >= b.size || err == io.EOF) {
		return 0, &maskstore.Error{Op: "Get", Key: b.key, Kind: maskstore.ErrChecksum, Err: b.wrong}
	}
	return n, err
}

func (b *checkedBody) check(p []byte) {
	if at := b.flipAt - b.read; at > 0 && at <= int64(len(p)) {
		b.wrong = errors.New("the content has another SHA-256")
	}
	b.read += int64(len(p))
	for len(p) > 0 && len(b.pieces) > 0 {
		piece := b.pieces[0]
		n := min(int64(len(p)), piece.Size-b.n)
		b.hash.Write(p[:n])
		if p, b.n = p[n:], b.n+n; b.n < piece.Size {
			return
		}
		if got := maskstore.SHA256(b.hash.Sum(nil)); got != piece.SHA256 {
			b.wrong, b.isTold = fmt.Errorf("the content has SHA-256 %v, not %v", got, piece.SHA256), true
		}
		b.pieces, b.n = b.pieces[1:], 0
		b.hash.Reset()
	}
}

func (s *faultyStorage) Stat(ctx context.Context, key string) (maskstore.ObjectInfo, error) {
	return call(ctx, s.faulty, "Stat", key, func(*planned) (maskstore.ObjectInfo, error) { return s.inner.Stat(ctx, key) })
}

func (s *faultyStorage) Delete(ctx context.Context, keys ...string) error {
	first := ""
	if len(keys) > 0 {
		first = keys[0]
	}
	_, err := call(ctx, s.faulty, "Delete", first, func(*planned) (any, error) { return nil, s.inner.Delete(ctx, keys...) })
	return err
}

func (s *faultyStorage) List(
	ctx context.Context, prefix string, opts *maskstore.ListOptions,
) iter.Seq2[maskstore.ObjectInfo, error] {
	return listing(ctx, s.faulty, "List", prefix, s.inner.List(ctx, prefix, opts))
}

type faultyCopier struct {
	faulty *Faulty
	inner  maskstore.Copier
}

func (c faultyCopier) Copy(ctx context.Context, src, dst string, opts *maskstore.CopyOptions) (maskstore.ObjectInfo, error) {
	return call(ctx, c.faulty, "Copy", dst, func(*planned) (maskstore.ObjectInfo, error) {
		return c.inner.Copy(ctx, src, dst, opts)
	})
}

type faultyBatch struct {
	faulty *Faulty
	inner  maskstore.BatchPutter
}

func (b faultyBatch) PutBatch(
	ctx context.Context, items []maskstore.UploadItem, opts *maskstore.ParallelOptions,
) ([]maskstore.ObjectInfo, error) {
	first := ""
	if len(items) > 0 {
		first = items[0].Key
	}
	infos, err := call(ctx, b.faulty, "PutBatch", first, func(*planned) ([]maskstore.ObjectInfo, error) {
		return b.inner.PutBatch(ctx, items, opts)
	})
	if infos == nil && err != nil {
		infos = make([]maskstore.ObjectInfo, len(items))
	}
	return infos, err
}

type faultyMultipart struct {
	faulty *Faulty
	inner  maskstore.MultipartStorage
}

func (m faultyMultipart) CreateMultipartUpload(ctx context.Context, key string, opts *maskstore.PutOptions) (string, error) {
	return call(ctx, m.faulty, "CreateMultipartUpload", key, func(*planned) (string, error) {
		return m.inner.CreateMultipartUpload(ctx, key, opts)
	})
}

func (m faultyMultipart) UploadPart(
	ctx context.Context, key, uploadID string, partNumber int, body maskstore.Body,
) (maskstore.Part, error) {
	return call(ctx, m.faulty, "UploadPart", key, func(fault *planned) (maskstore.Part, error) {
		if open := body.Open; open != nil {
			body.Open = func() (io.ReadCloser, error) {
				r, err := open()
				if err != nil {
					return nil, err
				}
				return fault.sent(ctx, r, errSending), nil
			}
		}
		return m.inner.UploadPart(ctx, key, uploadID, partNumber, body)
	})
}

func (m faultyMultipart) UploadPartURL(
	ctx context.Context, key, uploadID string, partNumber int, opts *maskstore.UploadURLOptions,
) (maskstore.SignedURL, error) {
	return call(ctx, m.faulty, "UploadPartURL", key, func(*planned) (maskstore.SignedURL, error) {
		return m.inner.UploadPartURL(ctx, key, uploadID, partNumber, opts)
	})
}

func (m faultyMultipart) ListParts(ctx context.Context, key, uploadID string) iter.Seq2[maskstore.Part, error] {
	return listing(ctx, m.faulty, "ListParts", key, m.inner.ListParts(ctx, key, uploadID))
}

func (m faultyMultipart) CompleteMultipartUpload(
	ctx context.Context, key, uploadID string, parts []maskstore.Part, opts *maskstore.PutOptions,
) (maskstore.ObjectInfo, error) {
	return call(ctx, m.faulty, "CompleteMultipartUpload", key, func(*planned) (maskstore.ObjectInfo, error) {
		return m.inner.CompleteMultipartUpload(ctx, key, uploadID, parts, opts)
	})
}

func (m faultyMultipart) AbortMultipartUpload(ctx context.Context, key, uploadID string) error {
	_, err := call(ctx, m.faulty, "AbortMultipartUpload", key, func(*planned) (any, error) {
		return nil, m.inner.AbortMultipartUpload(ctx, key, uploadID)
	})
	return err
}

func (m faultyMultipart) ListMultipartUploads(
	ctx context.Context, prefix string,
) iter.Seq2[maskstore.MultipartUpload, error] {
	return listing(ctx, m.faulty, "ListMultipartUploads", prefix, m.inner.ListMultipartUploads(ctx, prefix))
}
