package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

// prometheus is a Prometheus on a rack's host control.
type prometheus struct {
	rack *lab.Rack
	logs *strings.Builder
}

// startPrometheus has the real Prometheus scrape a rack's programs, with the
// alerts of config/monitoring.
func startPrometheus(t *testing.T, rack string) *prometheus {
	t.Helper()
	if _, err := exec.LookPath("prometheus"); err != nil {
		t.Skip("prometheus is not installed (\"make test-packages\" installs it): nothing is scraped")
	}
	r, err := lab.Open(rack)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := filepath.Abs("../config/monitoring/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	job := func(name string, targets ...any) any {
		return map[string]any{"job_name": name, "static_configs": targets}
	}
	target := func(address, node string) any {
		return map[string]any{"targets": []string{address}, "labels": map[string]string{"node": node}}
	}
	config, err := yaml.Marshal(map[string]any{
		"global": map[string]string{"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": []string{rules},
		"scrape_configs": []any{
			job("steelyard-controller", target(r.MetricsAddress("controller"), "")),
			job("steelyard-speaker", target("192.0.2.11:7474", "node1"), target("192.0.2.12:7474", "node2")),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "prometheus.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := r.Command(ctx, "control", "prometheus", "--config.file", file, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", "127.0.0.1:9090")
	p := &prometheus{r, new(strings.Builder)}
	cmd.Stdout, cmd.Stderr = p.logs, p.logs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Log(p.logs)
		}
	})
	return p
}

// get asks Prometheus's API and decodes the data of its answer.
func (p *prometheus) get(path string, to any, parameters ...string) error {
	args := []string{"curl", "-sS", "--max-time", "10", "-G", "http://127.0.0.1:9090/api/v1/" + path}
	for _, x := range parameters {
		args = append(args, "--data-urlencode", x)
	}
	out, err := p.rack.Command(context.Background(), "control", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ask Prometheus: %w: %s", err, out)
	}
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.Unmarshal(out, &answer); err != nil || answer.Status != "success" {
		return fmt.Errorf("Prometheus answers %s: %v", out, err)
	}
	return json.Unmarshal(answer.Data, to)
}

// series returns how many series a query has.
func (p *prometheus) series(query string) (int, error) {
	var data struct{ Result []any }
	err := p.get("query", &data, "query="+query)
	return len(data.Result), err
}

// awaitSeries waits until a query has that many series.
func (p *prometheus) awaitSeries(t *testing.T, query string, want int) {
	t.Helper()
	var n int
	var err error
	for end := time.Now().Add(timeout); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if n, err = p.series(query); n == want && err == nil {
			return
		}
	}
	t.Fatalf("%s: %d series, want %d: %v", query, n, want, err)
}

// TestPrometheusUnderstandsThePrograms has a real Prometheus scrape a rack, runs
// the queries of the dashboard, and evaluates the alerts.
func TestPrometheusUnderstandsThePrograms(t *testing.T) {
	rack := rackFor(t, "--router bird --nodes 2 --controller-flag --page=false --speaker-flag --metrics-bind-address=:7474")
	p := startPrometheus(t, rack)
	if _, err := kubectl(t, rack, "", "create", "namespace", "seen"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tidy(t, rackStage(rack), "seen") })
	for _, sample := range []string{"layer2", "bgp"} {
		if _, err := kubectl(t, rack, "", "apply", "-f", "../config/samples/"+sample+".yaml"); err != nil {
			t.Fatal(err)
		}
	}
	service := "apiVersion: v1\nkind: Service\nmetadata: {namespace: seen, name: seen}\nspec: {type: LoadBalancer, selector: {app: none}, ports: [{port: 80}]}"
	profile := "apiVersion: steelyard.dev/v1beta1\nkind: BFDProfile\nmetadata: {name: seen}\nspec: {}"
	for _, object := range []string{service, profile} {
		if _, err := kubectl(t, rack, object, "apply", "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kubectl(t, rack, "", "patch", "bgppeer", "router-v4", "--type", "merge", "-p", `{"spec": {"bfdProfile": "seen"}}`); err != nil {
		t.Fatal(err)
	}
	p.awaitSeries(t, "up == 1", 3)
	p.awaitSeries(t, "steelyard_bgp_session_up == 1", 4)
	p.awaitSeries(t, "steelyard_bfd_session_up", 2)
	p.awaitSeries(t, `steelyard_layer2_addresses{state="Announced"} > 0`, 1)
	p.awaitSeries(t, "rate(steelyard_membership_sessions[5s])", 2) // two scrapes have been made

	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	text, err := os.ReadFile("../config/monitoring/dashboard.json")
	if err == nil {
		err = json.Unmarshal(text, &dashboard)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			query := strings.NewReplacer("$__rate_interval", "10s", "$node", ".*").Replace(target.Expr)
			quiet := strings.HasSuffix(query, "> 0")
			n, err := p.series(query)
			// A rate wants two scrapes of what there may be since a moment ago.
			for end := time.Now().Add(timeout); err == nil && n == 0 && !quiet && time.Now().Before(end); n, err = p.series(query) {
				time.Sleep(200 * time.Millisecond)
			}
			if err != nil || n == 0 && !quiet {
				t.Errorf("panel %q: %s: %d series: %v", panel.Title, query, n, err)
			}
		}
	}

	var alerts struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError, State string }
		}
	}
	if err := p.get("rules", &alerts); err != nil || len(alerts.Groups) == 0 {
		t.Fatalf("%d groups of rules: %v", len(alerts.Groups), err)
	}
	for _, g := range alerts.Groups {
		for _, r := range g.Rules {
			if r.Health != "ok" {
				t.Errorf("alert %s: %s: %s", r.Name, r.Health, r.LastError)
			}
		}
	}
	code, err := p.rack.Command(context.Background(), "control", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://"+p.rack.MetricsAddress("controller")+"/").Output()
	if err != nil || string(code) != "404" {
		t.Errorf("with --page=false, GET / answers %s: %v", code, err)
	}
}
