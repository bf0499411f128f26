package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"time"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/examples/internal/setup"
)

// viewer is a client of the PACS server, as a browser is one: JSON over HTTP, and no credentials of the storage.
type viewer struct {
	server     string
	onProgress func(maskstore.Progress)
}

// upload is what the server answers to a begin.
type upload struct {
	GroupID  string    `json:"group_id"`
	UploadID string    `json:"upload_id"`
	Revision int       `json:"revision"`
	Expires  time.Time `json:"expires"`
	Masks    []struct {
		Key       string                `json:"key"`
		Unchanged bool                  `json:"unchanged"`
		URL       maskstore.RevealedURL `json:"url"`
	} `json:"masks"`
}

// urls counts the masks that are to be put.
func (u *upload) urls() (n int) {
	for _, m := range u.Masks {
		if !m.Unchanged {
			n++
		}
	}
	return n
}

type object map[string]any

func groupsPath(annotation string) string { return "/api/annotations/" + annotation + "/mask-groups" }

// begin asks for a signed URL per mask. An empty group makes a new one.
func (v *viewer) begin(ctx context.Context, annotation, group string, masks []mask) (*upload, error) {
	var specs []maskstore.MaskSpec
	for _, m := range masks {
		specs = append(specs, maskstore.MaskSpec{
			Slice: m.slice, Label: m.label, Size: int64(len(m.data)), SHA256: maskstore.SumSHA256(m.data),
		})
	}
	var u upload
	return &u, v.call(ctx, "POST", groupsPath(annotation), object{"group_id": group, "masks": specs}, &u)
}

// put puts the masks to their URLs, and gives the ETags by key.
func (v *viewer) put(ctx context.Context, u *upload, masks []mask) (map[string]string, error) {
	bodies := make(map[string]maskstore.Body)
	for _, m := range masks {
		bodies[m.name()] = maskstore.BytesBody(m.data)
	}
	var items []maskstore.DirectItem
	for _, m := range u.Masks {
		if !m.Unchanged {
			items = append(items, maskstore.DirectItem{Key: m.Key, URL: m.URL.SignedURL(), Body: bodies[path.Base(m.Key)]})
		}
	}
	uploader := maskstore.DirectUploader{OnProgress: v.onProgress}
	return uploader.UploadAll(ctx, items)
}

// complete makes the masks the group's committed revision, and counts those that the server verified.
func (v *viewer) complete(ctx context.Context, annotation string, u *upload, etags map[string]string) (int, error) {
	var done struct {
		Verdicts []maskstore.Verdict `json:"verdicts"`
	}
	err := v.call(ctx, "POST", groupsPath(annotation)+"/"+u.GroupID+"/complete",
		object{"upload_id": u.UploadID, "etags": etags}, &done)
	return len(done.Verdicts), err
}

// list counts the groups, page by page.
func (v *viewer) list(ctx context.Context, annotation string) (n int, err error) {
	for next := ""; ; {
		var page struct {
			Groups []object `json:"groups"`
			Next   string   `json:"next"`
		}
		if err := v.call(ctx, "GET", groupsPath(annotation)+"?start_after="+next, nil, &page); err != nil {
			return n, err
		}
		n += len(page.Groups)
		if next = page.Next; next == "" {
			return n, nil
		}
	}
}

// download gets the group's masks, by file name.
func (v *viewer) download(ctx context.Context, annotation, group string) (map[string][]byte, error) {
	var got struct {
		Masks []struct {
			maskstore.Mask
			URL maskstore.RevealedURL `json:"url"`
		} `json:"masks"`
	}
	if err := v.call(ctx, "GET", groupsPath(annotation)+"/"+group, nil, &got); err != nil {
		return nil, err
	}
	data := make([][]byte, len(got.Masks))
	items := make([]maskstore.DirectDownload, len(got.Masks))
	for i, m := range got.Masks {
		items[i] = maskstore.DirectDownload{
			Key: m.Key, URL: m.URL.SignedURL(), Size: m.Size, SHA256: m.SHA256, Sink: maskstore.BytesSink(&data[i]),
		}
	}
	downloader := maskstore.DirectDownloader{OnProgress: v.onProgress}
	if _, err := downloader.DownloadAll(ctx, items); err != nil {
		return nil, err
	}
	files := make(map[string][]byte)
	for i, m := range got.Masks {
		files[path.Base(m.Key)] = data[i]
	}
	return files, nil
}

// call makes a request to the PACS server, and decodes the answer into v.
func (v *viewer) call(ctx context.Context, method, path string, body, answer any) error {
	resp, err := setup.Ask(ctx, method, v.server+path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		return json.NewDecoder(resp.Body).Decode(answer)
	}
	var problem struct {
		Detail string `json:"detail"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&problem); err != nil {
		return fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, problem.Detail)
}
