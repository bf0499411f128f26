package maskstore

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pacs-extension/maskstore/internal/sigv4"
)

const memoryRegion = "us-east-1"

// UploadURL signs a PUT that ServeHTTP answers.
func (m *Memory) UploadURL(ctx context.Context, key string, opts *UploadURLOptions) (SignedURL, error) {
	o := or(opts)
	if err := cmp.Or(ValidKey(key), o.check(), ctx.Err()); err != nil {
		return SignedURL{}, opError("UploadURL", key, nil, err)
	}
	r := &sigv4.Request{Method: http.MethodPut, Header: uploadHeaders(o)}
	u, err := m.sign(key, r, o.TTL, o.Size)
	return u, opError("UploadURL", key, nil, err)
}

// DownloadURL signs a GET that ServeHTTP answers.
func (m *Memory) DownloadURL(ctx context.Context, key string, opts *DownloadURLOptions) (SignedURL, error) {
	o := or(opts)
	if err := cmp.Or(ValidKey(key), o.check(), ctx.Err()); err != nil {
		return SignedURL{}, opError("DownloadURL", key, nil, err)
	}
	r := &sigv4.Request{Method: http.MethodGet, Query: downloadQuery(key, o)}
	u, err := m.sign(key, r, o.TTL, 0)
	return u, opError("DownloadURL", key, nil, err)
}

func (m *Memory) bucket() string { return cmp.Or(m.Bucket, "memory") }

// keyPair gives the credentials with which this Memory signs, and no other does.
func (m *Memory) keyPair() sigv4.Credentials {
	m.makeKeys.Do(func() { m.credentials = &sigv4.Credentials{AccessKey: rand.Text(), SecretKey: rand.Text()} })
	return *m.credentials
}

// sign signs r, which has a method and what is particular to it.
func (m *Memory) sign(key string, r *sigv4.Request, ttl time.Duration, size int64) (SignedURL, error) {
	ttl, err := checkTTL(ttl, m.DefaultTTL, m.MaxTTL)
	if err != nil {
		return SignedURL{}, err
	}
	base, err := m.origin()
	if err != nil {
		return SignedURL{}, err
	}
	r.Scheme, r.Host, r.Path = base.Scheme, base.Host, "/"+m.bucket()+"/"+key
	r.Region, r.Time, r.TTL = memoryRegion, m.now(), ttl
	return presign(&m.signer, m.keyPair(), r, size), nil
}

// origin gives the scheme and host of BaseURL, which must have no more.
func (m *Memory) origin() (*url.URL, error) {
	problem := "is empty"
	if base, err := url.Parse(m.BaseURL); err != nil {
		problem = "is no URL"
	} else if m.BaseURL != "" {
		origin := url.URL{Scheme: base.Scheme, Host: base.Host}
		if (base.Scheme == "http" || base.Scheme == "https") && base.Host != "" && strings.EqualFold(strings.TrimSuffix(m.BaseURL, "/"), origin.String()) {
			return &origin, nil
		}
		problem = fmt.Sprintf("%.100q is no origin", redactURL(base.Redacted()))
	}
	return nil, inputError("Memory.BaseURL", problem, "the scheme and host under which this Memory is served, such as http://127.0.0.1:9000")
}

// ServeHTTP answers the Memory's own signed URLs as S3 does, with S3's XML errors, and CORS preflights of any origin. It is
// mounted at the root of BaseURL.
func (m *Memory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Access-Control-Allow-Origin", "*")
	if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
		header.Set("Access-Control-Allow-Methods", "GET, HEAD, PUT")
		header.Set("Access-Control-Allow-Headers", cmp.Or(r.Header.Get("Access-Control-Request-Headers"), "*"))
		header.Set("Access-Control-Max-Age", "3600")
		return
	}
	header.Set("Access-Control-Expose-Headers", "ETag, Content-Length, Content-Range, Accept-Ranges, X-Amz-Checksum-Sha256")
	header.Set("X-Content-Type-Options", "nosniff")
	if err := m.serve(w, r); err != nil {
		writeS3Error(w, r, err)
	}
}

// s3Error is an error as S3 answers it.
type s3Error struct {
	status        int
	code, message string
}

func (e *s3Error) Error() string { return e.code + ": " + e.message }

func (m *Memory) serve(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodPut && r.ContentLength < 0 {
		return &s3Error{http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header."}
	}
	err := sigv4.Verify(r, memoryRegion, m.now(), func(accessKey string) (sigv4.Credentials, bool) {
		pair := m.keyPair()
		return pair, pair.AccessKey == accessKey
	})
	if err != nil {
		return err
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if bucket != m.bucket() {
		return &s3Error{http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist."}
	}
	switch r.Method {
	case http.MethodPut:
		return m.servePut(w, r, key)
	case http.MethodGet, http.MethodHead:
		return m.serveGet(w, r, key)
	}
	w.Header().Set("Allow", "GET, HEAD, PUT")
	return &s3Error{http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource."}
}

// servePut stores the body, bound by those of the headers that were signed.
func (m *Memory) servePut(w http.ResponseWriter, r *http.Request, key string) error {
	if r.ContentLength > MaxPutSize {
		return &Error{Kind: ErrTooLarge}
	}
	o := &PutOptions{
		ContentType: cmp.Or(r.Header.Get("Content-Type"), "binary/octet-stream"),
		Size:        r.ContentLength,
		IfMatch:     strings.Trim(r.Header.Get("If-Match"), `"`),
	}
	switch r.Header.Get("If-None-Match") {
	case "":
	case "*":
		o.NoOverwrite = true
	default:
		return &s3Error{http.StatusNotImplemented, "NotImplemented", "If-None-Match takes * alone."}
	}
	if sum := r.Header.Get("X-Amz-Checksum-Sha256"); sum != "" {
		n, err := base64.StdEncoding.Decode(make([]byte, base64.StdEncoding.DecodedLen(len(sum))), []byte(sum))
		if err != nil || n != len(o.SHA256) {
			return &s3Error{http.StatusBadRequest, "InvalidRequest", "Value for x-amz-checksum-sha256 header is invalid."}
		}
		base64.StdEncoding.Decode(o.SHA256[:], []byte(sum))
	}
	info, err := m.put(r.Context(), key, r.Body, o)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", `"`+info.ETag+`"`)
	w.Header().Set("X-Amz-Checksum-Sha256", info.SHA256.Base64())
	return nil
}

func (m *Memory) serveGet(w http.ResponseWriter, r *http.Request, key string) error {
	obj, err := m.lookup(r.Context(), key, "")
	if err != nil {
		return err
	}
	header, query := w.Header(), r.URL.Query()
	header.Set("ETag", `"`+obj.ETag+`"`)
	header.Set("Content-Type", cmp.Or(query.Get("response-content-type"), obj.ContentType))
	if d := query.Get("response-content-disposition"); d != "" {
		header.Set("Content-Disposition", d)
	}
	if r.Header.Get("X-Amz-Checksum-Mode") != "" && !obj.SHA256.IsZero() {
		header.Set("X-Amz-Checksum-Sha256", obj.SHA256.Base64())
	}
	http.ServeContent(&xmlErrors{ResponseWriter: w, r: r}, r, "", obj.LastModified, bytes.NewReader(obj.data))
	return nil
}

// xmlErrors turns the errors of http.ServeContent into S3's.
type xmlErrors struct {
	http.ResponseWriter
	r      *http.Request
	failed bool
}

func (x *xmlErrors) WriteHeader(status int) {
	x.failed = true
	switch status {
	case http.StatusPreconditionFailed:
		writeS3Error(x.ResponseWriter, x.r, &Error{Kind: ErrPreconditionFailed})
	case http.StatusRequestedRangeNotSatisfiable:
		writeS3Error(x.ResponseWriter, x.r, &Error{Kind: ErrInvalidRange})
	default:
		x.failed = false
		x.ResponseWriter.WriteHeader(status)
	}
}

func (x *xmlErrors) Write(p []byte) (int, error) {
	if x.failed {
		return len(p), nil
	}
	return x.ResponseWriter.Write(p)
}

// s3ErrorOf gives the answer to an error of the storage.
func s3ErrorOf(err error) *s3Error {
	var known *s3Error
	var verify *sigv4.VerifyError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &verify):
		return &s3Error{verify.Status, verify.Code, verify.Message}
	case errors.Is(err, ErrNotFound):
		return &s3Error{http.StatusNotFound, "NoSuchKey", "The specified key does not exist."}
	case errors.Is(err, ErrPreconditionFailed):
		return &s3Error{http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold"}
	case errors.Is(err, ErrInvalidRange):
		return &s3Error{http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The requested range is not satisfiable"}
	case errors.Is(err, ErrTooLarge):
		return &s3Error{http.StatusBadRequest, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size"}
	case errors.Is(err, ErrChecksum):
		return &s3Error{http.StatusBadRequest, "XAmzContentChecksumMismatch", "The provided checksum does not match what was computed."}
	case errors.Is(err, ErrInvalidKey), errors.Is(err, ErrInvalidArgument):
		return &s3Error{http.StatusBadRequest, "InvalidArgument", "Invalid Argument"}
	}
	return &s3Error{http.StatusBadRequest, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header."}
}

func writeS3Error(w http.ResponseWriter, r *http.Request, err error) {
	e := s3ErrorOf(err)
	body, _ := xml.Marshal(struct { // strings: it cannot fail
		XMLName  xml.Name `xml:"Error"`
		Code     string
		Message  string
		Resource string
	}{Code: e.code, Message: e.message, Resource: r.URL.EscapedPath()})
	header := w.Header()
	header.Del("Content-Disposition")
	header.Del("ETag")
	header.Set("Content-Type", "application/xml")
	header.Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(e.status)
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}
