package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/steelyard-lb/steelyard/internal/bfd"
	"github.com/steelyard-lb/steelyard/internal/bgp"
)

// sessionMetrics tells of the BGP sessions as they are when it is asked.
type sessionMetrics struct{ sessions *bgp.Sessions }

func describe(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("steelyard_"+name, help, []string{"peer"}, nil)
}

var (
	upDesc         = describe("bgp_session_up", "1 while this node's session to the BGPPeer is Established, else 0.")
	sinceDesc      = describe("bgp_session_since_seconds", "When the session entered its present state, as seconds since 1970.")
	advertisedDesc = describe("bgp_prefixes_advertised", "Routes that are offered in the session; 0 while it is not Established.")
	dropsDesc      = describe("bgp_session_drops_total", "How often the session was lost, but for what the node did itself.")
	resetsDesc     = describe("bgp_session_resets_total", "How often the session was made anew since fields of the BGPPeer had changed.")
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

// watchMetrics tells of the BFD sessions beside them.
type watchMetrics struct{ sessions *bgp.Sessions }

var (
	watchUpDesc        = describe("bfd_session_up", "1 while the BFD session with the BGPPeer's router is Up, else 0.")
	watchDropsDesc     = describe("bfd_session_drops_total", "How often BFD found the path broken and ended the BGP session.")
	watchDetectionDesc = describe("bfd_detection_seconds", "The agreed time without packets after which the router counts as gone; 0: none is agreed.")
	watchSentDesc      = describe("bfd_packets_sent_total", "BFD packets sent to the router.")
	watchReceivedDesc  = describe("bfd_packets_received_total", "BFD packets received from the router.")
	watchRefusedDesc   = describe("bfd_packets_refused_total", "BFD packets of the router that were refused, for their TTL say.")
)

// Describe is of prometheus.Collector.
func (m watchMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{watchUpDesc, watchDropsDesc, watchDetectionDesc, watchSentDesc, watchReceivedDesc, watchRefusedDesc} {
		to <- d
	}
}

// Collect is of prometheus.Collector.
func (m watchMetrics) Collect(to chan<- prometheus.Metric) {
	for _, s := range m.sessions.States() {
		if s.BFD == nil {
			continue
		}
		up := 0.0
		if s.BFD.Status == bfd.Up {
			up = 1
		}
		for _, x := range []struct {
			desc  *prometheus.Desc
			kind  prometheus.ValueType
			value float64
		}{
			{watchUpDesc, prometheus.GaugeValue, up},
			{watchDropsDesc, prometheus.CounterValue, float64(s.Cuts)},
			{watchDetectionDesc, prometheus.GaugeValue, s.BFD.Detection.Seconds()},
			{watchSentDesc, prometheus.CounterValue, float64(s.BFD.Sent)},
			{watchReceivedDesc, prometheus.CounterValue, float64(s.BFD.Received)},
			{watchRefusedDesc, prometheus.CounterValue, float64(s.BFD.Discarded)},
		} {
			to <- prometheus.MustNewConstMetric(x.desc, x.kind, x.value, s.Peer)
		}
	}
}
