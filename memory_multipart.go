package maskstore

import (
	"cmp"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// memoryUpload is an open multipart upload.
type memoryUpload struct {
	MultipartUpload
	contentType string
	parts       map[int]*memoryPart
}

type memoryPart struct {
	Part
	data []byte
}

var errNoSuchUpload = &Error{Kind: ErrNotFound, Err: errors.New("there is no such upload of the key")}

// upload gives an open upload. It must be called under the lock.
func (m *Memory) upload(key, uploadID string) (*memoryUpload, error) {
	if up := m.uploads[uploadID]; up != nil && up.Key == key {
		return up, nil
	}
	return nil, errNoSuchUpload
}

// CreateMultipartUpload begins an upload.
func (m *Memory) CreateMultipartUpload(ctx context.Context, key string, opts *PutOptions) (string, error) {
	const op = "CreateMultipartUpload"
	o := or(opts)
	if err := cmp.Or(ValidKey(key), o.check(), ctx.Err()); err != nil {
		return "", opError(op, key, nil, err)
	}
	up := &memoryUpload{MultipartUpload{key, rand.Text(), m.now().UTC()}, cmp.Or(o.ContentType, typeByName(key)), map[int]*memoryPart{}}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.uploads == nil {
		m.uploads = make(map[string]*memoryUpload)
	}
	m.uploads[up.UploadID] = up
	return up.UploadID, nil
}

// UploadPart stores one part.
func (m *Memory) UploadPart(ctx context.Context, key, uploadID string, partNumber int, body Body) (Part, error) {
	const op = "UploadPart"
	if err := checkPart(key, partNumber, &body); err != nil {
		return Part{}, opError(op, key, nil, err)
	}
	data, err := readAll(ctx, body)
	if err != nil {
		return Part{}, opError(op, key, nil, err)
	}
	etag := md5.Sum(data)
	part := &memoryPart{Part{partNumber, int64(len(data)), hex.EncodeToString(etag[:]), SumSHA256(data)}, data}
	m.mu.Lock()
	defer m.mu.Unlock()
	up, err := m.upload(key, uploadID)
	if err != nil {
		return Part{}, opError(op, key, nil, err)
	}
	up.parts[partNumber] = part
	return part.Part, nil
}

func readAll(ctx context.Context, body Body) ([]byte, error) {
	r, err := body.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readBody(ctx, r, body.Size, body.SHA256)
}

func checkPart(key string, partNumber int, body *Body) error {
	if partNumber < 1 || partNumber > MaxPartNumber {
		return inputError("partNumber", fmt.Sprintf("is %d", partNumber), fmt.Sprintf("1 to %d", MaxPartNumber))
	}
	if body.Size > MaxPartSize {
		return inputError("Body.Size", fmt.Sprintf("is %d", body.Size), "at most 5 GiB")
	}
	return cmp.Or(ValidKey(key), body.check())
}

// ListParts yields the parts that are stored.
func (m *Memory) ListParts(ctx context.Context, key, uploadID string) iter.Seq2[Part, error] {
	return func(yield func(Part, error) bool) {
		parts, err := m.listParts(ctx, key, uploadID)
		if err != nil {
			yield(Part{}, opError("ListParts", key, nil, err))
			return
		}
		for _, part := range parts {
			if !yield(part.Part, nil) {
				return
			}
		}
	}
}

func (m *Memory) listParts(ctx context.Context, key, uploadID string) ([]*memoryPart, error) {
	if err := cmp.Or(ValidKey(key), ctx.Err()); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	up, err := m.upload(key, uploadID)
	if err != nil {
		return nil, err
	}
	byNumber := func(a, b *memoryPart) int { return cmp.Compare(a.PartNumber, b.PartNumber) }
	return slices.SortedFunc(maps.Values(up.parts), byNumber), nil
}

// CompleteMultipartUpload makes the object of the parts given. As with S3, its ETag is no MD5 of the content and it has no
// SHA-256 of the whole.
func (m *Memory) CompleteMultipartUpload(ctx context.Context, key, uploadID string, parts []Part, opts *PutOptions) (ObjectInfo, error) {
	info, err := m.completeUpload(ctx, key, uploadID, parts, or(opts))
	return info, opError("CompleteMultipartUpload", key, nil, err)
}

func (m *Memory) completeUpload(ctx context.Context, key, uploadID string, parts []Part, o *PutOptions) (ObjectInfo, error) {
	if err := cmp.Or(ValidKey(key), o.check(), checkParts(parts), ctx.Err()); err != nil {
		return ObjectInfo{}, err
	}
	obj, err := m.assemble(key, uploadID, parts)
	if err != nil {
		return ObjectInfo{}, err
	}
	info, err := m.store(key, obj, o.IfMatch, o.NoOverwrite)
	if err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.uploads, uploadID)
	}
	return info, err
}

// checkParts refuses parts that are none, or not in order.
func checkParts(parts []Part) error {
	if len(parts) == 0 {
		return inputError("parts", "are none", "at least one")
	}
	for i, part := range parts {
		if i > 0 && part.PartNumber <= parts[i-1].PartNumber {
			return inputError(fmt.Sprintf("parts[%d].PartNumber", i), fmt.Sprintf("%d comes after %d", part.PartNumber, parts[i-1].PartNumber), "the parts in order")
		}
	}
	return nil
}

// assemble gives the object that the parts make.
func (m *Memory) assemble(key, uploadID string, parts []Part) (*memoryObject, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	up, err := m.upload(key, uploadID)
	if err != nil {
		return nil, err
	}
	var data, sums []byte
	for i, part := range parts {
		stored := up.parts[part.PartNumber]
		switch {
		case stored == nil || stored.ETag != part.ETag:
			return nil, inputError(fmt.Sprintf("parts[%d]", i), "is not the one stored", "its number and ETag as UploadPart gave them")
		case i < len(parts)-1 && stored.Size < MinPartSize:
			return nil, inputError(fmt.Sprintf("parts[%d]", i), fmt.Sprintf("has %d bytes", stored.Size), "at least 5 MiB in all but the last")
		}
		sum := md5.Sum(stored.data)
		data, sums = append(data, stored.data...), append(sums, sum[:]...)
	}
	etag := md5.Sum(sums)
	return &memoryObject{ObjectInfo{
		ETag: fmt.Sprintf("%x-%d", etag, len(parts)), ContentType: up.contentType,
	}, data}, nil
}

// AbortMultipartUpload ends an upload and deletes its parts.
func (m *Memory) AbortMultipartUpload(ctx context.Context, key, uploadID string) error {
	const op = "AbortMultipartUpload"
	if err := cmp.Or(ValidKey(key), ctx.Err()); err != nil {
		return opError(op, key, nil, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.upload(key, uploadID); err != nil {
		return opError(op, key, nil, err)
	}
	delete(m.uploads, uploadID)
	return nil
}

// ListMultipartUploads yields the open uploads of keys that begin with prefix, by key and upload ID.
func (m *Memory) ListMultipartUploads(ctx context.Context, prefix string) iter.Seq2[MultipartUpload, error] {
	return func(yield func(MultipartUpload, error) bool) {
		if err := cmp.Or(ValidPrefix(prefix), ctx.Err()); err != nil {
			yield(MultipartUpload{}, opError("ListMultipartUploads", prefix, nil, err))
			return
		}
		for _, up := range m.openUploads(prefix) {
			if !yield(up, nil) {
				return
			}
		}
	}
}

func (m *Memory) openUploads(prefix string) []MultipartUpload {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var open []MultipartUpload
	for _, up := range m.uploads {
		if strings.HasPrefix(up.Key, prefix) {
			open = append(open, up.MultipartUpload)
		}
	}
	slices.SortFunc(open, func(a, b MultipartUpload) int {
		return cmp.Or(strings.Compare(a.Key, b.Key), strings.Compare(a.UploadID, b.UploadID))
	})
	return open
}
