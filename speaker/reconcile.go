package main

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bgp"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/layer2"
	"github.com/steelyard-lb/steelyard/internal/membership"
	"github.com/steelyard-lb/steelyard/internal/membership/network"
)

// reconciler reads, thinks, and sets what the adapters are to do. It writes
// nothing to the API server: the reporter does, after the wire has changed.
type reconciler struct {
	options
	reader        client.Reader
	configuration *cluster.Configuration
	services      toolscache.Store // of the cache, as endpoints is
	endpoints     toolscache.Store
	log           *slog.Logger
	claims        *cluster.Overlay[*v1beta1.L2Claim]
	beat          *heartbeat
	links         *layer2.Announcer
	sessions      *bgp.Sessions
	group         *membership.Group
	neighbors     *network.Neighbors
	forwards      *forwarding
	turns         *turns
	departure
	joined    bool // the others were told of this speaker
	handing   map[netip.Addr]handing
	goneFor   map[string]renewals // by node that is gone for its watchers: how often it renewed its Lease since
	taken     map[netip.Addr]takeover
	cutOff    bool      // at the last pass
	missed    bool      // this node was cut off or held up, and has not heard all since
	restarted time.Time // when it began to ask for what it has missed
	vacancies *vacancies
	overruled map[netip.Addr]rival // who was given an address of this node while it could not hear of it
	rounds    rounds
	lapse     lapse
	plan      atomic.Pointer[decision] // what is in force; nil at first
	takeovers atomic.Uint64            // of addresses from other nodes
	report    chan struct{}            // told after every pass
	thought   func()                   // called after the first pass, and perhaps again
	took      func(time.Duration)      // told of every pass
	passed    atomic.Int64             // when the last pass ended, in nanoseconds since 1970
}

// listing is the pause until the links may have been listed.
const listing = 20 * time.Millisecond

// decision is a plan and what it was made from.
type decision struct {
	announce.Plan
	claimed map[netip.Addr]bool   // the addresses of Plan.Claims
	holders map[netip.Addr]string // the node that each L2Claim named
	answers map[netip.Addr]string // the node that each said it answers
	live    map[string]bool       // nodes whose speakers were there
	missing int                   // nodes that have a Speaker object, and whose speakers were not there
	present int                   // nodes that have one, and whose were
	rivals  map[netip.Addr]rival  // who else was heard to have an address
	macs    map[[6]byte]string    // of all speakers' links: the node
	unsure  map[netip.Addr]bool   // of which it is not to be told yet that this node has them

	connected bool // the API server was heard lately
	offers    bool // Plan.Peerings are in force
}

func decide(s sight) *decision {
	d := &decision{Plan: announce.Decide(s.Snapshot), claimed: map[netip.Addr]bool{}, holders: s.named, answers: s.answers, live: map[string]bool{}, rivals: s.rivals, macs: s.macs, unsure: map[netip.Addr]bool{}}
	for _, n := range s.Nodes {
		d.live[n.Name] = n.Live
		switch {
		case !s.speakers[n.Name]:
		case n.Live:
			d.present++
		default:
			d.missing++
		}
	}
	return d
}

func (r *reconciler) reconcile(ctx context.Context) (time.Duration, error) {
	if !r.links.Listed() {
		return listing, nil // or this node would say that it has no links, and lose its addresses
	}
	start := time.Now()
	s, err := r.look(ctx)
	if err != nil {
		return 0, err
	}
	r.links.SetSpeakers(slices.Collect(maps.Keys(s.macs)))
	withheld := r.apply(decide(s))
	r.took(time.Since(start))
	r.passed.Store(time.Now().UnixNano())
	r.thought()
	return r.again(s, withheld), nil
}

// idleFor returns for how long there was no pass.
func (r *reconciler) idleFor() time.Duration { return time.Since(time.Unix(0, r.passed.Load())) }

// again returns when to look again if nothing happens before; 0: never.
func (r *reconciler) again(s sight, withheld bool) time.Duration {
	soonest := s.leaves
	within := func(d time.Duration) {
		if soonest == 0 || d < soonest {
			soonest = d
		}
	}
	if s.departs > 0 {
		within(s.departs)
	}
	if withheld || len(r.goneFor) > 0 { // renewals alone start no pass
		within(r.heartbeat)
	}
	for _, h := range r.handing {
		within(max(time.Until(h.since.Add(handover)), 0) + time.Millisecond)
	}
	if r.lapse.lasts() {
		within(r.heartbeat / 4)
	}
	if wait, looks := r.looksAround(time.Now()); looks && wait > 0 {
		within(wait + time.Millisecond)
	}
	if at, ok := r.rounds.again(s.rivals, r.plan.Load().claimed, r.beat.connected()); ok {
		within(max(time.Until(at), 0) + time.Millisecond)
	}
	return soonest
}

// apply puts the plan in force. It reports whether it left out claims that are
// not safe to make yet.
func (r *reconciler) apply(d *decision) (withheld bool) {
	before := r.plan.Load()
	if before == nil {
		before = &decision{}
	}
	all := len(d.Claims)
	view := r.group.View()
	lapsed := r.lapse.look(r.links.Lapses(), r.beat.connected(), time.Now())
	if lapsed || r.cutOff && !view.Isolated {
		r.restarted = time.Now()
		r.beat.restart() // what happened meanwhile is asked for, past the cache, before anything is taken up again
	}
	r.cutOff = view.Isolated
	r.missed = view.Isolated || lapsed || r.missed && !r.beat.settled()
	r.take(before, d, view, lapsed)
	d.connected = r.beat.connected()
	r.rounds.enter(time.Now(), before, d, d.connected)
	others := slices.Concat(d.StandIns, r.linger(before, d, d.answers))
	if view.Isolated || lapsed {
		others = nil
		clear(r.handing)
		if lapsed {
			r.log.Warn("this process was held up; it gives up its addresses until it knows who has them")
		}
	}
	r.links.Set(slices.Concat(d.Claims, others))
	if d.offers = r.forwards.does(); d.offers {
		r.sessions.Set(d.Peerings)
	}
	for _, c := range d.Claims {
		if !before.claimed[c.Addr] {
			r.log.Info("claimed address", "addr", c.Addr)
		}
	}
	for _, c := range before.Claims {
		if !d.claimed[c.Addr] {
			r.log.Info("gave up address", "addr", c.Addr)
		}
	}
	r.plan.Store(d)
	cluster.Signal(r.report)
	return len(d.Claims) < all
}

// take leaves out of the plan what this node may not begin to answer for yet.
func (r *reconciler) take(before, d *decision, view membership.View, lapsed bool) {
	now := time.Now()
	r.vacancies.look(now, view, d.live, d.macs)
	if view.Isolated || lapsed { // nobody's answering means nothing, and meant nothing just now
		r.vacancies.set(nil)
		r.vacancies.forget()
		d.Claims = nil
		r.takeOver(before, d)
		return
	}
	var asks []announce.Claim
	d.Claims = slices.DeleteFunc(d.Claims, func(c announce.Claim) bool {
		if before.claimed[c.Addr] {
			return false
		}
		may, ask := r.mayTake(c.Addr, d, view)
		if !ask {
			return !may
		}
		if r.vacancies.free(now, c.Addr, r.upLinks(c.Links)) {
			return false
		}
		asks = append(asks, c)
		return true
	})
	r.takeOver(before, d)
	r.confirm(now, d)
	r.vacancies.set(r.wishes(asks, d))
}

// mayTake reports whether this node may begin to answer for an address. At
// first it knows too little of the others to take what nobody has; but what a
// node that is there gives up was meant for this one. After a lapse it takes
// nothing until it knows more. What a node has that is gone, as its watchers
// say, it takes whether or not the API server can be asked.
//
// While the API server is out of reach others may have taken over what this
// node's cache still calls its own, and after it was cut off it has missed who
// took what: then it is to ask on the wire.
func (r *reconciler) mayTake(a netip.Addr, d *decision, view membership.View) (may, ask bool) {
	holder, connected := d.holders[a], r.beat.connected()
	gone := view.Standing[holder] == membership.Gone && !d.live[holder]
	switch {
	case r.lapse.lasts():
		return false, false
	case gone && !r.missed:
		return true, false
	case !gone && holder != r.node && !d.live[holder]:
		return r.beat.settled(), false
	case connected && !r.missed:
		return true, false
	default:
		return false, r.beat.ready.Load()
	}
}

// upLinks returns the names of the own links of a claim that are up.
func (r *reconciler) upLinks(of announce.Links) []string {
	var out []string
	for _, l := range r.links.Links() {
		if l.Up && of.Match(l.Name) {
			out = append(out, l.Name)
		}
	}
	return out
}
