// Package monitoring tests what is for Prometheus and Grafana in this folder.
package monitoring

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/steelyard-lb/steelyard/internal/reference"
)

// rule is an alert.
type rule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func rules(t *testing.T) []rule {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string
			Rules []rule
		}
	}
	read(t, "rules.yaml", &file)
	var out []rule
	for _, g := range file.Groups {
		out = append(out, g.Rules...)
	}
	if len(out) == 0 {
		t.Fatal("rules.yaml has no rule")
	}
	return out
}

// read reads a file of YAML or JSON.
func read(t *testing.T, path string, to any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, to); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// target is a query of a panel.
type target struct{ Expr, RefID string }

// panel is a panel of the dashboard.
type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	Targets                  []target
	Datasource               struct{ UID string }
}

func panels(t *testing.T) []panel {
	t.Helper()
	var d struct{ Panels []panel }
	read(t, "dashboard.json", &d)
	if len(d.Panels) == 0 {
		t.Fatal("dashboard.json has no panel")
	}
	return d.Panels
}

// plain puts values in the place of Grafana's variables.
func plain(expr string) string {
	return strings.NewReplacer("$__rate_interval", "5m", "$node", ".*").Replace(expr)
}

// expressions returns all expressions by where they stand.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, r := range rules(t) {
		out["alert "+r.Alert] = r.Expr
	}
	for _, p := range panels(t) {
		for _, q := range p.Targets {
			out[fmt.Sprintf("panel %q, query %s", p.Title, q.RefID)] = plain(q.Expr)
		}
	}
	return out
}

// promtool runs Prometheus's own checker.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("promtool is not installed (\"make test-packages\" installs it): the rules are not tried")
	}
	if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPromtoolAcceptsTheRulesAndTheyDoAsTheirTestsSay(t *testing.T) {
	promtool(t, "check", "rules", "rules.yaml")
	promtool(t, "test", "rules", "rules_test.yaml")
}

// Debian's promtool is built without kubernetes_sd_configs; the rest it can check.
func TestPromtoolAcceptsTheConfigurationButForItsDiscovery(t *testing.T) {
	var config map[string]any
	read(t, "prometheus.yaml", &config)
	jobs, ok := config["scrape_configs"].([]any)
	if !ok || len(jobs) != 2 {
		t.Fatalf("the jobs are %v", config["scrape_configs"])
	}
	for _, job := range jobs {
		if j, ok := job.(map[string]any); !ok || j["kubernetes_sd_configs"] == nil {
			t.Errorf("%v finds no Pods", job)
		} else {
			delete(j, "kubernetes_sd_configs")
		}
	}
	write(t, "prometheus.yaml", config, func(file string) { promtool(t, "check", "config", "--syntax-only", file) })
}

// write writes a file of YAML for use.
func write(t *testing.T, name string, content any, use func(file string)) {
	t.Helper()
	text, err := yaml.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	use(file)
}

func TestPromtoolCanReadAllQueriesOfTheDashboard(t *testing.T) {
	type record struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var all []record
	for where, expr := range expressions(t) {
		if strings.HasPrefix(where, "panel") {
			all = append(all, record{fmt.Sprintf("query:%d", len(all)), expr})
		}
	}
	groups := map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": all}}}
	write(t, "queries.yaml", groups, func(file string) { promtool(t, "check", "rules", file) })
}

// runbooks is the page of the runbooks, of the release that runs: rules_test.yaml tries both.
const runbooks = "https://github.com/steelyard-lb/steelyard/blob/" +
	`{{ with query (printf ` + "`" + `steelyard_build_info{cluster=%q, version=~"v[0-9.]+"}` + "`" + ` $labels.cluster) }}{{ . | first | label "version" }}{{ else }}main{{ end }}` +
	"/docs/troubleshooting/alerts.md"

func TestEveryAlertSaysWhatToDoAndIsTried(t *testing.T) {
	var tests struct {
		Tests []struct {
			AlertRuleTest []struct {
				Alertname string
				ExpAlerts []any `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		}
	}
	read(t, "rules_test.yaml", &tests)
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, x := range tests.Tests {
		for _, y := range x.AlertRuleTest {
			if len(y.ExpAlerts) > 0 {
				fires[y.Alertname] = true
			} else {
				silent[y.Alertname] = true
			}
		}
	}
	page, err := os.ReadFile("../../docs/troubleshooting/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, r := range rules(t) {
		if seen[r.Alert] {
			t.Errorf("%s is there twice", r.Alert)
		}
		seen[r.Alert] = true
		if !fires[r.Alert] || !silent[r.Alert] {
			t.Errorf("%s: rules_test.yaml must try when it fires (%t) and when it does not (%t)", r.Alert, fires[r.Alert], silent[r.Alert])
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s lacks a summary, a description or a severity", r.Alert)
		}
		url, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "#")
		if url != runbooks || anchor != strings.ToLower(r.Alert) {
			t.Errorf("%s: its runbook is %s", r.Alert, r.Annotations["runbook_url"])
		}
		if _, chapter, ok := bytes.Cut(page, []byte("\n## "+r.Alert+"\n")); !ok || len(bytes.TrimSpace(chapter)) < 100 {
			t.Errorf("docs/troubleshooting/alerts.md has no chapter %s", r.Alert)
		}
	}
	for _, heading := range regexp.MustCompile(`(?m)^## (Steelyard\w+)$`).FindAllSubmatch(page, -1) {
		if !seen[string(heading[1])] {
			t.Errorf("docs/troubleshooting/alerts.md has a chapter about %s, which is no alert", heading[1])
		}
	}
}

// TestTheReferenceForTheOperator keeps alerts.yaml the same as rules.yaml.
func TestTheReferenceForTheOperator(t *testing.T) {
	text, err := os.ReadFile("rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, groups, ok := strings.Cut(string(text), "\ngroups:\n")
	if !ok {
		t.Fatal("rules.yaml has no line \"groups:\"")
	}
	var out strings.Builder
	out.WriteString(`# Made from rules.yaml by "make generate", for the Prometheus operator.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: steelyard
  namespace: steelyard-system
  labels: {app.kubernetes.io/name: steelyard}
spec:
  groups:
`)
	for line := range strings.Lines(groups) {
		out.WriteString("  " + line)
	}
	reference.File(t, "alerts.yaml", []byte(out.String()))
}

// documented returns the labels of each metric in docs/reference/metrics.md.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\| (.*?) \\|").FindAllStringSubmatch(string(text), -1) {
		var labels []string
		for _, l := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[3], -1) {
			labels = append(labels, l[1])
		}
		names := []string{row[1]}
		if row[2] == "histogram" {
			names = []string{row[1] + "_bucket", row[1] + "_count", row[1] + "_sum"}
			labels = append(labels, "le")
		}
		for _, n := range names {
			out[n] = labels
		}
	}
	return out
}

// fault returns what is wrong with the metrics and labels that an expression
// names; "": nothing.
func fault(expr string, documented map[string][]string) string {
	// Of Prometheus itself, of the libraries in use, and from the scrape.
	foreign := []string{"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
	scraped := []string{"job", "instance", "node", "cluster"}
	named := regexp.MustCompile(`\b((?:steelyard|process)_\w+|up)\b(?:\{([^}]*)\})?`).FindAllStringSubmatch(regexp.MustCompile(`="[^"]*"|=~"[^"]*"|!="[^"]*"`).ReplaceAllString(expr, "="), -1)
	if len(named) == 0 {
		return "it names no metric"
	}
	var all []string
	for _, n := range named {
		labels, ok := documented[n[1]]
		if !ok && !slices.Contains(foreign, n[1]) {
			return n[1] + " is not in docs/reference/metrics.md"
		}
		all = append(all, labels...)
		for l := range strings.SplitSeq(n[2], ",") {
			l = strings.Trim(l, " =~!")
			if l != "" && !slices.Contains(labels, l) && !slices.Contains(scraped, l) {
				return n[1] + " has no label " + l
			}
		}
	}
	for _, by := range regexp.MustCompile(`\b(?:by|on|without) \(([^)]*)\)`).FindAllStringSubmatch(expr, -1) {
		for l := range strings.SplitSeq(by[1], ",") {
			if l = strings.TrimSpace(l); !slices.Contains(all, l) && !slices.Contains(scraped, l) {
				return "none of its metrics has the label " + l
			}
		}
	}
	return ""
}

func TestAlertsAndPanelsNameMetricsThatExist(t *testing.T) {
	known := documented(t)
	for where, expr := range expressions(t) {
		if wrong := fault(expr, known); wrong != "" {
			t.Errorf("%s: %s", where, wrong)
		}
	}
	for expr, want := range map[string]string{
		"steelyard_nothing > 0":                                  "steelyard_nothing is not in docs/reference/metrics.md",
		`steelyard_leader{peer="x"}`:                             "steelyard_leader has no label peer",
		`sum by (peer) (steelyard_leader)`:                       "none of its metrics has the label peer",
		"steelyard_pass_duration_seconds":                        "steelyard_pass_duration_seconds is not in docs/reference/metrics.md",
		`rate(steelyard_bgp_session_up{peer="steelyard_x"}[5m])`: "",
		`vector(1)`: "it names no metric",
	} {
		if got := fault(expr, known); got != want {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
}

func TestTheDashboardIsInOrder(t *testing.T) {
	var d map[string]any
	read(t, "dashboard.json", &d)
	text, err := os.ReadFile("dashboard.json")
	if err != nil || !json.Valid(text) {
		t.Errorf("dashboard.json is not JSON: %v", err)
	}
	if d["uid"] == "" || d["id"] != nil {
		t.Errorf("uid %v, id %v: it must have the one, by which it is found again, and not the other", d["uid"], d["id"])
	}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range panels(t) {
		if ids[p.ID] || p.ID == 0 {
			t.Errorf("panel %q: another one has the id %d", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if taken[[2]int{x, y}] != "" || x >= 24 {
					t.Fatalf("panel %q lies over %q, or beyond the edge", p.Title, taken[[2]int{x, y}])
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Title == "" || p.Description == "" || len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
			t.Errorf("panel %q lacks a description or a query, or does not ask the data source that is chosen", p.Title)
		}
	}
}
