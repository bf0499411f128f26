package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// withoutEnvironment keeps the test on memory, whatever the developer's environment says.
func withoutEnvironment(t *testing.T) {
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "APP_") {
			t.Setenv(name, "")
		}
	}
}

func wantLines(t *testing.T, out string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(out, line) {
			t.Errorf("%q is missing in:\n%s", line, out)
		}
	}
}

func TestQuickstart(t *testing.T) {
	withoutEnvironment(t)
	var out strings.Builder
	if err := run(t.Context(), &out, "", ""); err != nil {
		t.Fatal(err)
	}
	wantLines(t, out.String(),
		"a liver and a spleen over 40 slices: 80 PNGs",
		"revision 1: 80 signed URLs",
		"put         80 masks straight to the storage; 0 lay there already",
		"all 80 masks came back byte for byte",
		"Through the PACS server went 0 mask bytes",
	)
	if n := strings.Count(out.String(), "\n"); n > 24 {
		t.Errorf("%d lines are more than a screenful", n)
	}
}

func TestQuickstartAgain(t *testing.T) {
	withoutEnvironment(t)
	s, err := openStorage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, want := range []string{"put         80 masks", "revision 2: 0 signed URLs"} {
		var out strings.Builder
		if err := show(t.Context(), &out, s, "", "again"); err != nil {
			t.Fatal(err)
		}
		wantLines(t, out.String(), want, "all 80 masks came back byte for byte")
	}
}

func TestQuickstartDir(t *testing.T) {
	withoutEnvironment(t)
	dir := t.TempDir()
	masks, err := drawMasks()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range masks[:3] {
		if err := os.WriteFile(filepath.Join(dir, m.name()), m.data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	if err := run(t.Context(), &out, dir, ""); err != nil {
		t.Fatal(err)
	}
	wantLines(t, out.String(), "read        3 PNGs", "all 3 masks came back byte for byte")

	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), &out, dir, ""); err == nil || !strings.Contains(err.Error(), "notes.txt") {
		t.Errorf("a file that is no mask: %v", err)
	}
}

// The count that the example is about must be able to come out otherwise.
func TestTrafficCountsMasks(t *testing.T) {
	withoutEnvironment(t)
	s, err := openStorage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	var out strings.Builder
	if err := show(t.Context(), &out, s, "", ""); err != nil {
		t.Fatal(err)
	}
	masks, err := drawMasks()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.traffic.other.Load(), 2*sizeOf(masks); got != want {
		t.Errorf("%d bytes went through the storage, want %d: each mask up and down", got, want)
	}
}
