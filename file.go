package maskstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sync/errgroup"
)

// UploadFile stores the file at name at key, all or nothing. It is hashed as it is read: where opts give a SHA-256, or it
// changes meanwhile, what is not right fails with ErrChecksum. On a MultipartStorage a large file goes in parts, none of
// which is held in memory.
func UploadFile(ctx context.Context, s ObjectStorage, key, name string, opts *PutOptions) (ObjectInfo, error) {
	info, err := uploadFile(ctx, s, key, name, *or(opts))
	return info, opError("UploadFile", key, nil, err)
}

func uploadFile(ctx context.Context, s ObjectStorage, key, name string, o PutOptions) (ObjectInfo, error) {
	if err := cmp.Or(ValidKey(key), o.check()); err != nil {
		return ObjectInfo{}, err
	}
	f, err := os.Open(name)
	if err != nil {
		return ObjectInfo{}, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return ObjectInfo{}, err
	}
	if o.Size != 0 && o.Size != stat.Size() {
		return ObjectInfo{}, &Error{Kind: ErrChecksum, Err: fmt.Errorf("the file has %d bytes, not %d", stat.Size(), o.Size)}
	}
	o.Size = stat.Size()
	if storage, ok := As[MultipartStorage](s); ok && o.Size > maxSinglePut {
		return putFile(ctx, storage, key, f, &o)
	}
	return s.Put(ctx, key, f, &o)
}

// putFile uploads the o.Size bytes of f in parts. One goroutine hashes the whole, and each part before it is sent.
func putFile(ctx context.Context, s MultipartStorage, key string, f io.ReaderAt, o *PutOptions) (info ObjectInfo, err error) {
	partSize, err := planParts(o.Size)
	if err != nil {
		return ObjectInfo{}, err
	}
	uploadID, err := s.CreateMultipartUpload(ctx, key, o)
	if err != nil {
		return ObjectInfo{}, err
	}
	defer func() {
		if err != nil {
			ctx, cancel := outlasting(ctx)
			defer cancel()
			err = partsStay(err, uploadID, s.AbortMultipartUpload(ctx, key, uploadID))
		}
	}()
	parts := make([]Part, (o.Size+partSize-1)/partSize)
	whole := sha256.New()
	g, partCtx := errgroup.WithContext(ctx)
	g.SetLimit(partConcurrency)
	for i := range parts {
		section := io.NewSectionReader(f, int64(i)*partSize, min(partSize, o.Size-int64(i)*partSize))
		part := sha256.New()
		if n, err := io.Copy(io.MultiWriter(whole, part), section); err != nil || n < section.Size() {
			err = cmp.Or(err, io.ErrUnexpectedEOF)
			return ObjectInfo{}, errors.Join(err, g.Wait())
		}
		if partCtx.Err() != nil {
			break
		}
		body := Body{Size: section.Size(), SHA256: SHA256(part.Sum(nil)), Open: func() (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(section, 0, section.Size())), nil
		}}
		g.Go(func() (err error) {
			parts[i], err = s.UploadPart(partCtx, key, uploadID, i+1, body)
			return err
		})
	}
	if err := cmp.Or(g.Wait(), ctx.Err()); err != nil {
		return ObjectInfo{}, err
	}
	if sum := SHA256(whole.Sum(nil)); !o.SHA256.IsZero() && sum != o.SHA256 {
		return ObjectInfo{}, &Error{Kind: ErrChecksum, Err: fmt.Errorf("the file has SHA-256 %v, not %v", sum, o.SHA256)}
	}
	return s.CompleteMultipartUpload(ctx, key, uploadID, parts, o)
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
	ranges := make([]chan struct{}, (info.Size+defaultPartSize-1)/defaultPartSize) // closed when written
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
