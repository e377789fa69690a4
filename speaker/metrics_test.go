package main

import (
	"log/slog"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bgp"
)

func TestSessionMetrics(t *testing.T) {
	sessions := bgp.New(slog.New(slog.DiscardHandler), netip.Addr{})
	sessions.Set([]announce.Peering{{Peer: announce.Peer{Name: "tor"}}})
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(sessionMetrics{sessions}); err != nil {
		t.Fatal(err)
	}
	gather := func() map[string]float64 {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]float64{}
		for _, f := range families {
			for _, m := range f.Metric {
				out[f.GetName()+" "+m.Label[0].GetValue()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		return out
	}
	want := map[string]float64{
		"steelyard_bgp_session_up tor": 0, "steelyard_bgp_prefixes_advertised tor": 0,
		"steelyard_bgp_session_drops_total tor": 0, "steelyard_bgp_session_resets_total tor": 0,
	}
	if d := cmp.Diff(want, gather()); d != "" {
		t.Errorf("a session that has not begun:\n%s", d)
	}
	sessions.Set(nil)
	if d := cmp.Diff(map[string]float64{}, gather()); d != "" {
		t.Errorf("no session:\n%s", d)
	}
}
