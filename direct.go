package maskstore

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
)

// DirectUploader puts bodies to signed URLs. It needs no credentials, and its zero value works. It may be used by many
// goroutines at a time, but not be changed then.
//
// What the network or the server's load prevents is tried again, with growing pauses or as long as the server asks to
// wait; a Body is opened for each attempt. Where the server says that it got another content or length, the Body is read
// once more: if it is what was declared, it was damaged on its way, and is sent again. Redirects are not followed: a signed
// request is for one server.
type DirectUploader struct {
	Client      *http.Client   // nil: one for each call, that gives up peers which stall for a minute
	Concurrency int            // how many of UploadAll at a time; 0: DefaultConcurrency
	MaxAttempts int            // how often a body is sent at most; 0: DefaultAttempts
	KeepGoing   bool           // UploadAll does the rest when one fails; else that stops all, and a PUT cut off may still land
	OnProgress  func(Progress) // called after each body of UploadAll, by one goroutine at a time; nil: not
}

// DefaultAttempts is how often a request to a signed URL is made at most, unless told otherwise: over some 20 seconds.
const DefaultAttempts = 8

// DirectResult is what became of an upload.
type DirectResult struct {
	ETag string // of the object, without quotes; empty where Unconfirmed
	// Unconfirmed: the answer to an attempt was lost, and the next one met 412. So the object is there, put by that
	// attempt or by someone else: without credentials that cannot be told. Group.Complete and Renew find out.
	Unconfirmed bool
}

// Upload puts body to a URL that is signed for a PUT: of a mask, of an object, or of a part as BeginParts and UploadPartURL
// sign it. Of a part the ETag is not needed.
//
// Errors: ErrInvalidArgument where the body is not what the URL is signed for, ErrChecksum where it is not what it says
// itself, or arrived damaged each time, ErrPreconditionFailed where another object lies at the key than when the URL was
// signed, ErrExpired, ErrAccessDenied, ErrClockSkew, ErrThrottled, ErrUnavailable, ErrBadResponse. The cause of a refusal is
// an *HTTPError. Group.Renew settles ErrExpired and ErrPreconditionFailed.
func (d *DirectUploader) Upload(ctx context.Context, u SignedURL, body Body) (DirectResult, error) {
	const op = "Upload"
	sum, err := checkUpload(u, &body)
	if err == nil {
		err = d.check()
	}
	if err != nil {
		return DirectResult{}, opError(op, "", nil, err)
	}
	client, done := d.client()
	defer done()
	result, err := d.upload(ctx, client, u, body, sum)
	return result, opError(op, "", nil, err)
}

// DirectItem is a body to put to a signed URL.
type DirectItem struct {
	Key  string // names it in ETags, errors and progress; each only once
	URL  SignedURL
	Body Body
}

// UploadAll puts the items, several at a time, and gives the ETag of each by its key, as Group.Complete takes them. It
// returns when nothing of it runs any more. An item without an error and without an ETag is Unconfirmed (see
// DirectResult) or, after the first error and without KeepGoing, was not put.
//
// Errors: those of Upload, for each item that failed (KeyErrors). Nothing is sent unless all items are right.
func (d *DirectUploader) UploadAll(ctx context.Context, items []DirectItem) (etags map[string]string, err error) {
	const op = "UploadAll"
	if err := d.check(); err != nil {
		return nil, opError(op, "", nil, err)
	}
	sums := make([]SHA256, len(items))
	seen := make(map[string]bool, len(items))
	for i, item := range items {
		if err := checkDirectKey(item.Key, seen); err != nil {
			return nil, opError(op, item.Key, nil, err)
		}
		if sums[i], err = checkUpload(item.URL, &item.Body); err != nil {
			return nil, opError(op, item.Key, nil, err)
		}
	}
	client, done := d.client()
	defer done()
	etags = make(map[string]string, len(items))
	var mu sync.Mutex // guards etags
	m := &meter{on: d.OnProgress, now: Progress{Total: len(items)}}
	err = forEach(ctx, op, len(items), d.Concurrency, d.KeepGoing, func(ctx context.Context, i int) error {
		item := items[i]
		result, err := d.upload(ctx, client, item.URL, item.Body, sums[i])
		err = opError(op, item.Key, nil, err)
		if result.ETag != "" {
			mu.Lock()
			etags[item.Key] = result.ETag
			mu.Unlock()
		}
		m.add(1, item.Body.Size, item.Key, err)
		return err
	})
	return etags, err
}

func (d *DirectUploader) check() error {
	if d.MaxAttempts < 0 {
		return inputError("MaxAttempts", fmt.Sprintf("%d is negative", d.MaxAttempts),
			fmt.Sprintf("1 or more, or 0 for %d", DefaultAttempts))
	}
	return checkConcurrency(d.Concurrency)
}

func checkDirectKey(key string, seen map[string]bool) error {
	switch {
	case key == "":
		return inputError("Key", "is empty", "a name for the item")
	case seen[key]:
		return inputError("Key", "is that of two items", "each key once")
	}
	seen[key] = true
	return nil
}

func checkURL(u SignedURL, method string) error {
	if u.Method != method || u.URL == "" {
		return inputError("SignedURL", "is "+cmp.Or(u.Method, "empty")+", not "+method, "one that is signed for a "+method)
	}
	return nil
}

// checkUpload refuses a body that the signature does not fit, and gives the checksum that the body must have.
func checkUpload(u SignedURL, body *Body) (sum SHA256, err error) {
	if err := checkURL(u, http.MethodPut); err != nil {
		return sum, err
	}
	if err := body.check(); err != nil {
		return sum, err
	}
	if u.ContentLength != 0 && body.Size != u.ContentLength {
		return sum, inputError("Body.Size", fmt.Sprintf("is %d, but the URL is signed for %d", body.Size, u.ContentLength),
			"the body that the URL was asked for")
	}
	bound := u.Header.Get("X-Amz-Checksum-Sha256")
	if bound == "" {
		return body.SHA256, nil
	}
	raw, err := base64.StdEncoding.DecodeString(bound)
	if err != nil || len(raw) != len(sum) {
		return sum, inputError("SignedURL.Header", "has a broken SHA-256", "the headers as the storage signed them")
	}
	sum = SHA256(raw)
	if !body.SHA256.IsZero() && body.SHA256 != sum {
		return sum, inputError("Body.SHA256", fmt.Sprintf("is %v, but the URL is signed for %v", body.SHA256, sum),
			"the body that the URL was asked for")
	}
	return sum, nil
}

// client gives a client that follows no redirects, and what ends it.
func (d *DirectUploader) client() (client *http.Client, done func()) {
	client, done = &http.Client{}, func() {}
	if d.Client != nil {
		*client = *d.Client
	} else if own := newTransport(max(d.Concurrency, DefaultConcurrency)); own != nil {
		client.Transport, done = own, own.CloseIdleConnections
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client, done
}

func (d *DirectUploader) upload(
	ctx context.Context, client *http.Client, u SignedURL, body Body, sum SHA256,
) (result DirectResult, err error) {
	maybeDone := false
	err = retry(ctx, u, d.MaxAttempts, func() *failure {
		etag, f := putOnce(ctx, client, u, body, sum)
		switch {
		case f == nil:
			result.ETag = etag
		case f.status == http.StatusPreconditionFailed && maybeDone:
			result.Unconfirmed = true
			return nil
		default:
			maybeDone = maybeDone || f.maybeDone
		}
		return f
	})
	return result, err
}

// putOnce makes one attempt.
func putOnce(ctx context.Context, client *http.Client, u SignedURL, body Body, sum SHA256) (etag string, f *failure) {
	content, err := body.open(ctx)
	if err != nil {
		return "", &failure{err: &Error{Err: err}}
	}
	defer content.end()
	content.r = newVerifier(content.r, body.Size, sum)
	req, err := u.Request(ctx, content)
	if err != nil {
		return "", &failure{err: err}
	}
	if req.ContentLength = body.Size; body.Size == 0 {
		req.Body = http.NoBody // else its length is unknown
	}
	resp, err := client.Do(req)
	content.Close() // the transport may still be reading
	switch {
	case err != nil && content.err != nil:
		return "", &failure{err: opError("", "", nil, content.err)}
	case err != nil:
		return "", noAnswer(u, err)
	}
	defer discard(resp)
	if resp.StatusCode/100 != 2 {
		body.SHA256 = sum
		return "", refused(u, resp).recheck(ctx, &body)
	}
	etag = strings.Trim(resp.Header.Get("ETag"), `"`)
	if etag == "" || checkETag(etag) != nil {
		return "", badAnswer(u, "has no usable ETag")
	}
	return etag, nil
}

// DirectDownloader gets the objects of signed URLs, and has DirectUploader's fields and ways.
type DirectDownloader DirectUploader

// DirectDownload is an object to get from a signed URL.
type DirectDownload struct {
	Key    string // names it in errors and progress
	URL    SignedURL
	Size   int64  // in bytes, else ErrChecksum; 0: any
	SHA256 SHA256 // else ErrChecksum; zero: any
	Sink   Sink   // where its content goes; called again from the beginning where an attempt broke off
}

// DownloadAll gets the items, several at a time, each into its Sink; Sinks are called concurrently. It returns when
// nothing of it runs any more, with what was got, in the items' order; what was not has the zero ObjectInfo. What breaks off
// is got again; what comes whole and is not of its Size and SHA256, since it was damaged or is another object, is the
// caller's to get again.
//
// Errors: ErrNotFound, ErrPreconditionFailed where the URL's If-Match does not hold, ErrChecksum, that of the Sink, and
// those of Upload, for each item that failed (KeyErrors).
func (d *DirectDownloader) DownloadAll(ctx context.Context, items []DirectDownload) ([]ObjectInfo, error) {
	const op = "DownloadAll"
	if err := (*DirectUploader)(d).check(); err != nil {
		return nil, opError(op, "", nil, err)
	}
	seen := make(map[string]bool, len(items))
	for _, item := range items {
		if err := item.check(seen); err != nil {
			return nil, opError(op, item.Key, nil, err)
		}
	}
	client, done := (*DirectUploader)(d).client()
	defer done()
	infos := make([]ObjectInfo, len(items))
	m := &meter{on: d.OnProgress, now: Progress{Total: len(items)}}
	err := forEach(ctx, op, len(items), d.Concurrency, d.KeepGoing, func(ctx context.Context, i int) error {
		item := items[i]
		err := retry(ctx, item.URL, d.MaxAttempts, func() (f *failure) {
			infos[i], f = item.getOnce(ctx, client)
			return f
		})
		err = opError(op, item.Key, nil, err)
		m.add(1, infos[i].Size, item.Key, err)
		return err
	})
	return infos, err
}

func (item *DirectDownload) check(seen map[string]bool) error {
	if err := checkDirectKey(item.Key, seen); err != nil {
		return err
	}
	if err := checkURL(item.URL, http.MethodGet); err != nil {
		return err
	}
	return checkSink(item.Size, item.Sink)
}

// getOnce makes one attempt.
func (item *DirectDownload) getOnce(ctx context.Context, client *http.Client) (ObjectInfo, *failure) {
	req, err := item.URL.Request(ctx, nil)
	if err != nil {
		return ObjectInfo{}, &failure{err: err}
	}
	req.Header.Set("Accept-Encoding", "identity") // else a proxy may change length and ETag
	resp, err := client.Do(req)
	if err != nil {
		return ObjectInfo{}, noAnswer(item.URL, err)
	}
	defer discard(resp)
	if resp.StatusCode != http.StatusOK {
		return ObjectInfo{}, refused(item.URL, resp)
	}
	modified, _ := http.ParseTime(resp.Header.Get("Last-Modified")) // zero where there is none
	info := ObjectInfo{
		Key:          item.Key,
		Size:         resp.ContentLength,
		ETag:         strings.Trim(resp.Header.Get("ETag"), `"`),
		LastModified: modified,
		ContentType:  resp.Header.Get("Content-Type"),
	}
	if info.Size < 0 {
		info.Size = item.Size
	}
	content := &countingReader{r: resp.Body, limit: math.MaxInt64}
	v := newVerifier(content, item.Size, item.SHA256)
	err = drainInto(item.Sink, info, v, item.Size)
	switch {
	case content.err != nil:
		return ObjectInfo{}, noAnswer(item.URL, content.err)
	case err != nil:
		return ObjectInfo{}, &failure{err: opError("", "", nil, err)}
	}
	info.Size = v.read
	return info, nil
}
