package maskstore

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPromises: each promise in doc.go names tests, and those exist.
func TestPromises(t *testing.T) {
	tests := make(map[string]bool)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil {
				tests[f.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, promises, _ := strings.Cut(string(source), "# Promises")
	name := regexp.MustCompile(`\b(Test|Fuzz)[A-Z]\w*`)
	each := strings.Split(promises, "//   - ")[1:]
	for _, promise := range each {
		named := name.FindAllString(promise, -1)
		if len(named) == 0 {
			t.Errorf("no test holds %q", promise)
		}
		for _, test := range named {
			if !tests[test] {
				t.Errorf("there is no %s, which is to hold %q", test, promise)
			}
		}
	}
	if len(each) < 10 {
		t.Errorf("%d promises were found", len(each))
	}
}
