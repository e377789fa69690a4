// Package reference keeps pages of docs/reference, and other files, true: tests of the programs
// compare what the programs are with what the pages say, and write the pages when
// the flag -update is given ("make generate").
package reference

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

// update is a flag of the tests that use this package.
var update = flag.Bool("update", false, "write the files that are stale instead of failing")

// Section compares text with a section of the page at path, which begins with
// the line <!-- generated: name --> and ends with <!-- end: name -->.
func Section(t testing.TB, path, name, text string) {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := replace(page, name, text)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	File(t, path, want)
}

// File compares a whole file with what it should be.
func File(t testing.TB, path string, want []byte) {
	t.Helper()
	have, err := os.ReadFile(path)
	switch {
	case *update:
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	case err != nil:
		t.Fatal(err)
	case !bytes.Equal(have, want):
		t.Errorf("%s is stale: run \"make generate\" and commit the result", path)
	}
}

// replace puts text into a section of a page.
func replace(page []byte, name, text string) ([]byte, error) {
	first, last := fmt.Sprintf("<!-- generated: %s -->\n", name), fmt.Sprintf("<!-- end: %s -->", name)
	before, rest, ok1 := strings.Cut(string(page), first)
	_, after, ok2 := strings.Cut(rest, last)
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("there is no section between %q and %q", strings.TrimSpace(first), last)
	}
	return []byte(before + first + strings.TrimSpace(text) + "\n" + last + after), nil
}
