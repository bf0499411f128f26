package maskstore

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// tarServer stores objects, and unpacks tars as MinIO does, as far as unpack lets it.
type tarServer struct {
	// unpack gives what is stored of an object in a tar, nil for nothing. Where it is nil itself, tars are stored as they are.
	unpack func(key string, data []byte) []byte

	mu      sync.Mutex
	objects map[string][]byte
	types   map[string]string
	puts    int // of single objects
}

func (s *tarServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := strings.TrimPrefix(r.URL.Path, "/bucket/")
	switch {
	case r.Method == http.MethodPut && r.Header.Get("X-Amz-Meta-Snowball-Auto-Extract") == "true" && s.unpack != nil:
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("X-Amz-Checksum-Sha256") != SumSHA256(body).Base64() {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		for tr := tar.NewReader(bytes.NewReader(body)); ; {
			h, err := tr.Next()
			if err != nil {
				return
			}
			data, _ := io.ReadAll(tr)
			if data = s.unpack(h.Name, data); data != nil {
				s.objects[h.Name], s.types[h.Name] = data, h.PAXRecords["minio.metadata.Content-Type"]
			}
		}
	case r.Method == http.MethodPut:
		s.puts++
		data, _ := io.ReadAll(r.Body)
		s.objects[key], s.types[key] = data, r.Header.Get("Content-Type")
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, md5.Sum(data)))
	case r.URL.Query().Has("list-type"):
		io.WriteString(w, "<ListBucketResult><IsTruncated>false</IsTruncated>")
		for _, key := range slices.Sorted(maps.Keys(s.objects)) {
			if strings.HasPrefix(key, r.URL.Query().Get("prefix")) {
				fmt.Fprintf(w, "<Contents><Key>%s</Key><Size>%d</Size><ETag>%x</ETag></Contents>", key, len(s.objects[key]),
					md5.Sum(s.objects[key]))
			}
		}
		io.WriteString(w, "</ListBucketResult>")
	case r.Method == http.MethodDelete:
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		data, ok := s.objects[key]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, md5.Sum(data)))
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	}
}

func TestPutBatch(t *testing.T) {
	const n = 200
	whole := func(_ string, data []byte) []byte { return data }
	for _, row := range []struct {
		name   string
		unpack func(key string, data []byte) []byte
		puts   int // the large one among them
	}{
		{"unpacked", whole, 1},
		{"stored as it is", nil, n + 1 + tarConcurrency},
		{"half unpacked", func(key string, data []byte) []byte {
			if strings.Contains(key, "1_") {
				return nil
			}
			return data
		}, n/10 + 1},
		{"one unpacked wrongly", func(key string, data []byte) []byte {
			if strings.Contains(key, "0007_") {
				return bytes.ToUpper(data)
			}
			return data
		}, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			server := &tarServer{unpack: row.unpack, objects: map[string][]byte{}, types: map[string]string{}}
			s := newTestMinIO(t, server)
			var items []UploadItem
			want := map[string][]byte{}
			for i := range n {
				key := fmt.Sprintf("mask/a/g/%04d_x.png", i)
				want[key] = fmt.Appendf(nil, "mask %d", i)
				items = append(items, UploadItem{Key: key, Body: BytesBody(want[key])})
			}
			want["mask/b/large"] = make([]byte, maxBatchItem+1)
			items = append(items, UploadItem{
				Key: "mask/b/large", Body: BytesBody(want["mask/b/large"]), ContentType: "application/dicom",
			})
			var last Progress
			infos, err := s.PutBatch(t.Context(), items, &ParallelOptions{OnProgress: func(p Progress) { last = p }})
			if err != nil {
				t.Fatal(err)
			}
			for i, info := range infos {
				if info.Key != items[i].Key || info.Size != items[i].Body.Size || info.SHA256 != items[i].Body.SHA256 ||
					info.ETag != fmt.Sprintf("%x", md5.Sum(want[info.Key])) {
					t.Errorf("%s is %+v", items[i].Key, info)
				}
			}
			if !maps.EqualFunc(server.objects, want, bytes.Equal) {
				t.Errorf("there are %d objects; want %d", len(server.objects), len(want))
			}
			if server.types["mask/a/g/0003_x.png"] != "image/png" || server.types["mask/b/large"] != "application/dicom" {
				t.Errorf("the types are %q, %q", server.types["mask/a/g/0003_x.png"], server.types["mask/b/large"])
			}
			if server.puts != row.puts {
				t.Errorf("%d single PUTs; want %d", server.puts, row.puts)
			}
			if last.Done != n+1 || last.Total != n+1 {
				t.Errorf("progress ended at %+v", last)
			}
		})
	}
}

func TestPutBatchRefuses(t *testing.T) {
	s := newTestMinIO(t, &tarServer{})
	body := BytesBody([]byte("x"))
	wrong := BytesBody([]byte("y"))
	wrong.SHA256 = body.SHA256
	for name, row := range map[string]struct {
		items []UploadItem
		want  error
	}{
		"condition":       {[]UploadItem{{Key: "mask/a", Body: body, NoOverwrite: true}}, ErrInvalidArgument},
		"bad key":         {[]UploadItem{{Key: "mask/..", Body: body}}, ErrInvalidKey},
		"twice":           {[]UploadItem{{Key: "mask/a", Body: body}, {Key: "mask/a", Body: body}}, ErrInvalidArgument},
		"another content": {[]UploadItem{{Key: "mask/a", Body: wrong}}, ErrChecksum},
	} {
		_, err := s.PutBatch(t.Context(), row.items, nil)
		if errs := KeyErrors(err); !errors.Is(err, row.want) || len(errs) != 1 || errs[0].Key != row.items[0].Key {
			t.Errorf("%s: error is %v; want %v of the key", name, err, row.want)
		}
	}
}

// A tar is held in memory: its bytes are bounded, and it is given room for all of them at once.
func TestTarsAreBounded(t *testing.T) {
	body := func(n int) Body { return BytesBody(make([]byte, n)) }
	for _, row := range []struct {
		name string
		n    int
		item UploadItem // without its key's end
		tars int
	}{
		{"few", 10, UploadItem{Body: body(1)}, 1},
		{"small", 3 * tarConcurrency * minTarItems, UploadItem{Body: body(1)}, tarConcurrency},
		{"many", tarConcurrency*maxTarItems + 1, UploadItem{Body: body(1)}, tarConcurrency + 1},
		{"large", 300, UploadItem{Body: body(maxBatchItem)}, 5},
		{"of long keys and types", 300, UploadItem{Key: strings.Repeat("간", 80) + "/", ContentType: "image/" + strings.Repeat("x", 900), Body: body(513)}, 4},
		{"empty", 1, UploadItem{Body: body(0)}, 0},
		{"too large", 1, UploadItem{Body: body(maxBatchItem + 1)}, 0},
	} {
		items := make([]UploadItem, row.n)
		for i := range items {
			items[i] = row.item
			items[i].Key = fmt.Sprintf("mask/%s%05d", row.item.Key, i)
		}
		tars := planTars(items)
		if len(tars) != row.tars {
			t.Errorf("%s: %d tars; want %d", row.name, len(tars), row.tars)
		}
		for i, tar := range tars {
			_, data, err := packTar(t.Context(), items, tar, nil)
			room := int64(tarEnd) + int64(len(tar))*tarBytes(&items[0])
			if err != nil || data.Cap() != int(room) || data.Len() > maxTarBytes || len(tar) > maxTarItems {
				t.Fatalf("%s, tar %d: %v; %d items, %d bytes with room for %d", row.name, i, err, len(tar), data.Len(), data.Cap())
			}
		}
		for i, index := range slices.Concat(tars...) {
			if i != index {
				t.Fatalf("%s: item %d comes where %d should", row.name, index, i)
			}
		}
	}
}

// Where a batch keeps going, an item without content fails alone.
func TestPutBatchKeepsGoing(t *testing.T) {
	broken := errors.New("the disk broke")
	another := BytesBody([]byte("another"))
	another.SHA256 = SumSHA256([]byte("content"))
	for _, keepGoing := range []bool{true, false} {
		server := &tarServer{
			unpack: func(_ string, data []byte) []byte { return data }, objects: map[string][]byte{}, types: map[string]string{},
		}
		items := make([]UploadItem, 300)
		for i := range items {
			items[i] = UploadItem{Key: fmt.Sprintf("mask/a/g/%04d_x.png", i), Body: BytesBody(fmt.Appendf(nil, "mask %d", i))}
		}
		for i := 75; i < 175; i++ { // the whole of a tar, and a part of another
			items[i].Body.Open = func() (io.ReadCloser, error) { return nil, broken }
		}
		items[7].Body = another
		var last Progress
		infos, err := newTestMinIO(t, server).PutBatch(t.Context(), items,
			&ParallelOptions{KeepGoing: keepGoing, OnProgress: func(p Progress) { last = p }})
		keys := KeyErrors(err)
		if !keepGoing {
			if len(keys) != 1 || last.Err == nil {
				t.Errorf("the first error does not stop it: %v, after %+v", err, last)
			}
			continue
		}
		if !errors.Is(err, broken) || !errors.Is(err, ErrChecksum) || len(keys) != 101 || keys[0].Key != items[7].Key ||
			keys[0].Op != "PutBatch" {
			t.Errorf("%d keys failed: %v", len(keys), err)
		}
		if last.Done != 300 || last.Bytes == 0 || len(server.objects) != 300-101 || server.puts > 0 {
			t.Errorf("it ended at %+v, with %d objects", last, len(server.objects))
		}
		for i, info := range infos {
			if fails := i == 7 || i >= 75 && i < 175; (info.Key == "") != fails || (server.objects[items[i].Key] == nil) != fails {
				t.Errorf("item %d is %+v", i, info)
			}
		}
	}
}

func newTestMinIO(t *testing.T, handler http.Handler) *MinIO {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	s, err := NewMinIO(t.Context(), S3Options{
		Bucket: "bucket", Endpoint: server.URL, AccessKey: "key", SecretKey: "secret", HTTPClient: server.Client(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A server that does not unpack has the tar when the context ends: it is deleted all the same.
func TestPutBatchLeavesNoTar(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := &tarServer{objects: map[string][]byte{}, types: map[string]string{}}
	s := newTestMinIO(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		server.ServeHTTP(w, r)
		if r.Method == http.MethodPut {
			cancel()
			<-r.Context().Done() // the answer comes too late
		}
	}))
	_, err := s.PutBatch(ctx, []UploadItem{{Key: "mask/a/g/0001_x.png", Body: BytesBody([]byte("x"))}}, nil)
	if !errors.Is(err, context.Canceled) || server.puts != 1 || len(server.objects) > 0 {
		t.Errorf("%v; of %d PUTs %d objects are left", err, server.puts, len(server.objects))
	}
}

// What a batch could not delete, Sweep does, after its grace.
func TestSweepDeletesTars(t *testing.T) {
	m := new(Memory)
	put := func(key string) {
		if _, err := m.Put(t.Context(), key, strings.NewReader("x"), nil); err != nil {
			t.Fatal(err)
		}
	}
	put("mask/_batch/new.tar")
	m.Now = func() time.Time { return time.Now().Add(-25 * time.Hour) }
	put("mask/_batch/old.tar")
	put("mask/_batch/older/x.tar")
	put("mask/a/old.tar")
	old := []string{"mask/_batch/old.tar", "mask/_batch/older/x.tar"}
	for _, row := range []struct {
		opts SweepOptions
		tars []string
	}{
		{SweepOptions{Annotation: "a"}, nil}, {SweepOptions{Grace: 48 * time.Hour}, nil}, {SweepOptions{DryRun: true}, old},
		{SweepOptions{}, old}, {SweepOptions{}, nil},
	} {
		report, err := Sweep(t.Context(), m, &row.opts)
		if err != nil || !slices.Equal(report.Tars, row.tars) || report.Groups != 0 {
			t.Errorf("%+v: %v, report is %+v; want %q deleted", row.opts, err, report, row.tars)
		}
	}
	for _, key := range []string{"mask/_batch/new.tar", "mask/a/old.tar"} {
		if _, err := m.Stat(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
}

// A server that is gone once it has the tar: what cleans up ends soon after the context, and the error tells what may stay.
func TestPutBatchEndsWithItsContext(t *testing.T) {
	inBubble(t, "stopped", func(t *testing.T) {
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		m := &MinIO{testS3(t, &scripted{answers: []answer{stored, {status: 503, code: "SlowDown"}}})}
		_, err := m.PutBatch(ctx, []UploadItem{{Key: "mask/a/g/0001_x.png", Body: BytesBody([]byte("x"))}}, nil)
		took := time.Since(begun)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), batchPrefix) ||
			took > 3*time.Second+settleGrace {
			t.Errorf("%v, after %v", err, took)
		}
	})
}
