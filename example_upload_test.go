package maskstore_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
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
	info, err := maskstore.Upload(ctx, storage, "mask/ct-42/_large/volume.bin", bytes.NewReader(volume),
		&maskstore.UploadOptions{Journal: journal})
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

// A client without credentials puts the parts of a large object, by a server of three steps.
func ExampleBeginParts() {
	ctx := context.Background()
	storage, stop := serve()
	defer stop()
	journal, err := os.MkdirTemp("", "journal-*")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(journal)

	mux := http.NewServeMux() // at the server, which has authorized the request
	mux.HandleFunc("POST /large/{name}/{step}", func(w http.ResponseWriter, r *http.Request) {
		var said struct { // by the client, each time anew
			UploadID   string             `json:"upload_id"`
			Size       int64              `json:"size"`
			PartSHA256 []maskstore.SHA256 `json:"part_sha256"`
		}
		var ticket *maskstore.PartsTicket
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&said)
		key := "mask/ct-42/_large/" + r.PathValue("name")
		opts := &maskstore.PartsOptions{
			PutOptions: maskstore.PutOptions{Size: said.Size, NoOverwrite: true}, PartSHA256: said.PartSHA256,
			Journal: maskstore.DirJournal(journal), // for SweepUploads, of what no client comes back to
		}
		switch step := r.PathValue("step"); {
		case err != nil:
		case step == "begin": // tells how the object is cut
			ticket, err = maskstore.BeginParts(r.Context(), storage, key, opts)
		case step == "renew": // signs for the parts that are hashed, and not stored yet
			ticket, err = maskstore.RenewParts(r.Context(), storage, key, said.UploadID, opts)
		case step == "complete":
			_, err = maskstore.CompleteParts(r.Context(), storage, key, said.UploadID, opts)
		default:
			err = errors.New("no such step")
		}
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusConflict)
		case ticket != nil:
			json.NewEncoder(w).Encode(ticket.Reveal())
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	volume := bytes.Repeat([]byte{1, 2, 3, 4}, 5<<20) // at the client
	said := map[string]any{"size": len(volume)}
	ask := func(step string) (ticket maskstore.RevealedTicket) {
		body, err := json.Marshal(said)
		if err != nil {
			log.Fatal(err)
		}
		resp, err := http.Post(server.URL+"/large/volume.bin/"+step, "application/json", bytes.NewReader(body))
		if err != nil {
			log.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&ticket); err != nil && err != io.EOF {
			log.Fatal(step, resp.Status, err)
		}
		return ticket
	}
	begun := ask("begin")
	var sums []maskstore.SHA256
	for _, p := range begun.Parts {
		sums = append(sums, maskstore.SumSHA256(volume[p.Offset:p.Offset+p.Size]))
	}
	said["upload_id"], said["part_sha256"] = begun.UploadID, sums
	for _, p := range ask("renew").Parts {
		if p.Stored {
			continue
		}
		body := maskstore.BytesBody(volume[p.Offset : p.Offset+p.Size])
		if _, err := new(maskstore.DirectUploader).Upload(ctx, p.URL.SignedURL(), body); err != nil {
			log.Fatal(err)
		}
	}
	ask("complete")

	info, err := storage.Stat(ctx, "mask/ct-42/_large/volume.bin")
	fmt.Println(len(begun.Parts), info.Size, err)
	// Output: 2 20971520 <nil>
}

// serve gives a Memory that answers its URLs, until stop.
func serve() (storage *maskstore.Memory, stop func()) {
	storage = new(maskstore.Memory)
	server := httptest.NewServer(storage)
	storage.BaseURL = server.URL
	return storage, server.Close
}
