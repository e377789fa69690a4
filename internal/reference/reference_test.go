package reference

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

func TestASectionIsReplacedAndNothingElse(t *testing.T) {
	page := "a\n<!-- generated: x -->\nold\n<!-- end: x -->\nb\n<!-- generated: y -->\n<!-- end: y -->\n"
	got, err := replace([]byte(page), "x", "\nnew\n\n")
	want := "a\n<!-- generated: x -->\nnew\n<!-- end: x -->\nb\n<!-- generated: y -->\n<!-- end: y -->\n"
	if d := cmp.Diff(want, string(got)); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	again, err := replace(got, "x", "new")
	if d := cmp.Diff(want, string(again)); d != "" || err != nil {
		t.Errorf("it is not stable: %v\n%s", err, d)
	}
	for _, page := range []string{"", "<!-- generated: x -->\n", "<!-- end: x -->\n"} {
		if _, err := replace([]byte(page), "x", ""); err == nil {
			t.Errorf("%q has no section x", page)
		}
	}
}

func TestTheTableTellsAllThatADescriptorSays(t *testing.T) {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "x_frames_total", Help: `Frames that "pass".`}, []string{"link", "family"})
	since := prometheus.NewGauge(prometheus.GaugeOpts{Name: "x_since_timestamp_seconds", Help: "When."})
	up := prometheus.NewGauge(prometheus.GaugeOpts{Name: "x_up", Help: "1 while up."})
	all, err := described([]prometheus.Collector{total, since, up})
	if err != nil {
		t.Fatal(err)
	}
	all["x_frames_total"].values = map[string][]string{"family": {"IPv4", "IPv6"}}
	want := "| metric | type | labels | unit | meaning |\n|---|---|---|---|---|\n" +
		"| `x_frames_total` | counter | `family` (IPv4, IPv6), `link` | number | Frames that \"pass\". |\n" +
		"| `x_up` | gauge |  | 0, 1 | 1 while up. |\n"
	if d := cmp.Diff(want, table([]*metric{all["x_frames_total"], all["x_up"]})); d != "" {
		t.Errorf("want -, have +:\n%s", d)
	}
	if got := all["x_since_timestamp_seconds"]; unit(got) != "Unix time, s" {
		t.Errorf("the unit of %s is %s", got.name, unit(got))
	}
}
