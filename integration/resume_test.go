package integration

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/integration/miniotest"
)

const largeKey = "mask/a/g/0001_volume.bin"

// largeData is content of three parts.
var largeData = sync.OnceValue(func() []byte { return bytes.Repeat([]byte("maskstore in parts"), 35<<20/18) })

// partSpy notes the numbers of the parts that are sent.
type partSpy struct {
	http.RoundTripper
	mu   sync.Mutex
	sent []string
}

func (s *partSpy) RoundTrip(r *http.Request) (*http.Response, error) {
	if n := r.URL.Query().Get("partNumber"); r.Method == http.MethodPut && n != "" {
		s.mu.Lock()
		s.sent = append(s.sent, n)
		s.mu.Unlock()
	}
	return s.RoundTripper.RoundTrip(r)
}

// take gives the numbers noted since it was last called.
func (s *partSpy) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := s.sent
	s.sent = nil
	slices.Sort(sent)
	return sent
}

// endingSource cannot be read past two parts.
type endingSource struct{ *bytes.Reader }

func (s endingSource) ReadAt(p []byte, offset int64) (int, error) {
	if offset >= 32<<20 {
		return 0, io.ErrNoProgress
	}
	return s.Reader.ReadAt(p, offset)
}

// openUploads are those of largeKey.
func openUploads(t *testing.T, s maskstore.MultipartStorage) (open []string) {
	t.Helper()
	for up, err := range s.ListMultipartUploads(t.Context(), largeKey) {
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, up.UploadID)
	}
	return open
}

// wantLarge fails unless this is at largeKey, and no upload of it is open.
func wantLarge(t *testing.T, s *maskstore.MinIO, info maskstore.ObjectInfo, want []byte) {
	t.Helper()
	sum := maskstore.SumSHA256(want)
	if info.SHA256 != sum || info.Size != int64(len(want)) {
		t.Errorf("got %+v", info)
	}
	object, err := s.Get(t.Context(), largeKey, &maskstore.GetOptions{SHA256: sum, IfMatch: info.ETag})
	if err != nil {
		t.Fatal(err)
	}
	defer object.Body.Close()
	if _, err := io.Copy(io.Discard, object.Body); err != nil {
		t.Error(err)
	}
	if open := openUploads(t, s); len(open) > 0 {
		t.Errorf("open are %q", open)
	}
}

// TestUploadGoesOn goes on with uploads that ended in the middle, at each point that the server sees.
func TestUploadGoesOn(t *testing.T) {
	for name, row := range map[string]struct {
		server     *miniotest.Server
		encryption string
	}{"plain": {plain, ""}, "TLS, encrypted": {secure, "AES256"}} {
		t.Run(name, func(t *testing.T) {
			spy := &partSpy{RoundTripper: row.server.Client.Transport}
			s := newMinIO(t, row.server, func(o *maskstore.S3Options) {
				o.HTTPClient, o.Encryption = &http.Client{Transport: spy}, row.encryption
			})
			j := maskstore.DirJournal(t.TempDir())
			opts, data := &maskstore.UploadOptions{Journal: j}, largeData()
			upload := func(source maskstore.Source, sent ...string) (maskstore.ObjectInfo, error) {
				t.Helper()
				info, err := maskstore.Upload(t.Context(), s, largeKey, source, opts)
				if got := spy.take(); !slices.Equal(got, sent) {
					t.Errorf("sent parts %q; want %q", got, sent)
				}
				return info, err
			}
			must := func(info maskstore.ObjectInfo, err error) maskstore.ObjectInfo {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				return info
			}

			// Begun, and neither answered nor recorded.
			must(maskstore.ObjectInfo{}, j.Store(t.Context(), maskstore.UploadRecord{
				Version: 1, Key: largeKey, PartSize: 16 << 20, Size: int64(len(data)), ContentType: "application/octet-stream",
				BegunAt: time.Now(),
			}))
			if _, err := s.CreateMultipartUpload(t.Context(), largeKey, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := upload(endingSource{bytes.NewReader(data)}, "1", "2"); !errors.Is(err, io.ErrNoProgress) ||
				len(openUploads(t, s)) != 1 {
				t.Fatalf("%v; open are %q", err, openUploads(t, s))
			}

			// Two parts are there, and one of them is the source's no more.
			changed := slices.Clone(data)
			changed[20<<20]++
			wantLarge(t, s, must(upload(bytes.NewReader(changed), "2", "3")), changed)

			// Complete, and not forgotten.
			opts.Journal = unforgetting{j}
			wantLarge(t, s, must(upload(bytes.NewReader(data), "1", "2", "3")), data)
			opts.Journal, opts.NoOverwrite = j, true
			wantLarge(t, s, must(upload(bytes.NewReader(data))), data)
			if _, err := upload(bytes.NewReader(data), "1", "2", "3"); !errors.Is(err, maskstore.ErrPreconditionFailed) ||
				len(openUploads(t, s)) > 0 {
				t.Errorf("%v; open are %q", err, openUploads(t, s))
			}

			// Given up.
			opts.NoOverwrite = false
			if _, err := upload(endingSource{bytes.NewReader(data)}, "1", "2"); !errors.Is(err, io.ErrNoProgress) {
				t.Fatal(err)
			}
			if swept, err := maskstore.SweepUploads(t.Context(), s, j, 0); err != nil || !slices.Equal(swept, []string{largeKey}) ||
				len(openUploads(t, s)) > 0 {
				t.Errorf("swept %q, %v; open are %q", swept, err, openUploads(t, s))
			}
		})
	}
}

// unforgetting is the journal of a process that is killed before it removes a record.
type unforgetting struct{ maskstore.Journal }

func (unforgetting) Remove(context.Context, string, string) error { return nil }

// TestPartsFromAClient has a client without credentials put an object in parts.
func TestPartsFromAClient(t *testing.T) {
	s, ctx, data := newMinIO(t, plain, nil), t.Context(), largeData()
	opts := &maskstore.PartsOptions{
		PutOptions: maskstore.PutOptions{Size: int64(len(data)), SHA256: maskstore.SumSHA256(data)},
		TTL:        time.Minute, Journal: maskstore.DirJournal(t.TempDir()),
	}
	ticket, err := maskstore.BeginParts(ctx, s, largeKey, opts)
	if err != nil {
		t.Fatal(err)
	}
	for part := range slices.Chunk(data, int(ticket.PartSize)) {
		opts.PartSHA256 = append(opts.PartSHA256, maskstore.SumSHA256(part))
	}
	client := &maskstore.DirectUploader{Client: plain.Client}
	for _, lost := range []int{2, 0} { // the part that does not arrive
		if ticket, err = maskstore.RenewParts(ctx, s, largeKey, ticket.UploadID, opts); err != nil {
			t.Fatal(err)
		}
		for _, p := range ticket.Parts {
			if p.Stored || p.PartNumber == lost {
				continue
			}
			if _, err := client.Upload(ctx, p.URL, maskstore.BytesBody(data[p.Offset:p.Offset+p.Size])); err != nil {
				t.Fatal(err)
			}
		}
		if lost == 0 {
			break
		}
		if _, err := maskstore.CompleteParts(ctx, s, largeKey, ticket.UploadID, opts); !errors.Is(err, maskstore.ErrIncomplete) {
			t.Fatalf("error is %v; want ErrIncomplete", err)
		}
	}
	for range 2 { // the answer to the first was lost
		info, err := maskstore.CompleteParts(ctx, s, largeKey, ticket.UploadID, opts)
		if err != nil {
			t.Fatal(err)
		}
		wantLarge(t, s, info, data)
	}
	if _, err := maskstore.RenewParts(ctx, s, largeKey, ticket.UploadID, opts); err == nil ||
		!strings.HasSuffix(err.Error(), "not found: no such upload") {
		t.Errorf("renewing what is complete: %v", err)
	}
	for r, err := range opts.Journal.Records(ctx) {
		t.Errorf("recorded is %+v, %v", r, err)
	}
}
