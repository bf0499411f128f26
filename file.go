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
func sendParts(ctx context.Context, s MultipartStorage, up *UploadRecord, src Source, stored map[int]Part, whole io.Writer) ([]Part, error) {
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

// DownloadFile gets the object at key into the file at name, as FileSink does: whole and verified, or not at all. A large
// object comes in several ranges at a time, pinned to its ETag. Of opts, Offset and Length are refused; a SHA-256 that is
// neither given nor kept by the server cannot be verified, only the length.
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
	if obj.Size <= maxSinglePut {
		return obj.ObjectInfo, FileSink(name)(obj.ObjectInfo, obj.Body)
	}
	obj.Body.Close()
	o.IfMatch, o.SHA256 = obj.ETag, cmp.Or(o.SHA256, obj.SHA256)
	return obj.ObjectInfo, replaceFile(name, func(f *os.File) error { return getRanges(ctx, s, obj.ObjectInfo, f, &o) })
}

// copyBuffer is how much of a large file is read or written at a time: io.Copy's 32 KiB take a tenth more CPU time.
const copyBuffer = 256 << 10

// getRanges writes the object to f, several ranges at a time. One goroutine hashes them in their order as they come.
func getRanges(ctx context.Context, s ObjectStorage, info ObjectInfo, f *os.File, o *GetOptions) error {
	ranges := make([]chan struct{}, partCount(info.Size, defaultPartSize)) // closed when written
	for i := range ranges {
		ranges[i] = make(chan struct{})
	}
	section := func(i int) (offset, length int64) {
		offset = int64(i) * defaultPartSize
		return offset, min(defaultPartSize, info.Size-offset)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		whole, buffer := sha256.New(), make([]byte, copyBuffer)
		for i, written := range ranges {
			select {
			case <-written:
			case <-ctx.Done():
				return ctx.Err()
			}
			offset, length := section(i)
			if o.SHA256.IsZero() {
				continue
			}
			section := io.NewSectionReader(f, offset, length)
			if _, err := io.CopyBuffer(whole, section, buffer); err != nil {
				return err
			}
		}
		if sum := SHA256(whole.Sum(nil)); !o.SHA256.IsZero() && sum != o.SHA256 {
			return &Error{Kind: ErrChecksum, Err: fmt.Errorf("the content has SHA-256 %v, not %v", sum, o.SHA256)}
		}
		return nil
	})
	g.Go(func() error {
		return forEach(ctx, len(ranges), partConcurrency, false, func(ctx context.Context, i int) error {
			offset, length := section(i)
			obj, err := s.Get(ctx, info.Key, &GetOptions{Offset: offset, Length: length, IfMatch: o.IfMatch})
			if err != nil {
				return err
			}
			defer obj.Body.Close()
			body := newVerifier(obj.Body, length, SHA256{})
			if _, err := io.CopyBuffer(io.NewOffsetWriter(f, offset), body, make([]byte, copyBuffer)); err != nil {
				return err
			}
			close(ranges[i])
			return nil
		})
	})
	return g.Wait()
}
