package maskstore

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
)

// storing is a reader that does something in a storage while it is read.
type storing func() error

func (s storing) Read([]byte) (int, error) {
	if err := s(); err != nil {
		return 0, err
	}
	return 0, io.EOF
}

func TestMemoryIsFreeWhileABodyIsRead(t *testing.T) {
	var m Memory // its zero value stores
	body := storing(func() error {
		if _, err := m.Put(t.Context(), "mask/b", strings.NewReader("b"), nil); err != nil {
			return err
		}
		if _, err := m.Stat(t.Context(), "mask/b"); err != nil {
			return err
		}
		for _, err := range m.List(t.Context(), "mask/", nil) {
			if err != nil {
				return err
			}
		}
		return m.Delete(t.Context(), "mask/b")
	})
	if _, err := m.Put(t.Context(), "mask/a", body, nil); err != nil {
		t.Fatal(err)
	}
	id, err := m.CreateMultipartUpload(t.Context(), "mask/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	part := Body{Open: func() (io.ReadCloser, error) { return io.NopCloser(body), nil }}
	if _, err := m.UploadPart(t.Context(), "mask/a", id, 1, part); err != nil {
		t.Fatal(err)
	}
}

func TestMemoryJudgesConditionsWhenTheBodyHasArrived(t *testing.T) {
	var m Memory
	put := func(content string) storing {
		return func() error { _, err := m.Put(t.Context(), "mask/a", strings.NewReader(content), nil); return err }
	}
	_, err := m.Put(t.Context(), "mask/a", put("first"), &PutOptions{NoOverwrite: true})
	if !errors.Is(err, ErrPreconditionFailed) {
		t.Errorf("what came meanwhile was overwritten: %v", err)
	}
	info, err := m.Stat(t.Context(), "mask/a")
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Put(t.Context(), "mask/a", put("second"), &PutOptions{IfMatch: info.ETag})
	if !errors.Is(err, ErrPreconditionFailed) {
		t.Errorf("what changed meanwhile was overwritten: %v", err)
	}
	_, err = m.Put(t.Context(), "mask/a", put("first"), &PutOptions{IfMatch: info.ETag})
	if err != nil {
		t.Errorf("what has its old content again has another ETag: %v", err)
	}
}

func TestMemoryETagsAreThoseOfS3(t *testing.T) {
	var m Memory
	md5Of := func(s string) string { sum := md5.Sum([]byte(s)); return hex.EncodeToString(sum[:]) }
	info, err := m.Put(t.Context(), "mask/a", strings.NewReader("content"), nil)
	if err != nil || info.ETag != md5Of("content") || info.SHA256 != SumSHA256([]byte("content")) {
		t.Errorf("Put gives %+v, %v", info, err)
	}
	id, err := m.CreateMultipartUpload(t.Context(), "mask/b", nil)
	if err != nil {
		t.Fatal(err)
	}
	part, err := m.UploadPart(t.Context(), "mask/b", id, 1, BytesBody([]byte("content")))
	if err != nil || part.ETag != md5Of("content") {
		t.Fatalf("UploadPart gives %+v, %v", part, err)
	}
	info, err = m.CompleteMultipartUpload(t.Context(), "mask/b", id, []Part{part}, nil)
	if err := m.AbortMultipartUpload(t.Context(), "mask/b", id); !errors.Is(err, ErrNotFound) {
		t.Errorf("aborting what is complete gives %v", err)
	}
	sum := md5.Sum([]byte("content"))
	if want := md5Of(string(sum[:])) + "-1"; err != nil || info.ETag != want || !info.SHA256.IsZero() {
		t.Errorf("completing gives %+v, %v; want ETag %s and no SHA-256", info, err, want)
	}
	info, err = m.Copy(t.Context(), "mask/b", "mask/c", nil)
	if err != nil || info.ETag != md5Of("content") || info.SHA256 != SumSHA256([]byte("content")) {
		t.Errorf("Copy, which makes one part of it, gives %+v, %v", info, err)
	}
}

func TestMemoryPrintsNoKey(t *testing.T) {
	m := &Memory{BaseURL: "http://memory.test"}
	u, err := m.UploadURL(t.Context(), "mask/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	pair := m.keyPair()
	if pair.SecretKey == "" || !strings.Contains(u.URL, pair.AccessKey) {
		t.Fatal("the URL was signed with another key pair")
	}
	printed := fmt.Sprintf("%v %+v %#v", m, m, m)
	if strings.Contains(printed, pair.SecretKey) || strings.Contains(printed, pair.AccessKey) {
		t.Errorf("a key is printed in %s", printed)
	}
}

// The race detector is what fails here; besides, each group is listed whole or not at all beside the others' changes.
func TestMemoryUnderManyGoroutines(t *testing.T) {
	var m Memory
	var workers sync.WaitGroup
	for g := range 16 {
		workers.Go(func() {
			prefix := fmt.Sprintf("mask/a/g%02d/", g)
			for round := range 20 {
				for i := range 10 {
					if _, err := m.Put(t.Context(), fmt.Sprintf("%s%d", prefix, i), strings.NewReader(prefix), nil); err != nil {
						t.Error(err)
					}
				}
				n := 0
				for info, err := range m.List(t.Context(), prefix, nil) {
					if err != nil || info.Size != int64(len(prefix)) {
						t.Errorf("%+v, %v", info, err)
					}
					n++
				}
				if n != 10 {
					t.Errorf("round %d: %d of 10 are listed", round, n)
				}
				if _, err := m.Copy(t.Context(), prefix+"0", "mask/shared", nil); err != nil {
					t.Error(err)
				}
				if n, err := DeletePrefix(t.Context(), &m, prefix, nil); n != 10 || err != nil {
					t.Errorf("%d of 10 deleted, %v", n, err)
				}
			}
		})
	}
	workers.Wait()
	info, err := m.Stat(t.Context(), "mask/shared")
	if err != nil || len(m.objects) != 1 {
		t.Errorf("%d objects are left, and %+v, %v", len(m.objects), info, err)
	}
}
