package maskstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"mime"
	"path"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ObjectStorage stores objects under the prefix mask/ of one bucket. S3, MinIO and Memory implement it; the suite
// in package maskstoretest holds every implementation to what is said here.
//
// All methods are safe for concurrent use. Each refuses bad input, such as a key that ValidKey refuses, before it
// sends a request. A nil options pointer means the zero options; no method keeps or changes the options it is given.
// Errors are *Error; a call whose context ends returns an error that is the context's.
type ObjectStorage interface {
	// UploadURL signs the one request with which a client that holds no credentials can put the object. Whatever
	// the options set is bound in the signature; what they leave unset the client may choose. A storage that signs
	// nothing gives ErrUnsupported, here and from DownloadURL.
	UploadURL(ctx context.Context, key string, opts *UploadURLOptions) (SignedURL, error)

	// DownloadURL signs a GET of the object, whether it exists or not. The client may add Range and If-Match. Whatever headers
	// came with the PUT, the answer has Cache-Control: private, no-cache, and the bytes as they are, not encoded.
	DownloadURL(ctx context.Context, key string, opts *DownloadURLOptions) (SignedURL, error)

	// Put stores all of body, or nothing: when it fails, what lay at the key still lies there, and no part of an
	// upload is left. It reads body, which may be empty and not nil, to its end and does not close it. An error of body's
	// Read is returned; one that blocks is waited for, even once ctx has ended.
	Put(ctx context.Context, key string, body io.Reader, opts *PutOptions) (ObjectInfo, error)

	// Get opens the object. It fails before it returns, never on the first read, where the object is missing or
	// a condition does not hold. The caller closes the Object's Body; the end of ctx ends its reads. A Body that breaks
	// off, or comes damaged, is the caller's to get again: what was read of it is with the caller already.
	Get(ctx context.Context, key string, opts *GetOptions) (*Object, error)

	// Stat describes the object. S3 and MinIO keep the SHA-256 of what Put, or a URL that binds it, has sent with one request;
	// of all else, what went in parts or by a batch, SHA256 is zero.
	Stat(ctx context.Context, key string) (ObjectInfo, error)

	// Delete deletes objects, any number of them. Absent ones are no error. When some cannot be deleted, the rest
	// are, and KeyErrors gives an error for each that was not. No keys: no request.
	Delete(ctx context.Context, keys ...string) error

	// List yields the objects whose keys begin with prefix, in the byte order of their keys, without content
	// types and SHA-256. After an error it yields no more. It may be broken out of, and ranged over again.
	List(ctx context.Context, prefix string, opts *ListOptions) iter.Seq2[ObjectInfo, error]
}

// UploadURLOptions says what a signed PUT is bound to.
type UploadURLOptions struct {
	ContentType string        // empty: unbound
	Size        int64         // in bytes; 0: unbound; at most MaxPutSize
	SHA256      SHA256        // of the body; zero: unbound
	IfMatch     string        // the ETag that must lie at the key; empty: unbound
	NoOverwrite bool          // nothing may lie at the key; excludes IfMatch
	TTL         time.Duration // how long the URL works, in whole seconds; 0: the storage's default
}

// DownloadURLOptions says what a signed GET answers with.
type DownloadURLOptions struct {
	ContentType string        // of the answer; empty: by the key's extension
	Filename    string        // that a browser saves under; empty: the key's last segment
	TTL         time.Duration // how long the URL works, in whole seconds; 0: the storage's default
}

// PutOptions says how an object is stored.
type PutOptions struct {
	ContentType string // empty: by the key's extension
	Size        int64  // of body in bytes; 0: unknown; another length is ErrChecksum
	SHA256      SHA256 // of body; zero: unknown; another content is ErrChecksum
	IfMatch     string // the ETag of what must lie at the key, else, or where nothing does, ErrPreconditionFailed; empty: any
	NoOverwrite bool   // nothing may lie at the key, else ErrPreconditionFailed; excludes IfMatch
}

// GetOptions says what is read of an object.
type GetOptions struct {
	Offset  int64  // where to begin, in bytes; over 0 and at or past the end: ErrInvalidRange
	Length  int64  // how many bytes at most; 0: to the end
	IfMatch string // the ETag that the object must have, else ErrPreconditionFailed; empty: any
	// SHA256 is what the whole object must hash to, else the read that would give io.EOF gives ErrChecksum. Zero: the one
	// that the server keeps, or of an object that was put in parts that of each part, where that part ends. To learn these
	// S3 sends a HEAD for each, and a second GET; where the object was replaced meanwhile, it starts over, up to three times,
	// unless IfMatch is set, and then gives ErrPreconditionFailed.
	// Where the server keeps neither, as of what a PutBatch or others put, a flipped bit goes unnoticed. It excludes Offset
	// and Length.
	SHA256 SHA256
	// Verify refuses, with ErrUnsupported, to read what has no SHA-256 to verify by, and verifies a range too: all is read
	// that a SHA-256 covers, which is the parts that the range lies in, or else the whole object. Body gives the range
	// alone, its last bytes only once all is right. Without it a flipped bit in a range goes unnoticed.
	Verify bool
}

// ListOptions says what is listed.
type ListOptions struct {
	Delimiter  string // "/" rolls keys up to common prefixes; empty: none; no other is supported
	StartAfter string // only keys after this one; a common prefix skips all under it; empty: from the first
	Limit      int    // how many objects and common prefixes at most; 0: all
}

// Object is an open object, or a part of it.
type Object struct {
	ObjectInfo               // of the whole object
	Body       io.ReadCloser // the bytes asked for; the caller closes it
	// Parts are all that the object was put in, without ETags, where Get verifies by their SHA-256; else nil. They add up to Size.
	Parts []Part
}

// ObjectInfo describes an object, or in a listing with a delimiter a common prefix.
type ObjectInfo struct {
	Key          string
	Size         int64     // in bytes
	ETag         string    // opaque, without quotes
	LastModified time.Time // by the server's clock; proves nothing about order
	ContentType  string    // empty in listings
	SHA256       SHA256    // of the whole object, where the server keeps it; zero in listings
	IsPrefix     bool      // Key is a common prefix; all else is unset
}

// Limits of the service: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html and, for the TTL of a
// URL, https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html.
const (
	MaxPutSize    = 5 << 30            // of an object sent in one request, in bytes
	MaxURLTTL     = 7 * 24 * time.Hour // what a signature allows
	DefaultTTL    = 600 * time.Second  // of a signed URL, unless a storage is set up otherwise
	DefaultMaxTTL = 3600 * time.Second // the most that a storage signs for, unless it is set up otherwise
)

// SHA256 is a SHA-256 checksum. Zero means unset. It is hex in text and JSON.
type SHA256 [sha256.Size]byte

// SumSHA256 gives the checksum of data.
func SumSHA256(data []byte) SHA256 { return sha256.Sum256(data) }

// IsZero reports whether the checksum is unset.
func (s SHA256) IsZero() bool { return s == SHA256{} }

// String gives the checksum in hex, or "" where it is unset.
func (s SHA256) String() string {
	text, _ := s.MarshalText()
	return string(text)
}

// Base64 gives the checksum as S3's headers carry it, or "" where it is unset.
func (s SHA256) Base64() string {
	if s.IsZero() {
		return ""
	}
	var text [44]byte // EncodeToString would allocate it as well
	base64.StdEncoding.Encode(text[:], s[:])
	return string(text[:])
}

// MarshalText gives what String gives.
func (s SHA256) MarshalText() ([]byte, error) {
	if s.IsZero() {
		return []byte{}, nil // nil is an error to some encoders
	}
	return hex.AppendEncode(nil, s[:]), nil
}

// UnmarshalText takes 64 hex digits, or nothing.
func (s *SHA256) UnmarshalText(text []byte) error {
	*s = SHA256{}
	if len(text) == 0 {
		return nil
	}
	if n, err := hex.Decode(s[:], text[:min(len(text), 2*len(s))]); err != nil || n != len(s) || len(text) != 2*len(s) {
		*s = SHA256{}
		return inputError("sha256", fmt.Sprintf("%.70q is no SHA-256", text), "64 hex digits")
	}
	return nil
}

// As finds in s a capability T, an interface such as Copier: s itself, if it is a T; else, where s has a method
// As(target any) bool, what that decides alone, setting the *T it is given; else the same through s's
// Unwrap() ObjectStorage; else none.
//
// A storage that wraps another has Unwrap where bypassing it is harmless, and As where it is not.
func As[T any](s ObjectStorage) (T, bool) {
	var capability T
	for s != nil {
		if t, ok := s.(T); ok {
			return t, true
		}
		if a, ok := s.(interface{ As(target any) bool }); ok {
			ok = a.As(&capability) && any(capability) != nil
			return capability, ok
		}
		u, ok := s.(interface{ Unwrap() ObjectStorage })
		if !ok {
			break
		}
		s = u.Unwrap()
	}
	return capability, false
}

// Copier is the capability to copy an object within the storage, its content type included.
type Copier interface {
	// Copy copies src to dst, overwriting it. An absent src is ErrNotFound. Objects over MaxPutSize are ErrTooLarge.
	Copy(ctx context.Context, src, dst string, opts *CopyOptions) (ObjectInfo, error)
}

// CopyOptions says what is copied. There is no condition on the destination: MinIO ignores it.
type CopyOptions struct {
	IfMatch string // the ETag that src must have, else ErrPreconditionFailed; empty: any
}

const pngType = "image/png"

// typeByName gives the content type of a key that has none set.
func typeByName(key string) string {
	switch ext := path.Ext(key); ext {
	case ".png":
		return pngType
	case ".json":
		return "application/json"
	default:
		return "application/octet-stream"
	}
}

// disposition gives a Content-Disposition that makes a browser save, not show. It is ASCII in any case.
func disposition(key, filename string) string {
	if filename == "" {
		filename = path.Base(key)
	}
	return mime.FormatMediaType("attachment", map[string]string{"filename": filename})
}

// checkTTL gives the TTL in whole seconds. A zero def or max is the package's.
func checkTTL(ttl, def, limit time.Duration) (time.Duration, error) {
	if def == 0 {
		def = DefaultTTL
	}
	if limit == 0 {
		limit = DefaultMaxTTL
	}
	problem := ""
	switch {
	case ttl == 0:
		return min(def, limit).Truncate(time.Second), nil
	case ttl < 0:
		problem = "negative"
	case ttl < time.Second:
		problem = "under 1s"
	case ttl > limit:
		problem = "over the maximum"
	default:
		return ttl.Truncate(time.Second), nil
	}
	return 0, inputError("TTL", fmt.Sprintf("%v is %s", ttl, problem), fmt.Sprintf("1s to %v, or 0 for %v", limit, def))
}

// check refuses what no storage can do, before anything is sent.
func (o *UploadURLOptions) check() error {
	if o.Size > MaxPutSize {
		return inputError("Size", fmt.Sprintf("%d is over what one PUT can carry", o.Size), "at most 5 GiB, or a multipart upload")
	}
	return checkWrite(o.ContentType, o.Size, o.IfMatch, o.NoOverwrite)
}

func (o *PutOptions) check() error {
	return checkWrite(o.ContentType, o.Size, o.IfMatch, o.NoOverwrite)
}

// checkPut refuses what no Put can store.
func checkPut(key string, body io.Reader, o *PutOptions) error {
	if err := cmp.Or(ValidKey(key), o.check()); err != nil || body != nil {
		return err
	}
	return inputError("body", "is nil", "a reader, if only an empty one")
}

func checkWrite(contentType string, size int64, ifMatch string, noOverwrite bool) error {
	if size < 0 {
		return inputError("Size", fmt.Sprintf("%d is negative", size), "the length in bytes, or 0 where it is unknown")
	}
	if noOverwrite && ifMatch != "" {
		return inputError("NoOverwrite", "is set beside IfMatch", "one of them")
	}
	return cmp.Or(checkContentType(contentType), checkETag(ifMatch))
}

func checkContentType(contentType string) error {
	if contentType == "" || contentType == pngType {
		return nil
	}
	if t, _, err := mime.ParseMediaType(contentType); err != nil || !strings.Contains(t, "/") {
		return inputError("ContentType", fmt.Sprintf("%q is no media type", contentType), "type/subtype, such as image/png")
	}
	return nil
}

func (o *DownloadURLOptions) check() error {
	if !utf8.ValidString(o.Filename) || strings.ContainsFunc(o.Filename, unicode.IsControl) {
		return inputError("Filename", fmt.Sprintf("%q is not printable", o.Filename), "UTF-8 without control characters")
	}
	return checkContentType(o.ContentType)
}

// checkETag refuses what cannot be an ETag of ours: they are unquoted and go into a header.
func checkETag(etag string) error {
	if strings.ContainsFunc(etag, func(r rune) bool { return r <= ' ' || r == '"' || r >= 0x7f }) {
		return inputError("IfMatch", fmt.Sprintf("%q is no ETag", etag), "an ETag as ObjectInfo has it, without quotes")
	}
	return nil
}

// quoteETag gives an ETag as headers have it.
func quoteETag(etag string) string { return `"` + etag + `"` }

func (o *GetOptions) check() error {
	switch {
	case o.Offset < 0:
		return inputError("Offset", fmt.Sprintf("%d is negative", o.Offset), "0 or more bytes")
	case o.Length < 0:
		return inputError("Length", fmt.Sprintf("%d is negative", o.Length), "the number of bytes, or 0 for all to the end")
	case !o.SHA256.IsZero() && (o.Offset != 0 || o.Length != 0):
		return inputError("SHA256", "is set for a part of the object", "a whole read, or no SHA256")
	}
	return checkETag(o.IfMatch)
}

func (o *ListOptions) check() error {
	switch {
	case o.Delimiter != "" && o.Delimiter != "/":
		return inputError("Delimiter", fmt.Sprintf("%q is not supported", o.Delimiter), `"/" or none`)
	case o.Limit < 0:
		return inputError("Limit", fmt.Sprintf("%d is negative", o.Limit), "the number of entries, or 0 for all")
	case o.StartAfter != "":
		if err := ValidPrefix(o.StartAfter); err != nil {
			return err
		}
	}
	return nil
}

// or gives opts, or the zero options for nil.
func or[T any](opts *T) *T {
	if opts == nil {
		return new(T)
	}
	return opts
}
