package maskstore

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/pacs-extension/maskstore/internal/sigv4"
)

// maxSinglePut is the size up to which Put sends an object in one request, from memory. Of a body of unknown length it
// gathers maxGathered first: enough for a mask, and little beside the parts that follow.
const maxSinglePut, maxGathered = 16 << 20, 1 << 20

// Put stores all of body, or nothing: up to 16 MiB with one request, more in parts. Body is held in memory, a larger one
// four parts at a time, of 16 MiB where its size does not ask for more.
func (s *S3) Put(ctx context.Context, key string, body io.Reader, opts *PutOptions) (ObjectInfo, error) {
	info, err := s.put(ctx, key, body, or(opts))
	return info, opError("Put", key, nil, err)
}

func (s *S3) put(ctx context.Context, key string, body io.Reader, o *PutOptions) (ObjectInfo, error) {
	if err := cmp.Or(checkPut(key, body, o), ctx.Err()); err != nil {
		return ObjectInfo{}, err
	}
	verified := newVerifier(&contextReader{ctx: ctx, r: body}, o.Size, o.SHA256)
	if o.Size > maxSinglePut {
		return s.putParts(ctx, key, verified, o)
	}
	var data bytes.Buffer
	data.Grow(int(o.Size) + bytes.MinRead)
	switch _, err := io.CopyN(&data, verified, cmp.Or(o.Size, maxGathered)+1); err {
	case nil:
		return s.putParts(ctx, key, io.MultiReader(&data, verified), o)
	case io.EOF:
		return s.putWhole(ctx, key, data.Bytes(), o)
	default:
		return ObjectInfo{}, err
	}
}

func (s *S3) putWhole(ctx context.Context, key string, data []byte, o *PutOptions) (ObjectInfo, error) {
	bound := &UploadURLOptions{
		ContentType: cmp.Or(o.ContentType, typeByName(key)), Size: int64(len(data)), SHA256: SumSHA256(data),
		IfMatch: o.IfMatch, NoOverwrite: o.NoOverwrite,
	}
	resp, maybeDone, err := s.do(ctx, &request{
		method: http.MethodPut, key: key, signed: s.uploadHeaders(nil, bound), body: bytesBody(data, bound.SHA256),
		status: http.StatusOK,
	})
	etag := ""
	if err == nil {
		defer discard(resp)
		etag, err = etagOf(resp)
	}
	if err == errNoETag || errors.Is(err, ErrPreconditionFailed) && maybeDone {
		// Perhaps an attempt whose answer was lost, or says nothing, made the condition fail that the next one met.
		if info, statErr := s.stat(ctx, key); statErr == nil && info.SHA256 == bound.SHA256 {
			return info, nil
		}
	}
	if err != nil {
		return ObjectInfo{}, err
	}
	return ObjectInfo{Key: key, Size: bound.Size, ETag: etag, ContentType: bound.ContentType, SHA256: bound.SHA256}, nil
}

// checksumMode asks for the SHA-256 that the server keeps.
var checksumMode = []sigv4.Param{{Name: "x-amz-checksum-mode", Value: "ENABLED"}}

// Get opens the object.
func (s *S3) Get(ctx context.Context, key string, opts *GetOptions) (*Object, error) {
	obj, err := s.get(ctx, key, or(opts))
	return obj, opError("Get", key, nil, err)
}

func (s *S3) get(ctx context.Context, key string, o *GetOptions) (*Object, error) {
	if err := cmp.Or(ValidKey(key), o.check(), ctx.Err()); err != nil {
		return nil, err
	}
	if o.Verify || o.Offset == 0 && o.Length == 0 {
		return s.getVerified(ctx, key, o, partsAgain)
	}
	info, resp, err := s.open(ctx, key, o.Offset, o.Length, o.IfMatch)
	if errors.Is(err, ErrInvalidRange) && o.Offset == 0 {
		// Servers call each range of an empty object invalid.
		info, statErr := s.stat(ctx, key)
		if statErr == nil && info.Size == 0 && cmp.Or(o.IfMatch, info.ETag) == info.ETag {
			return &Object{ObjectInfo: info, Body: http.NoBody}, nil
		}
		err = cmp.Or(statErr, err)
	}
	if err != nil {
		return nil, err
	}
	content := newVerifier(newNetworkReader(ctx, resp), resp.ContentLength, SHA256{})
	return &Object{ObjectInfo: info, Body: &errorBody{content, resp.Body, "Get", key}}, nil
}

// open makes the GET of length bytes from offset on (0: to the end), which is of the whole object where both are 0.
func (s *S3) open(
	ctx context.Context, key string, offset, length int64, ifMatch string,
) (ObjectInfo, *http.Response, error) {
	q := &request{method: http.MethodGet, key: key, signed: checksumMode, header: http.Header{}, status: http.StatusOK}
	if ifMatch != "" {
		q.header.Set("If-Match", quoteETag(ifMatch))
	}
	if offset > 0 || length > 0 {
		q.status = http.StatusPartialContent
		last := ""
		if length > 0 && length <= math.MaxInt64-offset {
			last = strconv.FormatInt(offset+length-1, 10)
		}
		q.header.Set("Range", fmt.Sprintf("bytes=%d-%s", offset, last))
	}
	resp, _, err := s.do(ctx, q)
	if err != nil {
		return ObjectInfo{}, nil, err
	}
	info, err := infoOf(key, resp)
	if first := fmt.Sprintf("bytes %d-", offset); err == nil && q.status == http.StatusPartialContent &&
		!strings.HasPrefix(resp.Header.Get("Content-Range"), first) {
		err = &Error{Kind: ErrBadResponse, Err: errors.New("the answer is another range than the one asked for")}
	}
	if err != nil {
		discard(resp)
		return ObjectInfo{}, nil, err
	}
	return info, resp, nil
}

// networkReader reads an answer's body, whose errors get their kind. It begins no read once ctx has ended, though more has
// come.
type networkReader struct {
	contextReader
	req *http.Request // nil: a transport of the caller's own may leave it out
}

func newNetworkReader(ctx context.Context, resp *http.Response) *networkReader {
	return &networkReader{contextReader{ctx: ctx, r: resp.Body}, resp.Request}
}

func (r *networkReader) Read(p []byte) (int, error) {
	n, err := r.contextReader.Read(p)
	switch {
	case err == nil || err == io.EOF:
		return n, err
	case r.ctx.Err() != nil:
		return n, r.ctx.Err()
	}
	if r.req != nil {
		err = hide(err, secretsIn(r.req.URL.RawQuery, r.req.Header))
	}
	return n, &Error{Kind: ErrUnavailable, Err: fmt.Errorf("the answer broke off: %w", err)}
}

// Stat describes the object.
func (s *S3) Stat(ctx context.Context, key string) (ObjectInfo, error) {
	info, err := s.stat(ctx, key)
	return info, opError("Stat", key, nil, err)
}

func (s *S3) stat(ctx context.Context, key string) (ObjectInfo, error) {
	if err := cmp.Or(ValidKey(key), ctx.Err()); err != nil {
		return ObjectInfo{}, err
	}
	resp, _, err := s.do(ctx, &request{method: http.MethodHead, key: key, signed: checksumMode, status: http.StatusOK})
	if errors.Is(err, ErrAccessDenied) {
		err = &Error{
			Kind: ErrAccessDenied, Err: fmt.Errorf("%w (S3 says so of missing objects too, to whom lacks s3:ListBucket)", err),
		}
	}
	if err != nil {
		return ObjectInfo{}, err
	}
	defer discard(resp)
	return infoOf(key, resp)
}

// Delete deletes objects, 1000 with a request.
func (s *S3) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := ValidKey(key); err != nil {
			return opError("Delete", key, nil, err)
		}
	}
	if len(keys) == 1 {
		return s.deleteOne(ctx, keys[0])
	}
	var errs []error
	for batch := range slices.Chunk(keys, deleteBatch) {
		errs = append(errs, s.deleteBatch(ctx, batch))
	}
	return errors.Join(errs...)
}

func (s *S3) deleteOne(ctx context.Context, key string) error {
	resp, _, err := s.do(ctx, &request{method: http.MethodDelete, key: key, status: http.StatusNoContent})
	if err == nil {
		discard(resp)
	}
	if e, ok := errors.AsType[smithy.APIError](err); ok && e.ErrorCode() == "NoSuchKey" {
		return nil // unlike the 404 of a proxy that does not know where the bucket is
	}
	return opError("Delete", key, nil, err)
}

// deletion asks for many objects to be deleted, deletionResult tells which were not.
type (
	deletion struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ Delete"`
		Object  []deletionKey
		Quiet   bool // tells failures alone
	}
	deletionKey    struct{ Key string }
	deletionResult struct {
		XMLName xml.Name `xml:"DeleteResult"`
		Error   []struct{ Key, Code, Message string }
	}
)

// deleteBatch gives an error for each key that is still there. The keys that the server was too busy for are tried again;
// so are those that it does not name, where it names another than was asked for: it may stand for any of them.
func (s *S3) deleteBatch(ctx context.Context, keys []string) error {
	var refused, busy []error
	errBusy := errors.New("some keys are left")
	err := retry(ctx, SignedURL{}, s3Attempts, func() *failure {
		result, err := s.deleteOnce(ctx, keys)
		if err != nil {
			return &failure{err: err}
		}
		unnamed, astray := slices.Clone(keys), false
		keys, busy = nil, nil
		for _, e := range result.Error {
			kind := kindOfCode(e.Code, strings.ToLower(e.Message))
			err := &Error{Op: "Delete", Key: e.Key, Kind: cmp.Or(kind, ErrUnavailable),
				Err: &HTTPError{Request: "POST /?delete", StatusCode: http.StatusOK, Code: e.Code}}
			i := slices.Index(unnamed, e.Key)
			if i < 0 {
				astray = true
				continue
			}
			unnamed = slices.Delete(unnamed, i, i+1)
			switch {
			case e.Code == "NoSuchKey":
			case kind == ErrUnavailable || kind == ErrThrottled:
				keys, busy = append(keys, e.Key), append(busy, err)
			default:
				refused = append(refused, err)
			}
		}
		if astray {
			for _, key := range unnamed {
				keys, busy = append(keys, key), append(busy, opError("Delete", key, nil, errNoDeletion))
			}
		}
		if len(keys) == 0 {
			return nil
		}
		return &failure{err: errBusy, again: true}
	})
	if err != nil && err != errBusy {
		busy = nil
		for _, key := range keys {
			busy = append(busy, opError("Delete", key, nil, err))
		}
	}
	return errors.Join(append(refused, busy...)...)
}

// deleteOnce makes the request. Only a DeleteResult tells that keys are deleted: to the SDK any 200, such as an empty one
// or a proxy's page, would do.
func (s *S3) deleteOnce(ctx context.Context, keys []string) (result deletionResult, err error) {
	asked := deletion{Object: make([]deletionKey, len(keys)), Quiet: true}
	for i, key := range keys {
		asked.Object[i].Key = key
	}
	body, err := xml.Marshal(&asked)
	if err != nil {
		return result, err
	}
	sum := md5.Sum(body)
	var answer []byte
	_, _, err = s.do(ctx, &request{
		method: http.MethodPost, query: []sigv4.Param{{Name: "delete"}}, status: http.StatusOK, answer: &answer,
		// Of the checksums that S3 takes, one of which it demands, all compatible servers know this one.
		signed: []sigv4.Param{{Name: "content-md5", Value: base64.StdEncoding.EncodeToString(sum[:])}},
		body:   bytesBody(body, SHA256{}),
	})
	if err == nil && xml.Unmarshal(answer, &result) != nil {
		err = errNoDeletion
	}
	return result, err
}
