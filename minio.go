package maskstore

import (
	"cmp"
	"context"
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
	return &MinIO{s}, nil
}
