package maskstore

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// serveGet answers GET and HEAD. http.ServeContent would answer several ranges at once, and errors in plain text.
func (m *Memory) serveGet(w http.ResponseWriter, r *http.Request, key string) error {
	object := m.find(key)
	if object == nil {
		return errNoSuchKey
	}
	info := object.info
	h := w.Header()
	h.Set("ETag", quoteETag(info.ETag))
	h.Set("Last-Modified", info.LastModified.Format(http.TimeFormat))
	switch getCondition(r.Header, info) {
	case http.StatusPreconditionFailed:
		return errPrecondition
	case http.StatusNotModified:
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	status, data := http.StatusOK, object.data
	if asked := r.Header.Get("Range"); asked != "" && ifRange(r.Header, h) {
		switch from, to, ok := parseRange(asked, info.Size); {
		case ok && from == to:
			h.Set("Content-Range", fmt.Sprintf("bytes */%d", info.Size))
			return refuse(http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The requested range is not satisfiable")
		case ok:
			status, data = http.StatusPartialContent, data[from:to]
			h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, info.Size))
		}
	}
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Type", info.ContentType)
	query := r.URL.Query()
	for _, name := range []string{"Content-Type", "Content-Disposition", "Content-Encoding", "Cache-Control"} {
		if value := query.Get("response-" + strings.ToLower(name)); value != "" {
			h.Set(name, value)
		}
	}
	if r.Header.Get("x-amz-checksum-mode") == "ENABLED" && status == http.StatusOK && !info.SHA256.IsZero() {
		h.Set("x-amz-checksum-sha256", info.SHA256.Base64())
	}
	h.Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	if r.Method == http.MethodGet {
		w.Write(data) // an error here is the client's that has gone
	}
	return nil
}

// getCondition gives the status that the conditions of a GET call for, by the precedence of RFC 9110, section 13.2.2.
func getCondition(h http.Header, info ObjectInfo) int {
	modifiedAfter := func(name string) (after, ok bool) {
		t, err := http.ParseTime(h.Get(name))
		return info.LastModified.Truncate(time.Second).After(t), err == nil
	}
	if match := h.Get("If-Match"); match != "" {
		if !matchesETag(match, info.ETag) {
			return http.StatusPreconditionFailed
		}
	} else if after, ok := modifiedAfter("If-Unmodified-Since"); ok && after {
		return http.StatusPreconditionFailed
	}
	if none := h.Get("If-None-Match"); none != "" {
		if matchesETag(none, info.ETag) {
			return http.StatusNotModified
		}
	} else if after, ok := modifiedAfter("If-Modified-Since"); ok && !after {
		return http.StatusNotModified
	}
	return http.StatusOK
}

func matchesETag(header, etag string) bool {
	for candidate := range strings.SplitSeq(header, ",") {
		candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
		if candidate == "*" || strings.Trim(candidate, `"`) == etag {
			return true
		}
	}
	return false
}

// ifRange reports whether the client's part is of what the answer is about; if not it wants the whole.
func ifRange(request, answer http.Header) bool {
	held := request.Get("If-Range")
	return held == "" || held == answer.Get("ETag") || held == answer.Get("Last-Modified")
}

// parseRange gives the bytes that a Range header asks for; from == to means that there are none. What is not one range of
// bytes is not ok, and S3 then answers with the whole.
func parseRange(header string, size int64) (from, to int64, ok bool) {
	spec, isBytes := strings.CutPrefix(header, "bytes=")
	first, last, isRange := strings.Cut(strings.TrimSpace(spec), "-")
	if !isBytes || !isRange {
		return 0, 0, false
	}
	if first == "" {
		n, err := strconv.ParseUint(last, 10, 63)
		return size - min(int64(n), size), size, err == nil
	}
	start, err := strconv.ParseUint(first, 10, 63)
	if err != nil {
		return 0, 0, false
	}
	from = min(int64(start), size)
	if last == "" {
		return from, size, true
	}
	end, err := strconv.ParseUint(last, 10, 63)
	if err != nil || end < start {
		return 0, 0, false
	}
	return from, min(int64(end), size-1) + 1, true
}
