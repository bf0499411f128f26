//lint:file-ignore SA1019 The manager's successor, transfermanager, is not stable yet, and aborts with a context that ended.

package maskstore

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	// partConcurrency is how many parts of an object are under way at a time. A Put holds as many in memory, one of which is
	// being read.
	partConcurrency = 4
	// settleGrace is how long a call that must be seen to its end may go on after the caller's context has ended.
	settleGrace = 4 * time.Second
)

// outlasting gives a context that ends settleGrace after ctx does.
func outlasting(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(settleGrace, cancel)
		context.AfterFunc(longer, func() { timer.Stop() })
	})
	return longer, func() { stop(); cancel() }
}

// putParts stores a body in parts.
func (s *S3) putParts(ctx context.Context, key string, body io.Reader, o *PutOptions) (ObjectInfo, error) {
	partSize, err := planParts(o.Size)
	if err != nil {
		return ObjectInfo{}, err
	}
	counted := &countingReader{r: body, limit: MaxPartNumber * partSize}
	calls := &uploadCalls{Client: s.sdk, s: s, key: key, opts: o}
	uploader := manager.NewUploader(calls, func(u *manager.Uploader) {
		u.PartSize, u.Concurrency = partSize, partConcurrency-1
	})
	input := &s3.PutObjectInput{
		Bucket: &s.bucket, Key: &key, Body: counted, ContentType: aws.String(cmp.Or(o.ContentType, typeByName(key))),
		ServerSideEncryption: s.sse(), ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	}
	if o.IfMatch != "" {
		input.IfMatch = aws.String(quoteETag(o.IfMatch))
	}
	if o.NoOverwrite {
		input.IfNoneMatch = aws.String("*")
	}
	_, err = uploader.Upload(ctx, input)
	switch {
	case err == nil:
		calls.done.Size, calls.done.ContentType = counted.n, *input.ContentType
		return calls.done, nil
	case counted.err != nil:
		err = counted.err
	default:
		if e, ok := errors.AsType[*Error](err); ok {
			err = e // without the manager's words around it
		} else {
			err = s.sdkError(ctx, err)
		}
	}
	return ObjectInfo{}, partsStay(err, calls.uploadID, calls.abortErr)
}

// countingReader remembers how far a reader came, and the error that it ended with: ErrTooLarge past limit bytes.
type countingReader struct {
	r     io.Reader
	limit int64
	n     int64
	err   error // other than io.EOF
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.n += int64(n); c.n > c.limit {
		n, err = 0, &Error{
			Kind: ErrTooLarge, Err: fmt.Errorf("the content has over %d bytes, which takes its Size to be known ahead", c.limit),
		}
	}
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

// uploadCalls is the client that the manager uploads through. It makes the calls that decide what is left behind.
type uploadCalls struct {
	*s3.Client
	s        *S3
	key      string
	opts     *PutOptions
	uploadID string
	done     ObjectInfo // of the object, once it is complete
	abortErr error
}

// PutObject is called where the body turns out to fit into one part.
func (c *uploadCalls) PutObject(
	ctx context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options),
) (*s3.PutObjectOutput, error) {
	data, err := io.ReadAll(in.Body)
	if err == nil {
		c.done, err = c.s.putWhole(ctx, c.key, data, c.opts)
	}
	return &s3.PutObjectOutput{ETag: &c.done.ETag}, err
}

// CreateMultipartUpload learns the upload's ID.
func (c *uploadCalls) CreateMultipartUpload(
	ctx context.Context, in *s3.CreateMultipartUploadInput, _ ...func(*s3.Options),
) (*s3.CreateMultipartUploadOutput, error) {
	out, err := c.s.createUpload(ctx, in)
	if err == nil {
		c.uploadID = *out.UploadId
	}
	return out, err
}

// createUpload begins an upload. The attempt that is under way when ctx ends still has a little time for its answer: an
// upload whose ID is never learned can never be aborted. No attempt begins after that. What attempts whose answers were lost
// may have begun is aborted once one has succeeded.
func (s *S3) createUpload(
	ctx context.Context, in *s3.CreateMultipartUploadInput,
) (out *s3.CreateMultipartUploadOutput, err error) {
	longer, cancel := outlasting(ctx)
	defer cancel()
	var last attempt
	var lost []attempt
	err = retry(ctx, SignedURL{}, s3Attempts, func() *failure {
		var err error
		last.begun = time.Now()
		out, err = s.sdk.CreateMultipartUpload(longer, in, attemptOnce)
		last.ended = time.Now()
		switch {
		case err != nil:
			f := s.sdkFailure(ctx, err)
			if f.maybeDone && isUntold(err) {
				lost = append(lost, last)
			}
			f.again = f.again || f.maybeDone && errors.Is(f.err, ErrBadResponse) // an answer that broke off
			return f
		case checkUploadID(aws.ToString(out.UploadId)) != nil:
			return &failure{err: errNoUploadID}
		}
		return nil
	})
	if err == nil && len(lost) > 0 {
		s.abortLost(longer, *in.Key, *out.UploadId, last, lost)
	}
	return out, err
}

// attempt is when one was under way, by our clock.
type attempt struct{ begun, ended time.Time }

// isUntold tells the errors of the SDK that leave open what the server did. A refusal by a code, such as SlowDown, does not:
// all but InternalError say that nothing was done. Where an answer has no code, the SDK makes one of its status.
func isUntold(err error) bool {
	api, coded := errors.AsType[smithy.APIError](err)
	answer, _ := errors.AsType[*smithyhttp.ResponseError](err)
	return !coded || api.ErrorCode() == "InternalError" ||
		answer != nil && api.ErrorMessage() == http.StatusText(answer.HTTPStatusCode())
}

// abortLostTime is how long abortLost may take at most.
const abortLostTime = 20 * time.Second

// abortLost aborts the uploads of key whose IDs were lost with the answers: those that the server began while a lost attempt
// was under way, and that have no part. When that was it tells by how long before the known upload it was, which the last
// attempt began. Times of uploads are the server's own, so it does not matter how far its clock is off ours; how far those
// of a cluster's nodes are off each other does.
//
// Another client's upload of the same key is among them if it began in that time too, and has no part yet. That one gets
// ErrNotFound from whatever it does next, so it knows.
//
// What cannot be listed or aborted, for want of a right perhaps, stays as if this had not been called.
func (s *S3) abortLost(ctx context.Context, key, known string, last attempt, lost []attempt) {
	ctx, cancel := context.WithTimeout(ctx, abortLostTime)
	defer cancel()
	var others []MultipartUpload
	var begun time.Time
	for up, err := range s.ListMultipartUploads(ctx, key) {
		switch {
		case err != nil:
			return
		case up.UploadID == known:
			begun = up.Initiated
		case up.Key == key:
			others = append(others, up)
		}
	}
	if begun.IsZero() {
		return // not listed, or without its time
	}
	for _, up := range others {
		age := begun.Sub(up.Initiated)
		if age < 0 || !slices.ContainsFunc(lost, func(a attempt) bool {
			// Some servers give times in whole seconds.
			return age <= last.ended.Sub(a.begun)+time.Second && age >= last.begun.Sub(a.ended)-time.Second
		}) {
			continue
		}
		if parts, err := storedParts(ctx, s, key, up.UploadID); err == nil && len(parts) == 0 {
			s.AbortMultipartUpload(ctx, key, up.UploadID)
		}
	}
}

// attemptOnce leaves it to us to try again.
func attemptOnce(o *s3.Options) { o.Retryer = aws.NopRetryer{} }

// UploadPart sends the part's checksum in a header. The SDK, over TLS, would send it in a trailer, which many refuse.
func (c *uploadCalls) UploadPart(
	ctx context.Context, in *s3.UploadPartInput, _ ...func(*s3.Options),
) (*s3.UploadPartOutput, error) {
	data := in.Body.(*bytes.Reader) // as the manager's parts of a body that is no io.Seeker are
	body := Body{Size: data.Size(), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(data, 0, data.Size())), nil
	}}
	part, err := c.s.uploadPart(ctx, c.key, c.uploadID, int(*in.PartNumber), body)
	return &s3.UploadPartOutput{ETag: &part.ETag, ChecksumSHA256: aws.String(part.SHA256.Base64())}, err
}

// Successes that say nothing.
var (
	errNoDeletion = &Error{Kind: ErrBadResponse, Err: errors.New("the answer does not say what was deleted")}
	errNoETag     = &Error{Kind: ErrBadResponse, Err: errors.New("the answer has no usable ETag")}
	errNoListing  = &Error{Kind: ErrBadResponse, Err: errors.New("the answer is no listing of what was asked for")}
	errNoUploadID = &Error{Kind: ErrBadResponse, Err: errors.New("the answer has no upload ID")}
)

// AbortMultipartUpload is called when an upload failed, often since its context has ended.
func (c *uploadCalls) AbortMultipartUpload(
	ctx context.Context, in *s3.AbortMultipartUploadInput, opts ...func(*s3.Options),
) (*s3.AbortMultipartUploadOutput, error) {
	ctx, cancel := outlasting(ctx)
	defer cancel()
	out, err := c.Client.AbortMultipartUpload(ctx, in, opts...)
	if err != nil {
		c.abortErr = c.s.uploadError(ctx, err)
	}
	return out, err
}

// CompleteMultipartUpload succeeds only when the object is known to be there.
func (c *uploadCalls) CompleteMultipartUpload(
	ctx context.Context, in *s3.CompleteMultipartUploadInput, _ ...func(*s3.Options),
) (*s3.CompleteMultipartUploadOutput, error) {
	info, err := c.s.completeParts(ctx, in)
	if err != nil {
		return nil, err
	}
	c.done = info
	return &s3.CompleteMultipartUploadOutput{ETag: &info.ETag, Bucket: in.Bucket, Key: in.Key}, nil
}

// completeParts completes an upload. An answer without an ETag is none: a server that fails late sends 200 first. A
// lost answer is followed, in the next attempt, by one that the upload is gone or that a condition failed. After either
// the object itself tells, by its checksum of the parts' checksums.
func (s *S3) completeParts(ctx context.Context, in *s3.CompleteMultipartUploadInput) (ObjectInfo, error) {
	info := ObjectInfo{Key: aws.ToString(in.Key)}
	maybeDone := false
	err := retry(ctx, SignedURL{}, s3Attempts, func() *failure {
		out, err := s.sdk.CompleteMultipartUpload(ctx, in, attemptOnce)
		if err != nil {
			f := s.sdkFailure(ctx, err)
			maybeDone = maybeDone || f.maybeDone
			return f
		}
		if info.ETag = trimETag(out.ETag); info.ETag == "" {
			maybeDone = true
			return &failure{err: errNoETag}
		}
		return nil
	})
	if api, ok := errors.AsType[smithy.APIError](err); ok && in.IfMatch != nil && api.ErrorCode() == "NoSuchKey" {
		err = &Error{Kind: ErrPreconditionFailed, Err: api} // the object that was to be replaced is gone
	}
	sums := make([]SHA256, len(in.MultipartUpload.Parts))
	for i, p := range in.MultipartUpload.Parts {
		sums[i] = parseBase64(aws.ToString(p.ChecksumSHA256))
	}
	if err == nil || !maybeDone || slices.Contains(sums, SHA256{}) || ctx.Err() != nil {
		return info, err
	}
	head, headErr := s.sdk.HeadObject(ctx, &s3.HeadObjectInput{
		Bucket: in.Bucket, Key: in.Key, ChecksumMode: types.ChecksumModeEnabled,
	})
	if headErr != nil || aws.ToString(head.ChecksumSHA256) != compositeChecksum(sums) {
		return ObjectInfo{}, err
	}
	// Should the same content lie there from before, the upload is still open.
	abort := &s3.AbortMultipartUploadInput{Bucket: in.Bucket, Key: in.Key, UploadId: in.UploadId}
	if _, abortErr := s.sdk.AbortMultipartUpload(ctx, abort); abortErr != nil &&
		!errors.Is(s.sdkError(ctx, abortErr), ErrNotFound) {
		return ObjectInfo{}, err
	}
	info.ETag, info.LastModified = trimETag(head.ETag), aws.ToTime(head.LastModified)
	return info, nil
}

// compositeChecksum is the checksum that S3 gives an object whose parts have these:
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html.
func compositeChecksum(sums []SHA256) string {
	hash := sha256.New()
	for _, sum := range sums {
		hash.Write(sum[:])
	}
	return fmt.Sprintf("%s-%d", SHA256(hash.Sum(nil)).Base64(), len(sums))
}
