package steelyard

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/golangci/misspell"
)

const (
	retiredFile = "testdata/words/retired.txt"
	leftFile    = "testdata/words/left.txt"
)

var shrink = flag.Bool("shrink", false, "remove from "+leftFile+" what the folders no longer have")

// retired is something that is no longer written, and what is written in its place.
type retired struct{ word, instead string }

// vocabulary holds all that is retired, in lower case.
type vocabulary struct {
	words map[string]retired // by each form
	names map[string]retired // whole identifiers of Go
	texts map[*regexp.Regexp]retired
}

// TestRetiredWords has every file use the words of the glossary, in American spelling.
// leftFile lists the folders that still have some retired words. It only shrinks.
func TestRetiredWords(t *testing.T) {
	v, left := readVocabulary(t), readLeft(t)
	have := map[string]map[string]bool{}
	for _, path := range writtenFiles(t) {
		dir := filepath.ToSlash(filepath.Dir(path))
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if have[dir] == nil {
			have[dir] = map[string]bool{}
		}
		for _, r := range v.check(t, path, string(text)) {
			have[dir][r.word] = true
			if !left[dir][r.word] {
				t.Errorf("%s has %q: write %q", path, r.word, r.instead)
			}
		}
	}
	for dir, words := range left {
		for word := range words {
			if have[dir][word] {
				continue
			}
			if *shrink {
				delete(words, word)
			} else {
				t.Errorf("%s allows %q in %s, which no longer has it: go test -run TestRetiredWords . -shrink", leftFile, word, dir)
			}
		}
	}
	if *shrink {
		writeLeft(t, left)
	}
}

func TestEachFormOfARetiredWordIsFound(t *testing.T) {
	v := vocabulary{words: map[string]retired{}, names: map[string]retired{}, texts: map[*regexp.Regexp]retired{}}
	for _, line := range []string{"wade: x", "gadget: x", "ferry: x", "ponder: x", "name sent: x", "text kept on: x", "text , yet: x"} {
		v.add(t, line)
	}
	for file, want := range map[string]string{
		"x.go: package x // it wades":                          "wade",
		"x.go: package x // Wading through":                    "wade",
		"x.go: package x; func isGadget() {}":                  "gadget",
		"x.go: package x; type ARPFerries struct{}":            "ferry",
		"x.go: package x; var s = \"it pondered\"":             "ponder",
		"x.go: package x // it was kept\n\n// on":              "kept on",
		"x.go: package x; func sent() {}":                      "sent",
		"x.go: package x; type s struct { Sent int }":          "sent",
		"x.md: it is Kept\non, in a row":                       "kept on",
		"x.md: this, yet.":                                     ", yet",
		"x_gadget_test.go: package x":                          "gadget",
		"33_gadgets.txtar: x":                                  "gadget",
		"x.go: package x; var _ = y.Sent // the router sent":   "",
		"x.md: unwaded, gadgetry, the sent":                    "",
		"x.go: package x // kept once\nvar keptOn, resent int": "",
	} {
		path, text, _ := strings.Cut(file, ": ")
		got := ""
		for _, r := range v.check(t, path, text) {
			got += r.word
		}
		if got != want {
			t.Errorf("%q: found %q, want %q", file, got, want)
		}
	}
}

// check returns each retired thing that a file has, once.
func (v vocabulary) check(t *testing.T, path, text string) []retired {
	t.Helper()
	found := map[retired]bool{}
	for _, word := range wordsOf(path + "\n" + text) {
		if r, bad := v.words[word]; bad {
			found[r] = true
		}
	}
	prose := lineBreak.ReplaceAllString(text, " ")
	for re, r := range v.texts {
		if re.MatchString(prose) {
			found[r] = true
		}
	}
	if strings.HasSuffix(path, ".go") {
		for name := range identifiers(t, path, text) {
			if r, bad := v.names[strings.ToLower(name)]; bad {
				found[r] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b retired) int { return strings.Compare(a.word, b.word) })
}

var (
	acronym   = regexp.MustCompile(`([A-Z]+)([A-Z][a-z])`)
	word      = regexp.MustCompile(`[A-Za-z][a-z]+|[A-Z]+`)
	lineBreak = regexp.MustCompile(`\s*\n\s*(//|#)?\s*`)
)

// wordsOf returns a text's words in lower case. It splits camelCase names.
func wordsOf(text string) []string {
	out := word.FindAllString(acronym.ReplaceAllString(text, "$1 $2"), -1)
	for i, w := range out {
		out[i] = strings.ToLower(w)
	}
	return out
}

// identifiers returns those of a Go file, without the fields and functions of others that it uses.
func identifiers(t *testing.T, path, text string) map[string]bool {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, text, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			ast.Inspect(n.X, func(x ast.Node) bool {
				if id, ok := x.(*ast.Ident); ok {
					out[id.Name] = true
				}
				return true
			})
			return false
		case *ast.Ident:
			out[n.Name] = true
		}
		return true
	})
	return out
}

// readVocabulary reads what is retired, and adds the British spelling of each word that has an American one.
func readVocabulary(t *testing.T) vocabulary {
	t.Helper()
	v := vocabulary{words: map[string]retired{}, names: map[string]retired{}, texts: map[*regexp.Regexp]retired{}}
	for pair := range slices.Chunk(misspell.DictAmerican, 2) {
		v.words[pair[0]] = retired{pair[0], pair[1]}
	}
	for _, line := range readLines(t, retiredFile) {
		v.add(t, line)
	}
	return v
}

// add takes one line of retiredFile.
func (v vocabulary) add(t *testing.T, line string) {
	t.Helper()
	what, instead, ok := strings.Cut(line, ": ")
	if !ok {
		t.Fatalf("%s: %q has no replacement", retiredFile, line)
	}
	if name, ok := strings.CutPrefix(what, "name "); ok {
		v.names[name] = retired{name, instead}
	} else if words, ok := strings.CutPrefix(what, "text "); ok {
		v.texts[regexp.MustCompile(`(?i)\b`+regexp.QuoteMeta(words)+`\b`)] = retired{words, instead}
	} else {
		for _, form := range forms(what) {
			v.words[form] = retired{what, instead}
		}
	}
}

// forms returns the forms of a word: wade, wades, waded, wading.
func forms(w string) []string {
	stem := strings.TrimSuffix(w, "e")
	out := []string{w, w + "s", w + "es", stem + "ed", stem + "ing", stem + "er", stem + "ers"}
	if y, ok := strings.CutSuffix(w, "y"); ok {
		out = append(out, y+"ies", y+"ied")
	}
	return out
}

// readLeft returns, by folder, the retired words that are left in it.
func readLeft(t *testing.T) map[string]map[string]bool {
	t.Helper()
	out, dir := map[string]map[string]bool{}, ""
	for _, line := range readLines(t, leftFile) {
		if word, ok := strings.CutPrefix(line, "\t"); ok {
			out[dir][word] = true
		} else {
			dir = line
			out[dir] = map[string]bool{}
		}
	}
	return out
}

func writeLeft(t *testing.T, left map[string]map[string]bool) {
	t.Helper()
	text := "# Retired words that are left, by folder. This list only shrinks: go test -run TestRetiredWords . -shrink\n" +
		"# internal/bgp/fsm: the type of that name is gobgp's.\n"
	for _, dir := range slices.Sorted(maps.Keys(left)) {
		if len(left[dir]) == 0 {
			continue
		}
		text += "\n" + dir + "\n"
		for _, word := range slices.Sorted(maps.Keys(left[dir])) {
			text += fmt.Sprintf("\t%s\n", word)
		}
	}
	if err := os.WriteFile(leftFile, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// readLines returns the lines of a file that are neither empty nor comments.
func readLines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(strings.Split(string(text), "\n"), func(line string) bool {
		return strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#")
	})
}

// writtenFiles returns the files that people write: not what is generated from them, what others
// wrote, or the history, which names what was renamed.
func writtenFiles(t *testing.T) []string {
	t.Helper()
	skipped := []string{".git", "bin", "dist", "docs/reference", "config/rbac", "config/controller", "config/speaker", "e2e/testdata/upstream",
		"internal/migrate/testdata", "testdata/words", "CHANGELOG.md", "LICENSE"}
	endings := []string{".go", ".md", ".txtar", ".txt", ".yaml", ".yml", ".html", ".css", ".svg", ".tpl", ".sh", ".conf", ".json", "Makefile", "run"}
	var out []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		name := filepath.ToSlash(path)
		switch {
		case err != nil:
			return err
		case slices.Contains(skipped, name) && d.IsDir():
			return filepath.SkipDir
		case d.IsDir() || slices.Contains(skipped, name) || strings.HasPrefix(d.Name(), "zz_generated") || strings.HasSuffix(name, ".pb.go") || strings.HasPrefix(name, "config/crd/steelyard.dev_"):
		case slices.ContainsFunc(endings, func(e string) bool { return strings.HasSuffix(name, e) }):
			out = append(out, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
