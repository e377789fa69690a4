package network

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/internal/wait"
)

// Neighbors keeps the kernel's neighbor entries of the other speakers over a short loss of
// carrier. The kernel drops all entries of a link then, and asks again when it must send. If
// that request is lost, as happens when a switch port has just come up, the kernel repeats
// it only a second later, when the others already take this node for dead. So Neighbors
// restores the entries as stale; the kernel verifies stale entries by itself.
type Neighbors struct {
	log *slog.Logger

	mu     sync.Mutex
	wanted map[netip.Addr]bool
	known  map[netip.Addr]station
}

// station is the link and MAC of an address.
type station struct {
	link int // index
	mac  string
}

// NewNeighbors returns Neighbors without addresses.
func NewNeighbors(log *slog.Logger) *Neighbors {
	return &Neighbors{log: log, known: map[netip.Addr]station{}}
}

// Set sets the addresses whose entries to keep.
func (n *Neighbors) Set(addrs []netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wanted = make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		n.wanted[a] = true
	}
	for a := range n.known {
		if !n.wanted[a] {
			delete(n.known, a)
		}
	}
}

// resubscribePause is the pause before the kernel is subscribed to again.
const resubscribePause = time.Second

// Run keeps the entries until ctx ends. It subscribes to the kernel's messages again when the
// kernel has dropped some (ENOBUFS), or the subscription failed.
func (n *Neighbors) Run(ctx context.Context) error {
	for {
		err := n.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		n.log.Warn("lost the subscription to the kernel's neighbors, subscribing again", "err", err)
		if !wait.Sleep(ctx, resubscribePause) {
			return nil
		}
	}
}

// follow keeps the entries until ctx ends, or the subscription fails.
func (n *Neighbors) follow(ctx context.Context) error {
	ctx, broken := context.WithCancelCause(ctx)
	defer broken(nil)
	neighbors, links := make(chan netlink.NeighUpdate, 64), make(chan netlink.LinkUpdate, 64)
	if err := netlink.NeighSubscribeWithOptions(neighbors, ctx.Done(), netlink.NeighSubscribeOptions{ErrorCallback: broken}); err != nil {
		return fmt.Errorf("watch the kernel's neighbors: %w", err)
	}
	defer drain(neighbors)
	if err := netlink.LinkSubscribeWithOptions(links, ctx.Done(), netlink.LinkSubscribeOptions{ErrorCallback: broken}); err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	defer drain(links)
	// The subscription could list the existing ones, but only with NET_ADMIN.
	existing, err := netlink.NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list the kernel's neighbors: %w", err)
	}
	for _, e := range existing {
		n.see(netlink.NeighUpdate{Type: unix.RTM_NEWNEIGH, Neigh: e})
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case u, ok := <-neighbors:
			if !ok {
				neighbors = nil // broken was called
				continue
			}
			n.see(u)
		case u, ok := <-links:
			switch {
			case !ok:
				links = nil
			case u.IfInfomsg.Flags&unix.IFF_RUNNING != 0:
				n.restore(int(u.Index))
			}
		}
	}
}

// drain reads c, so that a subscription that is about to send can end.
func drain[T any](c <-chan T) {
	go func() {
		for range c {
			continue
		}
	}()
}

// trusted are the states in which the kernel knows a MAC.
const trusted = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE | netlink.NUD_PERMANENT

// see records the kernel's message about a neighbor.
func (n *Neighbors) see(u netlink.NeighUpdate) {
	addr, ok := netip.AddrFromSlice(u.IP)
	addr = addr.Unmap()
	n.mu.Lock()
	old, known := n.known[addr]
	wanted := ok && n.wanted[addr]
	if wanted && u.Type == unix.RTM_NEWNEIGH && u.State&trusted != 0 && len(u.HardwareAddr) > 0 {
		n.known[addr] = station{u.LinkIndex, string(u.HardwareAddr)}
	}
	if known && u.Type == unix.RTM_NEWNEIGH && u.State&netlink.NUD_FAILED != 0 {
		delete(n.known, addr) // not found: it may have another MAC now
	}
	n.mu.Unlock()
	if wanted && known && u.Type == unix.RTM_DELNEIGH && old.link == u.LinkIndex {
		n.put(addr, old)
	}
}

// restore restores the entries that the kernel has dropped on a link.
func (n *Neighbors) restore(link int) {
	present := map[netip.Addr]bool{}
	list, err := netlink.NeighList(link, netlink.FAMILY_ALL)
	if err != nil {
		return // the link no longer exists
	}
	for _, e := range list {
		if addr, ok := netip.AddrFromSlice(e.IP); ok && e.State&trusted != 0 {
			present[addr.Unmap()] = true
		}
	}
	n.mu.Lock()
	lost := map[netip.Addr]station{}
	for addr, s := range n.known {
		if s.link == link && !present[addr] {
			lost[addr] = s
		}
	}
	n.mu.Unlock()
	for addr, s := range lost {
		n.put(addr, s)
	}
}

func (n *Neighbors) put(addr netip.Addr, s station) {
	err := netlink.NeighSet(&netlink.Neigh{
		LinkIndex: s.link, IP: addr.AsSlice(), HardwareAddr: net.HardwareAddr(s.mac), State: netlink.NUD_STALE,
	})
	if err != nil { // for example, the link is down
		n.log.Debug("can't restore a neighbor", "addr", addr, "err", err)
	}
}
