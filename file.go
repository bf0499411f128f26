package maskstore

import (
	"cmp"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"golang.org/x/sync/errgroup"
)

// sendParts uploads the parts of src that are not among those stored, several at a time, and gives all parts in order; with
// an error those that it has come to, the others zero. One goroutine hashes each before it is sent, and writes it to whole.
func sendParts(
	ctx context.Context, s MultipartStorage, up *UploadRecord, src Source, stored map[int]Part, whole io.Writer,
) ([]Part, error) {
	parts := make([]Part, partCount(up.Size, up.PartSize))
	buffer := make([]byte, copyBuffer)
	g, partCtx := errgroup.WithContext(ctx)
	g.SetLimit(partConcurrency)
	for i := range parts {
		offset := int64(i) * up.PartSize
		body := sectionBody(src, offset, min(up.PartSize, up.Size-offset))
		part := sha256.New()
		section := io.NewSectionReader(src, offset, body.Size)
		n, err := io.CopyBuffer(io.MultiWriter(whole, part), section, buffer)
		if err == nil && n < body.Size {
			err = &Error{Kind: ErrChecksum, Err: fmt.Errorf("the content has %d bytes, not %d", offset+n, up.Size)}
		}
		if err != nil {
			return nil, cmp.Or(err, g.Wait())
		}
		if partCtx.Err() != nil {
			break
		}
		body.SHA256 = SHA256(part.Sum(nil))
		if there, ok := stored[i+1]; ok && there.holds(&body) {
			parts[i] = there
			continue
		}
		g.Go(func() error {
			part, err := s.UploadPart(partCtx, up.Key, up.UploadID, i+1, body)
			if err == nil {
				parts[i] = part
			}
			return err
		})
	}
	return parts, cmp.Or(g.Wait(), ctx.Err())
}

// sectionBody is a Body of a part of src, without its checksum.
func sectionBody(src Source, offset, size int64) Body {
	return Body{Size: size, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(src, offset, size)), nil
	}}
}

// holds tells whether the stored part is this body: by its SHA-256, or where the server keeps none by an ETag that is its
// MD5, as those of parts are that are not encrypted with a key of one's own.
func (p *Part) holds(body *Body) bool {
	if !p.SHA256.IsZero() || p.Size != body.Size {
		return p.Size == body.Size && p.SHA256 == body.SHA256
	}
	r, err := body.Open()
	if err != nil {
		return false
	}
	defer r.Close()
	hash := md5.New()
	n, err := io.Copy(hash, r)
	return err == nil && n == p.Size && p.ETag == hex.EncodeToString(hash.Sum(nil))
}

// DownloadFile is the way back from UploadFile. It gets the object at key into the file at name, as FileSink does: whole
// and verified, or not at all. A large object comes in several ranges at a time, pinned to its ETag. Of opts, Offset and
// Length are refused. Where no SHA-256 is given, nor one kept by the server of the object or of its parts, only the length
// is verified, or with Verify nothing got. What came damaged (ErrChecksum), or broke off, is the caller's to get again.
func DownloadFile(ctx context.Context, s ObjectStorage, key, name string, opts *GetOptions) (ObjectInfo, error) {
	info, err := downloadFile(ctx, s, key, name, *or(opts))
	return info, opError("DownloadFile", key, nil, err)
}

func downloadFile(ctx context.Context, s ObjectStorage, key, name string, o GetOptions) (ObjectInfo, error) {
	if o.Offset != 0 || o.Length != 0 {
		return ObjectInfo{}, inputError("Offset", "or Length is set", "neither: a file gets the whole object")
	}
	obj, err := s.Get(ctx, key, &o)
	if err != nil {
		return ObjectInfo{}, err
	}
	defer obj.Body.Close()
	obj.SHA256 = cmp.Or(o.SHA256, obj.SHA256)
	if obj.Size <= maxSinglePut {
		return obj.ObjectInfo, FileSink(name)(obj.ObjectInfo, obj.Body)
	}
	obj.Body.Close()
	return obj.ObjectInfo, replaceFile(name, func(f *os.File) error { return getRanges(ctx, s, obj, f) })
}

// copyBuffer is how much of a large file is read or written at a time: a download by io.Copy's 32 KiB takes a third more CPU
// time. By 1 MiB it takes a tenth less alone, and up to twice as much after other work, as the memory's state is.
const copyBuffer = 256 << 10

// rangesAhead is how many ranges may be got, or on their way, before they are verified. From a near server they come faster than
// one goroutine can hash them: without a limit, a third of the time in the end goes to hashing alone.
const rangesAhead = 2 * partConcurrency

// getRanges writes the object to f, several ranges at a time. One goroutine verifies them in their order as they come.
func getRanges(ctx context.Context, s ObjectStorage, obj *Object, f *os.File) error {
	if n := sizeOf(obj.Parts); obj.Parts != nil && n != obj.Size {
		return &Error{Kind: ErrBadResponse, Err: fmt.Errorf("the object's parts have %d bytes, not %d", n, obj.Size)}
	}
	g, ctx := errgroup.WithContext(ctx)
	ranges := make([]writtenRange, partCount(obj.Size, defaultPartSize))
	inOrder := make([]io.Reader, len(ranges))
	for i := range ranges {
		offset := int64(i) * defaultPartSize
		section := io.NewSectionReader(f, offset, min(defaultPartSize, obj.Size-offset))
		ranges[i] = writtenRange{section, ctx, make(chan struct{}), make(chan struct{})}
		inOrder[i] = &ranges[i]
	}
	var verified io.Reader // nil: there is nothing to verify by
	switch {
	case !obj.SHA256.IsZero():
		verified = newVerifier(io.MultiReader(inOrder...), obj.Size, obj.SHA256)
	case obj.Parts != nil:
		verified = verifyParts(io.MultiReader(inOrder...), obj.Parts)
	}
	if verified != nil {
		g.Go(func() error { // bare, since the two would bring smaller buffers of their own
			_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{verified}, make([]byte, copyBuffer))
			return err
		})
	}
	g.Go(func() error {
		return forEach(ctx, "", len(ranges), partConcurrency, false, func(ctx context.Context, i int) error {
			if verified != nil && i >= rangesAhead {
				select {
				case <-ranges[i-rangesAhead].read:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			_, offset, length := ranges[i].Outer()
			got, err := s.Get(ctx, obj.Key, &GetOptions{Offset: offset, Length: length, IfMatch: obj.ETag})
			if err != nil {
				return err
			}
			defer got.Body.Close()
			body := newVerifier(got.Body, length, SHA256{})
			if _, err := io.CopyBuffer(io.NewOffsetWriter(f, offset), body, make([]byte, copyBuffer)); err != nil {
				return err
			}
			close(ranges[i].written)
			return nil
		})
	})
	return g.Wait()
}

// writtenRange is a range of a file, whose reads wait until it is written.
type writtenRange struct {
	*io.SectionReader
	ctx     context.Context
	written chan struct{} // closed when it is
	read    chan struct{} // closed when it was read to its end
}

func (r *writtenRange) Read(p []byte) (int, error) {
	select {
	case <-r.written:
		n, err := r.SectionReader.Read(p)
		if err == io.EOF {
			close(r.read)
		}
		return n, err
	case <-r.ctx.Done():
		return 0, r.ctx.Err()
	}
}
