package steelyard

import (
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// signatures returns the functions of a file.
func signatures(t *testing.T, path string) map[string]string {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		var types []string
		for _, fields := range []*ast.FieldList{f.Type.Params, f.Type.Results} {
			for i := range fields.NumFields() {
				var text strings.Builder
				if err := printer.Fprint(&text, set, typeOf(fields, i)); err != nil {
					t.Fatal(err)
				}
				types = append(types, text.String())
			}
			types = append(types, ";")
		}
		out[f.Name.Name] = strings.Join(types, " ")
	}
	return out
}

// typeOf is the type of the field of that number; several names may have one type.
func typeOf(fields *ast.FieldList, number int) ast.Expr {
	for _, f := range fields.List {
		if number -= max(1, len(f.Names)); number < 0 {
			return f.Type
		}
	}
	return nil
}

// TestOtherSystemsHaveTheSameFunctions compares each file that is built on other systems than
// Linux, which only a release builds, for the plugin, with the one that is built on Linux.
func TestOtherSystemsHaveTheSameFunctions(t *testing.T) {
	found := 0
	for _, path := range goFiles(t) {
		if !strings.HasSuffix(path, "_other.go") {
			continue
		}
		found++
		linux := signatures(t, strings.TrimSuffix(path, "_other.go")+"_linux.go")
		for name, signature := range signatures(t, path) {
			if linux[name] != signature {
				t.Errorf("%s: %s has the types %q, and on Linux %q", filepath.ToSlash(path), name, signature, linux[name])
			}
		}
	}
	if found == 0 {
		t.Error("no file is built on other systems only")
	}
}
