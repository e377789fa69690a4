package steelyard

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
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
		var all []string
		for _, fields := range []*ast.FieldList{f.Type.Params, f.Type.Results} {
			if fields == nil {
				continue
			}
			for _, field := range fields.List {
				all = append(all, slices.Repeat([]string{types.ExprString(field.Type)}, max(1, len(field.Names)))...) // several names may have one type
			}
			all = append(all, ";")
		}
		out[f.Name.Name] = strings.Join(all, " ")
	}
	return out
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
