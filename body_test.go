package maskstore

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

func TestVerifier(t *testing.T) {
	const content = "a mask of some bytes"
	sum, other, size := SumSHA256([]byte(content)), SumSHA256(nil), int64(len(content))
	readers := map[string]func(io.Reader) io.Reader{
		"plain":        func(r io.Reader) io.Reader { return r },
		"one byte":     iotest.OneByteReader,
		"half":         iotest.HalfReader,
		"EOF with all": iotest.DataErrReader,
	}
	tests := []struct {
		name string
		size int64
		sum  SHA256
		want error
		got  int // how many bytes come out at most
	}{
		{"unknown", 0, SHA256{}, nil, len(content)},
		{"size", size, SHA256{}, nil, len(content)},
		{"sum", 0, sum, nil, len(content)},
		{"both", size, sum, nil, len(content)},
		{"shorter", size + 1, sum, ErrChecksum, len(content)},
		{"longer", size - 1, SHA256{}, ErrChecksum, len(content) - 2},
		{"longer by far", 1, SHA256{}, ErrChecksum, 0},
		{"other", size, other, ErrChecksum, len(content) - 1},
		{"other, size unknown", 0, other, ErrChecksum, len(content)},
	}
	for _, tt := range tests {
		for how, wrap := range readers {
			v := newHasher(wrap(strings.NewReader(content)), tt.size, tt.sum)
			got, err := io.ReadAll(v)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || len(got) > tt.got ||
				!strings.HasPrefix(content, string(got)) {
				t.Errorf("%s, %s: %q, %v", tt.name, how, got, err)
			}
			if tt.want == nil && (string(got) != content || v.sha256() != sum || v.read != size) {
				t.Errorf("%s, %s: %q with %v, %d bytes", tt.name, how, got, v.sha256(), v.read)
			}
			if n, again := v.Read(make([]byte, 8)); tt.want != nil && (n != 0 || !errors.Is(again, tt.want)) {
				t.Errorf("%s, %s: read on after the error: %d, %v", tt.name, how, n, again)
			}
		}
	}
}

func TestVerifierIsAReader(t *testing.T) {
	content := bytes.Repeat([]byte("mask"), 1000)
	for _, size := range []int64{0, int64(len(content))} {
		if err := iotest.TestReader(newVerifier(bytes.NewReader(content), size, SumSHA256(content)), content); err != nil {
			t.Error(err)
		}
	}
}

func TestVerifierPassesErrorsOn(t *testing.T) {
	for name, r := range map[string]io.Reader{
		"at once":     iotest.ErrReader(errTest),
		"in between":  io.MultiReader(strings.NewReader("ma"), iotest.ErrReader(errTest)),
		"at the end":  io.MultiReader(strings.NewReader("mask"), iotest.ErrReader(errTest)),
		"with a part": iotest.DataErrReader(io.MultiReader(strings.NewReader("ma"), iotest.ErrReader(errTest))),
	} {
		got, err := io.ReadAll(newVerifier(r, 4, SumSHA256([]byte("mask"))))
		if err != errTest || len(got) == 4 {
			t.Errorf("%s: %q, %v; want the reader's own error, and not the whole", name, got, err)
		}
	}
	_, err := io.ReadAll(newVerifier(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("mask"))), 4, SHA256{}))
	if err != iotest.ErrTimeout {
		t.Errorf("got %v", err)
	}
}

func TestBodies(t *testing.T) {
	content := []byte("mask")
	name := filepath.Join(t.TempDir(), "0001_liver.png")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := FileBody(name)
	if err != nil {
		t.Fatal(err)
	}
	for how, body := range map[string]Body{"bytes": BytesBody(content), "file": file} {
		if body.Size != 4 || body.SHA256 != SumSHA256(content) || body.check() != nil {
			t.Errorf("%s: %+v", how, body)
		}
		for range 2 {
			r, err := body.Open()
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := r.(io.Seeker); !ok {
				t.Errorf("%s: %T cannot be rewound", how, r)
			}
			got, err := io.ReadAll(r)
			if !bytes.Equal(got, content) || err != nil {
				t.Errorf("%s: %q, %v", how, got, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := FileBody(name + ".no"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := FileBody(filepath.Dir(name)); err == nil {
		t.Error("a folder is no body")
	}
	wantInputError(t, (&Body{}).check(), ErrInvalidArgument, "Body.Open")
	wantInputError(t, (&Body{Open: file.Open, Size: -1}).check(), ErrInvalidArgument, "Body.Size")
}
