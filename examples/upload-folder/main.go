// Upload-folder uploads a folder of NNNN_label.png as one mask group, with the storage's credentials. Run again
// with the same -group it puts only what changed.
//
//	go run ./examples/upload-folder -annotation ct-42 masks/
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
	id := flag.String("group", "", "the group's ID; empty: a new one")
	creator := flag.String("creator", "", "who uploads")
	keep := flag.Bool("keep", false, "keep the group's masks that are not in the folder")
	flag.Parse()
	setup.Main(func(ctx context.Context) error {
		storage, err := setup.Storage(ctx, *config)
		if err != nil {
			return err
		}
		files, err := maskstore.ReadMaskDir(flag.Arg(0))
		if err != nil {
			return err
		}
		group, err := maskstore.NewGroup(storage, *annotation, *id, nil)
		if err != nil {
			return err
		}
		done, err := group.Upload(ctx, files, &maskstore.GroupUploadOptions{
			BeginOptions: maskstore.BeginOptions{Creator: *creator, Keep: *keep, SupersedeOwn: true},
			OnProgress:   func(p maskstore.Progress) { fmt.Printf("%d of %d: %s\n", p.Done, p.Total, p.Key) },
		})
		if err != nil {
			return err
		}
		fmt.Printf("group %s of %s: revision %d with %d masks\n", group.ID(), *annotation, done.Manifest.Revision,
			len(done.Manifest.Masks))
		for _, key := range done.Unexpected {
			fmt.Printf("not of this revision: %s\n", key)
		}
		return nil
	})
}
