package maskstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/pacs-extension/maskstore/internal/sigv4"
)

var errNoChecksum = &Error{Kind: ErrUnsupported, Err: errors.New("the server keeps no SHA-256 of the object or its parts")}

// partsAgain is how often a Get of an object in parts starts over where the object was replaced meanwhile.
const partsAgain = 3

// getVerified gives what o asks for out of all that a checksum covers: the object, or the parts in which it lies. again is
// how often it may start over.
func (s *S3) getVerified(ctx context.Context, key string, o *GetOptions, again int) (*Object, error) {
	info, resp, err := s.open(ctx, key, 0, 0, o.IfMatch)
	if err != nil {
		return nil, err
	}
	sum, composite := cmp.Or(o.SHA256, info.SHA256), resp.Header.Get("X-Amz-Checksum-Sha256")
	switch {
	case o.Offset > 0 && o.Offset >= info.Size:
		err = &Error{Kind: ErrInvalidRange, Err: fmt.Errorf("offset %d of %d bytes", o.Offset, info.Size)}
	case !sum.IsZero():
	case strings.Contains(composite, "-"):
		resp.Body.Close() // while it is open, a client that limits its connections may have none left
		obj, err := s.getParts(ctx, o, info, composite)
		if again > 0 && o.IfMatch == "" && (errors.Is(err, ErrPreconditionFailed) || errors.Is(err, ErrNotFound)) {
			return s.getVerified(ctx, key, o, again-1)
		}
		return obj, err
	case o.Verify:
		err = errNoChecksum
	}
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	content := newVerifier(newNetworkReader(ctx, resp), info.Size, sum)
	return &Object{ObjectInfo: info, Body: &errorBody{o.cut(content, 0, info.Size), resp.Body, "Get", key}}, nil
}

// getParts is getVerified of an object that was put in parts.
func (s *S3) getParts(ctx context.Context, o *GetOptions, info ObjectInfo, composite string) (*Object, error) {
	parts, err := s.objectParts(ctx, info, composite)
	if err == nil && parts == nil && o.Verify {
		err = errNoChecksum
	}
	if err != nil {
		return nil, err
	}
	held, start, size := covering(parts, o.Offset, o.Length)
	_, resp, err := s.open(ctx, info.Key, start, size, info.ETag)
	if err != nil {
		return nil, err
	}
	content := io.Reader(newVerifier(newNetworkReader(ctx, resp), resp.ContentLength, SHA256{}))
	if parts != nil {
		content = o.cut(verifyParts(content, held), start, info.Size)
	}
	return &Object{ObjectInfo: info, Body: &errorBody{content, resp.Body, "Get", info.Key}, Parts: parts}, nil
}

// objectParts asks for each part of an object: the first does not tell where the others begin, which may be of any sizes.
// It gives them in order if they make up the composite checksum, else none: on a server that does not tell them, and on
// MinIO where their numbers have gaps.
func (s *S3) objectParts(ctx context.Context, info ObjectInfo, composite string) ([]Part, error) {
	_, count, _ := strings.Cut(composite, "-")
	n, err := strconv.Atoi(count)
	if err != nil || checkPartNumber("", n) != nil {
		return nil, nil
	}
	parts, sums := make([]Part, n), make([]SHA256, n)
	err = forEach(ctx, "", n, DefaultConcurrency, false, func(ctx context.Context, i int) error {
		resp, _, err := s.do(ctx, &request{
			method: http.MethodHead, key: info.Key, status: http.StatusPartialContent, signed: checksumMode,
			query:  []sigv4.Param{{Name: "partNumber", Value: strconv.Itoa(i + 1)}},
			header: http.Header{"If-Match": {quoteETag(info.ETag)}},
		})
		if err != nil {
			return err
		}
		defer discard(resp)
		sums[i] = parseBase64(resp.Header.Get("X-Amz-Checksum-Sha256"))
		parts[i] = Part{PartNumber: i + 1, Size: resp.ContentLength, SHA256: sums[i]}
		return nil
	})
	switch {
	case errors.Is(err, ErrInvalidRange) || errors.Is(err, ErrUnsupported) || errors.Is(err, ErrBadResponse):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if sizeOf(parts) != info.Size || compositeChecksum(sums) != composite {
		return nil, nil
	}
	return parts, nil
}

func sizeOf(parts []Part) (size int64) {
	for _, p := range parts {
		size += p.Size
	}
	return size
}

// covering gives those of the parts that hold length bytes from offset on (0: to the end), where they begin, and their size.
func covering(parts []Part, offset, length int64) (held []Part, start, size int64) {
	for len(parts) > 1 && start+parts[0].Size <= offset {
		start += parts[0].Size
		parts = parts[1:]
	}
	n := 0
	for n < len(parts) && (length == 0 || start+size-offset < length) {
		size += parts[n].Size
		n++
	}
	return parts[:n], start, size
}

// cut gives what o asks for of an object of size bytes out of r, which begins at its byte start.
func (o *GetOptions) cut(r io.Reader, start, size int64) io.Reader {
	if o.Offset == 0 && o.Length == 0 {
		return r
	}
	left := size - o.Offset
	if o.Length > 0 {
		left = min(left, o.Length)
	}
	return &cutter{r, o.Offset - start, left}
}

// cutter passes on the left bytes of r that follow the first skip. As a verifier does, it gives the last of them only once
// r has come to its end.
type cutter struct {
	r          io.Reader
	skip, left int64
}

func (c *cutter) Read(p []byte) (int, error) {
	if c.skip > 0 {
		n, err := io.CopyN(io.Discard, c.r, c.skip)
		if c.skip -= n; err != nil {
			return 0, err
		}
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	if c.left -= int64(n); c.left > 0 {
		return n, err
	}
	if err == nil {
		_, err = io.Copy(io.Discard, c.r)
	}
	if err != nil && err != io.EOF {
		return 0, err
	}
	return n, io.EOF
}
