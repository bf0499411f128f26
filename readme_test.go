package maskstore_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

// Each Go snippet of README.md is the body of an example, so it compiles and does what is said; the first is Example.
func TestReadmeSnippets(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	snippets := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(readme, -1)
	if len(snippets) == 0 {
		t.Fatal("README.md has no Go snippet")
	}
	examples := exampleBodies(t)
	if first := string(snippets[0][1]); first != examples["Example"] {
		t.Errorf("the first snippet\n%s\nis not the body of Example\n%s", first, examples["Example"])
	}
	if n := strings.Count(examples["Example"], "\n"); n > 15 {
		t.Errorf("the first snippet has %d lines, want at most 15", n)
	}
	for _, snippet := range snippets[1:] {
		found := false
		for _, body := range examples {
			found = found || strings.Contains(body, string(snippet[1]))
		}
		if !found {
			t.Errorf("no example holds the snippet\n%s", snippet[1])
		}
	}
}

// exampleBodies gives the bodies of the examples by name, one tab less indented, without what they output.
func exampleBodies(t *testing.T) map[string]string {
	bodies := make(map[string]string)
	for _, name := range []string{"example_test.go", "example_upload_test.go"} {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, name, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(f.Name.Name, "Example") {
				continue
			}
			body := string(src[files.Position(f.Body.Lbrace).Offset+2 : files.Position(f.Body.Rbrace).Offset])
			body, _, _ = strings.Cut(body, "\t// Output:")
			body = strings.ReplaceAll("\n"+body, "\n\t", "\n")
			bodies[f.Name.Name] = strings.Trim(body, "\n") + "\n"
		}
	}
	return bodies
}
