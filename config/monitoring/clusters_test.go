package monitoring

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestEveryAlertKeepsTheCluster has each test run in two clusters at once that one Prometheus
// knows: each alert must then come once from either, and nothing may be counted across them.
// Of a Steelyard without any metric no cluster is known.
func TestEveryAlertKeepsTheCluster(t *testing.T) {
	type object = map[string]any
	var file struct {
		RuleFiles          []string `json:"rule_files"`
		EvaluationInterval string   `json:"evaluation_interval"`
		Tests              []struct {
			Name     string   `json:"name"`
			Interval string   `json:"interval"`
			Series   []object `json:"input_series"`
			Rules    []struct {
				Name   string   `json:"alertname"`
				At     string   `json:"eval_time"`
				Alerts []object `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		} `json:"tests"`
	}
	read(t, "rules_test.yaml", &file)
	rules, err := filepath.Abs("rules.yaml")
	if err != nil || len(file.Tests) == 0 {
		t.Fatalf("rules_test.yaml has %d tests, %v", len(file.Tests), err)
	}
	file.RuleFiles = []string{rules}
	// twice puts two objects in the place of each, one in each cluster.
	twice := func(of []object, in func(o object, cluster string)) (out []object) {
		for _, o := range of {
			for _, cluster := range []string{"east", "west"} {
				one := maps.Clone(o)
				in(one, cluster)
				out = append(out, one)
			}
		}
		return out
	}
	for i := range file.Tests {
		x := &file.Tests[i]
		known := slices.ContainsFunc(x.Series, func(o object) bool { return strings.Contains(fmt.Sprint(o), "steelyard") })
		x.Series = twice(x.Series, func(o object, cluster string) {
			o["series"] = strings.Replace(fmt.Sprint(o["series"]), "{", fmt.Sprintf("{cluster=%q, ", cluster), 1)
		})
		for j := range x.Rules {
			if !known {
				continue
			}
			x.Rules[j].Alerts = twice(x.Rules[j].Alerts, func(o object, cluster string) {
				labels, _ := o["exp_labels"].(object)
				labels = maps.Clone(labels)
				labels["cluster"], o["exp_labels"] = cluster, labels
			})
		}
	}
	write(t, "clusters_test.yaml", file, func(name string) { promtool(t, "test", "rules", name) })
}
