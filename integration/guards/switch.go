package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
)

// lineName begins what the compiler calls the file of a guard's copy of its function.
const lineName = "guard-"

// switchable gives a file in which each function that has guards begins by choosing: itself, or its copy without one.
func switchable(src []byte, guards []guard) (switched []byte, packageName string, err error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "", src, parser.SkipObjectResolution)
	if err != nil {
		return nil, "", err
	}
	at := func(pos token.Pos) int { return fset.Position(pos).Offset }
	var copies bytes.Buffer
	choices := make(map[int]string) // by where they go
	for _, g := range guards {
		if n := bytes.Count(src, []byte(g.old)); n != 1 {
			return nil, "", fmt.Errorf("%q: its text occurs %d times", g.name, n)
		}
		i := bytes.Index(src, []byte(g.old))
		fn := functionAt(file, func(fn *ast.FuncDecl) bool { return at(fn.Body.Pos()) <= i && i+len(g.old) <= at(fn.End()) })
		if fn == nil {
			return nil, "", fmt.Errorf("%q: its text is in no function", g.name)
		}
		name := fmt.Sprintf("guard%d%s", g.number, fn.Name.Name)
		text := func(from, to token.Pos) string { return string(src[at(from):at(to)]) }
		call, err := callOf(fn, name, text)
		if err != nil {
			return nil, "", fmt.Errorf("%q: %w", g.name, err)
		}
		choices[at(fn.Body.Lbrace)+1] += fmt.Sprintf(" if guardOff == %q { %s }; ", fmt.Sprint(g.number), call)
		rest := strings.Replace(text(fn.Name.End(), fn.End()), g.old, g.new, 1)
		fmt.Fprintf(&copies, "\n//line %s%d:1\n%s%s%s\n", lineName, g.number, text(fn.Pos(), fn.Name.Pos()), name, rest)
	}
	for i, b := range src {
		switched = append(append(switched, choices[i]...), b)
	}
	switched = append(switched, copies.Bytes()...)
	_, err = parser.ParseFile(fset, "", switched, parser.SkipObjectResolution)
	return switched, file.Name.Name, err
}

func functionAt(file *ast.File, holds func(*ast.FuncDecl) bool) *ast.FuncDecl {
	for _, decl := range file.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Body != nil && holds(fn) {
			return fn
		}
	}
	return nil
}

// callOf gives the statements that call, from fn's beginning, what has its signature and that name.
func callOf(fn *ast.FuncDecl, name string, text func(from, to token.Pos) string) (string, error) {
	if fn.Recv != nil {
		receiver := fn.Recv.List[0]
		if len(receiver.Names) == 0 {
			return "", errors.New("the receiver has no name")
		}
		name = receiver.Names[0].Name + "." + name
	}
	var args []string
	for _, param := range fn.Type.Params.List {
		for _, id := range param.Names {
			arg := id.Name
			if arg == "_" {
				arg = "*new(" + text(param.Type.Pos(), param.Type.End()) + ")"
			}
			if _, variadic := param.Type.(*ast.Ellipsis); variadic {
				arg += "..."
			}
			args = append(args, arg)
		}
	}
	call := name + "(" + strings.Join(args, ", ") + ")"
	if fn.Type.Results == nil {
		return call + "; return", nil
	}
	return "return " + call, nil
}
