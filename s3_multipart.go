package maskstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/encoding/httpbinding"

	"github.com/pacs-extension/maskstore/internal/sigv4"
)

func trimETag(etag *string) string { return strings.Trim(aws.ToString(etag), `"`) }

// Copy copies src to dst within the bucket. Where the copy then cannot be described, its Size, ContentType and SHA256 are
// unset.
func (s *S3) Copy(ctx context.Context, src, dst string, opts *CopyOptions) (ObjectInfo, error) {
	info, err := s.copy(ctx, src, dst, or(opts))
	return info, opError("Copy", dst, nil, err)
}

func (s *S3) copy(ctx context.Context, src, dst string, o *CopyOptions) (ObjectInfo, error) {
	if err := ValidKey(src); err != nil {
		return ObjectInfo{}, opError("Copy", src, nil, err)
	}
	if err := cmp.Or(ValidKey(dst), checkETag(o.IfMatch), ctx.Err()); err != nil {
		return ObjectInfo{}, err
	}
	in := &s3.CopyObjectInput{
		Bucket: &s.bucket, Key: &dst, CopySource: aws.String(httpbinding.EscapePath(s.bucket+"/"+src, false)),
		ServerSideEncryption: s.sse(), ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	}
	if o.IfMatch != "" {
		in.CopySourceIfMatch = aws.String(quoteETag(o.IfMatch))
	}
	out, err := s.sdk.CopyObject(ctx, in)
	if err != nil {
		return ObjectInfo{}, opError("Copy", src, nil, s.sdkError(ctx, err))
	}
	if out.CopyObjectResult == nil || trimETag(out.CopyObjectResult.ETag) == "" {
		return ObjectInfo{}, errNoETag
	}
	info := ObjectInfo{
		Key: dst, ETag: trimETag(out.CopyObjectResult.ETag), LastModified: aws.ToTime(out.CopyObjectResult.LastModified),
	}
	return s.describe(ctx, info), nil
}

// describe adds to info, of an object that was just written, what a Stat says of it. Where that fails, or another object
// lies there by now, the write succeeded all the same, and info is what is known.
func (s *S3) describe(ctx context.Context, info ObjectInfo) ObjectInfo {
	if stat, err := s.stat(ctx, info.Key); err == nil && stat.ETag == info.ETag {
		return stat
	}
	return info
}

// CreateMultipartUpload begins an upload, whose parts carry SHA-256 checksums. When ctx ends it still waits a little for
// the answer: an upload whose ID is never learned can never be aborted.
//
// Where an attempt's answer was lost, and a later one succeeds, it aborts what the lost one may have begun: uploads of the
// same key, begun while that was under way, give or take a second, that have no part. Another client's may be among them,
// which gets ErrNotFound at its next call; Upload then begins anew. An attempt may be under way for minutes where the server
// hangs. A refusal, such as SlowDown, is no lost answer. What cannot be listed or aborted stays, and so does what was begun
// where all attempts fail: a Journal's record finds it.
func (s *S3) CreateMultipartUpload(ctx context.Context, key string, opts *PutOptions) (string, error) {
	const op = "CreateMultipartUpload"
	o := or(opts)
	if err := cmp.Or(ValidKey(key), o.check(), ctx.Err()); err != nil {
		return "", opError(op, key, nil, err)
	}
	out, err := s.createUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &s.bucket, Key: &key, ContentType: aws.String(cmp.Or(o.ContentType, typeByName(key))),
		ServerSideEncryption: s.sse(), ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	})
	if err != nil {
		return "", opError(op, key, nil, err)
	}
	return *out.UploadId, nil
}

// checkUploadID refuses the empty ID, without which a request means another: that of a part would put an object. So does
// one with a line break on MinIO, where the abort of it would delete the object.
func checkUploadID(id string) error {
	if id == "" {
		return inputError("uploadID", "is empty", "the ID that CreateMultipartUpload, or BeginParts, gave")
	}
	if strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r > '~' }) {
		return inputError("uploadID", "has a control character, or another that no ID has", "the ID as it was given")
	}
	return nil
}

// UploadPart stores one part.
func (s *S3) UploadPart(ctx context.Context, key, uploadID string, partNumber int, body Body) (Part, error) {
	part, err := s.uploadPart(ctx, key, uploadID, partNumber, body)
	return part, opError("UploadPart", key, nil, err)
}

func (s *S3) uploadPart(ctx context.Context, key, uploadID string, partNumber int, body Body) (Part, error) {
	if err := cmp.Or(checkPart(key, partNumber, &body), checkUploadID(uploadID), ctx.Err()); err != nil {
		return Part{}, err
	}
	if body.SHA256.IsZero() {
		sum, err := body.hash(ctx)
		if err != nil {
			return Part{}, err
		}
		body.SHA256 = sum
	}
	resp, _, err := s.do(ctx, &request{
		method: http.MethodPut, key: key, body: body, status: http.StatusOK,
		query:  partQuery(uploadID, partNumber),
		signed: uploadHeaders(nil, &UploadURLOptions{Size: body.Size, SHA256: body.SHA256}),
	})
	if err != nil {
		return Part{}, err
	}
	defer discard(resp)
	etag, err := etagOf(resp)
	return Part{PartNumber: partNumber, Size: body.Size, ETag: etag, SHA256: body.SHA256}, err
}

// UploadPartURL signs the PUT of one part. URLs of temporary credentials end with these at the latest; Expires says so.
func (s *S3) UploadPartURL(
	ctx context.Context, key, uploadID string, partNumber int, opts *UploadURLOptions,
) (SignedURL, error) {
	const op = "UploadPartURL"
	o := or(opts)
	ttl, err := checkTTL(o.TTL, s.defaultTTL, s.maxTTL)
	if err = cmp.Or(checkPartURL(key, uploadID, partNumber, o), err, ctx.Err()); err != nil {
		return SignedURL{}, opError(op, key, nil, err)
	}
	r := &sigv4.Request{Method: http.MethodPut, Query: append(partQuery(uploadID, partNumber), s.forbidden...)}
	u, err := s.sign(ctx, s.public, key, r, append(uploadHeaders(nil, o), s.forbidden...), ttl, o.Size)
	return u, opError(op, key, nil, err)
}

// ListParts yields the parts that are stored.
func (s *S3) ListParts(ctx context.Context, key, uploadID string) iter.Seq2[Part, error] {
	const op = "ListParts"
	return func(yield func(Part, error) bool) {
		if err := cmp.Or(ValidKey(key), checkUploadID(uploadID)); err != nil {
			yield(Part{}, opError(op, key, nil, err))
			return
		}
		in := &s3.ListPartsInput{Bucket: &s.bucket, Key: &key, UploadId: &uploadID}
		last, marker := 0, 0
		for more := true; more; {
			page, err := s.sdk.ListParts(ctx, in)
			if err != nil {
				yield(Part{}, opError(op, key, nil, s.uploadError(ctx, err)))
				return
			}
			more = aws.ToBool(page.IsTruncated)
			next, _ := strconv.Atoi(aws.ToString(page.NextPartNumberMarker))
			if aws.ToString(page.UploadId) != uploadID || aws.ToString(page.Key) != key || more && next <= marker {
				yield(Part{}, opError(op, key, nil, errNoListing))
				return
			}
			for _, p := range page.Parts {
				part := Part{
					int(aws.ToInt32(p.PartNumber)), aws.ToInt64(p.Size), trimETag(p.ETag), parseBase64(aws.ToString(p.ChecksumSHA256)),
				}
				if part.PartNumber <= last {
					yield(Part{}, opError(op, key, nil, errNoListing))
					return
				}
				if last = part.PartNumber; !yield(part, nil) {
					return
				}
			}
			marker, in.PartNumberMarker = next, page.NextPartNumberMarker
		}
	}
}

// CompleteMultipartUpload makes the object of the parts given. Where the object then cannot be described, its Size is the
// sum of the parts', and LastModified and ContentType are unset.
func (s *S3) CompleteMultipartUpload(
	ctx context.Context, key, uploadID string, parts []Part, opts *PutOptions,
) (ObjectInfo, error) {
	info, err := s.complete(ctx, key, uploadID, parts, or(opts))
	return info, opError("CompleteMultipartUpload", key, nil, err)
}

func (s *S3) complete(ctx context.Context, key, uploadID string, parts []Part, o *PutOptions) (ObjectInfo, error) {
	if err := cmp.Or(ValidKey(key), o.check(), checkUploadID(uploadID), checkParts(parts), ctx.Err()); err != nil {
		return ObjectInfo{}, err
	}
	completed := make([]types.CompletedPart, len(parts))
	for i, p := range parts {
		completed[i] = types.CompletedPart{PartNumber: aws.Int32(int32(p.PartNumber)), ETag: aws.String(p.ETag)}
		if !p.SHA256.IsZero() {
			completed[i].ChecksumSHA256 = aws.String(p.SHA256.Base64())
		}
	}
	in := &s3.CompleteMultipartUploadInput{
		Bucket: &s.bucket, Key: &key, UploadId: &uploadID, MultipartUpload: &types.CompletedMultipartUpload{Parts: completed},
	}
	if o.IfMatch != "" {
		in.IfMatch = aws.String(quoteETag(o.IfMatch))
	}
	if o.NoOverwrite {
		in.IfNoneMatch = aws.String("*")
	}
	info, err := s.completeParts(ctx, in)
	if errors.Is(err, ErrInvalidArgument) {
		input := &InputError{
			Field: "parts", Problem: "are refused", Want: "those that UploadPart gave, all but the last of at least 5 MiB",
		}
		err = &Error{Kind: ErrInvalidArgument, Err: fmt.Errorf("%w: %w", input, err)}
	}
	if err != nil {
		return ObjectInfo{}, err
	}
	info.Size = sizeOf(parts)
	return s.describe(ctx, info), nil
}

// AbortMultipartUpload ends an upload and deletes its parts.
func (s *S3) AbortMultipartUpload(ctx context.Context, key, uploadID string) error {
	err := cmp.Or(ValidKey(key), checkUploadID(uploadID), ctx.Err())
	if err == nil {
		_, err = s.sdk.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: &key, UploadId: &uploadID})
		err = s.uploadError(ctx, err)
	}
	return opError("AbortMultipartUpload", key, nil, err)
}

// ListMultipartUploads yields the open uploads of keys that begin with prefix.
func (s *S3) ListMultipartUploads(ctx context.Context, prefix string) iter.Seq2[MultipartUpload, error] {
	const op = "ListMultipartUploads"
	return func(yield func(MultipartUpload, error) bool) {
		if err := ValidPrefix(prefix); err != nil {
			yield(MultipartUpload{}, opError(op, prefix, nil, err))
			return
		}
		in := &s3.ListMultipartUploadsInput{
			Bucket: &s.bucket, Prefix: &prefix, EncodingType: types.EncodingTypeUrl, // as in listPage
		}
		for more := true; more; {
			page, err := s.sdk.ListMultipartUploads(ctx, in)
			if err != nil {
				yield(MultipartUpload{}, opError(op, prefix, nil, s.sdkError(ctx, err)))
				return
			}
			malformed := unescapeUploads(page)
			more = aws.ToBool(page.IsTruncated)
			onward := strings.Compare(aws.ToString(page.NextKeyMarker), aws.ToString(in.KeyMarker))
			again := onward == 0 && aws.ToString(page.NextUploadIdMarker) == aws.ToString(in.UploadIdMarker)
			if aws.ToString(page.Bucket) != s.bucket || more && (onward < 0 || again) || malformed != nil {
				yield(MultipartUpload{}, opError(op, prefix, nil, errNoListing))
				return
			}
			for _, u := range page.Uploads {
				upload := MultipartUpload{aws.ToString(u.Key), aws.ToString(u.UploadId), aws.ToTime(u.Initiated)}
				if !strings.HasPrefix(upload.Key, prefix) || upload.UploadID == "" {
					yield(MultipartUpload{}, opError(op, prefix, nil, errNoListing))
					return
				}
				if !yield(upload, nil) {
					return
				}
			}
			in.KeyMarker, in.UploadIdMarker = page.NextKeyMarker, page.NextUploadIdMarker
		}
	}
}

// unescapeUploads works on a page whose keys the server has escaped, as not all do on demand.
func unescapeUploads(page *s3.ListMultipartUploadsOutput) error {
	if page.EncodingType != types.EncodingTypeUrl {
		return nil
	}
	keys := []*string{page.NextKeyMarker}
	for _, u := range page.Uploads {
		keys = append(keys, u.Key)
	}
	for _, key := range keys {
		if key == nil {
			continue
		}
		unescaped, err := url.QueryUnescape(*key)
		if err != nil {
			return err
		}
		*key = unescaped
	}
	return nil
}
