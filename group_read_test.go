package maskstore

import (
	"os"
	"path/filepath"
	"testing"
)

// noCalls is a storage that panics when it is called.
type noCalls struct{ ObjectStorage }

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
