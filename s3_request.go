package maskstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/pacs-extension/maskstore/internal/sigv4"
)

// requestTTL is how long a request that S3 signs for itself works.
const requestTTL = maxClockSkew

// request is a request that S3 signs for itself.
type request struct {
	method string
	key    string        // empty: the bucket
	query  []sigv4.Param // beside what signs
	signed []sigv4.Param // headers that must be signed, by their names in lower case
	header http.Header   // further headers
	body   Body          // Open is nil: none
	status int           // of success
	answer *[]byte       // where up to maxListing of the answer's body go, which must arrive whole; nil: the caller reads it
}

// do makes a request, again where that may help. The caller closes the answer's body. maybeDone tells that an attempt
// whose answer was lost may have done it already.
func (s *S3) do(ctx context.Context, q *request) (resp *http.Response, maybeDone bool, err error) {
	err = retry(ctx, SignedURL{}, s3Attempts, func() *failure {
		var f *failure
		if resp, f = s.once(ctx, q); f != nil {
			maybeDone = maybeDone || f.maybeDone
		}
		return f
	})
	return resp, maybeDone, err
}

// once makes one attempt. It signs it itself: the pauses before it may outlast a signature, and the credentials.
func (s *S3) once(ctx context.Context, q *request) (*http.Response, *failure) {
	u, err := s.sign(ctx, s.own, q.key, &sigv4.Request{Method: q.method, Query: q.query}, q.signed, requestTTL, q.body.Size)
	if err != nil {
		return nil, &failure{err: err}
	}
	var body io.ReadCloser = http.NoBody
	content := new(source)
	if q.body.Size > 0 {
		if content, err = q.body.open(ctx); err != nil {
			return nil, &failure{err: &Error{Err: err}}
		}
		defer content.end() // the transport may still be reading, and where it fails at that, so does the answer
		// The server verifies the checksum.
		content.r = newVerifier(content.r, q.body.Size, SHA256{})
		body = content
	}
	req, err := u.Request(ctx, body)
	if err != nil {
		return nil, &failure{err: err}
	}
	for name, values := range q.header {
		req.Header[name] = values
	}
	req.Header.Set("Accept-Encoding", "identity") // else the client, or a proxy, may hide the object's length
	resp, err := s.http.Do(req)
	if err != nil {
		body.Close()
		if content.err != nil {
			return nil, &failure{err: opError("", "", nil, content.err)} // no other attempt mends the body
		}
		return nil, noAnswer(u, err)
	}
	if resp.StatusCode == q.status && q.answer == nil {
		return resp, nil
	}
	defer discard(resp)
	if resp.StatusCode == q.status {
		if *q.answer, err = io.ReadAll(io.LimitReader(resp.Body, maxListing)); err != nil {
			return nil, noAnswer(u, fmt.Errorf("the answer broke off: %w", err))
		}
		return resp, nil
	}
	if resp.StatusCode/100 == 2 {
		return nil, badAnswer(u, "has the status "+resp.Status)
	}
	return nil, s.refused(u, resp).recheck(ctx, &q.body)
}

// refused is the failure that a refusal of our own request tells.
func (s *S3) refused(u SignedURL, resp *http.Response) *failure {
	f := refused(u, resp)
	if e, ok := errors.AsType[*HTTPError](f.err); ok {
		f.err = s.explain(f.err.(*Error).Kind, e.StatusCode, e.Code, resp.Header, e)
	}
	return f
}

// etagOf reads an answer's ETag, without which a success is none.
func etagOf(resp *http.Response) (string, error) {
	etag := strings.Trim(resp.Header.Get("ETag"), `"`)
	if etag == "" || checkETag(etag) != nil {
		return "", errNoETag
	}
	return etag, nil
}

// infoOf reads what an answer says of the object.
func infoOf(key string, resp *http.Response) (ObjectInfo, error) {
	h := resp.Header
	etag, err := etagOf(resp)
	info := ObjectInfo{Key: key, Size: resp.ContentLength, ETag: etag, ContentType: h.Get("Content-Type")}
	info.LastModified, _ = http.ParseTime(h.Get("Last-Modified")) // zero where there is none
	// Of a range it may be the range's own, of an object in parts it is made of theirs.
	if resp.StatusCode == http.StatusOK && h.Get("X-Amz-Checksum-Type") != "COMPOSITE" {
		info.SHA256 = parseBase64(h.Get("X-Amz-Checksum-Sha256"))
	}
	if _, total, ok := strings.Cut(h.Get("Content-Range"), "/"); ok {
		size, err := strconv.ParseInt(total, 10, 64)
		if err != nil {
			return info, &Error{Kind: ErrBadResponse, Err: errors.New("the answer's Content-Range does not tell the object's size")}
		}
		info.Size = size
	}
	if info.Size < 0 {
		err = &Error{Kind: ErrBadResponse, Err: errors.New("the answer does not tell the object's size")}
	}
	return info, err
}
