// Parts has a client without credentials put a large file in parts straight to the storage, which is memory on loopback.
// The client dies in the middle. The next one puts what is missing, the PACS server completes the object, and a program
// with credentials gets it back.
//
//	go run ./examples/parts
package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/examples/internal/setup"
)

func main() {
	setup.Main(func(ctx context.Context) error { return run(ctx, os.Stdout) })
}

func run(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "parts-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	storage := new(maskstore.Memory) // with S3 and MinIO there is a server already
	url, stop, err := setup.Serve(storage)
	if err != nil {
		return err
	}
	defer stop()
	storage.BaseURL = url
	pacs, stop, err := setup.Serve(handler(storage, maskstore.DirJournal(filepath.Join(dir, "journal"))))
	if err != nil {
		return err
	}
	defer stop()

	file, sum, err := makeFile(filepath.Join(dir, "volume.bin"), 40<<20)
	if err != nil {
		return err
	}
	defer file.Close()

	// The client dies when it has put one part. What it knew of the upload is kept in begun.
	living, die := context.WithCancel(ctx)
	defer die()
	c := client{url: pacs + "/api/annotations/ct-42/large", onPart: func(n int) {
		fmt.Fprintln(out, "put part", n)
		die()
	}}
	begun, err := c.begin(living, 40<<20)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "begun %s: %d parts\n", begun.Key, len(begun.Parts))
	if err := c.send(living, file, begun); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("the client did not die: %w", err)
	}
	fmt.Fprintln(out, "the client died")

	c.onPart = func(n int) { fmt.Fprintln(out, "put part", n) }
	if err := c.send(ctx, file, begun); err != nil {
		return err
	}

	back := filepath.Join(dir, "back.bin")
	info, err := maskstore.DownloadFile(ctx, storage, begun.Key, back, &maskstore.GetOptions{SHA256: sum})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "got all %d bytes back, with the file's SHA-256\n", info.Size)
	return nil
}

// makeFile makes a file of random bytes, and gives its checksum.
func makeFile(name string, size int64) (*os.File, maskstore.SHA256, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, maskstore.SHA256{}, err
	}
	hash := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, hash), rand.Reader, size); err != nil {
		f.Close()
		return nil, maskstore.SHA256{}, err
	}
	return f, maskstore.SHA256(hash.Sum(nil)), nil
}
