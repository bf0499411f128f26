package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTable holds that the table fits the source as it is: each text stands in its file once, in a function, what is put in
// its place parses, and the tests exist.
func TestTable(t *testing.T) {
	root, err := moduleDir()
	if err != nil {
		t.Fatal(err)
	}
	all := allGuards()
	if _, err := writeOverlay(root, t.TempDir(), all); err != nil {
		t.Error(err)
	}
	names := make(map[string]bool)
	for _, g := range all {
		if id := g.file + ": " + g.name; names[id] {
			t.Errorf("%s stands twice", id)
		} else {
			names[id] = true
		}
		for test := range strings.SplitSeq(g.test, "|") {
			if name, _, _ := strings.Cut(test, "/"); !hasTest(t, filepath.Join(root, g.pkg), name) {
				t.Errorf("%s: %s: there is no %s in %q", g.file, g.name, name, g.pkg)
			}
		}
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if want := fmt.Sprintf("%d guards", len(all)); err != nil || !strings.Contains(string(readme), want) {
		t.Errorf("README.md does not say %q (%v)", want, err)
	}
}

var tests = make(map[string]string) // of a folder, all files

func hasTest(t *testing.T, dir, name string) bool {
	if tests[dir] == "" {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			tests[dir] += string(data)
		}
	}
	return strings.Contains(tests[dir], "\nfunc "+name+"(")
}
