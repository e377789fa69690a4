package main

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/membership"
	"github.com/steelyard-lb/steelyard/internal/membership/network"
)

const (
	// reuse is how long what was found counts.
	reuse = 2 * time.Second
	// askAgain is the least pause before an address is asked for again, and pace
	// what each address adds to that.
	askAgain, pace = time.Second, 2 * time.Millisecond
	// held is what is added to how long a speaker can be held up before it gives
	// its addresses up by itself: who is silent for longer has none.
	held = 50 * time.Millisecond
	// unheard is how long the API server may take, after this node was cut off or
	// held up, until the others are asked for all that they have.
	unheard = 2 * time.Second
	// dying is how long before a node is found to be gone its last answers were.
	// Who answers later is not gone.
	dying = 100 * time.Millisecond
)

// vacancies asks, on the wire, who has addresses: for a speaker that knows too
// little to go by what it has read. It goes on asking, so that it knows when the
// node is gone that had an address. Make one with newVacancies.
type vacancies struct {
	has     func(ctx context.Context, addrs []netip.Addr, links []string) map[netip.Addr]network.Answer
	changed chan struct{} // told when one was found to be free, or checked
	wake    chan struct{} // buffered 1

	mu     sync.Mutex
	wishes map[netip.Addr]wish
	found  map[netip.Addr]finding
	macs   map[[6]byte]string   // of the nodes
	gone   map[string]time.Time // by node: since when
	epoch  int                  // what was asked in an earlier one is void
}

// wish is an address that somebody wants to know of.
type wish struct {
	links []string // to ask on, sorted
	take  bool     // if it is free
	check bool     // whether somebody else has what this node has
}

// finding is what came of asking for an address.
type finding struct {
	network.Answer
	at     time.Time // when all answers were in; zero: it was never asked for
	links  []string
	asking bool
}

func newVacancies(has func(context.Context, []netip.Addr, []string) map[netip.Addr]network.Answer) *vacancies {
	return &vacancies{
		has: has, changed: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		found: map[netip.Addr]finding{}, gone: map[string]time.Time{},
	}
}

// look takes in which nodes are gone, and whose MACs are whose.
func (v *vacancies) look(now time.Time, view membership.View, live map[string]bool, macs map[[6]byte]string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.macs = macs
	for node := range v.gone {
		if view.Standing[node] != membership.Gone || live[node] { // it is back, without what it had
			delete(v.gone, node)
			for a, f := range v.found {
				if v.macs[f.MAC] == node {
					f.at = time.Time{}
					v.found[a] = f
				}
			}
		}
	}
	for node, standing := range view.Standing {
		if _, known := v.gone[node]; !known && standing == membership.Gone && !live[node] {
			v.gone[node] = now
		}
	}
}

// forget voids all that was found, and what is being asked: this node was cut
// off, or held up.
func (v *vacancies) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.found)
	v.epoch++
}

// set says which addresses to ask for, from now on, again and again.
func (v *vacancies) set(wishes map[netip.Addr]wish) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.wishes = wishes
	for a, f := range v.found {
		if _, wanted := wishes[a]; !wanted && !f.asking {
			delete(v.found, a)
		}
	}
	if len(wishes) > 0 {
		cluster.Signal(v.wake)
	}
}

// free reports whether nobody had addr on these links a moment ago: nobody
// answered, or a node that is gone since. Who answers is there, whatever else is
// known of it.
func (v *vacancies) free(now time.Time, addr netip.Addr, links []string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.isFree(now, addr, links)
}

func (v *vacancies) isFree(now time.Time, addr netip.Addr, links []string) bool {
	f, known := v.found[addr]
	if !known || f.at.IsZero() || slices.ContainsFunc(links, func(l string) bool { return !slices.Contains(f.links, l) }) {
		return false
	}
	switch f.Reply {
	case membership.Silence:
		return now.Sub(f.at) < reuse
	case membership.Sign:
		since, gone := v.gone[v.macs[f.MAC]]
		return gone && f.At.Add(dying).Before(since) && now.Sub(f.At) < reuse
	default:
		return false
	}
}

// holder returns the node that was found to have addr a moment ago, "" for
// nobody that is known; asked is false if that is not known.
func (v *vacancies) holder(now time.Time, addr netip.Addr) (node string, asked bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f := v.found[addr]
	if f.at.IsZero() || now.Sub(f.at) >= reuse {
		return "", false
	}
	return v.macs[f.MAC], true
}

// run asks until ctx ends.
func (v *vacancies) run(ctx context.Context) error {
	var asking sync.WaitGroup
	defer asking.Wait()
	for {
		batches, next := v.due(time.Now())
		for _, b := range batches {
			asking.Go(func() { v.inquire(ctx, b) })
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-v.wake:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// batch is addresses that are asked for together.
type batch struct {
	addrs []netip.Addr
	links []string
	epoch int
}

// due returns what is to be asked for now, and how long until there is more.
func (v *vacancies) due(now time.Time) ([]*batch, time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	every := max(askAgain, time.Duration(len(v.wishes))*pace)
	next := every
	if len(v.wishes) == 0 {
		next = time.Hour
	}
	by := map[string]*batch{}
	for a, w := range v.wishes {
		f := v.found[a]
		if f.asking {
			continue // its end wakes
		}
		if wait := f.at.Add(every).Sub(now); !f.at.IsZero() && wait > 0 && slices.Equal(f.links, w.links) {
			next = min(next, wait)
			continue
		}
		on := strings.Join(w.links, " ")
		if by[on] == nil {
			by[on] = &batch{links: w.links, epoch: v.epoch}
		}
		by[on].addrs = append(by[on].addrs, a)
		f.asking = true
		v.found[a] = f
	}
	out := make([]*batch, 0, len(by))
	for _, b := range by {
		out = append(out, b)
	}
	return out, next
}

func (v *vacancies) inquire(ctx context.Context, b *batch) {
	answers := v.has(ctx, b.addrs, b.links)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.epoch != b.epoch {
		return
	}
	now := time.Now()
	for _, a := range b.addrs {
		v.found[a] = finding{Answer: answers[a], at: now, links: b.links}
		if w, wanted := v.wishes[a]; wanted && (w.check || w.take && v.isFree(now, a, w.links)) {
			cluster.Signal(v.changed)
		}
	}
	cluster.Signal(v.wake)
}

// wishes returns the addresses that this node must ask for: those that it would
// take, and if it can't hear who has what, those that it might have to; and what
// it has and is unsure of.
func (r *reconciler) wishes(take []announce.Claim, d *decision) map[netip.Addr]wish {
	out := map[netip.Addr]wish{}
	if wait, looks := r.looksAround(time.Now()); looks && wait <= 0 {
		all := r.upLinks(announce.Links{})
		for _, verdict := range d.Verdicts {
			for _, o := range verdict.Layer2 {
				if o.Reason == announce.NotOwner {
					out[o.Addr] = wish{links: all}
				}
			}
		}
	}
	for _, c := range take {
		out[c.Addr] = wish{links: r.upLinks(c.Links), take: true}
	}
	for _, c := range d.Claims {
		if d.unsure[c.Addr] && r.beat.connected() {
			out[c.Addr] = wish{links: r.upLinks(c.Links), check: true}
		}
	}
	return out
}

// looksAround reports whether this node has missed who took what, and can't hear
// it, and how long until it asks for all.
func (r *reconciler) looksAround(now time.Time) (time.Duration, bool) {
	return r.restarted.Add(unheard).Sub(now), r.missed && !r.beat.connected()
}
