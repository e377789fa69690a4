package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// onThePage are the reasons and conditions that the page explains.
func onThePage(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, file := range []string{"conditions.go", "reasons.go", "poolreasons.go", "eventreasons.go"} {
		blocks, err := readWords(filepath.Join("../../api/v1beta1", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range blocks {
			for _, w := range b.words {
				out[w.text] = true
			}
		}
	}
	return out
}

// Reasons that the pure packages decide by stand in conditions and events as they are.
func TestEachReasonThatIsDecidedIsOnThePage(t *testing.T) {
	known, found := onThePage(t), 0
	for _, dir := range []string{"../../internal/ipam", "../../internal/announce"} {
		sources(t, dir, func(path string, n ast.Node) {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return
			}
			if of, ok := spec.Type.(*ast.Ident); ok && of.Name == "Reason" {
				if found++; !known[literal(spec.Values[0])] {
					t.Errorf("%s: %s is not in api/v1beta1/reasons.go", path, spec.Names[0])
				}
			}
		})
	}
	if found < 20 {
		t.Fatalf("found only %d reasons", found)
	}
}

// What conditions and events are made of in the programs is a constant of the API, or
// a variable that has one; never a text of its own that the page lacks.
func TestEachReasonOfAConditionOrEventIsOnThePage(t *testing.T) {
	known, found := onThePage(t), 0
	for _, dir := range []string{"../../internal", "../../controller", "../../speaker"} {
		sources(t, dir, func(path string, n ast.Node) {
			for _, e := range reasonsIn(n) {
				found++
				if text := literal(e); text != "" && !known[text] {
					t.Errorf("%s: the reason or type %q is not in api/v1beta1", path, text)
				}
			}
		})
	}
	if found < 20 {
		t.Fatalf("found only %d reasons", found)
	}
}

// reasonsIn returns what n makes the reason or type of a condition, or the reason of an
// event, if it makes one.
func reasonsIn(n ast.Node) (out []ast.Expr) {
	switch n := n.(type) {
	case *ast.CompositeLit:
		switch of := n.Type.(type) {
		case *ast.SelectorExpr:
			fields := map[string][]string{"Condition": {"Reason", "Type"}, "Note": {"Reason"}}[of.Sel.Name]
			for _, e := range n.Elts {
				if kv, ok := e.(*ast.KeyValueExpr); ok {
					if key, ok := kv.Key.(*ast.Ident); ok && slices.Contains(fields, key.Name) {
						out = append(out, kv.Value)
					}
				}
			}
		case *ast.Ident:
			if of.Name == "note" && len(n.Elts) > 1 { // of package status
				out = append(out, n.Elts[1])
			}
		}
	case *ast.CallExpr:
		switch f := n.Fun.(type) {
		case *ast.Ident:
			if f.Name == "warning" && len(n.Args) == 2 { // of package planner
				out = append(out, n.Args[0])
			}
		case *ast.SelectorExpr:
			switch f.Sel.Name {
			case "fault", "unresolved": // of package intent
				if len(n.Args) > 2 {
					out = append(out, n.Args[1])
				}
			case "tellServices": // of package status
				if len(n.Args) == 5 {
					out = append(out, n.Args[3])
				}
			}
		}
	}
	return out
}

// literal returns the text of a literal; "": e is none.
func literal(e ast.Expr) string {
	if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		if text, err := strconv.Unquote(lit.Value); err == nil {
			return text
		}
	}
	return ""
}

// sources visits what the program's files in dir and below consist of.
func sources(t *testing.T, dir string, visit func(path string, n ast.Node)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			visit(path, n)
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAWordMustSayWhatItMeans(t *testing.T) {
	for text, want := range map[string]string{
		"const (\n// A is it.\nA = \"a\")":                             "",
		"const (\nA = \"a\")":                                          "must begin with its name",
		"const (\n// B is it.\nA = \"a\")":                             "must begin with its name",
		"const (\n// A is it.\nA = other)":                             "neither a text",
		"const (\n// A: why.\n//\n// Remedy: do.\nA = Group + \"/a\")": "",
	} {
		path := filepath.Join(t.TempDir(), "a.go")
		if err := os.WriteFile(path, []byte("package v1beta1\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readWords(path)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
