package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/examples/internal/setup"
)

func TestParts(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^begun mask/ct-42/_large/[A-Z2-7]+\.bin: 3 parts
put part 1
the client died
put part 2
put part 3
got all 41943040 bytes back, with the file's SHA-256
$`)
	if !want.MatchString(out.String()) {
		t.Errorf("output:\n%s", out.String())
	}
}

func TestRefusals(t *testing.T) {
	url, stop, err := setup.Serve(handler(&maskstore.Memory{BaseURL: "http://127.0.0.1"}, maskstore.DirJournal(t.TempDir())))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	c := client{url: url + "/api/annotations/ct-42/large"}
	begun, err := c.begin(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.TrimPrefix(begun.Key, "mask/ct-42/_large")
	for _, row := range []struct {
		path string
		q    request
		want string
	}{
		{"", request{}, "400 Bad Request: maskstore: BeginParts"},
		{at + "/renew", request{UploadID: begun.UploadID, Size: 4}, "400 Bad Request: maskstore: RenewParts"},
		{at + "/complete", request{UploadID: begun.UploadID, Size: 3}, "409 Conflict: maskstore: CompleteParts"},
		{at + "/renew", request{UploadID: "other", Size: 3}, "404 Not Found: maskstore: RenewParts"},
		{"/_x/renew", request{UploadID: begun.UploadID, Size: 3}, "400 Bad Request: maskstore: invalid argument: id"},
	} {
		if err := c.post(t.Context(), row.path, row.q, nil); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v; want %s", row.path, err, row.want)
		}
	}
}
