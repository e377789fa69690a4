package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/steelyard-lb/steelyard/internal/bgp"
)

// sessionMetrics tells of the BGP sessions as they are when it is asked.
type sessionMetrics struct{ sessions *bgp.Sessions }

func describe(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("steelyard_bgp_"+name, help, []string{"peer"}, nil)
}

var (
	upDesc         = describe("session_up", "1 while this node's session to the BGPPeer is Established, else 0.")
	sinceDesc      = describe("session_since_seconds", "When the session entered its present state, as seconds since 1970.")
	advertisedDesc = describe("prefixes_advertised", "Routes that are offered in the session; 0 while it is not Established.")
	dropsDesc      = describe("session_drops_total", "How often the session was lost, but for what the node did itself.")
	resetsDesc     = describe("session_resets_total", "How often the session was made anew since fields of the BGPPeer had changed.")
)

// Describe is of prometheus.Collector.
func (m sessionMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{upDesc, sinceDesc, advertisedDesc, dropsDesc, resetsDesc} {
		to <- d
	}
}

// Collect is of prometheus.Collector.
func (m sessionMetrics) Collect(to chan<- prometheus.Metric) {
	for _, s := range m.sessions.States() {
		tell := func(d *prometheus.Desc, kind prometheus.ValueType, value float64) {
			to <- prometheus.MustNewConstMetric(d, kind, value, s.Peer)
		}
		up := 0.0
		if s.Session == bgp.Established {
			up = 1
		}
		tell(upDesc, prometheus.GaugeValue, up)
		tell(advertisedDesc, prometheus.GaugeValue, float64(s.Advertised))
		tell(dropsDesc, prometheus.CounterValue, float64(s.Drops))
		tell(resetsDesc, prometheus.CounterValue, float64(s.Resets))
		if !s.Since.IsZero() {
			tell(sinceDesc, prometheus.GaugeValue, float64(s.Since.Unix()))
		}
	}
}
