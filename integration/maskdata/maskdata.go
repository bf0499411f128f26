// Package maskdata gives tests and benchmarks the masks of a group: real ones where there are some, else drawn ones.
package maskdata

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"

	"github.com/pacs-extension/maskstore"
)

// Files gives the masks, in the order of their names, and says where they come from: the zip file at
// MASKSTORE_TEST_DATA; or shared/data/brain.zip beside the repository; or, where neither is there, they are drawn. A zip
// file holds its masks as masks/NNNN_label.png.
func Files() (files []maskstore.MaskFile, source string, err error) {
	name := os.Getenv("MASKSTORE_TEST_DATA")
	if name == "" {
		_, here, _, _ := runtime.Caller(0)
		name = filepath.Join(filepath.Dir(here), "../../../shared/data/brain.zip")
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			return drawn(), "drawn masks", nil
		}
	}
	files, err = unzip(name)
	return files, filepath.Base(name), err
}

func unzip(name string) ([]maskstore.MaskFile, error) {
	archive, err := zip.OpenReader(name)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	var files []maskstore.MaskFile
	names, err := fs.Glob(archive, "masks/*.png")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		key, err := maskstore.ParseMaskKey("mask/a/g/" + path.Base(name))
		if err != nil {
			return nil, err
		}
		f, err := archive.Open(name)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		files = append(files, maskstore.MaskFile{Slice: key.Slice, Label: key.Label, Body: maskstore.BytesBody(data)})
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s holds no masks/NNNN_label.png", name)
	}
	return files, nil
}

// drawn gives 8 discs on each of 150 slices.
func drawn() []maskstore.MaskFile {
	const slices, labels, size = 150, 8, 256
	var files []maskstore.MaskFile
	for slice := range slices {
		for label := range labels {
			img := image.NewGray(image.Rect(0, 0, size, size))
			cx, cy, r := 30+label*25, 60+slice/2, 8+(slice*7+label*3)%40
			for y := range size {
				for x := range size {
					if (x-cx)*(x-cx)+(y-cy)*(y-cy) < r*r {
						img.Pix[y*img.Stride+x] = 255
					}
				}
			}
			var buf bytes.Buffer
			png.Encode(&buf, img) // to memory: it cannot fail
			files = append(files, maskstore.MaskFile{
				Slice: slice, Label: fmt.Sprintf("disc_%d", label), Body: maskstore.BytesBody(buf.Bytes()),
			})
		}
	}
	return files
}
