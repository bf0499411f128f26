package maskstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func encodePNG(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// withIHDR makes a PNG's beginning with the IHDR given and its CRC right.
func withIHDR(width, height uint32, rest ...byte) []byte {
	chunk := binary.BigEndian.AppendUint32([]byte("IHDR"), width)
	chunk = binary.BigEndian.AppendUint32(chunk, height)
	chunk = append(chunk, rest...)
	b := binary.BigEndian.AppendUint32([]byte(pngSignature), uint32(len(rest)+8))
	b = append(b, chunk...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(chunk))
}

func TestReadPNGHeader(t *testing.T) {
	bounds := image.Rect(0, 0, 181, 217)
	tests := map[string]struct {
		data []byte
		want PNGHeader
	}{
		"grey":       {encodePNG(t, image.NewGray(bounds)), PNGHeader{181, 217, 8, PNGGray, false}},
		"grey 16":    {encodePNG(t, image.NewGray16(bounds)), PNGHeader{181, 217, 16, PNGGray, false}},
		"palette":    {encodePNG(t, image.NewPaletted(bounds, color.Palette{color.Black, color.White})), PNGHeader{181, 217, 1, PNGPalette, false}},
		"alpha":      {encodePNG(t, image.NewNRGBA(bounds)), PNGHeader{181, 217, 8, PNGTrueColorAlpha, false}},
		"grey alpha": {withIHDR(1, 1, 16, 4, 0, 0, 0), PNGHeader{1, 1, 16, PNGGrayAlpha, false}},
		"interlaced": {withIHDR(512, 512, 8, 2, 0, 0, 1), PNGHeader{512, 512, 8, PNGTrueColor, true}},
		"at limit":   {withIHDR(1<<14, 1<<14, 1, 0, 0, 0, 0), PNGHeader{1 << 14, 1 << 14, 1, PNGGray, false}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := bytes.NewReader(test.data)
			got, err := ReadPNGHeader(iotest.OneByteReader(r), 0)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if read := len(test.data) - r.Len(); read != 33 {
				t.Errorf("%d bytes were read", read)
			}
		})
	}
}

func TestReadPNGHeaderRefuses(t *testing.T) {
	mask := encodePNG(t, image.NewGray(image.Rect(0, 0, 8, 8)))
	var jpg bytes.Buffer
	if err := jpeg.Encode(&jpg, image.NewGray(image.Rect(0, 0, 8, 8)), nil); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		data   []byte
		limit  int64
		reason string
	}{
		"empty":                  {nil, 0, "signature"},
		"JPEG":                   {jpg.Bytes(), 0, "signature"},
		"HTML":                   {[]byte("<!doctype html><script>alert(1)</script><p>and enough text after it</p>"), 0, "signature"},
		"HTML before the PNG":    {append([]byte("<script>1</script>"), mask...), 0, "signature"},
		"signature spoilt":       {append([]byte("\x89PNG\n\n\x1a\n"), mask[8:]...), 0, "signature"},
		"signature alone":        {mask[:8], 0, "ends within"},
		"signature, then HTML":   {[]byte(pngSignature + "<!doctype html><script>alert(1)</script>"), 0, "first chunk"},
		"another first chunk":    {append([]byte(pngSignature+"\x00\x00\x00\x0dtEXt"), mask[16:]...), 0, "first chunk"},
		"longer IHDR":            {withIHDR(8, 8, 8, 0, 0, 0, 0, 0), 0, "first chunk"},
		"IHDR spoilt":            {append(bytes.Clone(mask[:19]), append([]byte{9}, mask[20:]...)...), 0, "CRC"},
		"no width":               {withIHDR(0, 8, 8, 0, 0, 0, 0), 0, "0 × 8"},
		"no height":              {withIHDR(8, 0, 8, 0, 0, 0, 0), 0, "8 × 0"},
		"width over PNG's limit": {withIHDR(1<<31, 1, 8, 0, 0, 0, 0), 1 << 62, "2147483648 × 1"},
		"over the default":       {withIHDR(1<<14, 1<<14+1, 8, 0, 0, 0, 0), 0, "over the limit"},
		"over the limit":         {withIHDR(10, 10, 8, 0, 0, 0, 0), 99, "over the limit of 99"},
		"greatest":               {withIHDR(1<<31-1, 1<<31-1, 8, 0, 0, 0, 0), 0, "over the limit"},
		"no colour type 1":       {withIHDR(8, 8, 8, 1, 0, 0, 0), 0, "colour type 1"},
		"no colour type 200":     {withIHDR(8, 8, 8, 200, 0, 0, 0), 0, "colour type 200"},
		"no depth 0":             {withIHDR(8, 8, 0, 0, 0, 0, 0), 0, "bit depth 0"},
		"no depth 3":             {withIHDR(8, 8, 3, 0, 0, 0, 0), 0, "bit depth 3"},
		"no depth 40":            {withIHDR(8, 8, 40, 0, 0, 0, 0), 0, "bit depth 40"},
		"palette of 16 bits":     {withIHDR(8, 8, 16, 3, 0, 0, 0), 0, "bit depth 16"},
		"true colour of 4 bits":  {withIHDR(8, 8, 4, 2, 0, 0, 0), 0, "bit depth 4"},
		"compression":            {withIHDR(8, 8, 8, 0, 1, 0, 0), 0, "compression 1"},
		"filter":                 {withIHDR(8, 8, 8, 0, 0, 1, 0), 0, "filter 1"},
		"interlace":              {withIHDR(8, 8, 8, 0, 0, 0, 2), 0, "interlace 2"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h, err := ReadPNGHeader(bytes.NewReader(test.data), test.limit)
			if !errors.Is(err, ErrNotPNG) || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("got %v, want ErrNotPNG with %q", err, test.reason)
			}
			if h != (PNGHeader{}) {
				t.Errorf("got %+v beside the error", h)
			}
		})
	}
	for n := range 33 {
		if _, err := ReadPNGHeader(bytes.NewReader(mask[:n]), 0); !errors.Is(err, ErrNotPNG) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := ReadPNGHeader(bytes.NewReader(mask), -1); !errors.Is(err, ErrInvalidArgument) {
		t.Errorf("negative limit: %v", err)
	}
}

// TestReadPNGHeaderReadError: a reader that fails says nothing about what it would have read.
func TestReadPNGHeaderReadError(t *testing.T) {
	reset := errors.New("connection reset")
	for want, broken := range map[error]error{
		reset: reset, ErrUnavailable: &Error{Kind: ErrUnavailable, Err: fmt.Errorf("broke off: %w", io.ErrUnexpectedEOF)},
	} {
		for _, read := range []func(io.Reader, int64) (PNGHeader, error){ReadPNGHeader, readPNG} {
			r := io.MultiReader(strings.NewReader(pngSignature), iotest.ErrReader(broken))
			if _, err := read(r, 0); !errors.Is(err, want) || errors.Is(err, ErrNotPNG) {
				t.Errorf("got %v, want %v", err, want)
			}
		}
	}
}

// FuzzReadPNGHeader: the standard library refuses nothing that is allowed here because of its header.
func FuzzReadPNGHeader(f *testing.F) {
	f.Add(encodePNG(f, image.NewGray(image.Rect(0, 0, 8, 8))))
	f.Add(withIHDR(1, 1<<28, 1, 3, 0, 0, 1))
	f.Add([]byte(pngSignature))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := ReadPNGHeader(bytes.NewReader(data), 0)
		if err != nil {
			if !errors.Is(err, ErrNotPNG) {
				t.Errorf("got %v", err)
			}
			return
		}
		if h.Width < 1 || h.Height < 1 || int64(h.Width)*int64(h.Height) > DefaultMaxPixels {
			t.Errorf("allows %+v", h)
		}
		// The fuzzer finds no CRC, so the header found is written again.
		interlace := byte(0)
		if h.Interlaced {
			interlace = 1
		}
		again := withIHDR(uint32(h.Width), uint32(h.Height), byte(h.BitDepth), byte(h.ColorType), 0, 0, interlace)
		if !bytes.HasPrefix(data, again) {
			t.Errorf("read %+v from %x", h, data[:33])
		}
		// After the header the standard library wants pixels, or a palette.
		_, err = png.DecodeConfig(bytes.NewReader(again))
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("image/png refuses %+v: %v", h, err)
		}
	})
}
