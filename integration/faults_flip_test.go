package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/maskstoretest"
)

// A bit that is flipped on the wire, at many positions of each kind of transfer.
func TestFaultsFlippedBit(t *testing.T) {
	e := newFaultEnv(t)
	// Of one request, of two parts, of four and two ranges.
	small, large, file := content(4<<10), content(5<<20+4<<10), content(16<<20+4<<10)
	smallKey, largeKey, fileKey := e.key(), e.key(), e.key()
	if _, err := e.sound.Put(t.Context(), smallKey, bytes.NewReader(small), nil); err != nil {
		t.Fatal(err)
	}
	for key, data := range map[string][]byte{largeKey: large, fileKey: file} {
		if err := putInParts(t.Context(), e.sound, key, data, nil); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	get := func(key string, opts *maskstore.GetOptions) func(*maskstore.MinIO, string) ([]byte, error) {
		return func(s *maskstore.MinIO, _ string) ([]byte, error) { return readAll(t.Context(), s, key, opts) }
	}
	download := func(key string, opts *maskstore.GetOptions) func(*maskstore.MinIO, string) ([]byte, error) {
		return func(s *maskstore.MinIO, own string) ([]byte, error) {
			name := filepath.Join(dir, filepath.Base(own))
			if _, err := maskstore.DownloadFile(t.Context(), s, key, name, opts); err != nil {
				return nil, err
			}
			defer os.Remove(name)
			return os.ReadFile(name)
		}
	}
	bySHA256 := &maskstore.GetOptions{SHA256: maskstore.SumSHA256(large)}

	for _, row := range []struct {
		name       string
		op         string // of the request that is damaged; empty: the GET that brings the bit, whichever it is
		bytes, few int
		// do transfers through s, and gives what arrived.
		do   func(s *maskstore.MinIO, key string) ([]byte, error)
		want []byte
	}{
		{"put, sent", "PutObject", len(small), 64, func(s *maskstore.MinIO, key string) ([]byte, error) {
			_, err := s.Put(t.Context(), key, bytes.NewReader(small), nil)
			return e.lies(key), err
		}, small},
		{"part, sent", "UploadPart", 4 << 10, 16, func(s *maskstore.MinIO, key string) ([]byte, error) {
			err := putInParts(t.Context(), s, key, small, nil)
			if _, parts := e.uploads(key); parts > 0 {
				t.Errorf("%d parts are left", parts)
			}
			return e.lies(key), err
		}, small},
		{"get, comes", "", len(small), 64, get(smallKey, nil), small},
		{"get of a range, comes", "", len(small), 64, get(smallKey, &maskstore.GetOptions{Offset: 100, Length: 1 << 10, Verify: true}), small[100 : 100+1<<10]},
		{"get of parts, comes", "", len(large), 8, get(largeKey, nil), large},
		{"get of parts by its SHA-256, comes", "", len(large), 8, get(largeKey, bySHA256), large},
		{"get of a range of two parts, comes", "", len(large), 8, get(largeKey, &maskstore.GetOptions{Offset: 5<<20 - 1, Length: 2, Verify: true}), large[5<<20-1 : 5<<20+1]},
		{"file, comes", "", len(file), 8, download(fileKey, nil), file},
		{"file by its SHA-256, comes", "", len(large), 8, download(largeKey, bySHA256), large},
	} {
		figures := newTally(t)
		each(points(row.few, 1000, 8*row.bytes), 8, func(bit int64) {
			figures.count("positions")
			plan := flipped(bit)
			if row.op != "" {
				plan = first(row.op, maskstoretest.Fault{Request: maskstoretest.Damage{FlipBit: bit}})
			}
			s, f := e.faulty(plan)
			got, err := row.do(s, e.key())
			figures.hit(len(f.Fired()), "%s, bit %d", row.name, bit)
			switch {
			case err != nil && row.op != "":
				figures.count("not mended by another attempt")
			case err != nil:
				figures.count("told as an error")
				wantTyped(t, err, maskstore.ErrChecksum)
			case bytes.Equal(got, row.want) && row.op != "":
				figures.count("mended by another attempt")
			default:
				figures.count("undetected")
			}
		})
		good := []string{"positions", "told as an error", "mended by another attempt"}
		figures.print(fmt.Sprintf("a flipped bit, %s", row.name), good, "undetected", "not mended by another attempt")
	}
}

// flipped flips that bit of an object in each answer that brings it.
func flipped(bit int64) func(maskstoretest.Call) maskstoretest.Fault {
	return func(c maskstoretest.Call) maskstoretest.Fault {
		if c.Op != "GetObject" {
			return maskstoretest.Fault{}
		}
		var from int64
		fmt.Sscanf(c.Request.Header.Get("Range"), "bytes=%d-", &from) // none: from the beginning
		return maskstoretest.Fault{Response: maskstoretest.Damage{FlipBit: max(0, bit-8*from)}}
	}
}
