package reference

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
)

// metric is a line of the table.
type metric struct {
	name, help, kind string
	labels           []string
	values           map[string][]string // of the labels whose values are all known
}

// Metrics compares the section of a program with what its collectors describe.
// Those that have something to tell show of what type they are, and which values
// their labels take; of the others the name tells the type, as Prometheus's
// conventions have it, which are checked.
func Metrics(t testing.TB, path, program string, collectors []prometheus.Collector) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	for _, c := range collectors {
		if err := registry.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	faults, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(faults) > 0 {
		t.Errorf("against Prometheus's conventions: %v %v", faults, err)
	}
	all, err := described(collectors)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		m := all[f.GetName()]
		if m == nil {
			t.Fatalf("%s is collected and not described", f.GetName())
		}
		kind := strings.ToLower(f.GetType().String())
		if kind != "histogram" && kind != m.kind {
			t.Errorf("%s is a %s by its name, and a %s", m.name, m.kind, kind)
		}
		m.kind, m.values = kind, known(f)
	}
	Section(t, path, program, table(slices.SortedFunc(maps.Values(all), func(a, b *metric) int { return cmp.Compare(a.name, b.name) })))
}

// aDesc is a description of a metric, printed.
var aDesc = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: "((?:[^"\\]|\\.)*)",.* constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// described reads what collectors describe.
func described(collectors []prometheus.Collector) (map[string]*metric, error) {
	out := map[string]*metric{}
	for _, c := range collectors {
		descs := make(chan *prometheus.Desc)
		go func() {
			defer close(descs)
			c.Describe(descs)
		}()
		for d := range descs { // to the end, or the collector would wait for ever
			parts := aDesc.FindStringSubmatch(d.String())
			if parts == nil {
				return nil, fmt.Errorf("what is %s?", d)
			}
			m := &metric{name: parts[1], help: strings.ReplaceAll(parts[2], `\"`, `"`), kind: "gauge"}
			if strings.HasSuffix(m.name, "_total") {
				m.kind = "counter"
			}
			for pair := range strings.SplitSeq(parts[3]+","+parts[4], ",") {
				if label, _, _ := strings.Cut(pair, "="); label != "" {
					m.labels = append(m.labels, label)
				}
			}
			slices.Sort(m.labels)
			out[m.name] = m
		}
	}
	return out, nil
}

// closed are the labels that take few values, all of which are always told.
func closed() []string {
	return []string{"change", "family", "reason", "standing", "state"}
}

// known returns the values of the closed labels of a family, in their order.
func known(f *dto.MetricFamily) map[string][]string {
	out := map[string][]string{}
	for _, m := range f.Metric {
		for _, l := range m.Label {
			if slices.Contains(closed(), l.GetName()) && !slices.Contains(out[l.GetName()], l.GetValue()) {
				out[l.GetName()] = append(out[l.GetName()], l.GetValue())
			}
		}
	}
	maps.DeleteFunc(out, func(_ string, values []string) bool { return len(values) < 2 })
	return out
}

// unit is what a metric counts or measures, by its name.
func unit(m *metric) string {
	switch {
	case strings.HasSuffix(m.name, "_timestamp_seconds"):
		return "Unix time, s"
	case strings.HasSuffix(m.name, "_seconds"):
		return "s"
	case strings.HasPrefix(m.help, "1 ") || strings.HasPrefix(m.help, "Always 1"):
		return "0, 1"
	}
	return "number"
}

// table writes the lines.
func table(all []*metric) string {
	var b strings.Builder
	b.WriteString("| metric | type | labels | unit | meaning |\n|---|---|---|---|---|\n")
	for _, m := range all {
		labels := make([]string, len(m.labels))
		for i, l := range m.labels {
			labels[i] = "`" + l + "`"
			if values := m.values[l]; len(values) > 0 {
				labels[i] += " (" + strings.Join(values, ", ") + ")"
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.name, m.kind, strings.Join(labels, ", "), unit(m), m.help)
	}
	return b.String()
}
