package maskstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"strings"

	"github.com/pacs-extension/maskstore/internal/sigv4"
)

// maxListing bounds what is read of a page: 1000 keys of 1024 bytes, each byte escaped to three, and what is said of them.
const maxListing = 8 << 20

// List yields the objects under prefix, with a request for each 1000.
func (s *S3) List(ctx context.Context, prefix string, opts *ListOptions) iter.Seq2[ObjectInfo, error] {
	o := *or(opts)
	return func(yield func(ObjectInfo, error) bool) {
		err := cmp.Or(ValidPrefix(prefix), o.check())
		first, token, left := "", "", o.Limit
		if err == nil {
			first = o.firstKey(prefix)
		}
		var last ObjectInfo
		for more := true; more && err == nil; {
			var page *listing
			if page, err = s.listPage(ctx, prefix, &o, token, left); err != nil {
				break
			}
			token, more = page.next, page.isTruncated
			for _, info := range page.entries {
				if info.IsPrefix && last.IsPrefix && info.Key == last.Key {
					continue // a common prefix that two pages have keys under
				}
				if !strings.HasPrefix(info.Key, prefix) || last.Key != "" && info.Key <= last.Key {
					err = &Error{Kind: ErrBadResponse, Err: fmt.Errorf("the listing of %q gives %q after %q", prefix, info.Key, last.Key)}
					break
				}
				if last = info; info.Key < first {
					continue // such as a common prefix that StartAfter lies in
				}
				if !yield(info, nil) {
					return
				}
				if left--; left == 0 {
					return
				}
			}
		}
		if err != nil {
			yield(ObjectInfo{}, opError("List", prefix, nil, err))
		}
	}
}

func (s *S3) listPage(ctx context.Context, prefix string, o *ListOptions, token string, limit int) (*listing, error) {
	var body []byte
	q := &request{method: http.MethodGet, status: http.StatusOK, answer: &body, query: []sigv4.Param{
		{Name: "list-type", Value: "2"},
		{Name: "encoding-type", Value: "url"}, // else one control character in any key breaks the answer
		{Name: "prefix", Value: prefix},
	}}
	for _, p := range []sigv4.Param{{Name: "delimiter", Value: o.Delimiter}, {Name: "continuation-token", Value: token}} {
		if p.Value != "" {
			q.query = append(q.query, p)
		}
	}
	if limit > 0 && limit < listPage {
		q.query = append(q.query, sigv4.Param{Name: "max-keys", Value: strconv.Itoa(limit)})
	}
	if o.StartAfter != "" && token == "" {
		after := o.StartAfter
		if dir, ok := commonPrefix(after, prefix, o.Delimiter); ok {
			after = dir + "\U0010FFFF" // past what lies under it
		}
		q.query = append(q.query, sigv4.Param{Name: "start-after", Value: after})
	}
	if _, _, err := s.do(ctx, q); err != nil {
		return nil, err
	}
	page, err := parseListing(body)
	if err != nil {
		return nil, &Error{Kind: ErrBadResponse, Err: fmt.Errorf("the listing cannot be read: %w", err)}
	}
	if page.isTruncated && (page.next == "" || page.next == token) {
		return nil, &Error{Kind: ErrBadResponse, Err: errors.New("the listing is cut and does not say where it goes on")}
	}
	return page, nil
}
