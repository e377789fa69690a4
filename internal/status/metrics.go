package status

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/steelyard-lb/steelyard/internal/bfd"
	"github.com/steelyard-lb/steelyard/internal/bgp"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/layer2"
)

// sessionMetrics has the metrics of the BGP sessions, as they are at each scrape.
type sessionMetrics struct{ states func() []bgp.State }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("steelyard_"+name, help, append([]string{"peer"}, labels...), nil)
}

var (
	upDesc         = describe("bgp_session_up", "1 while this node's session to the BGPPeer is Established, else 0.")
	stateDesc      = describe("bgp_session_state", "1 for the state that the session is in, by its name in RFC 4271, 0 for the others.", "state")
	sinceDesc      = describe("bgp_session_since_timestamp_seconds", "When the session entered its present state, as seconds since 1970.")
	advertisedDesc = describe("bgp_prefixes_advertised", "Routes that are advertised in the session; 0 while it is not Established.")
	updatesDesc    = describe("bgp_route_updates_total", "Route updates sent to the router, by change (announced, withdrawn). Each new session announces all routes again.", "change")
	dropsDesc      = describe("bgp_session_drops_total", "How often the session was lost, by cause; sessions that the node ended itself do not count.", "reason")
	resetsDesc     = describe("bgp_session_resets_total", "How often the session was restarted because fields of the BGPPeer had changed.")
)

// Describe implements prometheus.Collector.
func (m sessionMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{upDesc, stateDesc, sinceDesc, advertisedDesc, updatesDesc, dropsDesc, resetsDesc} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m sessionMetrics) Collect(to chan<- prometheus.Metric) {
	for _, s := range m.states() {
		add := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
			to <- prometheus.MustNewConstMetric(d, kind, value, append([]string{s.Peer}, labels...)...)
		}
		add(upDesc, prometheus.GaugeValue, oneIf(s.Session == bgp.Established))
		for _, state := range bgp.SessionStates() {
			add(stateDesc, prometheus.GaugeValue, oneIf(s.Session == state), string(state))
		}
		add(advertisedDesc, prometheus.GaugeValue, float64(s.Advertised))
		add(updatesDesc, prometheus.CounterValue, float64(s.Announced), "announced")
		add(updatesDesc, prometheus.CounterValue, float64(s.Withdrawn), "withdrawn")
		for _, cause := range bgp.Causes() {
			add(dropsDesc, prometheus.CounterValue, float64(s.DropsBy[cause]), string(cause))
		}
		add(resetsDesc, prometheus.CounterValue, float64(s.Resets))
		if !s.Since.IsZero() {
			add(sinceDesc, prometheus.GaugeValue, float64(s.Since.Unix()))
		}
	}
}

// oneIf converts a bool to Prometheus's 1 or 0.
func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// watchMetrics has the metrics of the BFD sessions that monitor the BGP peers.
type watchMetrics struct{ states func() []bgp.State }

var (
	watchUpDesc        = describe("bfd_session_up", "1 while the BFD session with the BGPPeer's router is Up, else 0.")
	watchDropsDesc     = describe("bfd_session_drops_total", "How often BFD found the path broken and ended the BGP session.")
	watchDetectionDesc = describe("bfd_detection_seconds", "The agreed detection time: after that long without packets the BFD session is Down. 0: none is agreed yet.")
	watchSentDesc      = describe("bfd_packets_sent_total", "BFD packets sent to the router.")
	watchReceivedDesc  = describe("bfd_packets_received_total", "BFD packets received from the router.")
	watchRefusedDesc   = describe("bfd_packets_refused_total", "BFD packets of the router that were refused, for example because of their TTL.")
)

// Describe implements prometheus.Collector.
func (m watchMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{watchUpDesc, watchDropsDesc, watchDetectionDesc, watchSentDesc, watchReceivedDesc, watchRefusedDesc} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m watchMetrics) Collect(to chan<- prometheus.Metric) {
	for _, s := range m.states() {
		if s.BFD == nil {
			continue
		}
		for _, x := range []struct {
			desc  *prometheus.Desc
			kind  prometheus.ValueType
			value float64
		}{
			{watchUpDesc, prometheus.GaugeValue, oneIf(s.BFD.Status == bfd.Up)},
			{watchDropsDesc, prometheus.CounterValue, float64(s.DropsBy[bgp.PathLost])},
			{watchDetectionDesc, prometheus.GaugeValue, s.BFD.Detection.Seconds()},
			{watchSentDesc, prometheus.CounterValue, float64(s.BFD.Sent)},
			{watchReceivedDesc, prometheus.CounterValue, float64(s.BFD.Received)},
			{watchRefusedDesc, prometheus.CounterValue, float64(s.BFD.Discarded)},
		} {
			to <- prometheus.MustNewConstMetric(x.desc, x.kind, x.value, s.Peer)
		}
	}
}

// selfMetrics has metrics of this speaker itself. Make one with NewSelfMetrics.
type selfMetrics struct {
	connected     func() bool
	kernelAnswers func() string
	passes        prometheus.Histogram
}

// NewSelfMetrics returns the metrics of this speaker. connected reports whether the API server
// is reachable; kernelAnswers returns why the kernel answers ARP for Services' addresses, "" if
// it does not.
func NewSelfMetrics(connected func() bool, kernelAnswers func() string) *selfMetrics {
	return &selfMetrics{connected: connected, kernelAnswers: kernelAnswers, passes: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "steelyard_pass_duration_seconds", Help: "How long passes took: reading the cache, deciding, and handing the plan to ARP, NDP and BGP.",
		Buckets: prometheus.ExponentialBuckets(0.00025, 2, 14),
	})}
}

// Pass counts a pass.
func (m *selfMetrics) Pass(took time.Duration) { m.passes.Observe(took.Seconds()) }

var (
	connectedDesc = prometheus.NewDesc("steelyard_speaker_connected",
		"1 while this speaker sees the renewals of its own Lease through the API server, else 0: then its view of the cluster may be outdated, and it keeps its last plan.", nil, nil)
	kernelAnswersDesc = prometheus.NewDesc("steelyard_layer2_kernel_answers",
		"1 while the node's kernel answers ARP for every Service's address, also for those that other nodes own (kube-proxy in mode ipvs without strictARP), else 0.", nil, nil)
)

// Describe implements prometheus.Collector.
func (m *selfMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- connectedDesc
	to <- kernelAnswersDesc
	m.passes.Describe(to)
}

// Collect implements prometheus.Collector.
func (m *selfMetrics) Collect(to chan<- prometheus.Metric) {
	to <- prometheus.MustNewConstMetric(connectedDesc, prometheus.GaugeValue, oneIf(m.connected()))
	to <- prometheus.MustNewConstMetric(kernelAnswersDesc, prometheus.GaugeValue, oneIf(m.kernelAnswers() != ""))
	m.passes.Collect(to)
}

// Collectors returns all of this speaker's metrics.
func Collectors(self *selfMetrics, links *layer2.Announcer, states func() []bgp.State, members MemberMetrics) []prometheus.Collector {
	return []prometheus.Collector{cluster.BuildInfo(), self, links, sessionMetrics{states}, watchMetrics{states}, members}
}
