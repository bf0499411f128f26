// Download-group downloads the masks of a group into a new folder, whole and verified, or not at all.
//
//	go run ./examples/download-group -annotation ct-42 -group GROUP masks/
package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/examples/internal/setup"
)

func main() {
	config := setup.Flag()
	annotation := flag.String("annotation", "", "the annotation's ID")
	id := flag.String("group", "", "the group's ID")
	flag.Parse()
	setup.Main(func(ctx context.Context) error {
		storage, err := setup.Storage(ctx, *config)
		if err != nil {
			return err
		}
		if *id == "" || flag.NArg() != 1 {
			return fmt.Errorf("want -group and a folder")
		}
		group, err := maskstore.NewGroup(storage, *annotation, *id, nil)
		if err != nil {
			return err
		}
		manifest, err := group.Download(ctx, flag.Arg(0))
		if err != nil {
			return err
		}
		fmt.Printf("revision %d by %q: %d masks and metadata.json in %s\n", manifest.Revision, manifest.Creator,
			len(manifest.Masks), flag.Arg(0))
		return nil
	})
}
