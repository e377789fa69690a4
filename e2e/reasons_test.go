package e2e

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// aReason is a line of docs/reference/reasons.md.
var aReason = regexp.MustCompile("(?m)^\\| `(\\w+)` \\|")

// explained checks that the reference explains the reason of each event that the programs
// have sent and that is still there.
func explained(t *testing.T, on stage) {
	t.Helper()
	page, err := os.ReadFile("../docs/reference/reasons.md")
	if err != nil {
		t.Error(err)
		return
	}
	known := map[string]bool{}
	for _, m := range aReason.FindAllStringSubmatch(string(page), -1) {
		known[m[1]] = true
	}
	events, err := kubectlOn(on, "", "get", "events.events.k8s.io", "-A", "-o", `jsonpath={range .items[*]}{.regarding.kind} {.reportingController} {.reason}{"\n"}{end}`)
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(events) {
		kind, line, _ := strings.Cut(strings.TrimSpace(line), " ")
		by, reason, _ := strings.Cut(line, " ")
		if kind == "Steelyard" || strings.HasPrefix(by, "steelyard-operator") {
			continue // by the Helm operator, which OLM's bundle has
		}
		// "R" is what stories forge in a speaker's name.
		if strings.HasPrefix(by, "steelyard-") && !known[reason] && reason != "R" {
			t.Errorf("%s sent an event %q, which docs/reference/reasons.md does not explain", by, reason)
		}
	}
}
