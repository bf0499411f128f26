package maskstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
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

// TestDirJournalTempFiles: what a process that was killed has left goes a day later, and nothing else does.
func TestDirJournalTempFiles(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-25 * time.Hour)
	for name, at := range map[string]time.Time{
		".maskstore-1": old, ".maskstore-2": time.Now(), "notes.txt": old, ".json": old,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	for range DirJournal(dir).Records(t.Context()) {
	}
	entries, err := os.ReadDir(dir)
	var left []string
	for _, entry := range entries {
		left = append(left, entry.Name())
	}
	if err != nil || !slices.Equal(left, []string{".json", ".maskstore-2", "notes.txt"}) {
		t.Errorf("there are %q, %v", left, err)
	}
}

// TestDirJournalRecordsEnd: a listing that its context has cut short says so.
func TestDirJournalRecordsEnd(t *testing.T) {
	j := DirJournal(t.TempDir())
	for _, key := range []string{"mask/a", "mask/b"} {
		if err := j.Store(t.Context(), UploadRecord{Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var errs []error
	for _, err := range j.Records(ctx) {
		errs = append(errs, err)
		cancel()
	}
	if len(errs) != 2 || errs[0] != nil || !errors.Is(errs[1], context.Canceled) {
		t.Errorf("the errors are %v; want none for the first record, then the context's", errs)
	}
}
