package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheReferenceIsFresh(t *testing.T) {
	const root = "../.."
	all, err := pages(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range all {
		have, err := os.ReadFile(filepath.Join(root, folder, name))
		if err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(want, string(have)); d != "" {
			t.Errorf("%s is stale: run \"make generate\" and commit the result\n%s", name, d)
		}
	}
}

func TestFlagsAreReadFromHelp(t *testing.T) {
	help := "Usage of x:\n  -defend\n    \tannounce | again\n  -node string\n    \tits name (default \"a\")\n"
	got, err := flagRows(help)
	if err != nil {
		t.Fatal(err)
	}
	want := "| `--defend` |  | announce \\| again |\n| `--node` | `a` | its name |\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := flagRows("flag provided but not defined"); err == nil {
		t.Error("no flags are no error")
	}
}
