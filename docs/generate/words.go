package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
)

// block is constants of the API that belong together.
type block struct {
	title, intro string
	words        []word
}

// word is a constant of the API: a reason, a condition, the name of an annotation.
type word struct{ text, meaning, remedy string }

// readWords reads the constants of a file of the API types.
func readWords(path string) ([]block, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("read reasons: %w", err)
	}
	var out []block
	for _, d := range file.Decls {
		consts, ok := d.(*ast.GenDecl)
		if !ok || consts.Tok != token.CONST {
			continue
		}
		title, intro, _ := strings.Cut(oneLine(consts.Doc.Text()), ". ")
		b := block{title: strings.TrimRight(title, ".:"), intro: intro}
		for _, s := range consts.Specs {
			w, err := wordOf(s.(*ast.ValueSpec))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			b.words = append(b.words, w)
		}
		out = append(out, b)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("found no constants in %s", path)
	}
	return out, nil
}

// wordOf reads one constant. Its comment begins with its name, and may end with a
// paragraph that begins with "Remedy:".
func wordOf(spec *ast.ValueSpec) (word, error) {
	name := spec.Names[0].Name
	text, err := textOf(spec.Values[0])
	if err != nil {
		return word{}, fmt.Errorf("%s: %w", name, err)
	}
	meaning, remedy, _ := strings.Cut(spec.Doc.Text(), "Remedy: ")
	meaning, ok := strings.CutPrefix(oneLine(meaning), name)
	if meaning = strings.TrimLeft(meaning, ": "); !ok || meaning == "" {
		return word{}, fmt.Errorf("the comment of %s must begin with its name, and say what it means", name)
	}
	return word{text, meaning, oneLine(remedy)}, nil
}

// textOf returns the value of a constant, which may begin with the API group.
func textOf(e ast.Expr) (string, error) {
	switch e := e.(type) {
	case *ast.BasicLit:
		return strconv.Unquote(e.Value)
	case *ast.BinaryExpr:
		if group, ok := e.X.(*ast.Ident); ok && group.Name == "Group" && e.Op == token.ADD {
			rest, err := textOf(e.Y)
			return "steelyard.dev" + rest, err
		}
	}
	return "", fmt.Errorf("its value is neither a text nor one after the API group")
}

// wordsPage is the page of reasons, conditions and names, from the files in folder dir.
func wordsPage(dir string) (string, error) {
	var b strings.Builder
	b.WriteString(`# Reasons, events and conditions

Made by "make generate" from the API types; don't edit it. Conditions and events bear the same reasons, and so do ` + "`kubectl steelyard explain`" + `, the
controller's page, metrics and logs. Messages name the objects and fields at fault. To find one:

` + "```text" + `
kubectl get events -A --field-selector reason=PoolExhausted
kubectl get ipaddresspools.steelyard.dev,bgppeers.steelyard.dev
kubectl wait --for=condition=Programmed ipaddresspools.steelyard.dev/lan
` + "```" + `

Of one object and reason the first five events are sent, then fewer and fewer. Statuses show each change.
`)
	for _, f := range []struct{ name, word string }{{"conditions", "condition"}, {"reasons", "reason"}, {"poolreasons", "reason"}, {"eventreasons", "reason"}, {"names", "name"}} {
		blocks, err := readWords(filepath.Join(dir, f.name+".go"))
		if err != nil {
			return "", err
		}
		for _, x := range blocks {
			fmt.Fprintf(&b, "\n## %s\n\n", x.title)
			if x.intro != "" {
				b.WriteString(x.intro + "\n\n")
			}
			if f.word != "reason" {
				fmt.Fprintf(&b, "| %s | meaning |\n|---|---|\n", f.word)
				for _, w := range x.words {
					fmt.Fprintf(&b, "| `%s` | %s |\n", w.text, cell(w.meaning))
				}
				continue
			}
			b.WriteString("| reason | cause | remedy |\n|---|---|---|\n")
			for _, w := range x.words {
				fmt.Fprintf(&b, "| `%s` | %s | %s |\n", w.text, cell(w.meaning), cell(cmp.Or(w.remedy, "none is needed")))
			}
		}
	}
	return b.String(), nil
}
