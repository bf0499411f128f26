package maskstore

import (
	"cmp"
	"net/http"
	"strconv"
	"time"

	"github.com/pacs-extension/maskstore/internal/sigv4"
)

// uploadHeaders appends the headers that bind a signed PUT to opts, by their names in lower case, to h.
func uploadHeaders(h []sigv4.Param, opts *UploadURLOptions) []sigv4.Param {
	if opts.Size > 0 {
		h = append(h, sigv4.Param{Name: "content-length", Value: strconv.FormatInt(opts.Size, 10)})
	}
	if opts.ContentType != "" {
		h = append(h, sigv4.Param{Name: "content-type", Value: opts.ContentType})
	}
	if opts.IfMatch != "" {
		h = append(h, sigv4.Param{Name: "if-match", Value: quoteETag(opts.IfMatch)})
	}
	if opts.NoOverwrite {
		h = append(h, sigv4.Param{Name: "if-none-match", Value: "*"})
	}
	if !opts.SHA256.IsZero() {
		h = append(h, sigv4.Param{Name: "x-amz-checksum-sha256", Value: opts.SHA256.Base64()})
	}
	return h
}

// checkPartURL refuses what cannot be signed for a part.
func checkPartURL(key, uploadID string, partNumber int, o *UploadURLOptions) error {
	if err := cmp.Or(ValidKey(key), checkUploadID(uploadID), checkPartNumber("partNumber", partNumber), o.check()); err != nil {
		return err
	}
	switch {
	case o.ContentType != "":
		return inputError("ContentType", "is set for a part", "none: CreateMultipartUpload takes it")
	case o.IfMatch != "":
		return inputError("IfMatch", "is set for a part", "none: CompleteMultipartUpload takes it")
	case o.NoOverwrite:
		return inputError("NoOverwrite", "is set for a part", "false: CompleteMultipartUpload takes it")
	case o.SHA256.IsZero():
		return inputError("SHA256", "is not set", "that of the part, which servers ask for")
	}
	return nil
}

// partQuery is the query of a part's PUT.
func partQuery(uploadID string, partNumber int) []sigv4.Param {
	return []sigv4.Param{{Name: "partNumber", Value: strconv.Itoa(partNumber)}, {Name: "uploadId", Value: uploadID}}
}

// downloadQuery is the query that makes a signed GET answer as opts want, whatever headers came with the PUT: servers store
// some that nobody signed, by which others would keep the object, or its bytes would be decoded to others.
func downloadQuery(key string, opts *DownloadURLOptions) []sigv4.Param {
	contentType := opts.ContentType
	if contentType == "" {
		contentType = typeByName(key)
	}
	return []sigv4.Param{
		{Name: "response-cache-control", Value: "private, no-cache"},
		{Name: "response-content-encoding", Value: "identity"},
		{Name: "response-content-disposition", Value: disposition(key, opts.Filename)},
		{Name: "response-content-type", Value: contentType},
	}
}

// canonicalName is http.CanonicalHeaderKey, which takes longer, and allocates for names that are not the web's.
func canonicalName(name string) string {
	switch name {
	case "content-type":
		return "Content-Type"
	case "if-match":
		return "If-Match"
	case "if-none-match":
		return "If-None-Match"
	case "x-amz-checksum-sha256":
		return "X-Amz-Checksum-Sha256"
	case "x-amz-server-side-encryption":
		return "X-Amz-Server-Side-Encryption"
	}
	return http.CanonicalHeaderKey(name)
}

// presign signs r, whose TTL is in whole seconds.
func presign(s *sigv4.Signer, c sigv4.Credentials, r *sigv4.Request, bound []sigv4.Param, size int64) SignedURL {
	header := make(http.Header, len(bound))
	values := make([]string, len(bound)) // of all headers, in one piece
	for i, h := range bound {
		if h.Name != "content-length" && h.Value != "" { // else the client must not send it
			values[i] = h.Value
			header[canonicalName(h.Name)] = values[i : i+1 : i+1]
		}
	}
	return SignedURL{
		Method: r.Method, URL: s.Presign(c, r, bound), Header: header, ContentLength: size,
		Expires: time.Unix(r.Time.Unix(), 0).UTC().Add(r.TTL),
	}
}
