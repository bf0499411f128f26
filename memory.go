package maskstore

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pacs-extension/maskstore/internal/sigv4"
)

// Memory is a bucket in this process's memory that obeys S3's rules, for tests, development and demonstrations. Its
// zero value stores; it signs once BaseURL is set, and as an http.Handler, served at the root of BaseURL, it answers the
// requests that it has signed, refusing what S3 refuses.
//
// It implements ObjectStorage, Copier and MultipartStorage. It keeps the SHA-256 of every object, or of the parts that
// it was made of: of such a one S3 has no checksum of the whole either. Conditions are judged when the body has arrived.
// Bodies are copied in and out, and held in memory whole. The fields must not be changed once it is in use, nor a Memory
// be copied.
//
// Its credentials are random, and live as long as it does: a signed URL works at no other Memory.
type Memory struct {
	Bucket     string           // stands in URLs; empty: "masks"
	BaseURL    string           // the origin that clients see: scheme, host and port, no path
	AllowHTTP  bool             // let BaseURL be plain http on another host than a loopback one
	Now        func() time.Time // the server's clock; nil: time.Now
	DefaultTTL time.Duration    // of signed URLs; 0: the package's DefaultTTL
	MaxTTL     time.Duration    // of signed URLs; 0: DefaultMaxTTL

	mu      sync.RWMutex // never held while a caller's code runs
	objects index[memoryObject]
	uploads map[string]*memoryUpload // by ID

	keys        sync.Once // makes credentials
	credentials sigv4.Credentials
	signer      sigv4.Signer
}

var (
	_ ObjectStorage    = (*Memory)(nil)
	_ Copier           = (*Memory)(nil)
	_ MultipartStorage = (*Memory)(nil)
)

// memoryObject is kept by value, so that a listing reads one stretch of memory. Its data never changes.
type memoryObject struct {
	info  ObjectInfo
	data  []byte
	parts []Part // as Object has them; nil: put at once
}

// Format prints the bucket for every verb, and neither credentials nor content.
func (m *Memory) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "Memory(%s)", m.bucket()) }

func (m *Memory) bucket() string { return cmp.Or(m.Bucket, "masks") }

func (m *Memory) now() time.Time {
	if m.Now != nil {
		return m.Now()
	}
	return time.Now()
}

// Put stores an object. It holds all of body in memory, whatever its length.
func (m *Memory) Put(ctx context.Context, key string, body io.Reader, opts *PutOptions) (ObjectInfo, error) {
	o := or(opts)
	if err := checkPut(key, body, o); err != nil {
		return ObjectInfo{}, opError("Put", key, nil, err)
	}
	data, err := io.ReadAll(newVerifier(&contextReader{ctx: ctx, r: body}, o.Size, o.SHA256))
	if err != nil {
		return ObjectInfo{}, opError("Put", key, nil, err)
	}
	object := m.newObject(key, cmp.Or(o.ContentType, typeByName(key)), data)
	info, err := m.write(ctx, object, condition{o.IfMatch, o.NoOverwrite})
	return info, conditionError("Put", key, err)
}

// newObject makes an object of data, which it keeps.
func (m *Memory) newObject(key, contentType string, data []byte) *memoryObject {
	return &memoryObject{info: ObjectInfo{
		Key: key, Size: int64(len(data)), ETag: md5Hex(data), LastModified: m.now().UTC().Round(0),
		ContentType: contentType, SHA256: SumSHA256(data),
	}, data: data}
}

func md5Hex(data []byte) string {
	sum := md5.Sum(data)
	return hex.EncodeToString(sum[:])
}

// condition says what must lie at a key for a write to happen.
type condition struct {
	ifMatch     string
	noOverwrite bool
}

var (
	errExists    = errors.New("an object lies at the key")
	errOtherETag = errors.New("the object has another ETag")
	errAbsent    = errors.New("no object lies at the key")
)

func (c condition) judge(old *memoryObject) error {
	switch {
	case c.noOverwrite && old != nil:
		return errExists
	case c.ifMatch == "":
		return nil
	case old == nil:
		return errAbsent
	case old.info.ETag != c.ifMatch:
		return errOtherETag
	}
	return nil
}

// write judges the condition and puts the object in place, in one step. Its errors are the context's and judge's.
func (m *Memory) write(ctx context.Context, object *memoryObject, c condition) (ObjectInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.place(ctx, object, c)
}

// place is write for those who hold the lock.
func (m *Memory) place(ctx context.Context, object *memoryObject, c condition) (ObjectInfo, error) {
	if err := ctx.Err(); err != nil {
		return ObjectInfo{}, err
	}
	if err := c.judge(m.objects.get(object.info.Key)); err != nil {
		return ObjectInfo{}, err
	}
	m.objects.set(object.info.Key, *object)
	return object.info, nil
}

// conditionError gives an error of write its kind.
func conditionError(op, key string, err error) error {
	if err == nil {
		return nil
	}
	return opError(op, key, ErrPreconditionFailed, err)
}

// find gives the object at key, or nil.
func (m *Memory) find(key string) *memoryObject {
	m.mu.RLock()
	defer m.mu.RUnlock()
	object := m.objects.get(key)
	if object == nil {
		return nil
	}
	clone := *object
	return &clone
}

// existing gives the object at key, or an error.
func (m *Memory) existing(ctx context.Context, key string) (*memoryObject, error) {
	if err := ValidKey(key); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	object := m.find(key)
	if object == nil {
		return nil, &Error{Key: key, Kind: ErrNotFound}
	}
	return object, nil
}

// Get opens an object as it is now: what is written later does not change what Body gives. Verify
// has nothing to do: the bytes come over no wire.
func (m *Memory) Get(ctx context.Context, key string, opts *GetOptions) (*Object, error) {
	o := or(opts)
	if err := o.check(); err != nil {
		return nil, opError("Get", key, nil, err)
	}
	object, err := m.existing(ctx, key)
	switch {
	case err != nil:
		return nil, opError("Get", key, nil, err)
	case o.IfMatch != "" && o.IfMatch != object.info.ETag:
		return nil, opError("Get", key, ErrPreconditionFailed, errOtherETag)
	case o.Offset > 0 && o.Offset >= object.info.Size:
		return nil, opError("Get", key, ErrInvalidRange, fmt.Errorf("offset %d of %d bytes", o.Offset, object.info.Size))
	}
	data := object.data[o.Offset:]
	if o.Length > 0 {
		data = data[:min(o.Length, int64(len(data)))]
	}
	content := &memoryReader{contextReader: contextReader{ctx: ctx, r: bytes.NewReader(data)}}
	body := &errorBody{content, content, "Get", key}
	opened := &Object{ObjectInfo: object.info, Body: body}
	if (o.Verify || o.Offset == 0 && o.Length == 0) && o.SHA256.IsZero() {
		opened.Parts = slices.Clone(object.parts)
	}
	if int64(len(data)) == object.info.Size {
		sum := o.SHA256
		if sum.IsZero() {
			sum = object.info.SHA256
		}
		body.Reader = newVerifier(content, object.info.Size, sum)
	}
	return opened, nil
}

// memoryReader gives an object's bytes until it is closed. It has no method that could hand out the bytes themselves.
type memoryReader struct {
	contextReader
	closed atomic.Bool
}

func (r *memoryReader) Read(p []byte) (int, error) {
	if r.closed.Load() {
		return 0, fs.ErrClosed
	}
	return r.contextReader.Read(p)
}

func (r *memoryReader) Close() error {
	r.closed.Store(true)
	return nil
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

// contextReader is a reader whose reads fail once ctx has ended, unless they have come to its end before.
type contextReader struct {
	ctx   context.Context
	r     io.Reader
	atEnd bool
}

func (r *contextReader) Read(p []byte) (int, error) {
	if r.atEnd {
		return 0, io.EOF
	}
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.r.Read(p)
	r.atEnd = err == io.EOF
	return n, err
}

// Stat describes an object.
func (m *Memory) Stat(ctx context.Context, key string) (ObjectInfo, error) {
	object, err := m.existing(ctx, key)
	if err != nil {
		return ObjectInfo{}, opError("Stat", key, nil, err)
	}
	return object.info, nil
}

// Delete deletes objects: all of them, or where a key is invalid none.
func (m *Memory) Delete(ctx context.Context, keys ...string) error {
	var errs []error
	for _, key := range keys {
		if err := ValidKey(key); err != nil {
			errs = append(errs, opError("Delete", key, nil, err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return opError("Delete", "", nil, err)
	}
	for _, key := range keys {
		m.objects.delete(key)
	}
	return nil
}

// Copy copies an object. The copy of one that was made of parts is in one piece: its ETag is another, and it has a
// SHA-256. As S3 does, it refuses to copy an object to itself.
func (m *Memory) Copy(ctx context.Context, src, dst string, opts *CopyOptions) (ObjectInfo, error) {
	o := or(opts)
	err := cmp.Or(ValidKey(dst), checkETag(o.IfMatch))
	if err == nil && src == dst {
		err = inputError("dst", "is src", "another key")
	}
	if err != nil {
		return ObjectInfo{}, opError("Copy", dst, nil, err)
	}
	object, err := m.existing(ctx, src)
	switch {
	case err != nil:
		return ObjectInfo{}, opError("Copy", src, nil, err)
	case o.IfMatch != "" && o.IfMatch != object.info.ETag:
		return ObjectInfo{}, opError("Copy", src, ErrPreconditionFailed, errOtherETag)
	case object.info.Size > MaxPutSize:
		return ObjectInfo{}, opError("Copy", src, ErrTooLarge, fmt.Errorf("%d bytes", object.info.Size))
	}
	info, err := m.write(ctx, m.newObject(dst, object.info.ContentType, object.data), condition{})
	return info, opError("Copy", dst, nil, err)
}

// List lists a page at a time: what changes while it is ranged over is listed or not, as it lies ahead or behind.
func (m *Memory) List(ctx context.Context, prefix string, opts *ListOptions) iter.Seq2[ObjectInfo, error] {
	o := *or(opts)
	return func(yield func(ObjectInfo, error) bool) {
		fail := func(err error) { yield(ObjectInfo{}, opError("List", prefix, nil, err)) }
		if err := cmp.Or(ValidPrefix(prefix), o.check()); err != nil {
			fail(err)
			return
		}
		from := max(prefix, o.firstKey(prefix))
		var buffer [memoryPage]ObjectInfo
		for left := o.Limit; ; {
			if err := ctx.Err(); err != nil {
				fail(err)
				return
			}
			size := len(buffer)
			if o.Limit > 0 {
				size = min(size, left)
			}
			page, next := m.page(buffer[:0:size], prefix, o.Delimiter, from)
			for _, info := range page {
				if !yield(info, nil) {
					return
				}
				if err := ctx.Err(); err != nil {
					fail(err)
					return
				}
			}
			if left -= len(page); next == "" || left == 0 {
				return
			}
			from = next
		}
	}
}

const memoryPage = 256 // entries: on the stack, and enough for most groups

// page fills a page with the entries under prefix from a key on, and gives the key that the next page begins with, or
// "" after the last.
func (m *Memory) page(page []ObjectInfo, prefix, delimiter, from string) (filled []ObjectInfo, next string) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	end := m.objects.seek(afterAll(prefix))
	for p := m.objects.seek(from); p.before(end); {
		it := m.objects.at(p)
		if len(page) == cap(page) {
			return page, it.key
		}
		if delimiter != "" {
			if dir, ok := commonPrefix(it.key, prefix, delimiter); ok {
				page = append(page, ObjectInfo{Key: dir, IsPrefix: true})
				p = m.objects.seek(afterAll(dir))
				continue
			}
		}
		info := it.value.info
		info.ContentType, info.SHA256 = "", SHA256{}
		page = append(page, info)
		p = m.objects.next(p)
	}
	return page, ""
}
