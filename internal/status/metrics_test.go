package status

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/steelyard-lb/steelyard/internal/bfd"
	"github.com/steelyard-lb/steelyard/internal/bgp"
	"github.com/steelyard-lb/steelyard/internal/layer2"
	"github.com/steelyard-lb/steelyard/internal/membership"
	"github.com/steelyard-lb/steelyard/internal/reference"
)

// collect returns the metrics of collectors, by name and label values, without zeros of
// metrics that have a label besides the peer.
func collect(t *testing.T, collectors ...prometheus.Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collectors...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name, value := f.GetName(), m.GetGauge().GetValue()+m.GetCounter().GetValue()
			for _, l := range m.Label {
				name += " " + l.GetValue()
			}
			if len(m.Label) < 2 || value != 0 {
				out[name] = value
			}
		}
	}
	return out
}

// two returns the states of two peers: one that is up, with BFD, and one that has not started.
func two() []bgp.State {
	return []bgp.State{
		{
			Peer: "spine", Session: bgp.Established, Since: time.Unix(1000, 0), Advertised: 7, Drops: 3, DropsBy: map[bgp.Cause]int{bgp.PathLost: 2, "Unknown": 1},
			Announced: 20, Withdrawn: 4, Resets: 5,
			BFD: &bfd.State{Status: bfd.Up, Detection: 900 * time.Millisecond, Sent: 11, Received: 12, Discarded: 1},
		},
		{Peer: "tor", Session: bgp.Idle},
	}
}

func TestSessionMetrics(t *testing.T) {
	want := map[string]float64{
		"steelyard_bgp_session_up spine": 1, "steelyard_bgp_session_state spine Established": 1,
		"steelyard_bgp_session_since_timestamp_seconds spine": 1000, "steelyard_bgp_prefixes_advertised spine": 7,
		"steelyard_bgp_route_updates_total announced spine": 20, "steelyard_bgp_route_updates_total withdrawn spine": 4,
		"steelyard_bgp_session_drops_total spine PathLost": 2, "steelyard_bgp_session_drops_total spine Unknown": 1,
		"steelyard_bgp_session_resets_total spine": 5,
		"steelyard_bfd_session_up spine":           1, "steelyard_bfd_session_drops_total spine": 2, "steelyard_bfd_detection_seconds spine": 0.9,
		"steelyard_bfd_packets_sent_total spine": 11, "steelyard_bfd_packets_received_total spine": 12, "steelyard_bfd_packets_refused_total spine": 1,
		"steelyard_bgp_session_up tor": 0, "steelyard_bgp_session_state tor Idle": 1, "steelyard_bgp_prefixes_advertised tor": 0,
		"steelyard_bgp_session_resets_total tor": 0,
	}
	if d := cmp.Diff(want, collect(t, sessionMetrics{two}, watchMetrics{two})); d != "" {
		t.Errorf("want -, have +:\n%s", d)
	}
	none := func() []bgp.State { return nil }
	if d := cmp.Diff(map[string]float64{}, collect(t, sessionMetrics{none}, watchMetrics{none})); d != "" {
		t.Errorf("no session:\n%s", d)
	}
}

func TestSelfMetrics(t *testing.T) {
	connected, kernelAnswers := true, ""
	self := NewSelfMetrics(func() bool { return connected }, func() string { return kernelAnswers })
	for _, c := range []struct {
		connected     bool
		kernelAnswers string
		want          map[string]float64
	}{
		{true, "", map[string]float64{"steelyard_speaker_connected": 1, "steelyard_layer2_kernel_answers": 0, "steelyard_pass_duration_seconds": 0}},
		{false, "ipvs", map[string]float64{"steelyard_speaker_connected": 0, "steelyard_layer2_kernel_answers": 1, "steelyard_pass_duration_seconds": 0}},
	} {
		connected, kernelAnswers = c.connected, c.kernelAnswers
		if d := cmp.Diff(c.want, collect(t, self)); d != "" {
			t.Errorf("want -, have +:\n%s", d)
		}
	}
}

func TestMemberMetrics(t *testing.T) {
	view := membership.View{
		Standing: map[string]membership.Standing{"a": membership.Alive, "b": membership.Alive, "c": membership.Dead},
		Sessions: 4, Up: 3, Isolated: true,
	}
	want := map[string]float64{
		"steelyard_membership_speakers Alive": 2, "steelyard_membership_speakers Dead": 1,
		"steelyard_membership_speakers Restarting": 0, "steelyard_membership_speakers Unknown": 0,
		"steelyard_membership_sessions": 4, "steelyard_membership_sessions_up": 3, "steelyard_membership_isolated": 1,
		"steelyard_membership_datagrams_discarded_total": 5, "steelyard_layer2_takeovers_total": 6,
	}
	if d := cmp.Diff(want, collect(t, members(view, nil))); d != "" {
		t.Errorf("want -, have +:\n%s", d)
	}
	d := &Applied{Present: 2, Missing: 1}
	want["steelyard_speakers present"], want["steelyard_speakers missing"] = 2, 1
	if diff := cmp.Diff(want, collect(t, members(view, d))); diff != "" {
		t.Errorf("with a plan, want -, have +:\n%s", diff)
	}
}

func members(view membership.View, d *Applied) MemberMetrics {
	return MemberMetrics{func() membership.View { return view }, func() uint64 { return 5 }, func() uint64 { return 6 }, func() *Applied { return d }}
}

// TestTheReferenceNamesAllMetrics keeps docs/reference/metrics.md up to date.
func TestTheReferenceNamesAllMetrics(t *testing.T) {
	links := layer2.New(slog.New(slog.DiscardHandler), layer2.Options{})
	self := NewSelfMetrics(func() bool { return true }, links.KernelAnswers)
	reference.Metrics(t, "../../docs/reference/metrics.md", "speaker", Collectors(self, links, two, members(membership.View{}, &Applied{})))
}
