package integration

import (
	"bytes"
	"testing"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/integration/maskdata"
	"github.com/pacs-extension/maskstore/integration/miniotest"
)

// TestUploadByBatch uploads a group with the storage's credentials, which on MinIO goes by tar files, and reads it back.
func TestUploadByBatch(t *testing.T) {
	t.Parallel()
	files, source, err := maskdata.Files()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d masks from %s", len(files), source)
	for name, row := range map[string]struct {
		server     *miniotest.Server
		encryption string
	}{"plain": {plain, ""}, "TLS, encrypted": {secure, "AES256"}} {
		t.Run(name, func(t *testing.T) {
			counter := &requestCounter{RoundTripper: row.server.Client.Transport}
			s := newMinIO(t, row.server, counter.use(row.encryption))
			g, err := maskstore.NewGroup(s, "brain", "", nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := g.Upload(t.Context(), files, nil); err != nil {
				t.Fatal(err)
			}
			if n := counter.n.Load(); n > int64(len(files)/4) {
				t.Errorf("%d requests for %d masks", n, len(files))
			}
			want := make(map[string][]byte, len(files))
			for _, f := range files {
				want[maskstore.MaskKey{Annotation: "brain", Group: g.ID(), Slice: f.Slice, Label: f.Label}.String()] = read(t, f.Body)
			}
			for m, err := range g.Masks(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(m.Data, want[m.Key]) {
					t.Errorf("%s came back with other bytes", m.Key)
				}
				delete(want, m.Key)
			}
			if len(want) > 0 {
				t.Errorf("%d masks did not come back", len(want))
			}
		})
	}
}
