package maskstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
)

// Body is content that can be read more than once, so that an upload can be tried again.
type Body struct {
	// Open gives a reader at the content's beginning, which the caller of Open closes, perhaps before its end. It may be
	// called by several goroutines, and more than once though nothing fails, as Group.Upload does; it must give the same
	// content each time. Close may come while a Read has blocked for a second, and is to end it: the call waits for both.
	Open   func() (io.ReadCloser, error)
	Size   int64  // in bytes; 0 only where the content is empty
	SHA256 SHA256 // zero: unknown, and then not bound to the upload
}

func (b *Body) check() error {
	switch {
	case b.Open == nil:
		return inputError("Body.Open", "is nil", "a Body, such as BytesBody and FileBody make")
	case b.Size < 0:
		return inputError("Body.Size", fmt.Sprintf("%d is negative", b.Size), "the length in bytes")
	}
	return nil
}

// BytesBody is a Body of data, which must not change as long as the Body is in use.
func BytesBody(data []byte) Body { return bytesBody(data, SumSHA256(data)) }

func bytesBody(data []byte, sum SHA256) Body {
	return Body{
		Open:   func() (io.ReadCloser, error) { return readSeekNopCloser{bytes.NewReader(data)}, nil },
		Size:   int64(len(data)),
		SHA256: sum,
	}
}

// readSeekNopCloser, unlike io.NopCloser, can still be rewound.
type readSeekNopCloser struct{ *bytes.Reader }

func (readSeekNopCloser) Close() error { return nil }

// FileBody is a Body of the file at name, which is read once to compute its checksum. When the file changes after
// that, an upload of it fails with ErrChecksum.
func FileBody(name string) (Body, error) {
	f, err := os.Open(name)
	if err != nil {
		return Body{}, err
	}
	defer f.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, f)
	if err != nil {
		return Body{}, err
	}
	return Body{
		Open:   func() (io.ReadCloser, error) { return os.Open(name) },
		Size:   size,
		SHA256: SHA256(hash.Sum(nil)),
	}, nil
}

// hash reads the content to compute its checksum; one that is not what the Body says is ErrChecksum.
func (b *Body) hash(ctx context.Context) (SHA256, error) {
	r, err := b.open(ctx)
	if err != nil {
		return SHA256{}, err
	}
	defer r.end()
	v := newHasher(r, b.Size, b.SHA256)
	_, err = io.Copy(io.Discard, v)
	return v.sha256(), err
}

// verifier passes a reader's bytes on and, where the reader ends, gives ErrChecksum in place of io.EOF unless
// they were size bytes (0: any number) that hash to sum (zero: to anything). Where the size is known it gives the last
// bytes only once all are right: a wrong body stays shorter than it promised to be, and no server stores it.
type verifier struct {
	r          io.Reader
	hash       hash.Hash // nil where nobody asks for the checksum
	read, size int64
	sum        SHA256
}

func newVerifier(r io.Reader, size int64, sum SHA256) *verifier {
	if sum.IsZero() {
		return &verifier{r: r, size: size}
	}
	return newHasher(r, size, sum)
}

// newHasher gives a verifier whose sha256 can be asked for.
func newHasher(r io.Reader, size int64, sum SHA256) *verifier {
	return &verifier{r: r, hash: sha256.New(), size: size, sum: sum}
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	if v.hash != nil {
		v.hash.Write(p[:n])
	}
	v.read += int64(n)
	if err == nil && n > 0 && v.read == v.size {
		var more [1]byte
		extra, end := io.ReadFull(v.r, more[:])
		v.read += int64(extra)
		if err = end; end != nil && end != io.EOF {
			return 0, end
		}
	}
	switch {
	case v.size > 0 && v.read > v.size:
		return 0, v.mismatch("is longer than %d bytes", v.size)
	case err == io.EOF && v.size > 0 && v.read < v.size:
		return n, v.mismatch("has %d bytes, not %d", v.read, v.size)
	case err == io.EOF && !v.sum.IsZero() && v.sha256() != v.sum:
		return 0, v.mismatch("has SHA-256 %v, not %v", v.sha256(), v.sum)
	}
	return n, err
}

// sha256 is the checksum of what was read so far.
func (v *verifier) sha256() SHA256 { return SHA256(v.hash.Sum(nil)) }

func (v *verifier) mismatch(format string, args ...any) error {
	return &Error{Kind: ErrChecksum, Err: fmt.Errorf("the content "+format, args...)}
}

// verifyParts gives the bytes of r, which are those parts one after the other. Each is held to its size and SHA-256.
func verifyParts(r io.Reader, parts []Part) io.Reader {
	verified := make([]io.Reader, len(parts))
	for i, p := range parts {
		verified[i] = newVerifier(io.LimitReader(r, p.Size), p.Size, p.SHA256)
	}
	return io.MultiReader(verified...)
}
