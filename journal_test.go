package maskstore

import (
	"os"
	"sync"
	"testing"
)

// TestDirJournalRemove: what is stored while another upload's record is removed stays.
func TestDirJournalRemove(t *testing.T) {
	dir := t.TempDir()
	j := DirJournal(dir)
	store := func(uploadID string) {
		if err := j.Store(t.Context(), UploadRecord{Key: testKey, UploadID: uploadID}); err != nil {
			t.Error(err)
		}
	}
	remove := func(uploadID string) {
		if err := j.Remove(t.Context(), testKey, uploadID); err != nil {
			t.Error(err)
		}
	}
	for i := range 150 {
		store([]string{"own", "older"}[i%2])
		var wg sync.WaitGroup
		wg.Go(func() { store("newer") })
		wg.Go(func() { remove("own") })
		wg.Go(func() { remove("own") })
		wg.Wait()
		if r, err := j.Load(t.Context(), testKey); err != nil || r.UploadID != "newer" {
			t.Fatalf("round %d: recorded is %q, %v; want the newer upload", i, r.UploadID, err)
		}
	}
	remove("newer")
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("there are %v, %v", entries, err)
	}
}
