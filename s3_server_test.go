package maskstore

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// s3Server is a Memory that answers the requests of S3.
type s3Server struct {
	Memory
	// before is called as the nth request has come, the first being 1. It may answer it (true).
	before func(n int, w http.ResponseWriter, r *http.Request) bool

	mu       sync.Mutex
	requests []string // as sortOf names them
}

func (s *s3Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, sortOf(r))
	n := len(s.requests)
	s.mu.Unlock()
	if s.before != nil && s.before(n, w, r) {
		return
	}
	err := s.answer(w, r)
	if err == nil {
		return
	}
	refusal, ok := errors.AsType[*s3Error](err)
	switch {
	case ok:
	case errors.Is(err, ErrNotFound) && r.URL.Query().Has("uploadId"):
		refusal = &s3Error{Code: "NoSuchUpload", status: 404}
	case errors.Is(err, ErrNotFound):
		refusal = &s3Error{Code: "NoSuchKey", status: 404}
	case errors.Is(err, ErrPreconditionFailed):
		refusal = &s3Error{Code: "PreconditionFailed", status: 412}
	default:
		refusal = &s3Error{Code: "InvalidPart", status: 400}
	}
	w.WriteHeader(refusal.status)
	if r.Method != http.MethodHead {
		xml.NewEncoder(w).Encode(refusal)
	}
}

func (s *s3Server) answer(w http.ResponseWriter, r *http.Request) (err error) {
	ctx, query := context.WithoutCancel(r.Context()), r.URL.Query()
	key, id := strings.TrimPrefix(r.URL.Path, "/bucket/"), query.Get("uploadId")
	prefix := query.Get("prefix")
	switch sortOf(r) {
	case putWhole:
		if source := r.Header.Get("X-Amz-Copy-Source"); source != "" {
			if source, err = url.PathUnescape(source); err != nil {
				return err
			}
			info, err := s.Copy(ctx, strings.TrimPrefix(source, "bucket/"), key,
				&CopyOptions{IfMatch: strings.Trim(r.Header.Get("X-Amz-Copy-Source-If-Match"), `"`)})
			if err == nil {
				fmt.Fprintf(w, "<CopyObjectResult><ETag>&#34;%s&#34;</ETag></CopyObjectResult>", info.ETag)
			}
			return err
		}
		return s.servePut(w, r, key)
	case putPart:
		return s.servePart(w, r, key)
	case "GET", "HEAD":
		if object := s.find(key); object != nil && object.parts != nil && r.Header.Get("Range") == "" {
			w.Header().Set("X-Amz-Checksum-Sha256", compositeChecksum(sumsOf(object.parts)))
			w.Header().Set("X-Amz-Checksum-Type", "COMPOSITE")
		}
		return s.serveGet(w, r, key)
	case "DELETE":
		if err = s.Delete(ctx, key); err == nil {
			w.WriteHeader(http.StatusNoContent)
		}
	case "POST delete":
		var asked deletion
		if err := xml.NewDecoder(r.Body).Decode(&asked); err != nil {
			return err
		}
		for _, o := range asked.Object {
			err = errors.Join(err, s.Delete(ctx, o.Key))
		}
		fmt.Fprint(w, "<DeleteResult></DeleteResult>")
	case "GET list-type":
		limit, _ := strconv.Atoi(query.Get("max-keys"))
		o := &ListOptions{Delimiter: query.Get("delimiter"), StartAfter: query.Get("start-after"), Limit: limit}
		fmt.Fprint(w, "<ListBucketResult><EncodingType>url</EncodingType>")
		for info, err := range s.List(ctx, prefix, o) {
			if err != nil {
				return err
			}
			if info.IsPrefix {
				fmt.Fprintf(w, "<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>", url.QueryEscape(info.Key))
				continue
			}
			fmt.Fprintf(w, "<Contents><Key>%s</Key><Size>%d</Size><ETag>&#34;%s&#34;</ETag>"+
				"<LastModified>%s</LastModified></Contents>",
				url.QueryEscape(info.Key), info.Size, info.ETag, info.LastModified.Format(time.RFC3339Nano))
		}
		fmt.Fprint(w, "<IsTruncated>false</IsTruncated></ListBucketResult>")
	case createUpload:
		if id, err = s.CreateMultipartUpload(ctx, key, &PutOptions{ContentType: r.Header.Get("Content-Type")}); err == nil {
			fmt.Fprintf(w, "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>", id)
		}
	case completeUpload:
		var doc struct {
			Part []struct {
				PartNumber int
				ETag       string
			}
		}
		if err := xml.NewDecoder(r.Body).Decode(&doc); err != nil {
			return err
		}
		parts := make([]Part, len(doc.Part))
		for i, p := range doc.Part {
			parts[i] = Part{PartNumber: p.PartNumber, ETag: strings.Trim(p.ETag, `"`)}
		}
		c, err := putCondition(r.Header)
		if err != nil {
			return err
		}
		info, err := s.CompleteMultipartUpload(ctx, key, id, parts, &PutOptions{IfMatch: c.ifMatch, NoOverwrite: c.noOverwrite})
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "<CompleteMultipartUploadResult><ETag>&#34;%s&#34;</ETag></CompleteMultipartUploadResult>", info.ETag)
	case abortUpload:
		if err = s.AbortMultipartUpload(ctx, key, id); err == nil {
			w.WriteHeader(http.StatusNoContent)
		}
	case listUploads:
		fmt.Fprint(w, "<ListMultipartUploadsResult><Bucket>bucket</Bucket>")
		for up, err := range s.ListMultipartUploads(ctx, prefix) {
			if err != nil {
				return err
			}
			fmt.Fprintf(w, "<Upload><Key>%s</Key><UploadId>%s</UploadId><Initiated>%s</Initiated></Upload>", up.Key, up.UploadID,
				up.Initiated.Format(time.RFC3339Nano))
		}
		fmt.Fprint(w, "</ListMultipartUploadsResult>")
	case listParts:
		doc := fmt.Sprintf("<ListPartsResult><Key>%s</Key><UploadId>%s</UploadId>", key, id)
		for p, err := range s.ListParts(ctx, key, id) {
			if err != nil {
				return err
			}
			doc += fmt.Sprintf("<Part><PartNumber>%d</PartNumber><Size>%d</Size><ETag>&#34;%s&#34;</ETag>"+
				"<ChecksumSHA256>%s</ChecksumSHA256></Part>", p.PartNumber, p.Size, p.ETag, p.SHA256.Base64())
		}
		fmt.Fprint(w, doc+"</ListPartsResult>")
	default:
		return refuse(http.StatusNotImplemented, "NotImplemented", r.Method)
	}
	return err
}

func sumsOf(parts []Part) []SHA256 {
	sums := make([]SHA256, len(parts))
	for i, p := range parts {
		sums[i] = p.SHA256
	}
	return sums
}
