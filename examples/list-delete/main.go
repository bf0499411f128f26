// List-delete lists the mask groups of an annotation, and deletes those that are named.
//
//	go run ./examples/list-delete -annotation ct-42
//	go run ./examples/list-delete -annotation ct-42 GROUP…
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
	flag.Parse()
	setup.Main(func(ctx context.Context) error {
		storage, err := setup.Storage(ctx, *config)
		if err != nil {
			return err
		}
		for _, id := range flag.Args() {
			group, err := maskstore.NewGroup(storage, *annotation, id, nil)
			if err != nil {
				return err
			}
			if err := group.Delete(ctx); err != nil {
				return err
			}
			fmt.Println("deleted", id)
		}
		return list(ctx, storage, *annotation)
	})
}

func list(ctx context.Context, storage maskstore.ObjectStorage, annotation string) error {
	for info, err := range maskstore.Groups(ctx, storage, annotation, nil) {
		switch {
		case err != nil && info.Group == "":
			return err
		case err != nil:
			fmt.Printf("%s: %v\n", info.Group, err)
		case info.Manifest != nil:
			m := info.Manifest
			fmt.Printf("%s: revision %d, %d masks, by %q at %v\n", info.Group, m.Revision, len(m.Masks), m.Creator, m.CommittedAt)
		case info.Open != nil:
			fmt.Printf("%s: being uploaded by %q until %v\n", info.Group, info.Open.Creator, info.Open.Until)
		case !info.HasManifest:
			fmt.Printf("%s: no manifest; Group.Adopt makes one\n", info.Group)
		}
	}
	return nil
}
