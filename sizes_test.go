package steelyard

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSizes keeps files to one idea and functions to one page.
func TestSizes(t *testing.T) {
	const fileLines, funcLines = 400, 60
	for _, path := range goFiles(t) {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n := fset.File(f.Pos()).LineCount(); n > fileLines+1 {
			t.Errorf("%s has %d lines; %d is the most: two ideas in one?", path, n, fileLines)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line; n > funcLines && !strings.HasSuffix(path, "_test.go") {
				t.Errorf("%s: %s has %d lines; %d is the most", path, fn.Name.Name, n, funcLines)
			}
		}
	}
}

// TestFunctionsAreSimple counts the ways through each function (McCabe's cyclomatic
// complexity) in the rooms that decide and in those that run the programs.
func TestFunctionsAreSimple(t *testing.T) {
	const most = 15
	rooms := []string{"controller", "speaker", "internal/announce", "internal/failover", "internal/ipam", "internal/kubeproxy", "internal/layer2",
		"internal/layer2/link", "internal/leader", "internal/lease", "internal/membership", "internal/membership/network", "internal/neighbor",
		"internal/overlay", "internal/overview/page", "internal/planner", "internal/report", "internal/status"}
	for _, path := range goFiles(t) {
		if strings.HasSuffix(path, "_test.go") || !slices.Contains(rooms, filepath.ToSlash(filepath.Dir(path))) {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && complexity(fn) > most {
				t.Errorf("%s: there are %d ways through %s; %d are the most", path, complexity(fn), fn.Name.Name, most)
			}
		}
	}
}

// complexity is one more than the branches of a function.
func complexity(fn *ast.FuncDecl) int {
	n := 1
	ast.Inspect(fn, func(x ast.Node) bool {
		switch x := x.(type) {
		case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
			n++
		case *ast.CaseClause:
			if x.List != nil { // the default is no branch
				n++
			}
		case *ast.CommClause:
			if x.Comm != nil {
				n++
			}
		case *ast.BinaryExpr:
			if x.Op == token.LAND || x.Op == token.LOR {
				n++
			}
		}
		return true
	})
	return n
}
