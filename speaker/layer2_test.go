package main

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/steelyard-lb/steelyard/internal/announce"
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

func TestDebugAnnouncements(t *testing.T) {
	links := layer2.New(slog.New(slog.DiscardHandler), layer2.Options{})
	answer := func() (got []announcement) {
		w := httptest.NewRecorder()
		debugServer{links: links, log: slog.New(slog.DiscardHandler)}.announcements(w, nil)
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := answer(); got == nil || len(got) != 0 {
		t.Errorf("without claims: %v, want an empty list", got)
	}
	links.Set([]announce.Claim{{Addr: netip.MustParseAddr("2001:db8::1"), NeedsDAD: true}, {Addr: netip.MustParseAddr("192.0.2.1")}})
	want := []announcement{{Address: "192.0.2.1", State: layer2.Announced, Links: []string{}}, {Address: "2001:db8::1", State: layer2.Probing, Links: []string{}}}
	if diff := cmp.Diff(want, answer()); diff != "" {
		t.Errorf("announcements (-want +got):\n%s", diff)
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
