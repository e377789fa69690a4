package network

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/steelyard-lb/steelyard/internal/membership"
)

// Witness asks hosts on the node's links for a sign of life. Make one with
// NewWitness.
type Witness struct {
	log     *slog.Logger
	silence time.Duration
	many    pace // of Has
	few     pace // of Probe
}

// NewWitness returns a Witness that believes nobody to have an address when for
// that long nobody has answered.
func NewWitness(log *slog.Logger, silence time.Duration) *Witness {
	return &Witness{log: log, silence: silence}
}

// Limit has Has ask at most so many questions a second; 0: as many as it does anyway.
// It must not be called after the first Has.
func (w *Witness) Limit(perSecond int) { w.many.rate = perSecond }

// Answer is what asking who has an address came to. The zero Answer is Inconclusive.
type Answer struct {
	membership.Reply
	// MAC is, of Answered, that of the station that has the address: whoever answers in
	// another's place tells that one's. Zero: it was not told.
	MAC [6]byte
	At  time.Time // when that was
}

// target is a host on a link.
type target struct {
	addr netip.Addr
	link int // index
}

// Probe implements membership.Prober.
func (w *Witness) Probe(ctx context.Context, subnet netip.Prefix, addr netip.Addr) membership.Reply {
	targets, err := gateways(subnet)
	if addr.IsValid() {
		targets, err = onLink(addr)
	}
	if err != nil {
		w.log.Debug("can't look for a sign of life", "addr", addr, "err", err)
		return membership.Inconclusive
	}
	return w.anyOf(ctx, targets)
}

const (
	// patience is how long a host on the link has to answer.
	patience = 80 * time.Millisecond
	// askedTimes is how often Has asks before it believes in silence.
	askedTimes = 3
)

// Has asks on the named links whether anybody but this node has the addresses:
// each three times, since one question may be lost. Inconclusive: a link is not
// there, or down, or this node can't ask for the family on any of them.
func (w *Witness) Has(ctx context.Context, addrs []netip.Addr, links []string) map[netip.Addr]Answer {
	out := make(map[netip.Addr]Answer, len(addrs))
	var targets []target
	for _, name := range links {
		link, err := net.InterfaceByName(name)
		if err != nil || !carries(link) {
			w.log.Debug("can't ask who has addresses", "addresses", len(addrs), "link", name, "err", err)
			return out
		}
		for _, a := range addrs {
			targets = append(targets, target{a, link.Index})
		}
	}
	answers, broken := w.askAll(ctx, targets, rounds{askedTimes, max(patience, w.silence/askedTimes), &w.many})
	for t, a := range answers {
		if a.Reply == membership.Answered || a.Reply == membership.Unanswered && !broken && out[t.addr].Reply == membership.Inconclusive {
			out[t.addr] = a
		}
	}
	return out
}

// anyOf asks all at once: one sign is enough, and one that can't be asked
// leaves it open.
func (w *Witness) anyOf(ctx context.Context, targets []target) membership.Reply {
	replies := map[membership.Reply]bool{}
	answers, _ := w.askAll(ctx, targets, rounds{1, patience, &w.few})
	for _, a := range answers {
		replies[a.Reply] = true
	}
	switch {
	case replies[membership.Answered]:
		return membership.Answered
	case len(replies) == 0 || replies[membership.Inconclusive]:
		return membership.Inconclusive
	default:
		return membership.Unanswered
	}
}

// askAll asks with one socket for each link and family. broken: one failed while
// it was used, so that somebody may not have been heard.
func (w *Witness) askAll(ctx context.Context, targets []target, n rounds) (answers map[target]Answer, broken bool) {
	type place struct {
		link int
		ipv4 bool
	}
	by := map[place][]netip.Addr{}
	for _, t := range targets {
		at := place{t.link, t.addr.Is4()}
		by[at] = append(by[at], t.addr)
	}
	answers = make(map[target]Answer, len(targets))
	var mu sync.Mutex
	var asking sync.WaitGroup
	for at, addrs := range by {
		asking.Go(func() {
			answered, silent, failed := w.askOn(ctx, at.link, addrs, n)
			mu.Lock()
			defer mu.Unlock()
			broken = broken || failed
			for _, a := range addrs {
				if h, ok := answered[a]; ok {
					answers[target{a, at.link}] = Answer{membership.Answered, h.mac, h.at}
				} else {
					answers[target{a, at.link}] = Answer{Reply: silent}
				}
			}
		})
	}
	asking.Wait()
	return answers, broken
}

// askOn asks on one link for addresses of one family. It returns who has
// them, and what follows for those that nobody has.
func (w *Witness) askOn(ctx context.Context, index int, addrs []netip.Addr, n rounds) (answered map[netip.Addr]holder, others membership.Reply, broken bool) {
	link, err := net.InterfaceByIndex(index)
	if err != nil || !carries(link) {
		return nil, membership.Unanswered, false // no link, no life
	}
	conn, err := openWire(link, addrs)
	if err != nil {
		w.log.Debug("can't ask on a link", "link", link.Name, "err", err)
		return nil, membership.Inconclusive, false
	}
	if answered, err = inquire(ctx, conn, addrs, n); err != nil {
		w.log.Debug("asking on a link failed", "link", link.Name, "err", err)
		return answered, membership.Inconclusive, true
	}
	return answered, membership.Unanswered, false
}

// carries reports whether the link is up and has a carrier.
func carries(link *net.Interface) bool {
	return link.Flags&net.FlagUp != 0 && link.Flags&net.FlagRunning != 0
}

// gateways returns those of the default routes, of both families; or those of any routes
// that are in a subnet, unless that is zero.
func gateways(subnet netip.Prefix) ([]target, error) {
	var out []target
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteList(nil, family)
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			if r.Dst != nil && !subnet.IsValid() {
				if ones, _ := r.Dst.Mask.Size(); ones > 0 {
					continue
				}
			}
			hops := []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw}}
			if len(r.MultiPath) > 0 {
				hops = r.MultiPath
			}
			for _, hop := range hops {
				gw, ok := netip.AddrFromSlice(hop.Gw)
				if t := (target{gw.Unmap(), hop.LinkIndex}); ok && (!subnet.IsValid() || subnet.Contains(t.addr)) && !slices.Contains(out, t) {
					out = append(out, t)
				}
			}
		}
	}
	return out, nil
}

// onLink returns addr, if it is reached without a router.
func onLink(addr netip.Addr) ([]target, error) {
	routes, err := netlink.RouteGet(addr.AsSlice())
	if err != nil {
		return nil, fmt.Errorf("find the route to %s: %w", addr, err)
	}
	for _, r := range routes {
		if len(r.Gw) == 0 {
			return []target{{addr, r.LinkIndex}}, nil
		}
	}
	return nil, nil
}
