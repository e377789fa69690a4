package steelyard

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// documents returns the Markdown files that people read in the repository, by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	paths := []string{"README.md", "DESIGN.md", "CONTRIBUTING.md"}
	err := filepath.WalkDir("docs", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string, len(paths))
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out[path] = string(text)
	}
	return out
}

// TestDocumentsNameTargetsThatExist checks each target of make that a document names.
func TestDocumentsNameTargetsThatExist(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range documents(t) {
		for word := range strings.SplitSeq(text, "`") {
			target, ok := strings.CutPrefix(word, "make ")
			if ok && !strings.ContainsAny(target, " \n=") && !bytes.Contains(makefile, fmt.Appendf(nil, "\n%s:", target)) {
				t.Errorf("%s names \"make %s\", which the Makefile doesn't have", path, target)
			}
		}
	}
}

// longest is how many characters a line of a document may have.
const longest = 140

// TestLinesOfDocumentsAreShort also holds for tables: a long cell is a list instead.
// The reference is generated.
func TestLinesOfDocumentsAreShort(t *testing.T) {
	for path, text := range documents(t) {
		for i, line := range strings.Split(text, "\n") {
			if n := utf8.RuneCountInString(line); n > longest && !strings.HasPrefix(path, "docs/reference/") {
				t.Errorf("%s:%d: the line has %d characters, more than %d", path, i+1, n, longest)
			}
		}
	}
}

// TestTheReadmeIsShort keeps what is detail in docs.
func TestTheReadmeIsShort(t *testing.T) {
	if n := strings.Count(documents(t)["README.md"], "\n"); n > 120 {
		t.Errorf("README.md has %d lines, more than 120", n)
	}
}

// mapOfPackages returns the folders that DESIGN.md's map lists. A line that is
// indented by two more belongs to the folder above it.
func mapOfPackages(t *testing.T) []string {
	t.Helper()
	var out []string
	parent := ""
	for _, m := range regexp.MustCompile(`(?m)^    (  )?([\w./-]+/) +\S.*$`).FindAllStringSubmatch(documents(t)["DESIGN.md"], -1) {
		if m[1] == "" {
			parent = m[2]
			out = append(out, filepath.Clean(parent))
		} else {
			out = append(out, filepath.Join(parent, m[2]))
		}
	}
	return out
}

// TestTheMapHasEachPackage looks for each package of the programs, or the folder above
// it for what only builds and tests them.
func TestTheMapHasEachPackage(t *testing.T) {
	listed := mapOfPackages(t)
	for _, dir := range listed {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("DESIGN.md lists %s, which is not there", dir)
		}
	}
	root, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages(t) {
		dir, err := filepath.Rel(root, p.Dir)
		if err != nil {
			t.Fatal(err)
		}
		shipped := strings.HasPrefix(dir, "internal/") || strings.HasPrefix(dir, "cmd/")
		found := slices.Contains(listed, dir) || !shipped && slices.Contains(listed, filepath.Dir(dir))
		if dir != "." && !found {
			t.Errorf("DESIGN.md has no line for %s", dir)
		}
	}
}

// TestTheDesignNamesCodeThatExists looks for each name of a package's that the design
// mentions, as `announce.Decide`, in that package.
func TestTheDesignNamesCodeThatExists(t *testing.T) {
	folders := map[string]string{}
	for _, dir := range mapOfPackages(t) {
		folders[filepath.Base(dir)] = dir
	}
	name := regexp.MustCompile("`([a-z]\\w+)\\.(?:[A-Z]\\w+\\.)?([A-Z]\\w+)`")
	found := 0
	for path, text := range documents(t) {
		if path != "DESIGN.md" && !strings.HasPrefix(path, "docs/design/") {
			continue
		}
		for _, m := range name.FindAllStringSubmatch(text, -1) {
			dir, ok := folders[m[1]]
			if !ok {
				continue
			}
			found++
			if !declared(t, dir, m[2]) {
				t.Errorf("%s names %s.%s, which %s doesn't have", path, m[1], m[2], dir)
			}
		}
	}
	if found == 0 {
		t.Error("the design names no code: the pattern is wrong")
	}
}

// declared reports whether a folder's Go files declare a function, method or type.
func declared(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	declaration := regexp.MustCompile(`(?m)^(func |func \([^)]*\) |type )` + name + `\b`)
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return declaration.Match(text)
	})
}
