package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/pacs-extension/maskstore"
)

// openLibrary opens the library's storage on that server.
func openLibrary(b *testing.B, s *server) maskstore.ObjectStorage { return openProvider(b, s, "minio") }

func openProvider(b *testing.B, s *server, provider string) maskstore.ObjectStorage {
	b.Helper()
	storage, err := maskstore.Open(context.Background(), maskstore.Config{ObjectStorage: maskstore.ObjectStorageConfig{
		Provider: provider, BucketName: bucket, Region: region, Endpoint: s.endpoint, AccessKey: accessKey, SecretKey: secretKey,
		Encryption: "none",
	}})
	if err != nil {
		b.Fatal(err)
	}
	return storage
}

// uploadAll puts the masks, each with its checksum bound.
func uploadAll(storage maskstore.ObjectStorage, masks []object, opts *maskstore.ParallelOptions) error {
	_, err := maskstore.UploadAll(context.Background(), storage, uploadItems(masks), opts)
	return err
}

// putBatch puts the masks by tars that the server unpacks, and verifies each against a listing.
func putBatch(storage maskstore.ObjectStorage, masks []object) error {
	batch, _ := maskstore.As[maskstore.BatchPutter](storage) // it is MinIO
	_, err := batch.PutBatch(context.Background(), uploadItems(masks), nil)
	return err
}

func uploadItems(masks []object) []maskstore.UploadItem {
	items := make([]maskstore.UploadItem, len(masks))
	for i, m := range masks {
		items[i] = maskstore.UploadItem{Key: m.key, Body: maskstore.BytesBody(m.data), ContentType: pngType}
	}
	return items
}

// downloadAll reads the masks, and verifies each by its checksum.
func downloadAll(storage maskstore.ObjectStorage, masks []object) error {
	read := make([][]byte, len(masks))
	items := make([]maskstore.DownloadItem, len(masks))
	for i, m := range masks {
		items[i] = maskstore.DownloadItem{
			Key: m.key, Size: int64(len(m.data)), SHA256: m.sha256, Sink: maskstore.BytesSink(&read[i]),
		}
	}
	if _, err := maskstore.DownloadAll(context.Background(), storage, items, nil); err != nil {
		return err
	}
	for i, m := range masks {
		if !bytes.Equal(read[i], m.data) {
			return fmt.Errorf("%s came back otherwise", m.key)
		}
	}
	return nil
}

// maskFiles gives the masks as Group.Upload and Begin want them.
func maskFiles(b *testing.B, masks []object) []maskstore.MaskFile {
	b.Helper()
	files := make([]maskstore.MaskFile, len(masks))
	for i, m := range masks {
		key, err := maskstore.ParseMaskKey(m.key)
		if err != nil {
			b.Fatal(err)
		}
		files[i] = maskstore.MaskFile{Slice: key.Slice, Label: key.Label, Body: maskstore.BytesBody(m.data)}
	}
	return files
}

// uploadGroup uploads the masks as a new group: beside them it writes the manifest, twice, and verifies all by listings.
func uploadGroup(storage maskstore.ObjectStorage, files []maskstore.MaskFile) error {
	group, err := maskstore.NewGroup(storage, "1", "", nil)
	if err != nil {
		return err
	}
	_, err = group.Upload(context.Background(), files, nil)
	return err
}

// signUpload signs as Begin does.
func signUpload(storage maskstore.ObjectStorage, m object, ttl time.Duration) func() error {
	opts := &maskstore.UploadURLOptions{
		ContentType: pngType, Size: int64(len(m.data)), SHA256: m.sha256, NoOverwrite: true, TTL: ttl,
	}
	return func() error {
		_, err := storage.UploadURL(context.Background(), m.key, opts)
		return err
	}
}

// groupSteps are the three steps of an upload.
type groupSteps struct {
	storage maskstore.ObjectStorage
	group   *maskstore.Group
	upload  *maskstore.GroupUpload
	files   []maskstore.MaskFile
	etags   map[string]string
}

// begin begins an upload of the files to group; nil: to a new one.
func (g *groupSteps) begin(files []maskstore.MaskFile, group *maskstore.Group) (err error) {
	if g.group, g.files = group, files; group == nil {
		if g.group, err = maskstore.NewGroup(g.storage, "1", "", nil); err != nil {
			return err
		}
	}
	specs := make([]maskstore.MaskSpec, len(files))
	for i, f := range files {
		specs[i] = f.Spec()
	}
	g.upload, err = g.group.Begin(context.Background(), specs, nil)
	return err
}

// put is what the viewer does.
func (g *groupSteps) put() error {
	items := make([]maskstore.DirectItem, len(g.upload.Masks))
	for i, m := range g.upload.Masks {
		items[i] = maskstore.DirectItem{Key: m.Key, URL: m.URL, Body: g.files[i].Body}
	}
	var err error
	g.etags, err = new(maskstore.DirectUploader).UploadAll(context.Background(), items)
	return err
}

func (g *groupSteps) complete() error {
	_, err := g.group.Complete(context.Background(), g.upload.UploadID, g.etags, nil)
	return err
}

// shifted gives each mask the content of the next.
func shifted(masks []object) []object {
	other := make([]object, len(masks))
	for i, m := range masks {
		next := masks[(i+1)%len(masks)]
		other[i] = object{m.key, next.data, next.sha256}
	}
	return other
}

// largeSum is what the library verifies of what it downloads.
var largeSum maskstore.SHA256

// libraryLarge moves one large object.
func libraryLarge(storage maskstore.ObjectStorage) largePeer {
	return largePeer{
		lib: library,
		uploadFile: func(ctx context.Context, f *os.File) error {
			_, err := maskstore.UploadFile(ctx, storage, largeKey, f.Name(), nil)
			return err
		},
		uploadStream: func(ctx context.Context, r io.Reader) error {
			_, err := storage.Put(ctx, largeKey, r, nil)
			return err
		},
		download: func(ctx context.Context, name string) error {
			_, err := maskstore.DownloadFile(ctx, storage, largeKey, name, &maskstore.GetOptions{SHA256: largeSum})
			return err
		},
	}
}
