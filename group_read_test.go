package maskstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a group reads for itself, and has not handed out yet, is read once more where it came damaged or broke off.
func TestGroupReadsAgain(t *testing.T) {
	mask := testPNG(t, 1)
	memory := new(Memory)
	saved, err := NewGroup(memory, "a", "g", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := saved.Upload(t.Context(), []MaskFile{{1, "liver", BytesBody(mask)}}, nil); err != nil {
		t.Fatal(err)
	}
	intact := func(data []byte) answer {
		return objectAnswer(string(data), "X-Amz-Checksum-Sha256", SumSHA256(data).Base64())
	}
	damaged := func(data []byte) answer {
		a := intact(data)
		flipped := bytes.Clone(data)
		flipped[len(data)/2] ^= 1
		a.text = string(flipped)
		return a
	}
	broken := func(data []byte) answer {
		a := intact(data)
		a.text, a.short = string(data[:len(data)-1]), true
		return a
	}
	manifest := []byte(mustGet(t, memory, saved.prefix+metadataName, nil))
	busy := answer{status: 503}
	for _, row := range []struct {
		name     string
		answers  []answer
		want     error
		requests int
	}{
		{"intact", []answer{intact(manifest), intact(mask)}, nil, 2},
		{"manifest damaged", []answer{damaged(manifest), intact(manifest), intact(mask)}, nil, 3},
		{"manifest broken off", []answer{broken(manifest), intact(manifest), intact(mask)}, nil, 3},
		{"manifest damaged twice", []answer{damaged(manifest)}, ErrChecksum, 2},
		{"mask damaged", []answer{intact(manifest), damaged(mask), intact(mask)}, nil, 3},
		{"mask broken off", []answer{intact(manifest), broken(mask), intact(mask)}, nil, 3},
		{"mask damaged twice", []answer{intact(manifest), damaged(mask)}, ErrChecksum, 3},
		{"server busy", []answer{intact(manifest), busy}, ErrUnavailable, 1 + s3Attempts},
	} {
		for name, read := range map[string]func(g *Group, dir string) ([]byte, error){
			"masks": func(g *Group, _ string) ([]byte, error) {
				for mask, err := range g.Masks(t.Context()) {
					return mask.Data, err
				}
				return nil, errors.New("no masks")
			},
			"download": func(g *Group, dir string) ([]byte, error) {
				if _, err := g.Download(t.Context(), dir); err != nil {
					return nil, err
				}
				return os.ReadFile(filepath.Join(dir, "0001_liver.png"))
			},
		} {
			dir := filepath.Join(t.TempDir(), "dir")
			inBubble(t, row.name+", "+name, func(t *testing.T) {
				server := &scripted{answers: row.answers}
				g, err := NewGroup(testS3(t, server), "a", "g", nil)
				if err != nil {
					t.Fatal(err)
				}
				got, err := read(g, dir)
				if !errors.Is(err, row.want) || (err == nil) != (row.want == nil) || err == nil && !bytes.Equal(got, mask) {
					t.Errorf("got %d bytes, %v; want %v", len(got), err, row.want)
				}
				if len(server.bodies) != row.requests {
					t.Errorf("%d requests; want %d", len(server.bodies), row.requests)
				}
			})
		}
	}
}

// noCalls is a storage that panics when it is called.
type noCalls struct{ ObjectStorage }

// swapped is a storage at whose keys another content lies, with the ETag of the one that was put.
type swapped struct {
	*Memory
	content string
}

func (s swapped) Get(ctx context.Context, key string, o *GetOptions) (*Object, error) {
	obj, err := s.Memory.Get(ctx, key, o)
	if err == nil && strings.HasSuffix(key, maskSuffix) {
		obj.Body = io.NopCloser(newVerifier(strings.NewReader(s.content), 0, o.SHA256))
	}
	return obj, err
}

// What the manifest says of a mask holds its readers' content, whatever the server says of it: the SHA-256, or the size alone.
func TestMasksAreTheManifests(t *testing.T) {
	mask := testPNG(t, 1)
	for name, row := range map[string]struct {
		content  string
		unhashed bool
	}{
		"another content": {strings.Repeat("x", len(mask)), false},
		"longer":          {string(mask) + "x", true},
		"shorter":         {string(mask[1:]), true},
	} {
		m := new(Memory)
		g, err := NewGroup(swapped{m, row.content}, "a", "g", nil)
		if err != nil {
			t.Fatal(err)
		}
		body := BytesBody(mask)
		if row.unhashed {
			body.SHA256 = SHA256{}
		}
		if _, err := g.Upload(t.Context(), []MaskFile{{1, "liver", body}}, nil); err != nil {
			t.Fatal(err)
		}
		for data, err := range g.Masks(t.Context()) {
			if !errors.Is(err, ErrChecksum) {
				t.Errorf("%s: %q, %v", name, data.Data, err)
			}
		}
	}
}

// Download refuses at once, and leaves as it is, what it could not put a folder in the place of, or should not.
func TestDownloadRefusesFolders(t *testing.T) {
	empty, links := t.TempDir(), t.TempDir()
	for name, target := range map[string]string{"link": empty, "dangling": filepath.Join(empty, "gone")} {
		if err := os.Symlink(target, filepath.Join(links, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(empty)
	g, err := NewGroup(noCalls{}, "a", "g", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", ".", "./", "x/..", "..", "../..", links + "/link", links + "/link/", links + "/dangling"} {
		_, err := g.Download(t.Context(), dir)
		wantInputError(t, err, ErrInvalidArgument, "dir")
	}
}
