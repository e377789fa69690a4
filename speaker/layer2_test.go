package main

import (
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/layer2"
)

func TestOptionsOfLayer2(t *testing.T) {
	for _, c := range []struct {
		debug, ignore string
		good          bool
	}{
		{"0", "", true}, {"127.0.0.1:7476", "cni*,lxc?", true}, {"[::1]:7476", "eth0", true},
		{":7476", "", false}, {"192.0.2.1:7476", "", false}, {"localhost", "", false}, {"0", "eth[", false},
	} {
		o := options{node: "a", heartbeatInterval: 1e9, debug: c.debug, ignore: c.ignore}
		if err := o.validateLayer2(); (err == nil) != c.good {
			t.Errorf("--debug-bind-address %q --ignore-links %q: %v", c.debug, c.ignore, err)
		}
	}
}

func TestMetricsOfLayer2(t *testing.T) {
	registry := prometheus.NewRegistry()
	if err := registry.Register(layer2.New(slog.New(slog.DiscardHandler), layer2.Options{})); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	faults, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(faults) > 0 || len(families) == 0 {
		t.Errorf("%d families; against the conventions: %v %v", len(families), faults, err)
	}
}

// Package layer2 remembers conflicts for as long as package failover counts them.
func TestConflictsAreRememberedForAsLongAsTheyCount(t *testing.T) {
	if layer2.DuplicateMemory != failover.ConflictMemory {
		t.Errorf("layer2 remembers for %v, and failover counts for %v", layer2.DuplicateMemory, failover.ConflictMemory)
	}
}
