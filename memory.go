package maskstore

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/pacs-extension/maskstore/internal/sigv4"
)

// Memory is an ObjectStorage in this process's memory, by the rules of S3. Its zero value stores; with BaseURL it signs
// URLs as well, which it answers as an http.Handler. It must not be copied after its first use.
//
// It implements Copier and MultipartStorage.
type Memory struct {
	Bucket string // the first segment of its URLs' paths; empty: "memory"
	// BaseURL is the origin under which clients reach the Memory, served at the root: scheme and host, no path. Its
	// URLs are BaseURL/Bucket/key. Empty: signing is an error.
	BaseURL    string
	Now        func() time.Time // the clock; nil: time.Now
	DefaultTTL time.Duration    // of signed URLs; 0: DefaultTTL
	MaxTTL     time.Duration    // of signed URLs; 0: DefaultMaxTTL

	signer      sigv4.Signer
	makeKeys    sync.Once
	credentials *sigv4.Credentials // random; a pointer, since fmt prints no more of it than an address

	mu      sync.RWMutex // never held while a caller's reader is read
	objects map[string]*memoryObject
	keys    keyIndex
	uploads map[string]*memoryUpload // by upload ID
}

// memoryObject is never changed; a write puts another in its place.
type memoryObject struct {
	ObjectInfo
	data []byte
}

var (
	_ ObjectStorage    = (*Memory)(nil)
	_ Copier           = (*Memory)(nil)
	_ MultipartStorage = (*Memory)(nil)
)

// Format prints bucket and origin for every verb: fmt would print the credentials too.
func (m *Memory) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "memory bucket %s at %s", m.bucket(), m.BaseURL)
}

func (m *Memory) now() time.Time {
	if m.Now != nil {
		return m.Now()
	}
	return time.Now()
}

// Put stores all of body, or nothing. It reads body to its end before it judges the conditions, as servers do.
func (m *Memory) Put(ctx context.Context, key string, body io.Reader, opts *PutOptions) (ObjectInfo, error) {
	info, err := m.put(ctx, key, body, or(opts))
	return info, opError("Put", key, nil, err)
}

func (m *Memory) put(ctx context.Context, key string, body io.Reader, o *PutOptions) (ObjectInfo, error) {
	if err := cmp.Or(ValidKey(key), o.check()); err != nil {
		return ObjectInfo{}, err
	}
	data, err := readBody(ctx, body, o.Size, o.SHA256)
	if err != nil {
		return ObjectInfo{}, err
	}
	etag := md5.Sum(data)
	return m.store(key, &memoryObject{ObjectInfo{
		ETag: hex.EncodeToString(etag[:]), ContentType: cmp.Or(o.ContentType, typeByName(key)), SHA256: SumSHA256(data),
	}, data}, o.IfMatch, o.NoOverwrite)
}

// presize is the most that is allocated for a body before it is there.
const presize = 16 << 20

// readBody reads all of a body, which must be what size and sum say.
func readBody(ctx context.Context, body io.Reader, size int64, sum SHA256) ([]byte, error) {
	var buf bytes.Buffer
	buf.Grow(int(min(size, presize)) + bytes.MinRead)
	_, err := buf.ReadFrom(newVerifier(&contextReader{ctx, body}, size, sum))
	return buf.Bytes(), err
}

// contextReader is a reader whose reads end with ctx.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// store puts obj in place of what lies at key, if the conditions hold.
func (m *Memory) store(key string, obj *memoryObject, ifMatch string, noOverwrite bool) (ObjectInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.objects[key]
	switch {
	case noOverwrite && old != nil:
		return ObjectInfo{}, &Error{Kind: ErrPreconditionFailed}
	case ifMatch != "" && old == nil:
		return ObjectInfo{}, &Error{Kind: ErrPreconditionFailed, Err: ErrNotFound}
	case ifMatch != "" && ifMatch != old.ETag:
		return ObjectInfo{}, &Error{Kind: ErrPreconditionFailed}
	}
	obj.Key, obj.Size, obj.LastModified = key, int64(len(obj.data)), m.now().UTC()
	if m.objects == nil {
		m.objects = make(map[string]*memoryObject)
	}
	m.objects[key] = obj
	m.keys.add(key)
	return obj.ObjectInfo, nil
}

// lookup gives the object at key.
func (m *Memory) lookup(ctx context.Context, key, ifMatch string) (*memoryObject, error) {
	if err := cmp.Or(ValidKey(key), ctx.Err()); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	obj := m.objects[key]
	switch {
	case obj == nil:
		return nil, &Error{Kind: ErrNotFound}
	case ifMatch != "" && ifMatch != obj.ETag:
		return nil, &Error{Kind: ErrPreconditionFailed}
	}
	return obj, nil
}

// Get opens the object.
func (m *Memory) Get(ctx context.Context, key string, opts *GetOptions) (*Object, error) {
	o := or(opts)
	if err := o.check(); err != nil {
		return nil, opError("Get", key, nil, err)
	}
	obj, err := m.lookup(ctx, key, o.IfMatch)
	if err == nil && o.Offset > 0 && o.Offset >= obj.Size {
		err = &Error{Kind: ErrInvalidRange, Err: fmt.Errorf("offset %d of an object of %d bytes", o.Offset, obj.Size)}
	}
	if err != nil {
		return nil, opError("Get", key, nil, err)
	}
	data := obj.data[o.Offset:]
	if o.Length > 0 {
		data = data[:min(o.Length, int64(len(data)))]
	}
	var body io.Reader = &contextReader{ctx, bytes.NewReader(data)}
	if !o.SHA256.IsZero() {
		body = newVerifier(body, obj.Size, o.SHA256)
	}
	return &Object{obj.ObjectInfo, &errorBody{body, io.NopCloser(nil), "Get", key}}, nil
}

// errorBody is an object's body whose errors are *Error.
type errorBody struct {
	io.Reader
	io.Closer
	op, key string
}

func (b *errorBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = opError(b.op, b.key, nil, err)
	}
	return n, err
}

// Stat describes the object.
func (m *Memory) Stat(ctx context.Context, key string) (ObjectInfo, error) {
	obj, err := m.lookup(ctx, key, "")
	if err != nil {
		return ObjectInfo{}, opError("Stat", key, nil, err)
	}
	return obj.ObjectInfo, nil
}

// Delete deletes objects.
func (m *Memory) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := ValidKey(key); err != nil {
			return opError("Delete", key, nil, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return opError("Delete", "", nil, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		delete(m.objects, key)
		m.keys.remove(key)
	}
	return nil
}

// Copy copies src to dst.
func (m *Memory) Copy(ctx context.Context, src, dst string, opts *CopyOptions) (ObjectInfo, error) {
	o := or(opts)
	if err := cmp.Or(ValidKey(dst), checkETag(o.IfMatch)); err != nil {
		return ObjectInfo{}, opError("Copy", dst, nil, err)
	}
	obj, err := m.lookup(ctx, src, o.IfMatch)
	if err == nil && obj.Size > MaxPutSize {
		err = &Error{Kind: ErrTooLarge, Err: fmt.Errorf("a copy of %d bytes; 5 GiB is the most", obj.Size)}
	}
	if err != nil {
		return ObjectInfo{}, opError("Copy", src, nil, err)
	}
	etag := md5.Sum(obj.data)
	info, err := m.store(dst, &memoryObject{ObjectInfo{
		ETag: hex.EncodeToString(etag[:]), ContentType: obj.ContentType, SHA256: SumSHA256(obj.data),
	}, obj.data}, "", false)
	return info, opError("Copy", dst, nil, err)
}

// listPage is how many entries List gathers under the lock at a time, as S3 does with a request.
const listPage = 1000

// List yields the objects under prefix. What is put or deleted meanwhile may or may not be among them.
func (m *Memory) List(ctx context.Context, prefix string, opts *ListOptions) iter.Seq2[ObjectInfo, error] {
	o := *or(opts)
	return func(yield func(ObjectInfo, error) bool) {
		err := cmp.Or(ValidPrefix(prefix), o.check())
		left, start := o.Limit, max(prefix, o.firstKey(prefix))
		for more := true; more && err == nil; {
			if err = ctx.Err(); err != nil {
				break
			}
			n := listPage
			if o.Limit > 0 {
				n = min(n, left)
			}
			var page []ObjectInfo
			page, start, more = m.page(prefix, start, o.Delimiter, n)
			for _, info := range page {
				if !yield(info, nil) {
					return
				}
			}
			if left -= len(page); o.Limit > 0 && left == 0 {
				return
			}
		}
		if err != nil {
			yield(ObjectInfo{}, opError("List", prefix, nil, err))
		}
	}
}

// firstKey gives the least key that can come after StartAfter.
func (o *ListOptions) firstKey(prefix string) string {
	if o.StartAfter == "" {
		return ""
	}
	if dir, ok := commonPrefix(o.StartAfter, prefix, o.Delimiter); ok {
		return afterAll(dir)
	}
	return o.StartAfter + "\x00"
}

// commonPrefix gives the common prefix that a listing of prefix rolls key up to, if any.
func commonPrefix(key, prefix, delimiter string) (string, bool) {
	rest, ok := strings.CutPrefix(key, prefix)
	i := strings.IndexByte(rest, '/')
	if !ok || i < 0 || delimiter == "" {
		return "", false
	}
	return key[:len(prefix)+i+1], true
}

// afterAll gives the least key that comes after all that begin with dir, which ends in a slash.
func afterAll(dir string) string { return dir[:len(dir)-1] + string('/'+1) }

// page gives up to n entries from start on, and where the next page starts, if there may be one.
func (m *Memory) page(prefix, start, delimiter string, n int) (page []ObjectInfo, next string, more bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for len(page) < n {
		key, ok := m.keys.from(start)
		if !ok || !strings.HasPrefix(key, prefix) {
			return page, "", false
		}
		if dir, ok := commonPrefix(key, prefix, delimiter); ok {
			page = append(page, ObjectInfo{Key: dir, IsPrefix: true})
			start = afterAll(dir)
			continue
		}
		info := m.objects[key].ObjectInfo
		info.ContentType, info.SHA256 = "", SHA256{}
		page = append(page, info)
		start = key + "\x00"
	}
	return page, start, true
}
