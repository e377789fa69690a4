package simulation

import (
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

// trial is how long an address that no node has announced yet is probed.
const trial = 500 * time.Millisecond

// entry is an address that a speaker answers for.
type entry struct {
	claim announce.Claim
	own   bool // else it answers in another's place, or until a handover is done
	free  bool // the trial is over
	stall uint64
	round int // of announcing
}

// setClaims makes these the addresses that are answered for.
func (s *speaker) setClaims(all []announce.Claim) {
	wanted := map[netip.Addr]bool{}
	for _, c := range all {
		wanted[c.Addr] = true
		own := len(c.ProxyReplies) == 0
		e := s.entries[c.Addr]
		if e != nil && e.own == own {
			again := own && e.claim.Generation != c.Generation
			e.claim = c
			if again && e.free {
				s.announce(e, 0)
			}
			continue
		}
		e = &entry{claim: c, own: own, free: !own || !c.NeedsDAD, stall: s.stalls}
		s.entries[c.Addr] = e
		switch {
		case own && e.free:
			s.announce(e, 0)
		case own:
			s.in(trial, func() {
				e.free = true
				if s.entries[c.Addr] == e {
					s.announce(e, 0)
					s.report.wake()
				}
			})
		}
	}
	for a := range s.entries {
		if !wanted[a] {
			delete(s.entries, a)
		}
	}
}

// answers returns the MAC with which the speaker answers for an address; false: it
// does not.
func (s *speaker) answers(a netip.Addr) (mac [6]byte, own, ok bool) {
	e := s.entries[a]
	if e == nil || !e.free || e.stall != s.stalls || s.frozen > 0 || s.dead {
		return mac, false, false
	}
	if e.own {
		return s.node.mac, true, e.claim.Links.Match("eth0")
	}
	return e.claim.ProxyReplies[0].MAC, false, true
}

// announceAll announces all again, on a link that has its carrier back.
func (s *speaker) announceAll() {
	for _, e := range s.sorted() {
		if e.own && e.free {
			s.announce(e, 0)
		}
	}
}

// sorted returns the entries by address.
func (s *speaker) sorted() []*entry {
	out := make([]*entry, 0, len(s.entries))
	for _, e := range s.entries {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b *entry) int { return a.claim.Addr.Compare(b.claim.Addr) })
	return out
}

// gaps are between the first announcements; then comes one each minute.
var gaps = [...]time.Duration{100 * time.Millisecond, 400 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second}

// announce tells all hosts of the segment, again and again.
func (s *speaker) announce(e *entry, n int) {
	if n == 0 {
		e.round++
		s.rules.announced++
	}
	round := e.round
	if s.entries[e.claim.Addr] != e || e.stall != s.stalls {
		return
	}
	s.after(s.within(50*time.Microsecond, 300*time.Microsecond), func() { s.heard(e.claim.Addr) })
	gap := time.Minute
	if n < len(gaps) {
		gap = gaps[n]
	}
	s.in(gap, func() {
		if e.round == round && s.entries[e.claim.Addr] == e {
			s.announce(e, n+1)
		}
	})
}

// heard has an announcement of this node's reach the hosts of its segment.
func (s *speaker) heard(a netip.Addr) {
	from := s.node
	for _, n := range s.lan.subnets[from.subnet] {
		if r := n.speaker; n != from && r != nil && s.lan.passes(from.place, n.place) {
			r.run(func() { r.contest(a, from.mac) })
		}
	}
	if s.lan.passes(from.place, s.lan.client(from.subnet)) {
		s.rules.learn(from.subnet, a, from)
	}
}

// duplicate is another speaker that was heard to have an address of this node.
type duplicate struct {
	addr                  netip.Addr
	mac                   [6]byte
	first, last, notified time.Time
}

// contest takes in that another speaker says that it has an address.
func (s *speaker) contest(a netip.Addr, mac [6]byte) {
	if e := s.entries[a]; e == nil || !e.own || mac == s.node.mac {
		return
	}
	i := slices.IndexFunc(s.duplicates, func(r duplicate) bool { return r.addr == a && r.mac == mac })
	if i < 0 {
		s.duplicates = append(s.duplicates, duplicate{addr: a, mac: mac, first: s.now})
		i = len(s.duplicates) - 1
	}
	r := &s.duplicates[i]
	if s.now.Sub(r.last) >= failover.ConflictMemory {
		r.first = s.now
	}
	if r.last = s.now; s.now.Sub(r.notified) >= 200*time.Millisecond {
		r.notified = s.now
		s.wake()
	}
}

func (s *speaker) conflicts() []failover.Conflict {
	var out []failover.Conflict
	for _, r := range s.duplicates {
		if s.now.Sub(r.last) < failover.ConflictMemory {
			out = append(out, failover.Conflict{Addr: r.addr, MAC: r.mac, First: r.first, Last: r.last})
		}
	}
	return out
}

// asks is how often and how long apart an address is asked for before silence is
// believed.
const (
	asks      = 3
	askPause  = (noticed + 50*time.Millisecond) / asks
	probeLess = time.Second // between two questions for the same
)

// prober asks who has addresses.
type prober struct {
	*speaker
	want   map[netip.Addr]failover.ProbeRequest
	found  map[netip.Addr]failover.Probe
	asking map[netip.Addr]bool
	next   time.Time // when look comes; zero: not yet
}

func (p *prober) results() map[netip.Addr]failover.Probe {
	out := make(map[netip.Addr]failover.Probe, len(p.found))
	for a, r := range p.found {
		out[a] = r
	}
	return out
}

func (p *prober) set(want map[netip.Addr]failover.ProbeRequest) {
	if p.asking == nil {
		p.asking, p.found = map[netip.Addr]bool{}, map[netip.Addr]failover.Probe{}
	}
	p.want = want
	for a := range p.found {
		if _, wanted := want[a]; !wanted {
			delete(p.found, a)
		}
	}
	p.look()
}

// look begins to ask for what is due.
func (p *prober) look() {
	all := make([]netip.Addr, 0, len(p.want))
	for a := range p.want {
		all = append(all, a)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	for _, a := range all {
		w := p.want[a]
		r, known := p.found[a]
		switch {
		case p.asking[a]:
		case known && !r.Asked.Before(w.After) && slices.Equal(r.Links, w.Links) && p.now.Before(r.Done.Add(probeLess)):
			if at := r.Done.Add(probeLess); p.next.IsZero() || at.Before(p.next) {
				p.next = at
				p.at(at, func() {
					if p.next.Equal(at) {
						p.next = time.Time{}
						p.look()
					}
				})
			}
		default:
			p.asking[a] = true
			p.rules.probed++
			p.probe(a, w.Links, p.now, 0)
		}
	}
}

// probe asks for an address for the n-th time.
func (p *prober) probe(a netip.Addr, links []string, asked time.Time, n int) {
	x := failover.Probe{Reply: membership.Unanswered, Asked: asked, Links: links}
	done := func() {
		delete(p.asking, a)
		x.Done = p.now
		if w, wanted := p.want[a]; wanted {
			p.found[a] = x
			if w.Notify {
				p.wake()
			}
		}
		p.look()
	}
	if len(links) == 0 || p.node.unplugged > 0 {
		x.Reply = membership.Inconclusive
		p.in(time.Millisecond, done)
		return
	}
	if n == asks {
		done()
		return
	}
	p.after(p.within(200*time.Microsecond, time.Millisecond), func() {
		for _, other := range p.lan.subnets[p.node.subnet] {
			if other == p.node || other.speaker == nil || !p.lan.talk(p.node.place, other.place) {
				continue
			}
			if mac, _, ok := other.speaker.answers(a); ok && mac != p.node.mac {
				x.Reply, x.MAC = membership.Answered, mac
				p.run(func() {
					x.Answered = p.now
					done()
				})
				return
			}
		}
		p.in(askPause, func() { p.probe(a, links, asked, n+1) })
	})
}
