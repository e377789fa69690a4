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

// HostProber asks hosts on the node's links, by ARP and NDP, whether they are alive and which
// addresses they have. Make one with NewHostProber.
type HostProber struct {
	log      *slog.Logger
	silence  time.Duration
	addrPace pace // of Has
	hostPace pace // of Probe
}

// NewHostProber returns a HostProber for which an address is free after silence without an
// answer.
func NewHostProber(log *slog.Logger, silence time.Duration) *HostProber {
	return &HostProber{log: log, silence: silence}
}

// Limit limits the requests of Has per second; 0: the default. It must not be called after
// the first Has.
func (w *HostProber) Limit(perSecond int) { w.addrPace.rate = perSecond }

// Answer is the result of asking for an address. The zero value is Inconclusive.
type Answer struct {
	membership.Reply
	// MAC, if Answered, is the link-layer address in the answer: a proxy puts there that of
	// the host for which it answers. Zero: the answer had none.
	MAC [6]byte
	At  time.Time // when the answer arrived
}

// target is a host on a link.
type target struct {
	addr netip.Addr
	link int // index
}

// Probe implements membership.Prober.
func (w *HostProber) Probe(ctx context.Context, subnet netip.Prefix, addr netip.Addr) membership.Reply {
	targets, err := gateways(subnet)
	if addr.IsValid() {
		targets, err = onLink(addr)
	}
	if err != nil {
		w.log.Debug("can't probe", "addr", addr, "err", err)
		return membership.Inconclusive
	}
	return w.anyOf(ctx, targets)
}

const (
	// replyTimeout is how long a host on the link has to answer.
	replyTimeout = 80 * time.Millisecond
	// askedTimes is how often Has asks for an address before it counts as free.
	askedTimes = 3
)

// Has asks on the named links whether another host has the addresses: for each three times,
// since a request may be lost. Inconclusive means that a link does not exist or is down, or
// that this node cannot ask for the family on any of them.
func (w *HostProber) Has(ctx context.Context, addrs []netip.Addr, links []string) map[netip.Addr]Answer {
	out := make(map[netip.Addr]Answer, len(addrs))
	var targets []target
	for _, name := range links {
		link, err := net.InterfaceByName(name)
		if err != nil || !carries(link) {
			w.log.Debug("can't ask which host has addresses", "addresses", len(addrs), "link", name, "err", err)
			return out
		}
		for _, a := range addrs {
			targets = append(targets, target{a, link.Index})
		}
	}
	answers, broken := w.askAll(ctx, targets, rounds{askedTimes, max(replyTimeout, w.silence/askedTimes), &w.addrPace})
	for t, a := range answers {
		if a.Reply == membership.Answered || a.Reply == membership.Unanswered && !broken && out[t.addr].Reply == membership.Inconclusive {
			out[t.addr] = a
		}
	}
	return out
}

// anyOf asks all targets at once. One answer is enough. If there is none, one target that
// cannot be asked makes the result Inconclusive.
func (w *HostProber) anyOf(ctx context.Context, targets []target) membership.Reply {
	replies := map[membership.Reply]bool{}
	answers, _ := w.askAll(ctx, targets, rounds{1, replyTimeout, &w.hostPace})
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

// askAll asks with one socket for each link and family. broken: a socket failed, so that an
// answer may have been missed.
func (w *HostProber) askAll(ctx context.Context, targets []target, n rounds) (answers map[target]Answer, broken bool) {
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

// askOn asks on one link for addresses of one family. It returns the hosts that have them,
// and the reply that the other addresses get.
func (w *HostProber) askOn(ctx context.Context, index int, addrs []netip.Addr, n rounds) (answered map[netip.Addr]holder, others membership.Reply, broken bool) {
	link, err := net.InterfaceByIndex(index)
	if err != nil || !carries(link) {
		return nil, membership.Unanswered, false // no host can be reached on it
	}
	conn, err := openWire(link, addrs)
	if err != nil {
		w.log.Debug("can't ask on a link", "link", link.Name, "err", err)
		return nil, membership.Inconclusive, false
	}
	if answered, err = runQuery(ctx, conn, addrs, n); err != nil {
		w.log.Debug("asking on a link failed", "link", link.Name, "err", err)
		return answered, membership.Inconclusive, true
	}
	return answered, membership.Unanswered, false
}

// carries reports whether the link is up and has a carrier.
func carries(link *net.Interface) bool {
	return link.Flags&net.FlagUp != 0 && link.Flags&net.FlagRunning != 0
}

// Gateways returns the gateways of this node's default routes, each once.
func Gateways() ([]netip.Addr, error) {
	targets, err := gateways(netip.Prefix{})
	var out []netip.Addr
	for _, t := range targets {
		if !slices.Contains(out, t.addr) {
			out = append(out, t.addr)
		}
	}
	return out, err
}

// gateways returns the gateways of the default routes, of both families; or, if subnet is not
// zero, the gateways of any routes that are in subnet.
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
