package maskstore

import (
	"cmp"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/pacs-extension/maskstore/internal/sigv4"
)

// s3Error is an answer of the server as S3 words it:
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
type s3Error struct {
	XMLName  xml.Name `xml:"Error"`
	Code     string
	Message  string
	Resource string // the path
	status   int
}

func (e *s3Error) Error() string { return e.Code + ": " + e.Message }

func refuse(status int, code, message string) error {
	return &s3Error{status: status, Code: code, Message: message}
}

var errMethod = refuse(http.StatusMethodNotAllowed, "MethodNotAllowed",
	"The specified method is not allowed against this resource.")

// ServeHTTP answers the requests that UploadURL, UploadPartURL and DownloadURL sign, and those of their method, path and
// query that carry more headers, as S3 does: PUT, GET and HEAD of an object, PUT of a part, with S3's status codes and XML
// errors. What is not signed it refuses. It answers CORS preflights of every origin, and lets scripts read ETags.
//
// It must be served at the root of BaseURL, at the host that BaseURL names: the signature holds both. It keeps a body in
// memory as it arrives, up to the length that was signed, or MaxPutSize where none was.
func (m *Memory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "ETag, Content-Range, x-amz-checksum-sha256")
	err := m.serve(w, r)
	if err == nil {
		return
	}
	answer := *refuse(http.StatusInternalServerError, "InternalError", "We encountered an internal error.").(*s3Error)
	var verify *sigv4.VerifyError
	if errors.As(err, &verify) {
		answer = s3Error{status: verify.Status, Code: verify.Code, Message: verify.Message}
	} else if e := (*s3Error)(nil); errors.As(err, &e) {
		answer = *e
	}
	if answer.status == http.StatusMethodNotAllowed {
		h.Set("Allow", "GET, HEAD, OPTIONS, PUT")
	}
	answer.Resource = r.URL.Path
	h.Set("Content-Type", "application/xml")
	w.WriteHeader(answer.status)
	if r.Method != http.MethodHead {
		io.WriteString(w, xml.Header)
		xml.NewEncoder(w).Encode(&answer) // an error here is the client's that has gone
	}
}

func (m *Memory) serve(w http.ResponseWriter, r *http.Request) error {
	switch r.Method {
	case http.MethodOptions:
		return preflight(w, r)
	case http.MethodPut: // S3 asks for the length before it looks at the signature
		if r.ContentLength < 0 || r.ContentLength == 0 && r.Header.Get("Content-Length") == "" {
			return refuse(http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header.")
		}
	case http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodPost:
	default:
		return errMethod
	}
	if err := sigv4.Verify(r, memoryRegion, m.now(), m.secretOf); err != nil {
		return err
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case bucket != m.bucket():
		return refuse(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist.")
	case ValidKey(key) != nil:
		return refuse(http.StatusForbidden, "AccessDenied", "Access Denied")
	case r.Method == http.MethodPut && r.URL.Query().Has("uploadId"):
		return m.servePart(w, r, key)
	case r.Method == http.MethodPut:
		return m.servePut(w, r, key)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return m.serveGet(w, r, key)
	}
	return errMethod
}

func (m *Memory) secretOf(accessKey string) (sigv4.Credentials, bool) {
	pair := m.keyPair()
	return pair, accessKey == pair.AccessKey
}

// preflight answers what a browser asks before a script's request.
func preflight(w http.ResponseWriter, r *http.Request) error {
	method := r.Header.Get("Access-Control-Request-Method")
	switch method {
	case http.MethodPut, http.MethodGet, http.MethodHead:
	case "":
		return refuse(http.StatusBadRequest, "BadRequest",
			"Insufficient information. Access-Control-Request-Method request header needed.")
	default:
		return refuse(http.StatusForbidden, "AccessForbidden", "CORSResponse: This CORS request is not allowed.")
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, PUT")
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		h.Set("Access-Control-Allow-Headers", asked)
	}
	h.Set("Access-Control-Max-Age", "3600")
	h.Add("Vary", "Access-Control-Request-Headers")
	return nil
}

func (m *Memory) servePut(w http.ResponseWriter, r *http.Request, key string) error {
	c, err := putCondition(r.Header)
	if err != nil {
		return err
	}
	data, err := readPut(r)
	if err != nil {
		return err
	}
	object := m.newObject(key, cmp.Or(r.Header.Get("Content-Type"), "binary/octet-stream"), data) // S3's default
	if err := checkDigests(r.Header, object.info.SHA256, object.info.ETag); err != nil {
		return err
	}
	// What has arrived whole is stored, whether or not the client waits for the answer.
	info, err := m.write(context.WithoutCancel(r.Context()), object, c)
	switch {
	case err == errAbsent:
		return errNoSuchKey
	case err != nil:
		return errPrecondition
	}
	answerPut(w, r, info.ETag, info.SHA256)
	return nil
}

// servePart stores a part. Its query is the one that was signed.
func (m *Memory) servePart(w http.ResponseWriter, r *http.Request, key string) error {
	query := r.URL.Query()
	n, err := strconv.Atoi(query.Get("partNumber"))
	if err != nil || checkPartNumber("", n) != nil {
		return refuse(http.StatusBadRequest, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
	}
	data, err := readPut(r)
	if err != nil {
		return err
	}
	part := newMemoryPart(n, data)
	if err := checkDigests(r.Header, part.SHA256, part.ETag); err != nil {
		return err
	}
	if m.storePart(context.WithoutCancel(r.Context()), key, query.Get("uploadId"), part) != nil {
		return refuse(http.StatusNotFound, "NoSuchUpload",
			"The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.")
	}
	answerPut(w, r, part.ETag, part.SHA256)
	return nil
}

// readPut reads a body whole.
func readPut(r *http.Request) ([]byte, error) {
	if r.ContentLength > MaxPutSize {
		return nil, refuse(http.StatusBadRequest, "EntityTooLarge",
			"Your proposed upload exceeds the maximum allowed object size.")
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, r.ContentLength))
	if err != nil || int64(len(data)) < r.ContentLength {
		return nil, refuse(http.StatusBadRequest, "IncompleteBody",
			"You did not provide the number of bytes specified by the Content-Length HTTP header.")
	}
	return data, nil
}

func answerPut(w http.ResponseWriter, r *http.Request, etag string, sum SHA256) {
	w.Header().Set("ETag", quoteETag(etag))
	if r.Header.Get("x-amz-checksum-sha256") != "" {
		w.Header().Set("x-amz-checksum-sha256", sum.Base64())
	}
}

var (
	errNoSuchKey    = refuse(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
	errPrecondition = refuse(http.StatusPreconditionFailed, "PreconditionFailed",
		"At least one of the pre-conditions you specified did not hold.")
)

// putCondition reads the conditions of a PUT, which for S3 are If-None-Match: * and If-Match with one ETag.
func putCondition(h http.Header) (condition, error) {
	none := h.Get("If-None-Match")
	if none != "" && none != "*" {
		return condition{}, refuse(http.StatusNotImplemented, "NotImplemented",
			"A header you provided implies functionality that is not implemented.")
	}
	match := h.Get("If-Match")
	return condition{cmp.Or(strings.Trim(match, `"`), match), none == "*"}, nil // quotes alone match nothing
}

// checkDigests compares the content with the digests that came with it.
func checkDigests(h http.Header, sum256 SHA256, etag string) error {
	if want := h.Get("x-amz-checksum-sha256"); want != "" {
		switch sum, err := base64.StdEncoding.DecodeString(want); {
		case err != nil || len(sum) != len(SHA256{}):
			return refuse(http.StatusBadRequest, "InvalidRequest", "Value for x-amz-checksum-sha256 header is invalid.")
		case SHA256(sum) != sum256:
			return refuse(http.StatusBadRequest, "XAmzContentChecksumMismatch",
				"The provided 'x-amz-checksum' header does not match what was computed.")
		}
	}
	if want := h.Get("Content-MD5"); want != "" {
		switch sum, err := base64.StdEncoding.DecodeString(want); {
		case err != nil || len(sum) != md5.Size:
			return refuse(http.StatusBadRequest, "InvalidDigest", "The Content-MD5 you specified is not valid.")
		case fmt.Sprintf("%x", sum) != etag:
			return refuse(http.StatusBadRequest, "BadDigest", "The Content-MD5 you specified did not match what we received.")
		}
	}
	return nil
}
