package steelyard

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestForeignTextPassesOnePlace holds that what others wrote is made safe, and
// short, on its way to conditions, events and logs: only the files named here reach
// these, and the rest calls them.
func TestForeignTextPassesOnePlace(t *testing.T) {
	places := map[string]string{
		"k8s.io/apimachinery/pkg/api/meta.SetStatusCondition": "internal/intent/condition.go",
		"k8s.io/api/events/v1.Event":                          "internal/cluster/event_recorder.go",
		"k8s.io/api/core/v1.Event":                            "",
		"k8s.io/client-go/tools/record.EventRecorder":         "",
		"k8s.io/client-go/tools/events.EventRecorder":         "",
		"log/slog.NewTextHandler":                             "internal/logs/logs.go",
		"log/slog.NewJSONHandler":                             "internal/logs/logs.go",
		"log.Print":                                           "",
		"log.Printf":                                          "",
		"log.Println":                                         "",
	}
	used := map[string]bool{}
	for _, path := range goFiles(t) {
		room, _, _ := strings.Cut(path, "/")
		if !slices.Contains([]string{"controller", "speaker", "internal", "cmd"}, room) || strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		imported := imports(f)
		ast.Inspect(f, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := s.X.(*ast.Ident); ok {
				name := imported[x.Name] + "." + s.Sel.Name
				place, foreign := places[name]
				if foreign && path != place {
					t.Errorf("%s uses %s: only %s may, which makes foreign text safe to show", path, name, cmp.Or(place, "no package"))
				}
				used[name] = used[name] || foreign
			}
			return true
		})
	}
	for name, place := range places {
		if place != "" && !used[name] {
			t.Errorf("%s does not use %s any more", place, name)
		}
	}
}

// imports returns the paths of a file's imports by the names that they have in it.
func imports(f *ast.File) map[string]string {
	out := map[string]string{}
	for _, i := range f.Imports {
		path := strings.Trim(i.Path.Value, `"`)
		name := filepath.Base(path)
		if i.Name != nil {
			name = i.Name.Name
		}
		out[name] = path
	}
	return out
}
