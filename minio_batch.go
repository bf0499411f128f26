package maskstore

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"io"
	"net/http"
	"path"
	"time"

	"github.com/pacs-extension/maskstore/internal/sigv4"
)

var _ BatchPutter = (*MinIO)(nil)

const (
	// maxBatchItem is the largest object that goes into a tar: up to it the server stores several at a time.
	maxBatchItem = 128 << 10
	// maxBatchBytes bounds the tar that is held in memory for one request.
	maxBatchBytes = 32 << 20
)

// PutBatch stores the items by tar files that the server unpacks, and the large ones by a PUT each. Afterwards it lists
// them: what is not there with the MD5 that was sent, since the server is an older one and does not unpack or for
// whatever reason, it puts singly. The server keeps no SHA-256 of what it unpacks: Stat gives none.
func (m *MinIO) PutBatch(ctx context.Context, items []UploadItem, opts *ParallelOptions) ([]ObjectInfo, error) {
	const op = "PutBatch"
	o := or(opts)
	if err := cmp.Or(o.check(), checkBatch(items)); err != nil {
		return nil, opError(op, "", nil, err)
	}
	infos := make([]ObjectInfo, len(items))
	count := &meter{on: o.OnProgress, now: Progress{Total: len(items)}}
	for i := 0; i < len(items); {
		t, err := newTarball(items, i)
		if err != nil {
			return infos, opError(op, items[t.next].Key, nil, err)
		}
		i = t.next
		if len(t.sums) == 0 {
			break // only large ones are left
		}
		unpacked, err := m.putTarball(ctx, t, infos)
		if err != nil {
			return infos, opError(op, "", nil, err)
		}
		for k := range t.sums {
			if infos[k].Key != "" {
				count.add(1, infos[k].Size, infos[k].Key, nil)
			}
		}
		if !unpacked {
			break
		}
	}
	err := forEach(ctx, len(items), o.Concurrency, o.KeepGoing, func(ctx context.Context, i int) error {
		if infos[i].Key != "" {
			return nil
		}
		return items[i].put(ctx, m, op, &infos[i], count)
	})
	return infos, err
}

func checkBatch(items []UploadItem) error {
	for _, item := range items {
		if item.IfMatch != "" || item.NoOverwrite {
			return opError("", item.Key, nil, inputError("IfMatch", "or NoOverwrite is set: a batch has no conditions", "none, or UploadAll"))
		}
	}
	return checkItems(items)
}

// tarball is a tar of the small ones among some items.
type tarball struct {
	data bytes.Buffer
	sums map[int]ObjectInfo // what its items are to be, by their index: ETag is the MD5
	next int                // the first item that is not among those looked at; with an error, the one at fault
}

// newTarball packs items from the one at start on, as many as one tar may hold.
func newTarball(items []UploadItem, start int) (*tarball, error) {
	t := &tarball{sums: make(map[int]ObjectInfo), next: start}
	w := tar.NewWriter(&t.data)
	for ; t.next < len(items) && t.data.Len() < maxBatchBytes; t.next++ {
		if items[t.next].Body.Size <= maxBatchItem {
			info, err := addToTar(w, &items[t.next])
			if err != nil {
				return t, err
			}
			t.sums[t.next] = info
		}
	}
	return t, w.Close()
}

// addToTar appends an item; what the server keeps beside its content goes into PAX records.
func addToTar(w *tar.Writer, item *UploadItem) (ObjectInfo, error) {
	info := ObjectInfo{Key: item.Key, Size: item.Body.Size, ContentType: cmp.Or(item.ContentType, typeByName(item.Key))}
	r, err := item.Body.Open()
	if err != nil {
		return info, err
	}
	defer r.Close()
	header := &tar.Header{
		Typeflag: tar.TypeReg, Name: item.Key, Size: item.Body.Size, Mode: 0o600, ModTime: time.Now(), Format: tar.FormatPAX,
		PAXRecords: map[string]string{"minio.metadata.Content-Type": info.ContentType},
	}
	if err := w.WriteHeader(header); err != nil {
		return info, err
	}
	md5, verified := md5.New(), newVerifier(r, item.Body.Size, item.Body.SHA256)
	if _, err := io.Copy(io.MultiWriter(w, md5), verified); err != nil {
		return info, err
	}
	info.ETag, info.SHA256 = hex.EncodeToString(md5.Sum(nil)), verified.sha256()
	return info, nil
}

// putTarball sends a tar, and sets the infos of those of its items that lie there afterwards. It reports whether all do.
func (m *MinIO) putTarball(ctx context.Context, t *tarball, infos []ObjectInfo) (unpacked bool, err error) {
	key := root + "_batch/" + rand.Text() + ".tar" // where a server that does not unpack stores it
	bound := &UploadURLOptions{ContentType: "application/x-tar", Size: int64(t.data.Len()), SHA256: SumSHA256(t.data.Bytes())}
	extract := sigv4.Param{Name: "x-amz-meta-snowball-auto-extract", Value: "true"}
	resp, _, err := m.do(ctx, &request{
		method: http.MethodPut, key: key, signed: append(m.uploadHeaders(bound), extract), body: bytesBody(t.data.Bytes(), bound.SHA256), status: http.StatusOK,
	})
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err == nil {
		discard(resp)
	}
	// An error says nothing of what the server had unpacked by then.
	prefixes := make(map[string]bool)
	wanted := make(map[string]int, len(t.sums))
	for i, info := range t.sums {
		prefixes[path.Dir(info.Key)+"/"] = true
		wanted[info.Key] = i
	}
	for prefix := range prefixes {
		for found, err := range m.List(ctx, prefix, nil) {
			if err != nil {
				return false, err
			}
			i, ok := wanted[found.Key]
			if ok && found.ETag == t.sums[i].ETag && found.Size == t.sums[i].Size {
				infos[i] = t.sums[i]
				infos[i].LastModified = found.LastModified
				delete(wanted, found.Key)
			}
		}
	}
	if len(wanted) == 0 {
		return true, nil
	}
	if err := m.Delete(context.WithoutCancel(ctx), key); err != nil {
		return false, err
	}
	return false, nil
}
