package maskstore

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"io"
	"strings"
	"testing"
)

// chunk makes one chunk of a PNG.
func chunk(name string, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	b = append(append(b, name...), data...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// pngOf makes a PNG of a header and chunks.
func pngOf(header []byte, chunks ...[]byte) []byte { return append(header, bytes.Join(chunks, nil)...) }

// deflated is the image data of n zero bytes.
func deflated(t *testing.T, n int64) []byte {
	t.Helper()
	var b bytes.Buffer
	w, _ := zlib.NewWriterLevel(&b, zlib.BestCompression)
	if _, err := io.CopyN(w, zeros{}, n); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// readCounter counts what is read of the masks.
type readCounter struct {
	ObjectStorage
	gets int
	read int64
}

func (c *readCounter) Get(ctx context.Context, key string, opts *GetOptions) (*Object, error) {
	obj, err := c.ObjectStorage.Get(ctx, key, opts)
	if err == nil && strings.HasSuffix(key, ".png") {
		c.gets++
		obj.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(obj.Body, c), obj.Body}
	}
	return obj, err
}

func (c *readCounter) Write(p []byte) (int, error) { c.read += int64(len(p)); return len(p), nil }

// TestCompleteJudgesPNGs: what Complete says of files that are no masks, or odd ones, and what it reads for it.
func TestCompleteJudgesPNGs(t *testing.T) {
	bounds := image.Rect(0, 0, 16, 16)
	mask := testPNG(t, 7)
	end := chunk("IEND", nil)
	data := chunk("IDAT", deflated(t, 17*16))
	gray := func(rest ...[]byte) []byte { return pngOf(withIHDR(16, 16, 8, 0, 0, 0, 0), rest...) }
	const html = "<!doctype html><script>alert(1)</script>"
	spoilt := bytes.Clone(mask)
	spoilt[len(spoilt)-20] ^= 1
	large := gray(chunk("tEXt", make([]byte, smallMask)), data, end)
	for name, row := range map[string]struct {
		file []byte
		says string // of VerifyContent; empty: it is a mask
		head string // of VerifyPNG, where that is less
	}{
		"mask":           {mask, "", ""},
		"16 bits":        {encodePNG(t, image.NewGray16(bounds)), "", ""},
		"palette":        {encodePNG(t, image.NewPaletted(bounds, color.Palette{color.Black, color.White})), "", ""},
		"colour":         {encodePNG(t, image.NewNRGBA(bounds)), "", ""},
		"1 × 1":          {pngOf(withIHDR(1, 1, 1, 0, 0, 0, 0), chunk("IDAT", deflated(t, 2)), end), "", ""},
		"interlaced":     {pngOf(withIHDR(16, 16, 8, 0, 0, 0, 1), data, end), "", ""},
		"data in pieces": {gray(data[:0], chunk("IDAT", deflated(t, 17*16)[:5]), chunk("IDAT", deflated(t, 17*16)[5:]), end), "", ""},
		"text in it":     {gray(chunk("tEXt", []byte("a\x00"+html)), data, end), "", ""}, // which is a PNG, and served as one

		"bomb, by its header":       {pngOf(withIHDR(1<<31-1, 1<<31-1, 16, 6, 0, 0, 0), data, end), "over the limit", ""},
		"bomb, over the limit by 1": {pngOf(withIHDR(1<<14, 1<<14+1, 1, 0, 0, 0, 0), data, end), "over the limit", ""},
		"bomb, by its data":         {gray(chunk("IDAT", deflated(t, 64<<20)), end), "", ""}, // 16 × 16 for whoever decodes what is declared
		"no width":                  {pngOf(withIHDR(0, 16, 8, 0, 0, 0, 0), data, end), "0 × 16", ""},
		"no height":                 {pngOf(withIHDR(16, 0, 8, 0, 0, 0, 0), data, end), "16 × 0", ""},
		"HTML named .png":           {[]byte(html), "signature", ""},
		"HTML before a PNG":         {append([]byte(html), mask...), "signature", ""},
		"HTML after a PNG":          {append(bytes.Clone(mask), html...), "after its IEND", ""},
		"zip after a PNG":           {append(bytes.Clone(mask), "PK\x05\x06"+strings.Repeat("\x00", 18)...), "after its IEND", ""},
		"a byte after a PNG":        {append(bytes.Clone(mask), 0), "after its IEND", ""},
		"two PNGs":                  {append(bytes.Clone(mask), mask...), "after its IEND", ""},
		"signature, then HTML":      {[]byte(pngSignature + html), "first chunk", ""},
		"header alone":              {mask[:33], "without an IEND", ""},
		"cut within a chunk":        {mask[:len(mask)-20], "ends within", ""},
		"cut before IEND":           {mask[:len(mask)-12], "without an IEND", ""},
		"cut within IEND":           {mask[:len(mask)-1], "ends within", ""},
		"CRC of the data":           {spoilt, "CRC", ""},
		"CRC of the header":         {append(bytes.Clone(mask[:19]), append([]byte{9}, mask[20:]...)...), "CRC of its IHDR", ""},
		"no data":                   {gray(end), "no pixels", ""},
		"IEND that is not empty":    {gray(data, chunk("IEND", []byte(html))), "not empty", ""},
		"two headers":               {gray(data, withIHDR(16, 16, 8, 0, 0, 0, 0)[8:], end), "two headers", ""},
		"no palette":                {pngOf(withIHDR(16, 16, 8, 3, 0, 0, 0), data, end), "no palette", ""},
		"chunk of 4 GiB":            {gray([]byte("\xff\xff\xff\xffIDAT"), make([]byte, 100)), "ends within", ""},
		"no depth 3":                {pngOf(withIHDR(16, 16, 3, 0, 0, 0, 0), data, end), "bit depth 3", ""},

		"large":                  {large, "", ""},
		"large, cut":             {large[:len(large)-20], "ends within", "passes"},
		"large, HTML after it":   {append(bytes.Clone(large), html...), "after its IEND", "passes"},
		"large, bomb":            {append(withIHDR(1<<31-1, 1<<31-1, 8, 0, 0, 0, 0), large[33:]...), "over the limit", ""},
		"large, HTML, not a PNG": {bytes.Repeat([]byte(html), smallMask/len(html)+1), "signature", ""},
	} {
		for _, o := range []CompleteOptions{{VerifyPNG: true}, {VerifyContent: true}} {
			t.Run(name, func(t *testing.T) {
				says := row.says
				if o.VerifyPNG && row.head == "passes" {
					says = ""
				}
				s := &readCounter{ObjectStorage: &Memory{BaseURL: "http://localhost"}}
				g, err := NewGroup(s, "a", "g", nil)
				if err != nil {
					t.Fatal(err)
				}
				spec := MaskSpec{Slice: 1, Label: "x", Size: int64(len(row.file)), SHA256: SumSHA256(row.file)}
				up, err := g.Begin(t.Context(), []MaskSpec{spec}, nil)
				if err != nil {
					t.Fatal(err)
				}
				info, err := s.Put(t.Context(), up.Masks[0].Key, bytes.NewReader(row.file), nil)
				if err != nil {
					t.Fatal(err)
				}
				done, err := g.Complete(t.Context(), up.UploadID, map[string]string{info.Key: info.ETag}, &o)
				verdict := done.Verdicts[0]
				if says == "" && (err != nil || verdict.Problem != "") {
					t.Errorf("%+v: %v, %+v", o, err, verdict)
				}
				if strings.Contains(verdict.Detail, ": ") {
					t.Errorf("%+v: %q says more than what is wrong with the PNG", o, verdict.Detail)
				}
				if says != "" && (!errors.Is(err, ErrIncomplete) || verdict.Problem != ProblemNotPNG ||
					!strings.Contains(verdict.Detail, says) || done.Manifest != nil) {
					t.Errorf("%+v: %v, %+v; want one that says %q", o, err, verdict, says)
				}
				want := int64(len(row.file))
				if o.VerifyPNG && want > smallMask {
					want = 33
				}
				if s.gets != 1 || s.read != want {
					t.Errorf("%+v: %d bytes were read by %d GETs; want %d by one", o, s.read, s.gets, want)
				}
			})
		}
	}
}
