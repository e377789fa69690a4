package steelyard

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestTheWalkOfATakeover holds the table of a dead node's takeover to the code: each function stands
// in its file, and a reader opens at most 15 files.
func TestTheWalkOfATakeover(t *testing.T) {
	const most = 15
	text, err := os.ReadFile("docs/design/ownership.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "\n### A dead node's takeover, file by file\n")
	table, _, _ = strings.Cut(table, "\n## ")
	if !found {
		t.Fatal("the table is gone")
	}
	quoted := regexp.MustCompile("`([^`]+)`")
	files := map[string]map[string]bool{}
	file, rule, steps := "", false, 0
	for line := range strings.SplitSeq(table, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.Contains(cells[3], "`") {
			continue
		}
		steps++
		if name := quoted.FindStringSubmatch(cells[2]); name != nil {
			file = name[1]
		} else if strings.TrimSpace(cells[2]) != "the same" {
			t.Errorf("no file: %s", line)
		}
		if files[file] == nil {
			files[file] = functionsIn(t, file)
		}
		for _, name := range quoted.FindAllStringSubmatch(cells[3], -1) {
			if !files[file][name[1]] {
				t.Errorf("%s has no function %s", file, name[1])
			}
			rule = rule || name[1] == "pass.mayTake"
		}
	}
	if len(files) > most || steps < most || !rule {
		t.Errorf("%d files in %d steps, the rule among them: %t; %d files are the most", len(files), steps, rule, most)
	}
}

// functionsIn returns the functions of a file; methods with their types.
func functionsIn(t *testing.T, path string) map[string]bool {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name := fn.Name.Name
		if fn.Recv != nil {
			of := fn.Recv.List[0].Type
			if star, ok := of.(*ast.StarExpr); ok {
				of = star.X
			}
			name = of.(*ast.Ident).Name + "." + name
		}
		out[name] = true
	}
	return out
}
