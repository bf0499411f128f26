package maskstore

import (
	"cmp"
	"context"
	"crypto/md5"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"
)

// memoryUpload is an open upload. Its parts are replaced, never changed.
type memoryUpload struct {
	key, contentType string
	initiated        time.Time
	parts            map[int]memoryPart
}

type memoryPart struct {
	Part
	data []byte
}

var errNoUpload = errors.New("no such upload")

// upload gives the open upload, or an error. The lock must be held.
func (m *Memory) upload(key, uploadID string) (*memoryUpload, error) {
	if u := m.uploads[uploadID]; u != nil && u.key == key {
		return u, nil
	}
	return nil, &Error{Key: key, Kind: ErrNotFound, Err: errNoUpload}
}

// CreateMultipartUpload begins an upload.
func (m *Memory) CreateMultipartUpload(ctx context.Context, key string, opts *PutOptions) (uploadID string, err error) {
	o := or(opts)
	if err := cmp.Or(ValidKey(key), o.check(), ctx.Err()); err != nil {
		return "", opError("CreateMultipartUpload", key, nil, err)
	}
	u := &memoryUpload{key, cmp.Or(o.ContentType, typeByName(key)), m.now().UTC().Round(0), map[int]memoryPart{}}
	uploadID = rand.Text()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.uploads == nil {
		m.uploads = map[string]*memoryUpload{}
	}
	m.uploads[uploadID] = u
	return uploadID, nil
}

// UploadPart stores a part.
func (m *Memory) UploadPart(ctx context.Context, key, uploadID string, partNumber int, body Body) (Part, error) {
	part, err := m.uploadPart(ctx, key, uploadID, partNumber, body)
	return part, opError("UploadPart", key, nil, err)
}

func (m *Memory) uploadPart(ctx context.Context, key, uploadID string, partNumber int, body Body) (Part, error) {
	if err := cmp.Or(checkPart(key, partNumber, &body), checkUploadID(uploadID), ctx.Err()); err != nil {
		return Part{}, err
	}
	r, err := body.open(ctx)
	if err != nil {
		return Part{}, err
	}
	defer r.end()
	limited := io.LimitReader(r, body.Size+1)
	data, err := io.ReadAll(newVerifier(limited, body.Size, body.SHA256))
	if err == nil && int64(len(data)) != body.Size {
		err = &Error{Kind: ErrChecksum, Err: errors.New("the content is not empty, as its size says")}
	}
	if err != nil {
		return Part{}, err
	}
	part := newMemoryPart(partNumber, data)
	return part.Part, m.storePart(ctx, key, uploadID, part)
}

// newMemoryPart makes a part of data, which it keeps.
func newMemoryPart(partNumber int, data []byte) memoryPart {
	return memoryPart{Part{PartNumber: partNumber, Size: int64(len(data)), ETag: md5Hex(data), SHA256: SumSHA256(data)}, data}
}

func (m *Memory) storePart(ctx context.Context, key, uploadID string, part memoryPart) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	u, err := m.upload(key, uploadID)
	if err := cmp.Or(ctx.Err(), err); err != nil {
		return err
	}
	u.parts[part.PartNumber] = part
	return nil
}

func checkPart(key string, partNumber int, body *Body) error {
	if body.Size > MaxPartSize {
		return inputError("Body.Size", fmt.Sprintf("is %d", body.Size), "at most 5 GiB")
	}
	return cmp.Or(ValidKey(key), checkPartNumber("partNumber", partNumber), body.check())
}

func checkPartNumber(field string, n int) error {
	if n < 1 || n > MaxPartNumber {
		return inputError(field, fmt.Sprintf("is %d", n), fmt.Sprintf("1 to %d", MaxPartNumber))
	}
	return nil
}

// ListParts lists the parts that were stored when it is ranged over.
func (m *Memory) ListParts(ctx context.Context, key, uploadID string) iter.Seq2[Part, error] {
	return func(yield func(Part, error) bool) {
		u, err := m.openUpload(ctx, key, uploadID)
		if err != nil {
			yield(Part{}, opError("ListParts", key, nil, err))
			return
		}
		for _, n := range slices.Sorted(maps.Keys(u.parts)) {
			if !yield(u.parts[n].Part, nil) {
				return
			}
		}
	}
}

// openUpload gives a copy of an open upload.
func (m *Memory) openUpload(ctx context.Context, key, uploadID string) (memoryUpload, error) {
	if err := cmp.Or(ValidKey(key), checkUploadID(uploadID), ctx.Err()); err != nil {
		return memoryUpload{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	u, err := m.upload(key, uploadID)
	if err != nil {
		return memoryUpload{}, err
	}
	clone := *u
	clone.parts = maps.Clone(u.parts)
	return clone, nil
}

// CompleteMultipartUpload makes the object. As S3 does, it gives the object an ETag that is no MD5 of the whole, and no
// SHA-256.
func (m *Memory) CompleteMultipartUpload(
	ctx context.Context, key, uploadID string, parts []Part, opts *PutOptions,
) (ObjectInfo, error) {
	info, err := m.completeUpload(ctx, key, uploadID, parts, or(opts))
	return info, conditionError("CompleteMultipartUpload", key, err)
}

func (m *Memory) completeUpload(ctx context.Context, key, uploadID string, parts []Part, o *PutOptions) (ObjectInfo, error) {
	if err := cmp.Or(o.check(), checkParts(parts)); err != nil {
		return ObjectInfo{}, err
	}
	u, err := m.openUpload(ctx, key, uploadID)
	if err != nil {
		return ObjectInfo{}, err
	}
	object, err := u.join(parts, m)
	if err != nil {
		return ObjectInfo{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.upload(key, uploadID); err != nil {
		return ObjectInfo{}, err
	}
	info, err := m.place(ctx, object, condition{o.IfMatch, o.NoOverwrite})
	if err == nil {
		delete(m.uploads, uploadID)
	}
	return info, err
}

func checkParts(parts []Part) error {
	if len(parts) == 0 {
		return inputError("parts", "is empty", "at least one part")
	}
	for i, p := range parts {
		field := fmt.Sprintf("parts[%d].PartNumber", i)
		if err := checkPartNumber(field, p.PartNumber); err != nil {
			return err
		}
		if i > 0 && p.PartNumber <= parts[i-1].PartNumber {
			return inputError(field, fmt.Sprintf("is %d, after %d", p.PartNumber, parts[i-1].PartNumber), "the parts in order")
		}
	}
	return nil
}

// join makes the object of the parts given, of which each but the last must have MinPartSize.
func (u *memoryUpload) join(parts []Part, m *Memory) (*memoryObject, error) {
	var content, sums []byte
	joined := make([]Part, len(parts))
	for i, p := range parts {
		stored, ok := u.parts[p.PartNumber]
		field := fmt.Sprintf("parts[%d]", i)
		switch {
		case !ok:
			return nil, inputError(field, fmt.Sprintf("was not uploaded: number %d", p.PartNumber), "parts as UploadPart gave them")
		case stored.ETag != p.ETag:
			return nil, inputError(field+".ETag", fmt.Sprintf("%q is not that of part %d", p.ETag, p.PartNumber),
				"parts as UploadPart gave them")
		case i < len(parts)-1 && stored.Size < MinPartSize:
			return nil, inputError(field, fmt.Sprintf("has %d bytes", stored.Size), "5 MiB or more in all parts but the last")
		}
		joined[i] = Part{PartNumber: p.PartNumber, Size: stored.Size, SHA256: stored.SHA256}
		content = append(content, stored.data...)
		sum := md5.Sum(stored.data)
		sums = append(sums, sum[:]...)
	}
	object := m.newObject(u.key, u.contentType, content)
	object.info.ETag = fmt.Sprintf("%s-%d", md5Hex(sums), len(parts))
	object.info.SHA256, object.parts = SHA256{}, joined
	return object, nil
}

// AbortMultipartUpload ends an upload.
func (m *Memory) AbortMultipartUpload(ctx context.Context, key, uploadID string) error {
	if err := cmp.Or(ValidKey(key), checkUploadID(uploadID), ctx.Err()); err != nil {
		return opError("AbortMultipartUpload", key, nil, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.upload(key, uploadID); err != nil {
		return opError("AbortMultipartUpload", key, nil, err)
	}
	delete(m.uploads, uploadID)
	return nil
}

// ListMultipartUploads lists the uploads that were open when it is ranged over, by key, the older first.
func (m *Memory) ListMultipartUploads(ctx context.Context, prefix string) iter.Seq2[MultipartUpload, error] {
	return func(yield func(MultipartUpload, error) bool) {
		if err := cmp.Or(ValidPrefix(prefix), ctx.Err()); err != nil {
			yield(MultipartUpload{}, opError("ListMultipartUploads", prefix, nil, err))
			return
		}
		for _, u := range m.openUploads(prefix) {
			if !yield(u, nil) {
				return
			}
		}
	}
}

func (m *Memory) openUploads(prefix string) []MultipartUpload {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var open []MultipartUpload
	for id, u := range m.uploads {
		if strings.HasPrefix(u.key, prefix) {
			open = append(open, MultipartUpload{u.key, id, u.initiated})
		}
	}
	slices.SortFunc(open, func(a, b MultipartUpload) int {
		return cmp.Or(strings.Compare(a.Key, b.Key), a.Initiated.Compare(b.Initiated), strings.Compare(a.UploadID, b.UploadID))
	})
	return open
}
