package e2e

import (
	"context"
	"fmt"
	"regexp"

	"github.com/rogpeppe/go-internal/testscript"
)

// toldEverywhere waits until all places say of a Service why it is not announced; negated,
// why clients are refused although it is.
func (s *story) toldEverywhere(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: [!] told SERVICE REASON [REASON of the condition Allocated]")
	}
	r := s.rack(ts)
	leader, err := r.ActiveController(context.Background())
	ts.Check(err)
	name, reason, event, at := args[0], args[1], args[1], r.MetricsAddress(leader)
	full := s.namespace + "/" + name
	status, explained := "(False|Unknown)", "(?m)^"+regexp.QuoteMeta(full)+"  "+reason+`\b`
	problem := regexp.MustCompile(`Service\s+` + regexp.QuoteMeta(full) + `\s[^/]*` + reason)
	if reason == "Announced" {
		status, explained = "True", "(?m)^"+regexp.QuoteMeta(full)+"  OK$"
	}
	condition := `jsonpath={range .status.conditions[?(@.type=="steelyard.dev/Announced")]}{.status} {.reason}{end}`
	matches := func(pattern string) func(outcome) bool {
		p := regexp.MustCompile(pattern)
		return func(o outcome) bool { return p.MatchString(o.stdout) }
	}
	page := func(o outcome) bool { return o.err == nil && problem.MatchString(text(o.stdout)) }
	gauge := matches(fmt.Sprintf(`(?m)^steelyard_services_unannounced\{reason="%s"\} [1-9]`, reason))
	if len(args) == 3 { // the other places have the cause
		cause := args[2]
		explained = "(?m)^" + regexp.QuoteMeta(full) + "  " + cause + `\b`
		problem = regexp.MustCompile(`Service\s+` + regexp.QuoteMeta(full) + `\s[^/]*` + cause)
		gauge = matches(fmt.Sprintf(`(?m)^steelyard_services_pending\{reason="%s"\} [1-9]`, cause))
		event = cause
	}
	if neg { // it is announced, and clients are refused all the same
		status, gauge = "True", matches(`(?m)^steelyard_services_unserved [1-9]`)
	}
	if reason == "Announced" {
		page = func(o outcome) bool {
			return o.err == nil && !regexp.MustCompile(`Service\s+`+regexp.QuoteMeta(full)+`\s`).MatchString(text(o.stdout))
		}
		gauge = func(o outcome) bool { return o.err == nil }
	}
	s.until(ts, timeout, []string{"kubectl", "get", "service", name, "-o", condition}, matches("^"+status+" "+reason+"$"))
	s.until(ts, timeout, []string{"curl", "control", at, "/metrics"}, gauge)
	s.until(ts, timeout, []string{"curl", "control", at, "/"}, page)
	s.until(ts, timeout, []string{"steelyard", "explain", "svc/" + name}, matches(explained))
	if reason != "Announced" {
		s.until(ts, timeout, []string{"events", name}, matches("(?m)^"+event+" "))
	}
}

// text returns an HTML page without its tags.
func text(html string) string { return regexp.MustCompile(`<[^>]*>`).ReplaceAllString(html, " ") }
