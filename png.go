package maskstore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

// DefaultMaxPixels is the number of pixels that ReadPNGHeader allows unless it is told otherwise: 16384 × 16384.
const DefaultMaxPixels = 1 << 28

// PNGColorType is what a PNG's samples mean: https://www.w3.org/TR/png-3/#11IHDR.
type PNGColorType uint8

// The colour types of PNG.
const (
	PNGGray           PNGColorType = 0
	PNGTrueColor      PNGColorType = 2
	PNGPalette        PNGColorType = 3
	PNGGrayAlpha      PNGColorType = 4
	PNGTrueColorAlpha PNGColorType = 6
)

// bitDepths gives a set of the depths that a colour type allows, bit n for depth n.
func (c PNGColorType) bitDepths() uint32 {
	switch c {
	case PNGGray:
		return 1<<1 | 1<<2 | 1<<4 | 1<<8 | 1<<16
	case PNGPalette:
		return 1<<1 | 1<<2 | 1<<4 | 1<<8
	case PNGTrueColor, PNGGrayAlpha, PNGTrueColorAlpha:
		return 1<<8 | 1<<16
	}
	return 0
}

// PNGHeader is what a PNG says of itself in its IHDR chunk.
type PNGHeader struct {
	Width, Height int // in pixels
	BitDepth      int // bits a sample: 1, 2, 4, 8 or 16
	ColorType     PNGColorType
	Interlaced    bool
}

const (
	pngSignature = "\x89PNG\r\n\x1a\n"
	pngIHDRBytes = 13
	pngHeaderEnd = len(pngSignature) + 4 + 4 + pngIHDRBytes + 4 // the chunk is length, type, data, CRC
)

// readPNG reads a PNG to its end: chunk by chunk, each whole and with its CRC right, and nothing after the last. Nothing is
// decoded or kept. Its errors are those of ReadPNGHeader.
func readPNG(r io.Reader, maxPixels int64) (PNGHeader, error) {
	h, err := ReadPNGHeader(r, maxPixels)
	if err != nil {
		return h, err
	}
	return h, readPNGChunks(r, h.ColorType == PNGPalette)
}

func readPNGChunks(r io.Reader, wantPalette bool) error {
	bad := func(format string, args ...any) error {
		return &Error{Kind: ErrNotPNG, Err: fmt.Errorf(format, args...)}
	}
	for hasData, hasPalette := false, false; ; {
		var head [8]byte // length and type
		if _, err := io.ReadFull(r, head[:]); isEnd(err) {
			return bad("it ends without an IEND")
		} else if err != nil {
			return err
		}
		length, name := binary.BigEndian.Uint32(head[:]), string(head[4:])
		crc := crc32.NewIEEE()
		crc.Write(head[4:])
		var sum [4]byte
		_, err := io.CopyN(crc, r, int64(length))
		if err == nil {
			_, err = io.ReadFull(r, sum[:])
		}
		switch {
		case isEnd(err):
			return bad("it ends within its chunk %q", name)
		case err != nil:
			return err
		case crc.Sum32() != binary.BigEndian.Uint32(sum[:]):
			return bad("the CRC of its chunk %q is wrong", name)
		}
		switch name {
		case "IHDR":
			return bad("it has two headers")
		case "PLTE":
			hasPalette = true
		case "IDAT":
			if wantPalette && !hasPalette {
				return bad("it has no palette before its pixels")
			}
			hasData = true
		case "IEND":
			if !hasData || length > 0 {
				return bad("it has no pixels, or an IEND that is not empty")
			}
			if _, err := io.ReadFull(r, sum[:1]); err != io.EOF {
				return cmp.Or(err, bad("it goes on after its IEND"))
			}
			return nil
		}
	}
}

// isEnd tells the end of the data itself: an error that wraps one is that of a connection which broke off.
func isEnd(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }

// ReadPNGHeader reads the 33 bytes with which every PNG begins, and no more: nothing is decoded. What is no PNG, has
// an invalid header, or declares over maxPixels pixels (0: DefaultMaxPixels) is ErrNotPNG. An error of r other than its
// end is returned as such.
func ReadPNGHeader(r io.Reader, maxPixels int64) (PNGHeader, error) {
	const op = "ReadPNGHeader"
	if maxPixels < 0 {
		return PNGHeader{}, opError(op, "", nil,
			inputError("maxPixels", fmt.Sprintf("%d is negative", maxPixels), "a number of pixels, or 0 for the default"))
	}
	if maxPixels == 0 {
		maxPixels = DefaultMaxPixels
	}
	b := make([]byte, pngHeaderEnd)
	n, err := io.ReadFull(r, b)
	if err != nil && !isEnd(err) {
		return PNGHeader{}, opError(op, "", nil, err)
	}
	h, err := parsePNGHeader(b[:n], maxPixels)
	if err != nil {
		return PNGHeader{}, opError(op, "", ErrNotPNG, err)
	}
	return h, nil
}

func parsePNGHeader(b []byte, maxPixels int64) (PNGHeader, error) {
	b, ok := bytes.CutPrefix(b, []byte(pngSignature))
	switch {
	case !ok:
		return PNGHeader{}, errors.New("it does not begin with PNG's signature")
	case len(b) < pngHeaderEnd-len(pngSignature):
		return PNGHeader{}, errors.New("it ends within its header")
	case binary.BigEndian.Uint32(b) != pngIHDRBytes || string(b[4:8]) != "IHDR":
		return PNGHeader{}, errors.New("its first chunk is no IHDR of 13 bytes")
	case crc32.ChecksumIEEE(b[4:8+pngIHDRBytes]) != binary.BigEndian.Uint32(b[8+pngIHDRBytes:]):
		return PNGHeader{}, errors.New("the CRC of its IHDR is wrong")
	}
	ihdr := b[8:]
	width, height := binary.BigEndian.Uint32(ihdr), binary.BigEndian.Uint32(ihdr[4:])
	depth, colour := ihdr[8], PNGColorType(ihdr[9])
	compression, filter, interlace := ihdr[10], ihdr[11], ihdr[12]
	switch {
	case width == 0 || height == 0 || width > math.MaxInt32 || height > math.MaxInt32:
		return PNGHeader{}, fmt.Errorf("it declares %d × %d pixels", width, height)
	case int64(width)*int64(height) > maxPixels:
		return PNGHeader{}, fmt.Errorf("it declares %d × %d pixels, over the limit of %d", width, height, maxPixels)
	case depth > 16 || colour.bitDepths()&(1<<depth) == 0:
		return PNGHeader{}, fmt.Errorf("PNG has no bit depth %d with colour type %d", depth, colour)
	case compression != 0 || filter != 0 || interlace > 1:
		return PNGHeader{}, fmt.Errorf("PNG has no compression %d, filter %d, interlace %d", compression, filter, interlace)
	}
	return PNGHeader{int(width), int(height), int(depth), colour, interlace == 1}, nil
}
