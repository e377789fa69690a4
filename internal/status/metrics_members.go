package status

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/steelyard-lb/steelyard/internal/membership"
)

// MemberMetrics tells, when it is asked, who is there, and what came of that.
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
	membersDesc   = aboutMembers("membership_speakers", "Speakers of the cluster, this one too, by how they stand in its view.", "standing")
	watchingDesc  = aboutMembers("membership_sessions", "BFD sessions of this speaker with others, on all links.")
	watchedDesc   = aboutMembers("membership_sessions_up", "Of these, those that are Up.")
	isolatedDesc  = aboutMembers("membership_isolated", "1 while this speaker hears no other, and no gateway either, so that it answers for nothing.")
	discardedDesc = aboutMembers("membership_datagrams_discarded_total", "Datagrams that were not signed with the speakers' key, were of nobody who should be there, had been received before, or could not be read.")
	speakersDesc  = aboutMembers("speakers", "Nodes that have a Speaker object, by whether this speaker counts on theirs: present or missing.", "state")
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
	tell := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	view := m.View()
	count := map[membership.Standing]int{}
	for _, s := range view.Standing {
		count[s]++
	}
	for s := membership.Alive; s <= membership.Unknown; s++ {
		tell(membersDesc, prometheus.GaugeValue, float64(count[s]), s.String())
	}
	sessions, up := view.Sessions, view.Up
	for _, v := range view.Segments {
		sessions, up = sessions+v.Sessions, up+v.Up
	}
	tell(watchingDesc, prometheus.GaugeValue, float64(sessions))
	tell(watchedDesc, prometheus.GaugeValue, float64(up))
	tell(isolatedDesc, prometheus.GaugeValue, oneIf(view.Isolated))
	tell(discardedDesc, prometheus.CounterValue, float64(m.Discarded()))
	if p := m.Plan(); p != nil {
		tell(speakersDesc, prometheus.GaugeValue, float64(p.Present), "present")
		tell(speakersDesc, prometheus.GaugeValue, float64(p.Missing), "missing")
	}
	tell(takeoversDesc, prometheus.CounterValue, float64(m.Takeovers()))
}
