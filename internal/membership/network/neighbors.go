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

// Neighbors keeps the kernel's memory of where the other speakers are over a
// short loss of carrier. The kernel forgets all neighbors of a link then, asks
// anew when something is to be sent, and if that first question is lost, as
// happens when a switch port has just come up, again only a second later: by
// that time the others would take this node for gone. What was true before is
// put back as stale, which the kernel verifies by itself.
type Neighbors struct {
	log *slog.Logger

	mu     sync.Mutex
	wanted map[netip.Addr]bool
	known  map[netip.Addr]station
}

// station is where an address was seen.
type station struct {
	link int // index
	mac  string
}

// NewNeighbors returns a memory of nobody.
func NewNeighbors(log *slog.Logger) *Neighbors {
	return &Neighbors{log: log, known: map[netip.Addr]station{}}
}

// Set says whose places to remember.
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

// Run remembers until ctx ends. It subscribes again when the kernel has dropped messages
// (ENOBUFS), or the subscription failed.
func (n *Neighbors) Run(ctx context.Context) error {
	for {
		err := n.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		n.log.Warn("lost sight of the kernel's neighbors, subscribing again", "err", err)
		if !wait.Sleep(ctx, resubscribePause) {
			return nil
		}
	}
}

// follow remembers until ctx ends, or something fails.
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
	// The subscription could list them, but only with NET_ADMIN.
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

// drain has a subscription end that is about to tell something.
func drain[T any](c <-chan T) {
	go func() {
		for range c {
			continue // it is of no use any more
		}
	}()
}

// trusted are the states in which the kernel knows a MAC.
const trusted = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE | netlink.NUD_PERMANENT

// see takes in what the kernel says of one neighbor.
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
		delete(n.known, addr) // asked for and not found: it may be elsewhere
	}
	n.mu.Unlock()
	if wanted && known && u.Type == unix.RTM_DELNEIGH && old.link == u.LinkIndex {
		n.put(addr, old)
	}
}

// restore puts back what the kernel has forgotten on a link.
func (n *Neighbors) restore(link int) {
	there := map[netip.Addr]bool{}
	list, err := netlink.NeighList(link, netlink.FAMILY_ALL)
	if err != nil {
		return // the link is gone
	}
	for _, e := range list {
		if addr, ok := netip.AddrFromSlice(e.IP); ok && e.State&trusted != 0 {
			there[addr.Unmap()] = true
		}
	}
	n.mu.Lock()
	lost := map[netip.Addr]station{}
	for addr, s := range n.known {
		if s.link == link && !there[addr] {
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
	if err != nil { // the link is down, say
		n.log.Debug("can't restore a neighbor", "addr", addr, "err", err)
	}
}
