package steelyard

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
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

// TestFunctionsAreSimple limits the cyclomatic complexity (McCabe) of each function
// that is not a test's.
func TestFunctionsAreSimple(t *testing.T) {
	const most = 15
	for _, path := range goFiles(t) {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && complexity(fn) > most {
				t.Errorf("%s: %s has the cyclomatic complexity %d; %d is the most", path, fn.Name.Name, complexity(fn), most)
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

// TestNoLargeFileIsCommitted keeps built programs out of the repository.
func TestNoLargeFileIsCommitted(t *testing.T) {
	const most = 1 << 20
	if _, err := os.Stat(".git"); err != nil {
		t.Skip("this is no checkout: git does not say which files are committed")
	}
	out, err := exec.Command("git", "ls-files", "-z").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		info, err := os.Lstat(path)
		if err != nil {
			continue // deleted, and not committed yet
		}
		if info.Size() > most {
			t.Errorf("%s has %d bytes; %d are the most", path, info.Size(), most)
		}
	}
}
