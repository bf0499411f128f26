package maskstore

import (
	"cmp"
	"context"

	"github.com/pacs-extension/maskstore/internal/sigv4"
)

// MinIO is an S3 on a MinIO server. The server differs in some ways:
//   - It encrypts only where it has a key, so encryption is not asked for unless S3Options says so.
//   - ListMultipartUploads finds the uploads of the key that is its prefix exactly, and no others.
//   - It answers CORS preflights itself, for all origins unless it is told which.
type MinIO struct{ *S3 }

// NewMinIO gives the storage on a bucket of the server at opts.Endpoint, which is required. It sends no request.
func NewMinIO(ctx context.Context, opts S3Options) (*MinIO, error) {
	const op = "NewMinIO"
	if opts.Endpoint == "" {
		return nil, opError(op, "", nil, inputError("Endpoint", "is missing", "the server's origin, such as https://minio:9000"))
	}
	opts.Region = cmp.Or(opts.Region, "us-east-1")
	s, err := newS3(ctx, opts, "none")
	if err != nil {
		return nil, opError(op, "", nil, err)
	}
	s.forbidden = minioForbidden
	return &MinIO{s}, nil
}

// minioForbidden are headers that MinIO obeys beside a signed PUT, though nobody signed them: by the first it puts a copy of
// any object that our credentials can read, whatever else the URL binds, by the second an object that we cannot read, by the
// third one with an ETag of the client's choice. S3 refuses such. MinIO takes a signed header that a request lacks from
// the query: there they are signed as empty, so that a request which has them does not match its signature.
var minioForbidden = []sigv4.Param{
	{Name: "x-amz-copy-source"}, {Name: "x-amz-server-side-encryption-customer-algorithm"}, {Name: "x-minio-source-etag"},
}
