package maskstore_test

import (
	"bytes"
	"errors"
	"image"
	"image/png"
	"path"
	"testing"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/maskstoretest"
)

// An Upload that failed is run again: what it had put is not put again, whether a mask was missing or the commit.
func TestUploadRunAgain(t *testing.T) {
	var files []maskstore.MaskFile
	for i := range 5 {
		var data bytes.Buffer
		if err := png.Encode(&data, image.NewGray(image.Rect(0, 0, 8, 8+i))); err != nil {
			t.Fatal(err)
		}
		files = append(files, maskstore.MaskFile{Slice: i, Label: "liver", Body: maskstore.BytesBody(data.Bytes())})
	}
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		fails int // which Put of the first run: the manifest's comes first
		puts  int // of masks, by the second run
	}{
		"the fourth mask": {1 + 4, 2},
		"the commit":      {1 + 5 + 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			memory, puts, again := new(maskstore.Memory), 0, 0
			first := &maskstoretest.Faulty{Plan: func(call maskstoretest.Call) (f maskstoretest.Fault) {
				if call.Op == "Put" {
					if puts++; puts == tt.fails {
						f.Err = broken
					}
				}
				return f
			}}
			second := &maskstoretest.Faulty{Plan: func(call maskstoretest.Call) (f maskstoretest.Fault) {
				if call.Op == "Put" && path.Ext(call.Key) == ".png" {
					again++
				}
				return f
			}}
			upload := func(s maskstore.ObjectStorage) (*maskstore.Completion, error) {
				g, err := maskstore.NewGroup(s, "ct-42", "seg-1", &maskstore.GroupOptions{Concurrency: 1})
				if err != nil {
					t.Fatal(err)
				}
				return g.Upload(t.Context(), files, &maskstore.GroupUploadOptions{
					BeginOptions: maskstore.BeginOptions{Creator: "mover", SupersedeOwn: true},
				})
			}
			if _, err := upload(first.Storage(memory)); !errors.Is(err, broken) {
				t.Fatalf("error is %v", err)
			}
			done, err := upload(second.Storage(memory))
			if err != nil || len(done.Manifest.Masks) != len(files) || again != tt.puts {
				t.Errorf("the second run put %d masks, want %d: %v", again, tt.puts, err)
			}
		})
	}
}
