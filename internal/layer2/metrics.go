package layer2

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Stats returns what was counted until now, by link and family, sorted. A link
// that is gone stays.
func (a *Announcer) Stats() []Stats { return a.ledger.Stats() }

// addressesDesc is a function so that no package variable is needed.
func addressesDesc() *prometheus.Desc {
	return prometheus.NewDesc("steelyard_layer2_addresses", "Addresses that this node claims, by state: Probing, Announced, Taken (not answered, for a stranger has it).", []string{"state"}, nil)
}

func strangersDesc() *prometheus.Desc {
	return prometheus.NewDesc("steelyard_layer2_contested_addresses", "Addresses that this node claims and a stranger was seen to have lately.", nil, nil)
}

// Describe is of prometheus.Collector.
func (a *Announcer) Describe(to chan<- *prometheus.Desc) {
	a.ledger.Describe(to)
	to <- addressesDesc()
	to <- strangersDesc()
}

// Collect is of prometheus.Collector: everything is read when it is asked for.
func (a *Announcer) Collect(to chan<- prometheus.Metric) {
	a.ledger.Collect(to)
	by, strangers := map[State]int{}, 0
	for _, s := range a.Standings() {
		by[s.State]++
		if len(s.Foreign) > 0 {
			strangers++
		}
	}
	for _, state := range []State{Probing, Announced, Taken} {
		to <- prometheus.MustNewConstMetric(addressesDesc(), prometheus.GaugeValue, float64(by[state]), string(state))
	}
	to <- prometheus.MustNewConstMetric(strangersDesc(), prometheus.GaugeValue, float64(strangers))
}
