package main

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/reference"
	"github.com/steelyard-lb/steelyard/internal/report"
)

// gauges gathers and returns the value of each gauge, by name and labels, but
// for pending reasons that are 0.
func gauges(t *testing.T, from prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	faults, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(faults) > 0 {
		t.Errorf("against the conventions: %v %v", faults, err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetType() != dto.MetricType_GAUGE || f.GetName() == "steelyard_services_pending" && m.Gauge.GetValue() == 0 || f.GetName() == "steelyard_build_info" {
				continue
			}
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetValue()
			}
			out[name] = m.Gauge.GetValue()
		}
	}
	return out
}

func TestMetricsTellTheStateAtTheTimeOfTheScrape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		large, small := poolOf("large", "10.0.0.1", "2001:db8::/64"), poolOf("small", "10.0.1.1")
		small.Spec.AutoAssign = new(bool)
		b := newRig(t, large, small, waiting("a", 1), waiting("b", 2), waiting("c", 3), waiting("d", 4))
		b.annotate(t, "b", v1beta1.AnnotationAddressPool, "small")
		b.annotate(t, "d", v1beta1.AnnotationAddressPool, "none")
		registry := prometheus.NewRegistry()
		counted := report.NewCounters()
		registry.MustRegister(b.reporter().Collectors(counted)...)
		counted.Patch("Service", fmt.Errorf("cut off"))
		if diff := cmp.Diff(map[string]float64{"steelyard_leader": 1}, gauges(t, registry)); diff != "" {
			t.Errorf("before the first pass, want -, have +:\n%s", diff)
		}
		b.settle(t)
		want := map[string]float64{
			"steelyard_leader":                             1,
			"steelyard_services":                           4,
			"steelyard_services_contested":                 0,
			"steelyard_services_pending PoolExhausted":     1,
			"steelyard_services_pending PoolNotFound":      1,
			"steelyard_pool_addresses IPv4 large assigned": 1,
			"steelyard_pool_addresses IPv4 large kept":     0, "steelyard_pool_addresses IPv4 small kept": 0, "steelyard_pool_addresses IPv6 large kept": 0,
			"steelyard_pool_addresses IPv4 large available": 0,
			"steelyard_pool_addresses IPv6 large assigned":  0,
			"steelyard_pool_addresses IPv6 large available": 1 << 64,
			"steelyard_pool_addresses IPv4 small assigned":  1,
			"steelyard_pool_addresses IPv4 small available": 0,
			"steelyard_pool_on_request large":               0, "steelyard_pool_on_request small": 1,
		}
		if diff := cmp.Diff(want, gauges(t, registry)); diff != "" {
			t.Errorf("want -, have +:\n%s", diff)
		}
		b.refused["e"] = true
		if err := b.client.Create(t.Context(), waiting("e", 0)); err != nil {
			t.Fatal(err)
		}
		b.settle(t)
		if have := gauges(t, registry)["steelyard_services_pending StatusRefused"]; have != 1 {
			t.Errorf("%v Services are pending because their status is refused", have)
		}
		b.leader = nil
		if diff := cmp.Diff(map[string]float64{"steelyard_leader": 0}, gauges(t, registry)); diff != "" {
			t.Errorf("of a standby, want -, have +:\n%s", diff)
		}
	})
}

func TestTheLeaderTellsOfItsConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t, poolOf("a", "10.0.0.1"), poolOf("b", "10.0.0.1"), poolOf("c", "10.0.1.1"))
		b.settle(t)
		rep := b.reporter()
		registry := prometheus.NewRegistry()
		registry.MustRegister(rep.Collectors(report.NewCounters())...)
		reported := func() map[string]float64 {
			out := gauges(t, registry)
			maps.DeleteFunc(out, func(name string, _ float64) bool { return !strings.HasPrefix(name, "steelyard_config_objects") })
			return out
		}
		if _, err := rep.Report(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := map[string]float64{"steelyard_config_objects IPAddressPool Accepted": 2, "steelyard_config_objects IPAddressPool Overlaps": 1}
		if diff := cmp.Diff(want, reported()); diff != "" {
			t.Errorf("want -, have +:\n%s", diff)
		}
		b.newTerm(t.Context())
		if diff := cmp.Diff(map[string]float64{}, reported()); diff != "" {
			t.Errorf("what an earlier term told, want -, have +:\n%s", diff)
		}
	})
}

// TestTheReferenceNamesAllMetrics keeps docs/reference/metrics.md up to date.
func TestTheReferenceNamesAllMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t, poolOf("lan", "10.0.0.1", "2001:db8::/64"), waiting("a", 1))
		counted, rep := report.NewCounters(), b.reporter()
		counted.Patch("Service", fmt.Errorf("cut off"))
		b.settle(t)
		if _, err := rep.Report(t.Context()); err != nil {
			t.Fatal(err)
		}
		reference.Metrics(t, "../docs/reference/metrics.md", "controller", rep.Collectors(counted))
	})
}
