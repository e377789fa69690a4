package version

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

// A program that "make build" makes says the version that it was given.
func TestTheStampIsSaid(t *testing.T) {
	dir := t.TempDir()
	main := `package main

import "github.com/steelyard-lb/steelyard/internal/version"

func main() { print(version.String()) }
`
	file := filepath.Join(dir, "main.go")
	if err := os.WriteFile(file, []byte(main), 0o644); err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile(filepath.Join("..", "..", "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	const name = "github.com/steelyard-lb/steelyard/internal/version.stamped"
	if !strings.Contains(string(makefile), "-X "+name+"=") {
		t.Errorf("the Makefile does not stamp %s", name)
	}
	for _, c := range []struct{ name, flags, want string }{
		{"stamped", "-X " + name + "=v1.2.3", "v1.2.3"},
		{"not stamped", "", "(devel)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			program := filepath.Join(dir, "program")
			build := exec.Command("go", "build", "-buildvcs=false", "-ldflags", c.flags, "-o", program, "-overlay", overlay(t, dir, file), "./said")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("build: %v\n%s", err, out)
			}
			said, err := exec.Command(program).CombinedOutput()
			if err != nil || string(said) != c.want {
				t.Errorf("want %q, have %q, %v", c.want, said, err)
			}
		})
	}
}

// overlay has Go see file as the program said in this folder, where it may
// import what is internal.
func overlay(t *testing.T, dir, file string) string {
	t.Helper()
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "overlay.json")
	text := `{"Replace": {"` + filepath.Join(here, "said", "main.go") + `": "` + file + `"}}`
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAVersionFitsIntoALabel(t *testing.T) {
	for version, want := range map[string]string{
		"v1.2.3": "v1.2.3", "v1.2.3-4-gabc-dirty": "v1.2.3-4-gabc-dirty", "v0.0.0+dirty": "v0.0.0_dirty", "(devel)": "devel", "": "",
		strings.Repeat("x", 62) + "++": strings.Repeat("x", 62),
	} {
		got := Label(version)
		if faults := validation.IsValidLabelValue(got); got != want || len(faults) > 0 {
			t.Errorf("%q becomes %q, want %q; %v", version, got, want, faults)
		}
	}
}

// A release names its own documents and files. "-dirty" is git's word, and no release.
func TestAVersionHasAddresses(t *testing.T) {
	const at = "https://github.com/steelyard-lb/steelyard/"
	for version, want := range map[string][2]string{
		"v1.2.3":           {"blob/v1.2.3/docs/limits.md", "releases/download/v1.2.3/crds.yaml"},
		"v1.2.3-rc.1":      {"blob/v1.2.3-rc.1/docs/limits.md", "releases/download/v1.2.3-rc.1/crds.yaml"},
		"v1.2.3-dirty":     {"blob/main/docs/limits.md", "releases/latest/download/crds.yaml"},
		"v1.2.3-4-gabcdef": {"blob/main/docs/limits.md", "releases/latest/download/crds.yaml"},
		"abcdef0":          {"blob/main/docs/limits.md", "releases/latest/download/crds.yaml"},
		"unknown":          {"blob/main/docs/limits.md", "releases/latest/download/crds.yaml"},
	} {
		if got := [2]string{page(version, "docs/limits.md"), file(version, "crds.yaml")}; got != [2]string{at + want[0], at + want[1]} {
			t.Errorf("%s: %q", version, got)
		}
	}
}
