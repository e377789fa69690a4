package steelyard

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestThePluginPrintsInOnePlace has each text of a command go through the terminal,
// which escapes what others wrote: a command reaches no stream itself.
func TestThePluginPrintsInOnePlace(t *testing.T) {
	may := map[string]string{"main.go": "os.Stdout os.Stderr t.Out t.ErrOut", "output.go": "t.Out", "terminal.go": "t.ErrOut"}
	files, err := filepath.Glob("cmd/kubectl-steelyard/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal("there is no plugin", err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := s.X.(*ast.Ident)
			if !ok {
				return true
			}
			name := x.Name + "." + s.Sel.Name
			switch name {
			case "os.Stdout", "os.Stderr", "t.Out", "t.ErrOut", "fmt.Print", "fmt.Printf", "fmt.Println":
				if !strings.Contains(" "+may[filepath.Base(path)]+" ", " "+name+" ") {
					t.Errorf("%s uses %s: print by an answer, or by say", fset.Position(s.Pos()), name)
				}
			}
			return true
		})
	}
}
