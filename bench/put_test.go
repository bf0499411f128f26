package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/integration/maskdata"
)

const (
	rowPut        = "Put"
	rowPutDelayed = "PutDelayed"
	rowPutMinIO   = "PutMinIO"
	rowPutGroup   = "PutGroup"
	// rowPutGroupMinIO is the same to MinIO.
	rowPutGroupMinIO = rowPutGroup + "MinIO"
	rowBatch         = "Batch"
	rowGet           = "Get"

	// inMemory ends the rows on a MinIO whose disk is memory.
	inMemory = "InMemory"

	putMasks = 500

	// snowball is minio-go's PutObjectsSnowball: a tar that the server unpacks. Nothing is verified afterwards.
	snowball = "minio-go-snowball"
)

// BenchmarkPut puts masks to a server that answers at once: what counts is the CPU time of the client.
func BenchmarkPut(b *testing.B) {
	s, masks := need(b, nullInstance), generatedMasks(putMasks)
	compare(b, 3, append(putPeers(s, rowPut, masks, inPlace), libraryPut(b, s, rowPut, masks)))
}

// BenchmarkPutDelayed puts masks to a server that takes its time.
func BenchmarkPutDelayed(b *testing.B) {
	s, masks := need(b, delayedInstance), generatedMasks(putMasks)
	compare(b, 1, append(putPeers(s, rowPutDelayed, masks, inPlace), libraryPut(b, s, rowPutDelayed, masks)))
}

// BenchmarkPutMinIO puts masks to a real server, and to one that no disk holds up.
func BenchmarkPutMinIO(b *testing.B) { putMinIO(b, need(b, minioInstance), rowPutMinIO) }
func BenchmarkPutMinIOInMemory(b *testing.B) {
	putMinIO(b, need(b, minioInMemory), rowPutMinIO+inMemory)
}

func putMinIO(b *testing.B, s *server, row string) {
	masks := generatedMasks(putMasks)
	compare(b, 5, append(putPeers(s, row, masks, inPlace), libraryPut(b, s, row, masks)))
}

// BenchmarkPutGroup puts the masks of a new group one by one, as Group.Upload does on an S3 storage: begun, verified against
// a listing, and committed. The others put objects alone; to the null server, which forgets nothing, always the same.
func BenchmarkPutGroup(b *testing.B) { putGroup(b, need(b, nullInstance), rowPutGroup, inPlace) }
func BenchmarkPutGroupMinIOInMemory(b *testing.B) {
	putGroup(b, need(b, minioInMemory), rowPutGroupMinIO+inMemory, inNewGroup)
}

func putGroup(b *testing.B, s *server, row string, where func([]object) []object) {
	masks := generatedMasks(putMasks)
	storage, files := openProvider(b, s, "s3"), maskFiles(b, masks)
	compare(b, 5, append(putPeers(s, row, masks, where),
		measured(row, library, putMasks, func() error { return uploadGroup(storage, files) })))
}

// BenchmarkConcurrency puts masks to a real server, and to one that takes its time, by other numbers than the default.
func BenchmarkConcurrency(b *testing.B) {
	for name, s := range map[string]*server{"MinIO": need(b, minioInstance), "Delayed": need(b, delayedInstance)} {
		storage, masks := openLibrary(b, s), generatedMasks(putMasks)
		var all []contestant
		for _, n := range []int{4, 8, 16, 32, 64} {
			opts := &maskstore.ParallelOptions{Concurrency: n}
			all = append(all, measured("Concurrency"+name, fmt.Sprintf("%s-%02d", library, n), putMasks, func() error {
				return uploadAll(storage, masks, opts)
			}))
		}
		compare(b, 2, all)
	}
}

// BenchmarkBatch puts all masks of a new group to MinIO, real ones where they are at hand, by whatever is fastest.
func BenchmarkBatch(b *testing.B)         { batch(b, need(b, minioInstance), rowBatch) }
func BenchmarkBatchInMemory(b *testing.B) { batch(b, need(b, minioInMemory), rowBatch+inMemory) }

func batch(b *testing.B, s *server, row string) {
	masks := realMasks(b)
	if testing.Short() {
		masks = masks[:putMasks]
	}
	client, storage, files := newMinioGo(s), openLibrary(b, s), maskFiles(b, masks)
	compare(b, 3, append(putPeers(s, row, masks, inNewGroup),
		measured(row, snowball, len(masks), func() error { return putSnowball(client, inNewGroup(masks)) }),
		measured(row, library+"-group", len(masks), func() error { return uploadGroup(storage, files) }),
		measured(row, library, len(masks), func() error { return putBatch(storage, inNewGroup(masks)) })))
}

// realMasks gives the masks of a real group, where they are at hand, else drawn ones.
func realMasks(b *testing.B) []object {
	files, _, err := maskdata.Files()
	if err != nil {
		b.Fatal(err)
	}
	masks := make([]object, len(files))
	for i, f := range files {
		body, err := f.Body.Open()
		if err != nil {
			b.Fatal(err)
		}
		data, err := readAll(body)
		if err != nil {
			b.Fatal(err)
		}
		masks[i] = newObject(maskstore.MaskKey{Annotation: "1", Group: "real", Slice: f.Slice, Label: f.Label}, data)
	}
	return masks
}

// inPlace overwrites what the masks' keys hold.
func inPlace(masks []object) []object { return masks }

// inNewGroup gives the masks the keys of a group that does not exist.
func inNewGroup(masks []object) []object {
	group := "/" + rand.Text() + "/"
	fresh := slices.Clone(masks)
	for i, m := range masks {
		fresh[i].key = path.Dir(path.Dir(m.key)) + group + path.Base(m.key)
	}
	return fresh
}

// putPeers put each mask by a request of its own, to where the keys say.
func putPeers(s *server, row string, masks []object, where func([]object) []object) []contestant {
	var all []contestant
	for _, p := range peers(s) {
		all = append(all, measured(row, p.lib, len(masks), func() error { return each(where(masks), p.put) }))
	}
	return all
}

func libraryPut(b *testing.B, s *server, row string, masks []object) contestant {
	storage := openLibrary(b, s)
	return measured(row, library, len(masks), func() error { return uploadAll(storage, masks, nil) })
}

func putSnowball(client *minio.Client, masks []object) error {
	objects := make(chan minio.SnowballObject, len(masks))
	for _, m := range masks {
		objects <- minio.SnowballObject{
			Key: m.key, Size: int64(len(m.data)), Content: bytes.NewReader(m.data),
			Headers: http.Header{"Content-Type": {pngType}},
		}
	}
	close(objects)
	return client.PutObjectsSnowball(context.Background(), bucket, minio.SnowballOptions{InMemory: true}, objects)
}

// BenchmarkGet reads masks from a server that answers at once.
func BenchmarkGet(b *testing.B) {
	s, masks := need(b, nullInstance), generatedMasks(1000)
	storage := openLibrary(b, s)
	if err := each(masks, floorPeer(s).put); err != nil {
		b.Fatal(err)
	}
	var all []contestant
	for _, p := range peers(s) {
		all = append(all, measured(rowGet, p.lib, len(masks), func() error {
			return each(masks, func(ctx context.Context, o object) error {
				data, err := p.get(ctx, o)
				if err == nil && !bytes.Equal(data, o.data) {
					err = errors.New("came back otherwise")
				}
				return err
			})
		}))
	}
	compare(b, 3, append(all, measured(rowGet, library, len(masks), func() error { return downloadAll(storage, masks) })))
}
