package layer2

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Stats returns the counters, sorted by link and family. A link that is gone stays.
func (a *Announcer) Stats() []Stats { return a.ledger.Stats() }

// addressesDesc is a function so that no package variable is needed.
func addressesDesc() *prometheus.Desc {
	return prometheus.NewDesc("steelyard_layer2_addresses", "Addresses that this node claims, by state: Probing, Announced, Conflict (not answered: a foreign host has the address).", []string{"state"}, nil)
}

func foreignDesc() *prometheus.Desc {
	return prometheus.NewDesc("steelyard_layer2_conflicting_addresses", "Addresses that this node claims and a foreign host claimed lately.", nil, nil)
}

// Describe implements prometheus.Collector.
func (a *Announcer) Describe(to chan<- *prometheus.Desc) {
	a.ledger.Describe(to)
	to <- addressesDesc()
	to <- foreignDesc()
}

// Collect implements prometheus.Collector: it reads everything at the scrape.
func (a *Announcer) Collect(to chan<- prometheus.Metric) {
	a.ledger.Collect(to)
	by, foreign := map[State]int{}, 0
	for _, s := range a.Addresses() {
		by[s.State]++
		if len(s.Foreign) > 0 {
			foreign++
		}
	}
	for _, state := range []State{Probing, Announced, Conflict} {
		to <- prometheus.MustNewConstMetric(addressesDesc(), prometheus.GaugeValue, float64(by[state]), string(state))
	}
	to <- prometheus.MustNewConstMetric(foreignDesc(), prometheus.GaugeValue, float64(foreign))
}
