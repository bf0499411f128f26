package maskstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/pacs-extension/maskstore"
)

// maskPNG is a mask that a viewer might draw.
func maskPNG() []byte {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 512, 512))); err != nil {
		log.Fatal(err)
	}
	return b.Bytes()
}

func Example() {
	ctx := context.Background()
	storage := &maskstore.Memory{Bucket: "masks", BaseURL: "http://127.0.0.1:9000"} // or maskstore.Open: S3, MinIO
	group, err := maskstore.NewGroup(storage, "ct-42", "seg-1", nil)
	if err != nil {
		log.Fatal(err)
	}
	upload, err := group.Begin(ctx, []maskstore.MaskSpec{{Slice: 12, Label: "liver", Size: 2748}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, mask := range upload.Masks {
		fmt.Println(mask.URL) // prints no signature; mask.URL.Reveal() is what the viewer gets, to put its file to
	}
	// Once the viewer has: group.Complete(ctx, upload.UploadID, nil, nil) verifies and commits.

	// Output: PUT http://127.0.0.1:9000/masks/mask/ct-42/seg-1/0012_liver.png?[redacted]
}

func ExampleNewHandler() {
	storage := new(maskstore.Memory)
	objects := httptest.NewServer(storage) // with S3 and MinIO there is a server already
	defer objects.Close()
	storage.BaseURL = objects.URL

	mux := http.NewServeMux()
	mux.Handle("/api/annotations/", maskstore.NewHandler(storage, &maskstore.HandlerOptions{
		Logger: slog.Default(), // says why, where an answer does not
		Authorize: func(r *http.Request, annotation string, action maskstore.Action) (user string, err error) {
			switch token := r.Header.Get("Authorization"); {
			case token == "":
				return "", maskstore.ErrUnauthenticated // 401
			case token != "Bearer s3cret" || action == maskstore.ActionDelete:
				return "", maskstore.ErrAccessDenied // 403
			}
			return "anna", nil
		},
	}))
	pacs := httptest.NewServer(mux)
	defer pacs.Close()

	for _, token := range []string{"", "Bearer s3cret"} {
		req, err := http.NewRequest("POST", pacs.URL+"/api/annotations/ct-42/mask-groups",
			strings.NewReader(`{"masks": [{"slice": 12, "label": "liver", "size": 2748}]}`))
		if err != nil {
			log.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Println(resp.Status, resp.Header.Get("Content-Type"))
	}
	// Output:
	// 401 Unauthorized application/problem+json
	// 201 Created application/json
}

func ExampleGroup() {
	ctx := context.Background()
	group, err := maskstore.NewGroup(new(maskstore.Memory), "ct-42", "seg-1", nil)
	if err != nil {
		log.Fatal(err)
	}
	// A program that has the credentials itself uploads in one call.
	files := []maskstore.MaskFile{
		{Slice: 12, Label: "liver", Body: maskstore.BytesBody(maskPNG())},
		{Slice: 12, Label: "spleen", Body: maskstore.BytesBody(maskPNG())},
	}
	opts := &maskstore.GroupUploadOptions{BeginOptions: maskstore.BeginOptions{Creator: "anna"}}
	if _, err := group.Upload(ctx, files, opts); err != nil {
		log.Fatal(err)
	}
	manifest, err := group.Manifest(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("revision %d by %s\n", manifest.Revision, manifest.Creator)
	for mask, err := range group.Masks(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(mask.Key, len(mask.Data) == int(mask.Size))
	}
	// Output:
	// revision 1 by anna
	// mask/ct-42/seg-1/0012_liver.png true
	// mask/ct-42/seg-1/0012_spleen.png true
}

// A client that holds no credentials puts a file to the URL that it was sent.
func ExampleDirectUploader() {
	ctx := context.Background()
	storage := new(maskstore.Memory)
	objects := httptest.NewServer(storage)
	defer objects.Close()
	storage.BaseURL = objects.URL
	group, err := maskstore.NewGroup(storage, "ct-42", "", nil)
	if err != nil {
		log.Fatal(err)
	}
	body := maskstore.BytesBody(maskPNG())
	spec := maskstore.MaskSpec{Slice: 12, Label: "liver", Size: body.Size, SHA256: body.SHA256}
	upload, err := group.Begin(ctx, []maskstore.MaskSpec{spec}, nil)
	if err != nil {
		log.Fatal(err)
	}

	var items []maskstore.DirectItem // at the client
	for _, mask := range upload.Masks {
		items = append(items, maskstore.DirectItem{Key: mask.Key, URL: mask.URL, Body: body})
	}
	etags, err := new(maskstore.DirectUploader).UploadAll(ctx, items)
	if err != nil {
		log.Fatal(err)
	}

	done, err := group.Complete(ctx, upload.UploadID, etags, nil) // at the server
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(done.Manifest.Revision, len(done.Manifest.Masks))
	// Output: 1 1
}

func ExampleAs() {
	ctx := context.Background()
	var storage maskstore.ObjectStorage = new(maskstore.Memory)
	if _, err := storage.Put(ctx, "mask/ct-42/seg-1/0012_liver.png", bytes.NewReader(maskPNG()), nil); err != nil {
		log.Fatal(err)
	}
	copier, ok := maskstore.As[maskstore.Copier](storage)
	if !ok {
		log.Fatal("the storage cannot copy by itself")
	}
	info, err := copier.Copy(ctx, "mask/ct-42/seg-1/0012_liver.png", "mask/ct-42/seg-2/0012_liver.png", nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.Key)
	// Output: mask/ct-42/seg-2/0012_liver.png
}

func ExampleError() {
	ctx := context.Background()
	storage := &maskstore.Memory{BaseURL: "http://127.0.0.1:9000"}

	_, err := storage.Stat(ctx, "mask/ct-42/seg-1/0012_liver.png")
	fmt.Println(errors.Is(err, maskstore.ErrNotFound), errors.Is(err, os.ErrNotExist))

	group, err := maskstore.NewGroup(storage, "ct-42", "seg-1", nil)
	if err != nil {
		log.Fatal(err)
	}
	_, err = group.Begin(ctx, []maskstore.MaskSpec{{Slice: 12, Label: "left kidney", Size: 2748}}, nil)
	var input *maskstore.InputError
	if errors.As(err, &input) {
		fmt.Println(input.Field, input.Problem)
	}
	// Output:
	// true true
	// masks[0].label "left kidney" holds ' '
}

func ExampleGroups() {
	ctx := context.Background()
	storage := new(maskstore.Memory)
	for _, id := range []string{"seg-1", "seg-2"} {
		group, err := maskstore.NewGroup(storage, "ct-42", id, nil)
		if err != nil {
			log.Fatal(err)
		}
		files := []maskstore.MaskFile{{Slice: 12, Label: "liver", Body: maskstore.BytesBody(maskPNG())}}
		if _, err := group.Upload(ctx, files, nil); err != nil {
			log.Fatal(err)
		}
	}
	for info, err := range maskstore.Groups(ctx, storage, "ct-42", nil) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(info.Group, len(info.Manifest.Masks))
	}
	// Output:
	// seg-1 1
	// seg-2 1
}

// A program that has the masks as files puts the folder, and gets it back.
func Example_folder() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "masks-*")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "0012_liver.png"), maskPNG(), 0o600); err != nil {
		log.Fatal(err)
	}
	group, err := maskstore.NewGroup(new(maskstore.Memory), "ct-42", "seg-1", nil)
	if err != nil {
		log.Fatal(err)
	}
	files, err := maskstore.ReadMaskDir(dir)
	if err != nil {
		log.Fatal(err)
	}
	done, err := group.Upload(ctx, files, &maskstore.GroupUploadOptions{
		BeginOptions: maskstore.BeginOptions{Creator: "mover", SupersedeOwn: true},
	})
	if err != nil {
		log.Fatal(err) // run again, it takes over its own upload, and puts what is not there yet
	}
	fmt.Println(done.Manifest.Revision, len(done.Manifest.Masks))

	manifest, err := group.Download(ctx, filepath.Join(dir, "back"))
	fmt.Println(len(manifest.Masks), err)
	// Output:
	// 1 1
	// 1 <nil>
}

func ExampleNormalizeLabel() {
	label, err := maskstore.NormalizeLabel(" 간 (segment IV) ")
	fmt.Println(label, err)
	// Output: 간_segment_IV <nil>
}

func ExampleMaskKey() {
	key := maskstore.MaskKey{Annotation: "ct-42", Group: "seg-1", Slice: 12, Label: "liver"}
	fmt.Println(key)
	parsed, err := maskstore.ParseMaskKey("mask/ct-42/seg-1/0013_left_kidney.png")
	fmt.Println(parsed.Slice, parsed.Label, err)
	// Output:
	// mask/ct-42/seg-1/0012_liver.png
	// 13 left_kidney <nil>
}

func ExampleConfig() {
	config := maskstore.Config{ObjectStorage: maskstore.ObjectStorageConfig{
		Provider: "s3", BucketName: "hospital-masks", Region: "eu-central-1", AccessKey: "AKIAEXAMPLE", SecretKey: "s3cret",
	}}
	fmt.Println(config.ObjectStorage.SecretKey, config.Validate())
	config.ObjectStorage.Region = ""
	var input *maskstore.InputError
	if errors.As(config.Validate(), &input) {
		fmt.Println(input)
	}
	// Output:
	// [redacted] <nil>
	// object_storage.region is missing; want the bucket's region, such as eu-central-1
}
