package e2e

import (
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestThePageSaysWhatTheStoryTries compares what docs/concepts/security.md says of a
// stolen node, line for line, with what the story tries with its token.
func TestThePageSaysWhatTheStoryTries(t *testing.T) {
	find := func(file, line string) [][2]string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var out [][2]string
		for _, m := range regexp.MustCompile(line).FindAllStringSubmatch(string(text), -1) {
			out = append(out, [2]string{m[1], m[2]})
		}
		return out
	}
	said := map[string]string{}
	for _, m := range find("../docs/concepts/security.md", `(?m)^\| (.+) \| (refused|possible) \|$`) {
		said[m[0]] = m[1]
	}
	tried := map[string]string{}
	for _, m := range find("testdata/56_stolen.txtar", `(?m)^# (REFUSED|POSSIBLE): (.+)$`) {
		tried[m[1]] = map[string]string{"REFUSED": "refused", "POSSIBLE": "possible"}[m[0]]
	}
	if len(said) == 0 {
		t.Error("the page has no table of what is refused and what is possible")
	}
	if diff := cmp.Diff(said, tried); diff != "" {
		t.Errorf("-page +story\n%s", diff)
	}
}
