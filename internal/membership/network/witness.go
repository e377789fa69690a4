package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
	"github.com/vishvananda/netlink"

	"github.com/steelyard-lb/steelyard/internal/membership"
)

// patience is how long a host on the link has to answer.
const patience = 80 * time.Millisecond

// Witness asks hosts on the node's links for a sign of life.
type Witness struct{ Log *slog.Logger }

// target is a host on a link.
type target struct {
	addr netip.Addr
	link int // index
}

// Ask implements membership.Witness.
func (w Witness) Ask(ctx context.Context, addr netip.Addr) membership.Reply {
	targets, err := gateways()
	if addr.IsValid() {
		targets, err = onLink(addr)
	}
	if err != nil {
		w.Log.Debug("can't look for a sign of life", "addr", addr, "err", err)
		return membership.CantTell
	}
	return w.anyOf(ctx, targets)
}

// askedTimes is how often Has asks before it believes in silence.
const askedTimes = 3

// Has asks on the named links whether anybody has addr: three times, since one
// question may be lost. CantTell: a link is not there, or down, or this node has
// no address of the family on any of them to ask with.
func (w Witness) Has(ctx context.Context, addr netip.Addr, links []string) membership.Reply {
	var targets []target
	for _, name := range links {
		link, err := net.InterfaceByName(name)
		if err != nil || !carries(link) {
			w.Log.Debug("can't ask who has an address", "addr", addr, "link", name, "err", err)
			return membership.CantTell
		}
		targets = append(targets, target{addr, link.Index})
	}
	reply := membership.CantTell
	for range askedTimes {
		replies := w.askAll(ctx, targets)
		if slices.Contains(replies, membership.Sign) {
			return membership.Sign
		}
		if slices.Contains(replies, membership.Silence) {
			reply = membership.Silence
		}
	}
	return reply
}

// anyOf asks all at once: one sign is enough, and one that can't be asked
// leaves it open.
func (w Witness) anyOf(ctx context.Context, targets []target) membership.Reply {
	replies := w.askAll(ctx, targets)
	switch {
	case slices.Contains(replies, membership.Sign):
		return membership.Sign
	case len(replies) == 0 || slices.Contains(replies, membership.CantTell):
		return membership.CantTell
	default:
		return membership.Silence
	}
}

func (w Witness) askAll(ctx context.Context, targets []target) []membership.Reply {
	replies := make([]membership.Reply, len(targets))
	var wait sync.WaitGroup
	for i, t := range targets {
		wait.Go(func() { replies[i] = w.try(ctx, t) })
	}
	wait.Wait()
	return replies
}

// carries reports whether the link is up and has a carrier.
func carries(link *net.Interface) bool {
	return link.Flags&net.FlagUp != 0 && link.Flags&net.FlagRunning != 0
}

// gateways returns those of the default routes, of both families.
func gateways() ([]target, error) {
	var out []target
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteList(nil, family)
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			if r.Dst != nil {
				if ones, _ := r.Dst.Mask.Size(); ones > 0 {
					continue
				}
			}
			hops := []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw}}
			if len(r.MultiPath) > 0 {
				hops = r.MultiPath
			}
			for _, hop := range hops {
				if gw, ok := netip.AddrFromSlice(hop.Gw); ok {
					out = append(out, target{gw.Unmap(), hop.LinkIndex})
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

// try asks one host.
func (w Witness) try(ctx context.Context, t target) membership.Reply {
	link, err := net.InterfaceByIndex(t.link)
	if err != nil || !carries(link) {
		return membership.Silence // no link, no life
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ask := w.askARP
	if t.addr.Is6() {
		ask = w.askNDP
	}
	switch err := ask(ctx, link, t.addr); {
	case err == nil:
		return membership.Sign
	case isTimeout(err):
		return membership.Silence
	default:
		w.Log.Debug("can't look for a sign of life", "addr", t.addr, "link", link.Name, "err", err)
		return membership.CantTell
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func (w Witness) askARP(ctx context.Context, link *net.Interface, addr netip.Addr) error {
	client, err := arp.Dial(link)
	if err != nil {
		return fmt.Errorf("open a socket for ARP: %w", err)
	}
	defer func() { _ = client.Close() }()
	deadline, _ := ctx.Deadline()
	if err := client.SetDeadline(deadline); err != nil {
		return err
	}
	_, err = client.Resolve(addr)
	return err
}

func (w Witness) askNDP(ctx context.Context, link *net.Interface, addr netip.Addr) error {
	conn, _, err := ndp.Listen(link, ndp.LinkLocal)
	if err != nil {
		return fmt.Errorf("open a socket for NDP: %w", err)
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	group, err := ndp.SolicitedNodeMulticast(addr.WithZone(""))
	if err != nil {
		return err
	}
	question := &ndp.NeighborSolicitation{
		TargetAddress: addr.WithZone(""),
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: link.HardwareAddr}},
	}
	if err := conn.WriteTo(question, nil, group); err != nil {
		return err
	}
	for {
		m, _, _, err := conn.ReadFrom()
		if err != nil {
			return err
		}
		if na, ok := m.(*ndp.NeighborAdvertisement); ok && na.TargetAddress == addr.WithZone("") {
			return nil
		}
	}
}
