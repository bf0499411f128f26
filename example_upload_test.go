package maskstore_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"os"

	"github.com/pacs-extension/maskstore"
)

// A large object goes in parts, and its journal lets the next process go on with it where this one is killed.
func ExampleUpload() {
	ctx := context.Background()
	storage := new(maskstore.Memory)
	dir, err := os.MkdirTemp("", "journal-*")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	journal := maskstore.DirJournal(dir)

	volume := bytes.Repeat([]byte{1, 2, 3, 4}, 5<<20)
	info, err := maskstore.Upload(ctx, storage, "mask/ct-42/_large/volume.bin", bytes.NewReader(volume), &maskstore.UploadOptions{Journal: journal})
	if err != nil {
		log.Fatal(err) // run again, it sends what is not there yet
	}
	fmt.Println(info.Size, info.SHA256 == maskstore.SumSHA256(volume))

	// What nobody goes on with is swept, from time to time.
	swept, err := maskstore.SweepUploads(ctx, storage, journal, 0)
	fmt.Println(len(swept), err)
	// Output:
	// 20971520 true
	// 0 <nil>
}

// A client without credentials puts the parts of a large object.
func ExampleBeginParts() {
	ctx := context.Background()
	storage, stop := serve()
	defer stop()
	const key = "mask/ct-42/_large/volume.bin"
	volume := bytes.Repeat([]byte{1, 2, 3, 4}, 5<<20) // at the client

	opts := &maskstore.PartsOptions{PutOptions: maskstore.PutOptions{Size: int64(len(volume))}}
	ticket, err := maskstore.BeginParts(ctx, storage, key, opts)
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range ticket.Parts { // the client hashes as it was told to cut
		opts.PartSHA256 = append(opts.PartSHA256, maskstore.SumSHA256(volume[p.Offset:p.Offset+p.Size]))
	}
	if ticket, err = maskstore.RenewParts(ctx, storage, key, ticket.UploadID, opts); err != nil {
		log.Fatal(err)
	}
	for _, p := range ticket.Parts { // and puts each to its URL
		body := maskstore.BytesBody(volume[p.Offset : p.Offset+p.Size])
		if _, err := new(maskstore.DirectUploader).Upload(ctx, p.URL, body); err != nil {
			log.Fatal(err)
		}
	}
	info, err := maskstore.CompleteParts(ctx, storage, key, ticket.UploadID, opts)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(ticket.Parts), info.Size)
	// Output: 2 20971520
}

// serve gives a Memory that answers its URLs, until stop.
func serve() (storage *maskstore.Memory, stop func()) {
	storage = new(maskstore.Memory)
	server := httptest.NewServer(storage)
	storage.BaseURL = server.URL
	return storage, server.Close
}
