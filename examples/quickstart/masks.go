package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"

	"github.com/pacs-extension/maskstore"
)

type mask struct {
	slice int
	label string
	data  []byte
}

func (m mask) name() string { return fmt.Sprintf("%04d_%s.png", m.slice, m.label) }

func sizeOf(masks []mask) (n int64) {
	for _, m := range masks {
		n += int64(len(m.data))
	}
	return n
}

// loadMasks reads the masks of a folder, or draws some.
func loadMasks(dir string) ([]mask, error) {
	if dir == "" {
		return drawMasks()
	}
	files, err := maskstore.ReadMaskDir(dir)
	if err != nil {
		return nil, err
	}
	var masks []mask
	for _, f := range files {
		r, err := f.Body.Open()
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			return nil, err
		}
		masks = append(masks, mask{f.Slice, f.Label, data})
	}
	return masks, nil
}

// organ is an ellipsoid, in pixels and slices.
type organ struct {
	label      string
	x, y       float64 // of the centre
	rx, ry     float64 // in the middle slice
	firstSlice int
}

const (
	imageSize   = 512
	organSlices = 40
)

// drawMasks draws a liver and a spleen, a PNG for each slice of each.
func drawMasks() ([]mask, error) {
	var masks []mask
	for _, o := range []organ{
		{"liver", 190, 230, 110, 80, 100},
		{"spleen", 390, 270, 45, 60, 100},
	} {
		for i := range organSlices {
			// The slices cut the ellipsoid at heights between its poles, at -1 and 1.
			height := (float64(i)+0.5)/organSlices*2 - 1
			var b bytes.Buffer
			if err := png.Encode(&b, o.draw(math.Sqrt(1-height*height))); err != nil {
				return nil, err
			}
			masks = append(masks, mask{o.firstSlice + i, o.label, b.Bytes()})
		}
	}
	return masks, nil
}

// draw gives a slice of the organ, scaled, as white on black.
func (o organ) draw(scale float64) image.Image {
	img := image.NewPaletted(image.Rect(0, 0, imageSize, imageSize), color.Palette{color.Black, color.White})
	for y := range imageSize {
		for x := range imageSize {
			dx, dy := (float64(x)-o.x)/(o.rx*scale), (float64(y)-o.y)/(o.ry*scale)
			if dx*dx+dy*dy <= 1 {
				img.SetColorIndex(x, y, 1)
			}
		}
	}
	return img
}
