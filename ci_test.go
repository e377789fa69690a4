package steelyard

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestEachModuleIsKeptUpToDate compares what Dependabot looks at with what there is.
func TestEachModuleIsKeptUpToDate(t *testing.T) {
	text, err := os.ReadFile(".github/dependabot.yml")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Updates []struct {
			Ecosystem   string `json:"package-ecosystem"`
			Directory   string
			Directories []string
		}
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	looked := map[string][]string{}
	for _, u := range config.Updates {
		looked[u.Ecosystem] = append(looked[u.Ecosystem], append(u.Directories, u.Directory)...)
	}
	modules := 0
	for _, pattern := range []string{"go.mod", "*/go.mod", "*/*/go.mod"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			modules++
			if dir := strings.TrimSuffix("/"+filepath.Dir(file), "/."); !slices.Contains(looked["gomod"], dir) && (dir != "" || !slices.Contains(looked["gomod"], "/")) {
				t.Errorf("Dependabot does not update the module in %q: add it to .github/dependabot.yml", file)
			}
		}
	}
	if modules < 2 || !slices.Contains(looked["github-actions"], "/") {
		t.Errorf("%d modules; actions are looked for in %q", modules, looked["github-actions"])
	}
}

// TestActionsArePinned wants of each action of a workflow the commit, not a tag
// that can be moved, and its version for people.
func TestActionsArePinned(t *testing.T) {
	files, err := filepath.Glob(".github/workflows/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no workflows: %v", err)
	}
	uses, pinned := regexp.MustCompile(`(?m)^\s*-?\s*uses:.*$`), regexp.MustCompile(`uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range uses.FindAllString(string(text), -1) {
			found++
			if !pinned.MatchString(line) {
				t.Errorf("%s: %s: want uses: OWNER/NAME@COMMIT # VERSION", file, strings.TrimSpace(line))
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d actions are used", found)
	}
}

// TestEachKubernetesRunsSomewhere wants of each version of Kubernetes that e2e pins beside the newest that a workflow
// runs it, and that the requirements say whether it was tried.
func TestEachKubernetesRunsSomewhere(t *testing.T) {
	read := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var workflow struct {
		Jobs struct {
			Stories struct {
				Strategy struct{ Matrix struct{ Version []string } }
			}
		}
	}
	if err := yaml.Unmarshal([]byte(read(".github/workflows/kubernetes.yaml")), &workflow); err != nil {
		t.Fatal(err)
	}
	oldest := regexp.MustCompile(`(?m)^KUBE \?= (.+)$`).FindStringSubmatch(read("Makefile"))
	if oldest == nil {
		t.Fatal("the Makefile does not say what e2e-oldest runs: KUBE ?= VERSION")
	}
	run := append(workflow.Jobs.Stories.Strategy.Matrix.Version, oldest[1])
	folders, err := filepath.Glob("e2e/kube1[0-9][0-9]")
	if err != nil {
		t.Fatal(err)
	}
	var pinned []string
	for _, folder := range folders {
		version := strings.Replace(strings.TrimPrefix(folder, "e2e/kube"), "1", "1.", 1)
		pinned = append(pinned, version)
		row := regexp.MustCompile(`(?m)^\| [^|]*\b` + regexp.QuoteMeta(version) + `\b[^|]* \| (?:not )?tried`)
		if !row.MatchString(read("docs/reference/requirements.md")) {
			t.Errorf("docs/reference/requirements.md does not say whether Kubernetes %s was tried", version)
		}
	}
	slices.Sort(run)
	if !slices.Equal(run, pinned) {
		t.Errorf("workflows run Kubernetes %q beside the newest, and e2e pins %q", run, pinned)
	}
}
