package layer2

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Stats counts, for one link and address family, since the program started.
type Stats struct {
	Link            string
	Family          string // IPv4 or IPv6
	Frames          uint64 // that the filter passed
	Requests        uint64 // ARP requests or neighbor solicitations for addresses claimed here
	Answers         uint64 // that were sent
	Limited         uint64 // requests not answered because their sender exceeded its rate
	Announced       uint64 // announcements sent, in frames
	Probes          uint64 // probes sent
	Malformed       uint64 // frames that could not be read
	Conflicts       uint64 // frames in which a foreign host claimed an address of ours
	Defenses        uint64 // announcements sent to defend an address, in frames
	DuplicateOwners uint64 // frames in which another speaker announced an address of this node
	Unproven        uint64 // of those, frames without a valid proof of their sender
	JoinFailed      bool   // not all solicited-node groups are joined now
}

// counters are what Stats is read from.
type counters struct {
	Frames, Requests, Answers, Limited, Announced, Probes, Malformed, Conflicts, Defenses, DuplicateOwners, Unproven atomic.Uint64

	JoinFailed atomic.Bool
}

// ledger keeps the counters of each link and family. The zero ledger is ready.
type ledger struct {
	mu sync.Mutex
	of map[counterKey]*counters
}

type counterKey struct{ link, family string }

// At returns the counters of a link and family.
func (l *ledger) At(link, family string) *counters {
	p := counterKey{link, family}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of[p] == nil {
		if l.of == nil {
			l.of = map[counterKey]*counters{}
		}
		l.of[p] = new(counters)
	}
	return l.of[p]
}

// Stats returns the counters, sorted by link and family. A link that is gone stays.
func (l *ledger) Stats() []Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Stats
	for p, c := range l.of {
		out = append(out, Stats{
			Link: p.link, Family: p.family,
			Frames: c.Frames.Load(), Requests: c.Requests.Load(), Answers: c.Answers.Load(), Limited: c.Limited.Load(),
			Announced: c.Announced.Load(), Probes: c.Probes.Load(), Malformed: c.Malformed.Load(),
			Conflicts: c.Conflicts.Load(), Defenses: c.Defenses.Load(), DuplicateOwners: c.DuplicateOwners.Load(), Unproven: c.Unproven.Load(), JoinFailed: c.JoinFailed.Load(),
		})
	}
	slices.SortFunc(out, func(a, b Stats) int { return cmp.Or(cmp.Compare(a.Link, b.Link), cmp.Compare(a.Family, b.Family)) })
	return out
}

// metric is one number of Stats.
type metric struct {
	desc  *prometheus.Desc
	value func(Stats) uint64
}

func metrics() []metric {
	counter := func(name, help string, value func(Stats) uint64) metric {
		return metric{prometheus.NewDesc("steelyard_layer2_"+name+"_total", help, []string{"link", "family"}, nil), value}
	}
	return []metric{
		counter("frames", "ARP and NDP frames that the kernel's filter passed to the speaker.", func(s Stats) uint64 { return s.Frames }),
		counter("requests", "ARP requests and neighbor solicitations received for addresses that this node claims.", func(s Stats) uint64 { return s.Requests }),
		counter("answers", "Answers sent to them.", func(s Stats) uint64 { return s.Answers }),
		counter("rate_limited", "Requests not answered because their sender exceeded its rate.", func(s Stats) uint64 { return s.Limited }),
		counter("announcements", "Gratuitous ARP frames and unsolicited neighbor advertisements sent.", func(s Stats) uint64 { return s.Announced }),
		counter("probes", "Probes sent for addresses that are new or in conflict (RFC 5227 section 2.1.1).", func(s Stats) uint64 { return s.Probes }),
		counter("malformed", "ARP and NDP frames that could not be read.", func(s Stats) uint64 { return s.Malformed }),
		counter("conflicts", "Frames in which a foreign host claimed an address that this node claims (RFC 5227 section 2.4).", func(s Stats) uint64 { return s.Conflicts }),
		counter("defenses", "Announcements sent to defend an address against a foreign host, in frames (RFC 5227 section 2.4 c).", func(s Stats) uint64 { return s.Defenses }),
		counter("duplicate_owners", "Frames in which another speaker announced an address that this node answers for.", func(s Stats) uint64 { return s.DuplicateOwners }),
		counter("duplicate_owners_unproven", "Those of them without a valid proof of their sender: sent by an earlier version, or forged.", func(s Stats) uint64 { return s.Unproven }),
	}
}

// Describe implements prometheus.Collector.
func (l *ledger) Describe(to chan<- *prometheus.Desc) {
	for _, m := range metrics() {
		to <- m.desc
	}
}

// Collect implements prometheus.Collector: it reads everything at the scrape.
func (l *ledger) Collect(to chan<- prometheus.Metric) {
	stats := l.Stats()
	for _, m := range metrics() {
		for _, s := range stats {
			to <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, float64(m.value(s)), s.Link, s.Family)
		}
	}
}
