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
	small, large := content(4<<10), content(5<<20+4<<10) // of one request, and of two parts
	smallKey, largeKey := e.key(), e.key()
	if _, err := e.sound.Put(t.Context(), smallKey, bytes.NewReader(small), nil); err != nil {
		t.Fatal(err)
	}
	if err := putInParts(t.Context(), e.sound, largeKey, large, nil); err != nil {
		t.Fatal(err)
	}
	sum := maskstore.SumSHA256(large)
	dir := t.TempDir()

	for _, row := range []struct {
		name       string
		op         string // of the request that is damaged
		sent       bool   // what is sent is; else what comes
		bytes, few int
		// do transfers through s, and gives what arrived.
		do   func(s *maskstore.MinIO, key string) ([]byte, error)
		want []byte
		// unverified: there is no checksum to compare with, as the documentation says.
		unverified bool
	}{
		{"put, sent", "PutObject", true, len(small), 64, func(s *maskstore.MinIO, key string) ([]byte, error) {
			_, err := s.Put(t.Context(), key, bytes.NewReader(small), nil)
			return e.lies(key), err
		}, small, false},
		{"part, sent", "UploadPart", true, 4 << 10, 16, func(s *maskstore.MinIO, key string) ([]byte, error) {
			err := putInParts(t.Context(), s, key, small, nil)
			if _, parts := e.uploads(key); parts > 0 {
				t.Errorf("%d parts are left", parts)
			}
			return e.lies(key), err
		}, small, false},
		{"get, comes", "GetObject", false, len(small), 64, func(s *maskstore.MinIO, _ string) ([]byte, error) {
			return readAll(t.Context(), s, smallKey, nil)
		}, small, false},
		{"get of parts by its SHA-256, comes", "GetObject", false, len(large), 8, func(s *maskstore.MinIO, _ string) ([]byte, error) {
			return readAll(t.Context(), s, largeKey, &maskstore.GetOptions{SHA256: sum})
		}, large, false},
		{"file by its SHA-256, comes", "GetObject", false, len(large), 8, func(s *maskstore.MinIO, key string) ([]byte, error) {
			name := filepath.Join(dir, filepath.Base(key))
			if _, err := maskstore.DownloadFile(t.Context(), s, largeKey, name, &maskstore.GetOptions{SHA256: sum}); err != nil {
				return nil, err
			}
			defer os.Remove(name)
			return os.ReadFile(name)
		}, large, false},
		{"get of a range, comes", "GetObject", false, 1 << 10, 8, func(s *maskstore.MinIO, _ string) ([]byte, error) {
			return readAll(t.Context(), s, smallKey, &maskstore.GetOptions{Offset: 100, Length: 1 << 10})
		}, small[100 : 100+1<<10], true},
		{"get of parts without a SHA-256, comes", "GetObject", false, len(large), 8, func(s *maskstore.MinIO, _ string) ([]byte, error) {
			return readAll(t.Context(), s, largeKey, nil)
		}, large, true},
	} {
		figures := newTally(t)
		each(points(row.few, 1000, 8*row.bytes), 8, func(bit int64) {
			figures.count("positions")
			damage, fault := maskstoretest.Damage{FlipBit: bit}, maskstoretest.Fault{}
			if row.sent {
				fault.Request = damage
			} else {
				fault.Response = damage
			}
			s, _ := e.faulty(first(row.op, fault))
			got, err := row.do(s, e.key())
			switch {
			case err != nil:
				figures.count("told as an error")
				wantTyped(t, err, maskstore.ErrChecksum)
				if row.sent && got != nil {
					figures.count("stored all the same")
				}
			case bytes.Equal(got, row.want):
				figures.count("mended by another attempt")
			case row.unverified:
				figures.count("undetected, as documented")
			default:
				figures.count("undetected")
			}
		})
		good := []string{"positions", "told as an error", "mended by another attempt"}
		if row.unverified {
			good = append(good, "undetected, as documented")
		}
		figures.print(fmt.Sprintf("a flipped bit, %s", row.name), good, "undetected", "stored all the same")
	}
}
