package maskstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// inTime is how long a call may take to come back after its context has ended.
const inTime = 5 * time.Second

// timedCall is a call of a storage on server, in which groups "saved", committed, and "open", whose masks are put, lie, masks
// of a group "bare" without a manifest, a small object at testKey, and such of two parts at testKey + "2" and largeKey.
type timedCall struct {
	op    string
	call  func(ctx context.Context, s ObjectStorage, server *s3Server) error
	stays bool // the upload in parts that it is about, or its journal's
}

const annotationInTime, largeKey = "a", testKey + "-large"

// largeParts are the parts of largeBody, which takes some time to hash.
var largeParts = sync.OnceValue(func() map[int]memoryPart {
	return map[int]memoryPart{1: newMemoryPart(1, largeBody[:maxSinglePut]), 2: newMemoryPart(2, largeBody[maxSinglePut:])}
})

var largeObject = sync.OnceValue(func() memoryObject {
	object := *new(Memory).newObject(largeKey, "image/png", largeBody)
	object.info.SHA256 = SHA256{}
	for n, p := range largeParts() {
		object.parts = append(object.parts, Part{PartNumber: n, Size: p.Size, SHA256: p.SHA256})
	}
	slices.SortFunc(object.parts, func(a, b Part) int { return a.PartNumber - b.PartNumber })
	return object
})

func groupInTime(s ObjectStorage, id string) *Group {
	g, err := NewGroup(s, annotationInTime, id, nil)
	if err != nil {
		panic(err) // the names are ours
	}
	return g
}

func filesInTime(t *testing.T) (files []MaskFile) {
	for slice := range 3 {
		data := encodePNG(t, image.NewGray(image.Rect(0, 0, 8, 8+slice)))
		files = append(files, MaskFile{Slice: slice, Label: "x", Body: BytesBody(data)})
	}
	return files
}

// setUp puts what the calls need, by the Memory itself.
func (s *s3Server) setUp(t *testing.T) {
	t.Helper()
	s.BaseURL = "http://127.0.0.1:1"
	files := filesInTime(t)
	_, err := groupInTime(&s.Memory, "saved").Upload(t.Context(), files, nil)
	var specs []MaskSpec
	for _, f := range files {
		specs = append(specs, f.Spec())
	}
	_, beginErr := groupInTime(&s.Memory, "open").Begin(t.Context(), specs, nil)
	if err := errors.Join(err, beginErr); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		for _, group := range []string{"open", "bare"} {
			key := MaskKey{Annotation: annotationInTime, Group: group, Slice: f.Slice, Label: f.Label}.String()
			body, err := f.Body.Open()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Put(t.Context(), key, body, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := s.Put(t.Context(), testKey, bytes.NewReader(smallBody), nil); err != nil {
		t.Fatal(err)
	}
	object := largeObject()
	s.write(t.Context(), &object, condition{}) // nothing of it can fail
	small := *s.newObject(testKey+"2", "image/png", []byte("twoparts"))
	small.info.SHA256 = SHA256{}
	small.parts = []Part{
		{PartNumber: 1, Size: 3, SHA256: SumSHA256([]byte("two"))}, {PartNumber: 2, Size: 5, SHA256: SumSHA256([]byte("parts"))},
	}
	s.write(t.Context(), &small, condition{})
}

// begun gives an upload of the key with two parts: the one that is open, or a new one.
func (s *s3Server) begun(key string) (id string) {
	for _, up := range s.openUploads(key) {
		if up.Key == key {
			return up.UploadID
		}
	}
	id, _ = s.CreateMultipartUpload(context.Background(), key, nil) // nothing of it can fail
	s.uploads[id].parts = maps.Clone(largeParts())
	return id
}

func (s *s3Server) parts(key string) (parts []Part) {
	for p := range s.ListParts(context.Background(), key, s.begun(key)) {
		parts = append(parts, p)
	}
	return parts
}

func timedCalls(t *testing.T, dir string) []timedCall {
	const fresh, begun = testKey + "-new", testKey + "-begun"
	name := filepath.Join(dir, "large")
	partsOptions := func(dir string) *PartsOptions {
		return &PartsOptions{PutOptions: PutOptions{Size: int64(len(largeBody))}, Journal: DirJournal(dir)}
	}
	group := func(op, id string, do func(ctx context.Context, g *Group) error) timedCall {
		return timedCall{op, func(ctx context.Context, s ObjectStorage, _ *s3Server) error {
			return do(ctx, groupInTime(s, id))
		}, false}
	}
	plain := func(op string, do func(ctx context.Context, s ObjectStorage) error) timedCall {
		return timedCall{op, func(ctx context.Context, s ObjectStorage, _ *s3Server) error { return do(ctx, s) }, false}
	}
	multipart := func(op string, stays bool, do func(ctx context.Context, s *S3, id string, server *s3Server) error) timedCall {
		return timedCall{op, func(ctx context.Context, s ObjectStorage, server *s3Server) error {
			return do(ctx, s.(*S3), server.begun(begun), server)
		}, stays}
	}
	items := func() (items []UploadItem) {
		for i := range 3 {
			items = append(items, UploadItem{Key: fmt.Sprint(fresh, i), Body: BytesBody(smallBody)})
		}
		return items
	}
	return []timedCall{
		plain("Stat", func(ctx context.Context, s ObjectStorage) error { _, err := s.Stat(ctx, testKey); return err }),
		plain("Get", func(ctx context.Context, s ObjectStorage) error { return readInTime(ctx, s, testKey, nil) }),
		plain("Get of parts", func(ctx context.Context, s ObjectStorage) error { return readInTime(ctx, s, testKey+"2", nil) }),
		plain("Get of a range", func(ctx context.Context, s ObjectStorage) error {
			return readInTime(ctx, s, testKey, &GetOptions{Offset: 1, Length: 2})
		}),
		plain("Put", func(ctx context.Context, s ObjectStorage) error {
			_, err := s.Put(ctx, fresh, bytes.NewReader(smallBody), nil)
			return err
		}),
		plain("Put in parts", func(ctx context.Context, s ObjectStorage) error {
			_, err := s.Put(ctx, fresh, bytes.NewReader(largeBody), nil)
			return err
		}),
		plain("Delete", func(ctx context.Context, s ObjectStorage) error { return s.Delete(ctx, testKey) }),
		plain("Delete of many", func(ctx context.Context, s ObjectStorage) error { return s.Delete(ctx, testKey, testKey+"2") }),
		plain("List", func(ctx context.Context, s ObjectStorage) error {
			for _, err := range s.List(ctx, "mask/", nil) {
				if err != nil {
					return err
				}
			}
			return nil
		}),
		plain("Copy", func(ctx context.Context, s ObjectStorage) error {
			_, err := s.(*S3).Copy(ctx, testKey, fresh, nil)
			return err
		}),
		{"CreateMultipartUpload", func(ctx context.Context, s ObjectStorage, _ *s3Server) error {
			_, err := s.(*S3).CreateMultipartUpload(ctx, fresh, nil)
			return err
		}, true},
		multipart("UploadPart", true, func(ctx context.Context, s *S3, id string, _ *s3Server) error {
			_, err := s.UploadPart(ctx, begun, id, 1, BytesBody(largeBody[:maxSinglePut]))
			return err
		}),
		multipart("ListParts", true, func(ctx context.Context, s *S3, id string, _ *s3Server) error {
			_, err := storedParts(ctx, s, begun, id)
			return err
		}),
		multipart("ListMultipartUploads", true, func(ctx context.Context, s *S3, _ string, _ *s3Server) error {
			for _, err := range s.ListMultipartUploads(ctx, "mask/") {
				if err != nil {
					return err
				}
			}
			return nil
		}),
		multipart("CompleteMultipartUpload", true, func(ctx context.Context, s *S3, id string, server *s3Server) error {
			_, err := s.CompleteMultipartUpload(ctx, begun, id, server.parts(begun), nil)
			return err
		}),
		multipart("AbortMultipartUpload", true, func(ctx context.Context, s *S3, id string, _ *s3Server) error {
			return s.AbortMultipartUpload(ctx, begun, id)
		}),

		plain("UploadAll", func(ctx context.Context, s ObjectStorage) error {
			_, err := UploadAll(ctx, s, items(), nil)
			return err
		}),
		plain("DownloadAll", func(ctx context.Context, s ObjectStorage) error {
			var one, two []byte
			_, err := DownloadAll(ctx, s, []DownloadItem{
				{Key: testKey, Sink: BytesSink(&one)}, {Key: testKey + "2", Sink: BytesSink(&two)},
			}, nil)
			return err
		}),
		plain("DeletePrefix", func(ctx context.Context, s ObjectStorage) error {
			_, err := DeletePrefix(ctx, s, "mask/a/", nil)
			return err
		}),
		plain("UploadFile", func(ctx context.Context, s ObjectStorage) error {
			_, err := UploadFile(ctx, s, fresh, name, nil)
			return err
		}),
		{"UploadFile with a journal", func(ctx context.Context, s ObjectStorage, _ *s3Server) error {
			journal, err := os.MkdirTemp(dir, "")
			if err == nil {
				_, err = UploadFile(ctx, s, fresh, name, &UploadOptions{Journal: DirJournal(journal)})
			}
			return err
		}, true},
		plain("DownloadFile", func(ctx context.Context, s ObjectStorage) error {
			_, err := DownloadFile(ctx, s, largeKey, filepath.Join(dir, "got"), nil)
			return err
		}),
		{"SweepUploads", func(ctx context.Context, s ObjectStorage, server *s3Server) error {
			journal, err := os.MkdirTemp(dir, "")
			if err == nil {
				err = DirJournal(journal).Store(ctx, UploadRecord{
					Version: 1, Key: begun, UploadID: server.begun(begun), PartSize: defaultPartSize, Size: int64(len(largeBody)),
					ContentType: "image/png", BegunAt: time.Now(),
				})
			}
			if err == nil {
				_, err = SweepUploads(ctx, s, DirJournal(journal), 0)
			}
			return err
		}, true},
		{"BeginParts", func(ctx context.Context, s ObjectStorage, _ *s3Server) error {
			journal, err := os.MkdirTemp(dir, "")
			if err == nil {
				_, err = BeginParts(ctx, s, fresh, partsOptions(journal))
			}
			return err
		}, true},
		multipart("RenewParts", true, func(ctx context.Context, s *S3, id string, _ *s3Server) error {
			o := partsOptions("")
			o.Journal, o.PartSHA256 = nil, []SHA256{SumSHA256(largeBody[:maxSinglePut]), SumSHA256(largeBody[maxSinglePut:])}
			_, err := RenewParts(ctx, s, begun, id, o)
			return err
		}),
		multipart("CompleteParts", true, func(ctx context.Context, s *S3, id string, _ *s3Server) error {
			o := partsOptions("")
			o.Journal, o.SHA256 = nil, SumSHA256(largeBody)
			_, err := CompleteParts(ctx, s, begun, id, o)
			return err
		}),

		group("Begin", "", func(ctx context.Context, g *Group) error {
			_, err := g.Begin(ctx, []MaskSpec{filesInTime(t)[0].Spec()}, nil)
			return err
		}),
		group("Begin over a group", "saved", func(ctx context.Context, g *Group) error {
			_, err := g.Begin(ctx, []MaskSpec{{Slice: 7, Label: "y", Size: 1}}, nil)
			return err
		}),
		group("Renew", "open", func(ctx context.Context, g *Group) error { _, err := g.Renew(ctx, "", nil, nil); return err }),
		group("Complete", "open", func(ctx context.Context, g *Group) error {
			_, err := g.Complete(ctx, "", nil, &CompleteOptions{VerifyContent: true})
			return err
		}),
		group("Adopt", "bare", func(ctx context.Context, g *Group) error { _, err := g.Adopt(ctx, nil); return err }),
		group("Manifest", "saved", func(ctx context.Context, g *Group) error { _, err := g.Manifest(ctx); return err }),
		group("DownloadURLs", "saved", func(ctx context.Context, g *Group) error {
			_, _, err := g.DownloadURLs(ctx, nil)
			return err
		}),
		group("Masks", "saved", func(ctx context.Context, g *Group) error {
			for _, err := range g.Masks(ctx) {
				if err != nil {
					return err
				}
			}
			return nil
		}),
		group("Download", "saved", func(ctx context.Context, g *Group) error {
			to, err := os.MkdirTemp(dir, "")
			if err == nil {
				_, err = g.Download(ctx, filepath.Join(to, "group"))
			}
			return err
		}),
		group("Upload of a group", "", func(ctx context.Context, g *Group) error {
			_, err := g.Upload(ctx, filesInTime(t), nil)
			return err
		}),
		group("Delete of a group", "saved", func(ctx context.Context, g *Group) error { return g.Delete(ctx) }),
		plain("Groups", func(ctx context.Context, s ObjectStorage) error {
			for _, err := range Groups(ctx, s, annotationInTime, nil) {
				if err != nil {
					return err
				}
			}
			return nil
		}),
		{"Sweep", func(ctx context.Context, s ObjectStorage, server *s3Server) error {
			server.begun(begun)
			_, err := Sweep(ctx, s, &SweepOptions{Now: func() time.Time { return time.Now().Add(72 * time.Hour) }})
			return err
		}, true},
	}
}

func readInTime(ctx context.Context, s ObjectStorage, key string, opts *GetOptions) error {
	obj, err := s.Get(ctx, key, opts)
	if err != nil {
		return err
	}
	defer obj.Body.Close()
	_, err = io.Copy(io.Discard, obj.Body)
	return err
}

// stall keeps a request waiting until its client has gone.
func stall(r *http.Request) {
	io.Copy(io.Discard, r.Body) // else nobody would notice
	<-r.Context().Done()
}

// Each call comes back within 5 s of the end of its context, at whichever of its requests that comes, and whatever becomes
// of the requests after it. Where the server goes on, no part is left.
func TestS3BackInTime(t *testing.T) {
	stalls := func(_ *s3Server, _ http.ResponseWriter, r *http.Request) bool { stall(r); return true }
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "large"), largeBody, 0o600); err != nil {
		t.Fatal(err)
	}
	const deadline = 7 * time.Second
	for _, how := range []struct {
		name   string
		cancel bool                                                     // at the request; else a deadline ends it
		answer func(*s3Server, http.ResponseWriter, *http.Request) bool // from that request on; it may leave one to the server
	}{
		{"cancelled, the server stalls", true, stalls},
		{"cancelled, the server goes on", true, func(*s3Server, http.ResponseWriter, *http.Request) bool { return false }},
		{"deadline, the server stalls", false, stalls},
		{"deadline, the server refuses", false, func(_ *s3Server, w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, "<Error><Code>SlowDown</Code></Error>")
			return true
		}},
	} {
		points, fired, told, longest := 0, 0, 0, time.Duration(0)
		for _, call := range timedCalls(t, dir) {
			inBubble(t, how.name+", "+call.op, func(t *testing.T) {
				missed := 0
				run := func(at int) (requests int) {
					server := &s3Server{}
					server.setUp(t)
					ctx, cancel := context.WithTimeout(t.Context(), deadline)
					defer cancel()
					ended := time.Now().Add(deadline)
					reached := false
					server.before = func(n int, w http.ResponseWriter, r *http.Request) bool {
						if at == 0 || n < at {
							return false
						}
						if n == at {
							if reached = true; how.cancel {
								ended = time.Now()
								cancel()
							}
						}
						return how.answer(server, w, r)
					}
					err := call.call(ctx, testS3(t, server), server)
					late := time.Since(ended)
					synctest.Wait()
					if at == 0 {
						if err != nil {
							t.Fatalf("without a fault: %v", err)
						}
						return len(server.requests)
					}
					if !reached && err == nil && at > 1 {
						missed++ // the transport now and then repeats a GET by itself, on another connection
						return 0
					}
					points++
					want := context.DeadlineExceeded
					if how.cancel {
						want = context.Canceled
					}
					if reached {
						fired++
					} else {
						t.Errorf("request %d was not made", at)
					}
					longest = max(longest, late)
					if late > inTime {
						t.Errorf("request %d: back %v after the end: %v", at, late, err)
					}
					if errors.Is(err, want) {
						told++
						if _, ok := errors.AsType[*Error](err); !ok {
							t.Errorf("request %d: error is %T %v", at, err, err)
						}
					} else if err != nil {
						t.Errorf("request %d: error is %v; want %v", at, err, want)
					}
					time.Sleep(time.Minute) // of the bubble's time, for what of the server is still at work
					synctest.Wait()
					goesOn := strings.HasSuffix(how.name, "goes on")
					if left := server.openUploads(""); goesOn && len(left) > 0 && !call.stays {
						t.Errorf("request %d: left are %v", at, left)
					}
					return len(server.requests)
				}
				for at := range run(0) {
					run(at + 1)
				}
				if missed > 1 {
					t.Errorf("%d requests were not made", missed)
				}
			})
		}
		t.Logf("faults: %s at every request of %d calls: %d points, %d fired, %d told, the others done by then; "+
			"the last back after %v", how.name, len(timedCalls(t, dir)), points, fired, told, longest)
	}
}
