package maskstore

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"path"
	"time"

	"github.com/pacs-extension/maskstore/internal/sigv4"
)

var _ BatchPutter = (*MinIO)(nil)

const (
	// batchPrefix is where a server that does not unpack stores a tar.
	batchPrefix = root + "_batch/"
	// maxBatchItem is the largest object that goes into a tar: up to it the server stores several at a time.
	maxBatchItem = 128 << 10
	// tarConcurrency is how many tars are sent at a time. Where the disk is the limit one is as fast, else four are up to a
	// quarter faster.
	tarConcurrency = 4
	// A tar has at least so many items, where they fit, as it is a request, and at most.
	minTarItems, maxTarItems = 64, 2048
	// maxTarBytes is the most that a tar has in bytes: tarConcurrency of them are held in memory.
	maxTarBytes = 8 << 20
	tarBlock    = 512
	tarEnd      = 2 * tarBlock
)

// PutBatch stores the items by tar files that the server unpacks, four of at most 8 MiB at a time, which are held in memory;
// the large and the empty ones by a PUT each. Afterwards it lists them: what is not there with the MD5 that was sent, since
// the server is an older one and does not unpack or for whatever reason, it puts singly. The server keeps no SHA-256 of what
// it unpacks: Stat gives none.
func (m *MinIO) PutBatch(ctx context.Context, items []UploadItem, opts *ParallelOptions) ([]ObjectInfo, error) {
	const op = "PutBatch"
	o := or(opts)
	if err := cmp.Or(o.check(), checkBatch(items)); err != nil {
		return nil, opError(op, "", nil, err)
	}
	infos, errs := make([]ObjectInfo, len(items)), make([]error, len(items))
	count := &meter{on: o.OnProgress, now: Progress{Total: len(items)}}
	failed := func(i int, err error) error { // nil: go on without the item
		err = opError(op, items[i].Key, nil, err)
		count.add(1, 0, items[i].Key, err)
		if o.KeepGoing {
			errs[i], err = err, nil
		}
		return err
	}
	tars := planTars(items)
	unpacked := make([]map[int]ObjectInfo, len(tars))
	sent := forEach(ctx, op, len(tars), tarConcurrency, o.KeepGoing, func(ctx context.Context, i int) (err error) {
		unpacked[i], err = m.putTar(ctx, items, tars[i], failed)
		return err
	})
	if sent != nil && !o.KeepGoing {
		return infos, opError(op, "", nil, sent)
	}
	if err := m.verifyTars(ctx, unpacked, infos); err != nil && !o.KeepGoing { // else all that is not proven is put singly
		return infos, opError(op, "", nil, err)
	}
	for _, info := range infos {
		if info.Key != "" {
			count.add(1, info.Size, info.Key, nil)
		}
	}
	err := forEach(ctx, op, len(items), o.Concurrency, o.KeepGoing, func(ctx context.Context, i int) error {
		if errs[i] != nil || infos[i].Key != "" {
			return nil
		}
		return items[i].put(ctx, m, op, &infos[i], count)
	})
	if err = opError(op, "", nil, err); o.KeepGoing {
		err = errors.Join(append(errs, opError(op, "", nil, sent), err)...)
	}
	return infos, err
}

func checkBatch(items []UploadItem) error {
	for _, item := range items {
		if item.IfMatch != "" || item.NoOverwrite {
			return opError("", item.Key, nil,
				inputError("IfMatch", "or NoOverwrite is set: a batch has no conditions", "none, or UploadAll"))
		}
	}
	return checkItems(items)
}

// planTars gives for each tar the indexes of the items that it is to hold: the small ones. An empty one goes singly: its tar
// would not tell where its content is longer.
func planTars(items []UploadItem) (tars [][]int) {
	var small []int
	for i, item := range items {
		if 0 < item.Body.Size && item.Body.Size <= maxBatchItem {
			small = append(small, i)
		}
	}
	each := min(max((len(small)+tarConcurrency-1)/tarConcurrency, minTarItems), maxTarItems)
	from, size := 0, int64(tarEnd)
	for to, i := range small {
		n := tarBytes(&items[i])
		if to-from == each || size+n > maxTarBytes {
			tars = append(tars, small[from:to])
			from, size = to, tarEnd
		}
		size += n
	}
	if from < len(small) {
		tars = append(tars, small[from:])
	}
	return tars
}

// tarBytes is how many bytes the item takes in a tar at most: two headers, records of its key, type and time, its content.
func tarBytes(item *UploadItem) int64 {
	blocks := func(n int64) int64 { return (n + tarBlock - 1) / tarBlock * tarBlock }
	return 2*tarBlock + blocks(int64(len(item.Key)+len(item.contentType())+128)) + blocks(item.Body.Size)
}

func (item *UploadItem) contentType() string { return cmp.Or(item.ContentType, typeByName(item.Key)) }

// packTar gives a tar of the items with these indexes, and what is then to lie at their keys: the ETag is the MD5. An item
// whose content cannot be had is left out, where failed gives nil for its error.
func packTar(
	ctx context.Context, items []UploadItem, indexes []int, failed func(i int, err error) error,
) (map[int]ObjectInfo, *bytes.Buffer, error) {
	size := int64(tarEnd)
	for _, i := range indexes {
		size += tarBytes(&items[i])
	}
	data, wanted := bytes.NewBuffer(make([]byte, 0, size)), make(map[int]ObjectInfo, len(indexes))
	w := tar.NewWriter(data)
	var content bytes.Buffer
	for _, i := range indexes {
		content.Reset()
		sum, err := readInto(ctx, &content, &items[i].Body)
		if err != nil {
			if err := failed(i, err); err != nil {
				return nil, nil, err
			}
			continue
		}
		md5 := md5.Sum(content.Bytes())
		wanted[i] = ObjectInfo{
			Key: items[i].Key, Size: items[i].Body.Size, ETag: hex.EncodeToString(md5[:]), ContentType: items[i].contentType(),
			SHA256: sum,
		}
		if err := addToTar(w, wanted[i], content.Bytes()); err != nil {
			return nil, nil, opError("", items[i].Key, nil, err)
		}
	}
	return wanted, data, w.Close()
}

// readInto reads the whole body, which is what its size and checksum say, and gives its checksum.
func readInto(ctx context.Context, content *bytes.Buffer, body *Body) (SHA256, error) {
	r, err := body.open(ctx)
	if err != nil {
		return SHA256{}, err
	}
	defer r.end()
	verified := newHasher(r, body.Size, body.SHA256)
	_, err = content.ReadFrom(verified)
	return verified.sha256(), err
}

// addToTar appends an object; what the server keeps beside its content goes into PAX records.
func addToTar(w *tar.Writer, info ObjectInfo, content []byte) error {
	err := w.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: info.Key, Size: info.Size, Mode: 0o600, ModTime: time.Now(), Format: tar.FormatPAX,
		PAXRecords: map[string]string{"minio.metadata.Content-Type": info.ContentType},
	})
	if err != nil {
		return err
	}
	_, err = w.Write(content)
	return err
}

// putTar sends a tar of the items with these indexes, and gives what is then to lie at their keys. An answer that is an
// error says nothing of what the server had unpacked by then, so it is none here.
func (m *MinIO) putTar(
	ctx context.Context, items []UploadItem, indexes []int, failed func(int, error) error,
) (map[int]ObjectInfo, error) {
	wanted, data, err := packTar(ctx, items, indexes, failed)
	if err != nil || len(wanted) == 0 {
		return nil, err
	}
	key := batchPrefix + rand.Text() + ".tar"
	bound := &UploadURLOptions{ContentType: "application/x-tar", Size: int64(data.Len()), SHA256: SumSHA256(data.Bytes())}
	extract := sigv4.Param{Name: "x-amz-meta-snowball-auto-extract", Value: "true"}
	resp, _, err := m.do(ctx, &request{
		method: http.MethodPut, key: key, signed: append(m.uploadHeaders(nil, bound), extract),
		body: bytesBody(data.Bytes(), bound.SHA256), status: http.StatusOK,
	})
	if err == nil {
		discard(resp)
	}
	longer, cancel := outlasting(ctx) // what then is still there, or comes yet, Sweep removes
	defer cancel()
	var stays error
	if _, err := m.stat(longer, key); !errors.Is(err, ErrNotFound) {
		stays = m.deleteOne(longer, key)
	}
	if ctx.Err() == nil {
		return wanted, stays
	}
	ended := cmp.Or(err, ctx.Err())
	if stays != nil {
		ended = fmt.Errorf("%w; %q may stay until Sweep removes it: %v", ended, key, stays)
	}
	return nil, ended
}

// verifyTars lists the keys of what was sent, and sets the infos of all that lies there as it should.
func (m *MinIO) verifyTars(ctx context.Context, tars []map[int]ObjectInfo, infos []ObjectInfo) error {
	prefixes := make(map[string]bool)
	wanted := make(map[string]ObjectInfo)
	index := make(map[string]int)
	for _, tar := range tars {
		for i, info := range tar {
			prefixes[path.Dir(info.Key)+"/"] = true
			wanted[info.Key], index[info.Key] = info, i
		}
	}
	for prefix := range prefixes {
		for found, err := range m.List(ctx, prefix, nil) {
			if err != nil {
				return err
			}
			if info, ok := wanted[found.Key]; ok && found.ETag == info.ETag && found.Size == info.Size {
				info.LastModified = found.LastModified
				infos[index[found.Key]] = info
			}
		}
	}
	return nil
}
