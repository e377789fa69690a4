package status

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/steelyard-lb/steelyard/internal/membership"
)

// MemberMetrics has the metrics of the membership, and of the takeovers that follow from it.
type MemberMetrics struct {
	View      func() membership.View
	Discarded func() uint64
	Takeovers func() uint64
	Plan      func() *Applied // nil: none yet
}

func aboutMembers(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("steelyard_"+name, help, labels, nil)
}

var (
	membersDesc   = aboutMembers("membership_speakers", "Speakers of the cluster, including this one, by their standing in this speaker's view.", "standing")
	watchingDesc  = aboutMembers("membership_sessions", "BFD sessions of this speaker with others, on all links.")
	watchedDesc   = aboutMembers("membership_sessions_up", "BFD sessions of this speaker with others that are Up.")
	isolatedDesc  = aboutMembers("membership_isolated", "1 while this speaker reaches neither another one nor a gateway, so that it answers for nothing.")
	discardedDesc = aboutMembers("membership_datagrams_discarded_total", "Datagrams that were not signed with the speakers' key, came from an unknown sender, had been received before, or could not be parsed.")
	speakersDesc  = aboutMembers("speakers", "Nodes that have a Speaker object, by whether this speaker holds theirs for alive: present or missing.", "state")
	takeoversDesc = aboutMembers("layer2_takeovers_total", "Addresses that this node took over from another one.")
)

// Describe implements prometheus.Collector.
func (m MemberMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{membersDesc, watchingDesc, watchedDesc, isolatedDesc, discardedDesc, takeoversDesc, speakersDesc} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m MemberMetrics) Collect(to chan<- prometheus.Metric) {
	add := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	view := m.View()
	count := map[membership.Standing]int{}
	for _, s := range view.Standing {
		count[s]++
	}
	for s := membership.Alive; s <= membership.Unknown; s++ {
		add(membersDesc, prometheus.GaugeValue, float64(count[s]), s.String())
	}
	sessions, up := view.Sessions, view.Up
	for _, v := range view.Segments {
		sessions, up = sessions+v.Sessions, up+v.Up
	}
	add(watchingDesc, prometheus.GaugeValue, float64(sessions))
	add(watchedDesc, prometheus.GaugeValue, float64(up))
	add(isolatedDesc, prometheus.GaugeValue, oneIf(view.Isolated))
	add(discardedDesc, prometheus.CounterValue, float64(m.Discarded()))
	if p := m.Plan(); p != nil {
		add(speakersDesc, prometheus.GaugeValue, float64(p.Present), "present")
		add(speakersDesc, prometheus.GaugeValue, float64(p.Missing), "missing")
	}
	add(takeoversDesc, prometheus.CounterValue, float64(m.Takeovers()))
}
