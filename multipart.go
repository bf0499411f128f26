package maskstore

import (
	"context"
	"io"
	"iter"
	"time"
)

// Limits of a multipart upload: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html.
const (
	MinPartSize   = 5 << 20 // of every part but the last, in bytes
	MaxPartSize   = 5 << 30 // in bytes
	MaxPartNumber = 10_000
	MaxObjectSize = MaxPartNumber * MaxPartSize // in bytes; a server may allow less
)

// MultipartStorage is the capability to upload an object in parts. What is begun must be completed or aborted: until
// then its parts stay, and are billed.
type MultipartStorage interface {
	// CreateMultipartUpload begins an upload. Of the options only ContentType counts here.
	CreateMultipartUpload(ctx context.Context, key string, opts *PutOptions) (uploadID string, err error)

	// UploadPart stores one part, from 1 to MaxPartNumber, in place of an earlier one of its number. body is
	// read from where it stands to its end, and may be rewound to there and read again.
	UploadPart(ctx context.Context, key, uploadID string, partNumber int, body io.ReadSeeker) (Part, error)

	// ListParts yields the parts that are stored, by number.
	ListParts(ctx context.Context, key, uploadID string) iter.Seq2[Part, error]

	// CompleteMultipartUpload makes the object of the parts given, which must be in order. Of the options IfMatch and
	// NoOverwrite count here. When it fails the upload stays open.
	CompleteMultipartUpload(ctx context.Context, key, uploadID string, parts []Part, opts *PutOptions) (ObjectInfo, error)

	// AbortMultipartUpload ends an upload and deletes its parts. An upload that is not there is ErrNotFound.
	AbortMultipartUpload(ctx context.Context, key, uploadID string) error

	// ListMultipartUploads yields the open uploads of keys that begin with prefix. MinIO gives those of the key that
	// is prefix exactly, and no others.
	ListMultipartUploads(ctx context.Context, prefix string) iter.Seq2[MultipartUpload, error]
}

// Part is a stored part of a multipart upload.
type Part struct {
	PartNumber int // 1-based
	Size       int64
	ETag       string
	SHA256     SHA256 // where the server keeps it
}

// MultipartUpload is an upload that was neither completed nor aborted.
type MultipartUpload struct {
	Key       string
	UploadID  string
	Initiated time.Time
}
