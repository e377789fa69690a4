package main

import (
	"log/slog"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bfd"
	"github.com/steelyard-lb/steelyard/internal/bfd/udp"
	"github.com/steelyard-lb/steelyard/internal/bgp"
)

func TestSessionMetrics(t *testing.T) {
	sessions := bgp.New(slog.New(slog.DiscardHandler), netip.Addr{}, bfd.New(udp.New(), slog.New(slog.DiscardHandler)))
	sessions.Set([]announce.Peering{{Peer: announce.Peer{Name: "tor"}}, {Peer: announce.Peer{Name: "spine", BFD: announce.BFD{Multiplier: 3}}}})
	registry := prometheus.NewPedanticRegistry()
	for _, c := range []prometheus.Collector{sessionMetrics{sessions}, watchMetrics{sessions}} {
		if err := registry.Register(c); err != nil {
			t.Fatal(err)
		}
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
		"steelyard_bgp_session_up spine": 0, "steelyard_bgp_prefixes_advertised spine": 0,
		"steelyard_bgp_session_drops_total spine": 0, "steelyard_bgp_session_resets_total spine": 0,
		"steelyard_bfd_session_up spine": 0, "steelyard_bfd_session_drops_total spine": 0, "steelyard_bfd_detection_seconds spine": 0,
		"steelyard_bfd_packets_sent_total spine": 0, "steelyard_bfd_packets_received_total spine": 0, "steelyard_bfd_packets_refused_total spine": 0,
	}
	if d := cmp.Diff(want, gather()); d != "" {
		t.Errorf("a session that has not begun:\n%s", d)
	}
	sessions.Set(nil)
	if d := cmp.Diff(map[string]float64{}, gather()); d != "" {
		t.Errorf("no session:\n%s", d)
	}
}
