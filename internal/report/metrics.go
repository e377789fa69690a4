package report

import (
	"cmp"
	"errors"
	"math/big"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announced"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/leader"
	"github.com/steelyard-lb/steelyard/internal/planner"
)

// Counters counts events. States are computed at scrape time.
type Counters struct {
	passes  prometheus.Histogram
	patches *prometheus.CounterVec
	errors  *prometheus.CounterVec
}

// NewCounters returns Counters at zero.
func NewCounters() *Counters {
	return &Counters{
		passes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "steelyard_pass_duration_seconds", Help: "How long passes took: reading the cache, deciding for all Services, and beginning to write what differs.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 14),
		}),
		patches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "steelyard_patches_total", Help: "Patches of statuses sent to the API server, by kind of the object.",
		}, []string{"kind"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "steelyard_patch_errors_total", Help: "Patches that failed, by kind of the object and HTTP status code (0: no answer).",
		}, []string{"kind", "code"}),
	}
}

// Collectors returns all metrics of the controller.
func (r *Reporter) Collectors(m *Counters) []prometheus.Collector {
	return []prometheus.Collector{cluster.BuildInfo(), m.passes, m.patches, m.errors, planMetrics{r.Leading, r.Plan}, r.objects}
}

// Pass observes the duration of a pass.
func (m *Counters) Pass(took time.Duration) { m.passes.Observe(took.Seconds()) }

// Patch counts a patch.
func (m *Counters) Patch(kind string, err error) {
	m.patches.WithLabelValues(kind).Inc()
	if err == nil {
		return
	}
	code := int32(0)
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		code = status.Status().Code
	}
	m.errors.WithLabelValues(kind, strconv.Itoa(int(code))).Inc()
}

var (
	leaderDesc = prometheus.NewDesc("steelyard_leader", "1 on the replica that holds the Lease and assigns addresses, 0 on the others.", nil, nil)
	poolDesc   = prometheus.NewDesc("steelyard_pool_addresses",
		"Addresses of an IPAddressPool by family and state: assigned, kept (for a Service that was deleted: spec.graceTime) or available. Told by the leader.", []string{"pool", "family", "state"}, nil)
	onRequestDesc = prometheus.NewDesc("steelyard_pool_on_request",
		"1 if only Services that ask for the IPAddressPool get its addresses (spec.autoAssign is false), else 0. Told by the leader.", []string{"pool"}, nil)
	pendingDesc = prometheus.NewDesc("steelyard_services_pending",
		"Services of type LoadBalancer without an address, by the reason of their condition Allocated; StatusRefused: the API server, or a policy, refuses their status. Told by the leader.", []string{"reason"}, nil)
	contestedDesc = prometheus.NewDesc("steelyard_services_contested",
		"Services whose status another client overwrites again and again: their condition Contested names the field manager. Only the leader has this metric.", nil, nil)
	unannouncedDesc = prometheus.NewDesc("steelyard_services_unannounced",
		"Services with an address that no node is known to announce, by the reason of their condition Announced. Only the leader has this metric.", []string{"reason"}, nil)
	unservedDesc = prometheus.NewDesc("steelyard_services_unserved",
		"Services that are announced, and whose clients are refused all the same, most often at a port that no endpoint has: their condition Announced is True, with another reason. Only the leader has this metric.", nil, nil)
	quotaDesc = prometheus.NewDesc("steelyard_quota_addresses",
		"Addresses that count for a limit of an AddressQuota, by the place of the limit in spec.hard and by state: used, or hard (what it allows). With counting PerNamespace used is that of the namespace that has most. Told by the leader.", []string{"quota", "limit", "state"}, nil)
	servicesDesc = prometheus.NewDesc("steelyard_services", "Services that this load balancer serves, pending ones included. Told by the leader.", nil, nil)
)

// planMetrics exports the last plan.
type planMetrics struct {
	leading func() *leader.Term
	plan    func(*leader.Term) *planner.Summary
}

// Describe implements prometheus.Collector.
func (m planMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{leaderDesc, poolDesc, onRequestDesc, quotaDesc, pendingDesc, contestedDesc, unannouncedDesc, unservedDesc, servicesDesc} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m planMetrics) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	t := m.leading()
	if t == nil {
		gauge(leaderDesc, 0)
		return
	}
	gauge(leaderDesc, 1)
	plan := m.plan(t)
	if plan == nil {
		return
	}
	for pool, families := range plan.Usage {
		for _, u := range families {
			gauge(poolDesc, number(u.Assigned), pool, u.Family.String(), "assigned")
			gauge(poolDesc, number(u.Kept), pool, u.Family.String(), "kept")
			gauge(poolDesc, number(u.Available()), pool, u.Family.String(), "available")
		}
	}
	for pool, only := range plan.OnRequest {
		gauge(onRequestDesc, truth(only), pool)
	}
	for name, use := range plan.Quotas {
		for i := range use.Hard {
			gauge(quotaDesc, float64(use.Used[i]), name, strconv.Itoa(i), "used")
			gauge(quotaDesc, float64(use.Hard[i]), name, strconv.Itoa(i), "hard")
		}
	}
	for _, reason := range append(ipam.Reasons(), v1beta1.ReasonStatusRefused) {
		gauge(pendingDesc, float64(plan.Pending[reason]), string(reason))
	}
	if plan.Unannounced != nil {
		for _, reason := range announced.Reasons() {
			gauge(unannouncedDesc, float64(plan.Unannounced[reason]), reason)
		}
		gauge(unservedDesc, float64(plan.Unserved))
	}
	gauge(contestedDesc, float64(plan.Contested))
	gauge(servicesDesc, float64(plan.Services))
}

// objectMetrics counts the configuration objects by the reason of their condition. It
// exports only what the reporter of the current term has counted.
type objectMetrics struct {
	leading func() *leader.Term

	mu    sync.Mutex
	term  *leader.Term
	count map[objectReason]int
}

// objectReason is a kind of objects, and the reason of their condition.
type objectReason struct{ kind, reason string }

// set counts the configuration of a term.
func (v *objectMetrics) set(t *leader.Term, c intent.Configured) {
	count := map[objectReason]int{}
	for _, x := range c.Objects.Described() {
		v := c.Config.Validations[x.Ref]
		count[objectReason{x.Kind, cmp.Or(v.Accepted.Reason, v.Refs.Reason, v1beta1.ReasonAccepted)}]++
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.term, v.count = t, count
}

// configDesc is a function, since there are no package variables.
func configDesc() *prometheus.Desc {
	return prometheus.NewDesc("steelyard_config_objects",
		"Configuration objects by kind and by the reason of their condition Accepted (Accepted, Invalid, Overlaps, Conflicts), or, if that is True, of ResolvedRefs where that is False (NotFound, InvalidSecret). Told by the leader.",
		[]string{"kind", "reason"}, nil)
}

// Describe implements prometheus.Collector.
func (v *objectMetrics) Describe(to chan<- *prometheus.Desc) { to <- configDesc() }

// Collect implements prometheus.Collector.
func (v *objectMetrics) Collect(to chan<- prometheus.Metric) {
	t := v.leading()
	v.mu.Lock()
	defer v.mu.Unlock()
	if t == nil || v.term != t {
		return
	}
	for x, n := range v.count {
		to <- prometheus.MustNewConstMetric(configDesc(), prometheus.GaugeValue, float64(n), x.kind, x.reason)
	}
}

// truth is a boolean as metrics have it.
func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// number converts n to what a metric can hold.
func number(n *big.Int) float64 {
	f, _ := new(big.Float).SetInt(n).Float64()
	return f
}
