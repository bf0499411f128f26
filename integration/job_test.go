package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/integration/maskdata"
	"github.com/pacs-extension/maskstore/integration/miniotest"
)

// pacs is a client of a PACS server, without credentials for the storage.
type pacs struct {
	*testing.T
	url string
}

// call makes a request to the server, and decodes its answer, which must have that status.
func (p pacs) call(method, path string, request, answer any, status int) {
	p.Helper()
	var body io.Reader
	if request != nil {
		data, err := json.Marshal(request)
		if err != nil {
			p.Fatal(err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(p.Context(), method, p.url+path, body)
	if err != nil {
		p.Fatal(err)
	}
	if request != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		p.Fatal(err)
	}
	if resp.StatusCode != status {
		p.Fatalf("%s %s: %s, want %d\n%.2000s", method, path, resp.Status, status, data)
	}
	if answer != nil {
		if err := json.Unmarshal(data, answer); err != nil {
			p.Fatal(err)
		}
	}
}

// TestMainJob is the library's whole purpose: the masks of a group go from a viewer to the bucket and back, past the
// server that hands out the URLs.
func TestMainJob(t *testing.T) {
	t.Parallel()
	for name, server := range map[string]*miniotest.Server{"plain": plain, "TLS": secure} {
		t.Run(name, func(t *testing.T) { mainJob(t, server, newMinIO(t, server, nil)) })
	}
}

func mainJob(t *testing.T, server *miniotest.Server, storage maskstore.ObjectStorage) {
	files, source, err := maskdata.Files()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d masks from %s", len(files), source)
	handler := httptest.NewServer(maskstore.NewHandler(storage, &maskstore.HandlerOptions{
		Authorize: func(*http.Request, string, maskstore.Action) (string, error) { return "viewer", nil },
	}))
	defer handler.Close()
	p := pacs{t, handler.URL + "/api/annotations/brain/mask-groups"}

	var begun struct {
		Group  string `json:"group_id"`
		Upload string `json:"upload_id"`
		Masks  []struct {
			Key string
			URL maskstore.RevealedURL
		}
	}
	specs := make([]maskstore.MaskSpec, len(files))
	for i, f := range files {
		specs[i] = f.Spec()
	}
	phase := time.Now()
	step := func(what string) {
		t.Logf("%-9s %v", what, time.Since(phase).Round(time.Millisecond))
		phase = time.Now()
	}
	p.call("POST", "", map[string]any{"masks": specs}, &begun, http.StatusCreated)
	step("begin")

	items := make([]maskstore.DirectItem, len(files))
	content := make(map[string][]byte, len(files))
	for i, m := range begun.Masks {
		items[i] = maskstore.DirectItem{Key: m.Key, URL: m.URL.SignedURL(), Body: files[i].Body}
		content[m.Key] = read(t, files[i].Body)
	}
	etags, err := (&maskstore.DirectUploader{Client: server.Client}).UploadAll(t.Context(), items)
	if err != nil {
		t.Fatal(err)
	}
	step("put")
	p.call("POST", "/"+begun.Group+"/complete", map[string]any{"upload_id": begun.Upload, "etags": etags}, nil, http.StatusOK)
	step("complete")

	var got struct {
		Masks []struct {
			Key    string
			SHA256 maskstore.SHA256
			Size   int64
			URL    maskstore.RevealedURL
		}
	}
	p.call("GET", "/"+begun.Group, nil, &got, http.StatusOK)
	if len(got.Masks) != len(files) {
		t.Fatalf("the group has %d masks; want %d", len(got.Masks), len(files))
	}
	downloads := make([]maskstore.DirectDownload, len(files))
	data := make([][]byte, len(files))
	for i, m := range got.Masks {
		downloads[i] = maskstore.DirectDownload{
			Key: m.Key, URL: m.URL.SignedURL(), Size: m.Size, SHA256: m.SHA256, Sink: maskstore.BytesSink(&data[i]),
		}
	}
	if _, err := (&maskstore.DirectDownloader{Client: server.Client}).DownloadAll(t.Context(), downloads); err != nil {
		t.Fatal(err)
	}
	for i, m := range got.Masks {
		if !bytes.Equal(data[i], content[m.Key]) {
			t.Errorf("%s came back with other bytes", m.Key)
		}
	}
	step("download")
	p.call("DELETE", "/"+begun.Group, nil, nil, http.StatusNoContent)
	p.call("GET", "/"+begun.Group, nil, nil, http.StatusGone)
	step("delete")
}

func read(t *testing.T, body maskstore.Body) []byte {
	t.Helper()
	r, err := body.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// requestCounter counts the requests of a client.
type requestCounter struct {
	http.RoundTripper
	n atomic.Int64
}

func (c *requestCounter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.RoundTripper.RoundTrip(r)
}

// use gives what makes a storage send its requests through the counter.
func (c *requestCounter) use(encryption string) func(*maskstore.S3Options) {
	return func(o *maskstore.S3Options) { o.HTTPClient, o.Encryption = &http.Client{Transport: c}, encryption }
}

// TestGroupRequests counts what Begin and Complete send, where a listing takes one request and where it takes two: the
// manifest is an object too.
func TestGroupRequests(t *testing.T) {
	t.Parallel()
	for _, masks := range []int{999, 1000, 1001} {
		t.Run(fmt.Sprint(masks), func(t *testing.T) {
			counter := &requestCounter{RoundTripper: plain.Client.Transport}
			s := newMinIO(t, plain, counter.use(""))
			lists := int64(1)
			if masks+1 > 1000 {
				lists = 2
			}
			group := "" // a new one
			for _, save := range []struct {
				what string
				want int64
			}{
				{"new group", 1 + 1 + lists + 1},
				{"re-save", 2 + 1 + lists + 1},
			} {
				g, err := maskstore.NewGroup(s, "a", group, nil)
				if err != nil {
					t.Fatal(err)
				}
				group = g.ID()
				specs := make([]maskstore.MaskSpec, masks)
				bodies := make(map[string]maskstore.Body, masks)
				for i := range specs {
					body := maskstore.BytesBody([]byte(fmt.Sprintf("%s %d", save.what, i)))
					specs[i] = maskstore.MaskSpec{Slice: i, Label: "x", Size: body.Size, SHA256: body.SHA256}
					bodies[maskstore.MaskKey{Annotation: "a", Group: group, Slice: i, Label: "x"}.String()] = body
				}
				before := counter.n.Load()
				up, err := g.Begin(t.Context(), specs, nil)
				if err != nil {
					t.Fatal(err)
				}
				var items []maskstore.DirectItem
				for _, m := range up.Masks {
					items = append(items, maskstore.DirectItem{Key: m.Key, URL: m.URL, Body: bodies[m.Key]})
				}
				etags, err := (&maskstore.DirectUploader{Client: plain.Client}).UploadAll(t.Context(), items)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := g.Complete(t.Context(), up.UploadID, etags, nil); err != nil {
					t.Fatal(err)
				}
				if n := counter.n.Load() - before; n != save.want {
					t.Errorf("%s: %d requests; want %d", save.what, n, save.want)
				}
			}
		})
	}
}
