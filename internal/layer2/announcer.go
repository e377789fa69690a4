// Package layer2 answers ARP (RFC 826, RFC 5227) and NDP (RFC 4861) for the
// addresses it is given, on the links that their claims select, and announces
// them to the neighbours when they arrive.
//
// It decides nothing about which node answers for which address: package
// announce does. It adds no address to any link, so the kernel neither owns
// nor routes the addresses, and everything ends with the process.
package layer2

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// Announcer answers for claimed addresses. Make one with New.
type Announcer struct {
	log     *slog.Logger
	claims  atomic.Pointer[table]  // read for each packet, so that a withdrawal holds at once
	links   atomic.Pointer[[]Link] // immutable once stored
	wake    chan struct{}          // buffered 1: claims changed
	changed chan struct{}          // buffered 1: links changed
	count4  counters
	count6  counters
}

// Link is a network interface that can speak layer 2: it carries Ethernet
// frames, can broadcast, is no member of a bridge or bond, and has an address
// in a subnet that can hold neighbours.
type Link struct {
	Name     string
	MAC      net.HardwareAddr // 6 bytes
	Up       bool             // administratively up, and with carrier
	Prefixes []netip.Prefix   // its subnets (host bits zero), sorted; no link-local ones
}

// Stats counts since the Announcer was made.
type Stats struct{ IPv4, IPv6 FamilyStats }

// FamilyStats counts for one address family.
type FamilyStats struct {
	Answered  uint64 // ARP requests or neighbour solicitations answered
	Announced uint64 // announcements sent, in frames
}

type counters struct{ answered, announced atomic.Uint64 }

func (c *counters) stats() FamilyStats {
	return FamilyStats{Answered: c.answered.Load(), Announced: c.announced.Load()}
}

// New returns an Announcer that claims nothing. It starts nothing.
func New(log *slog.Logger) *Announcer {
	a := &Announcer{log: log, wake: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
	a.claims.Store(newTable(nil))
	a.links.Store(&[]Link{})
	return a
}

// Set replaces all claims, and returns at once; nil withdraws all. Withdrawal
// is silent: once Set has returned, no question that arrives is answered for
// an address that it left out. Setting the same claims again does nothing.
func (a *Announcer) Set(claims []announce.Claim) {
	a.claims.Store(newTable(claims))
	signal(a.wake)
}

// Links returns the links that can speak layer 2 now, sorted by name; none
// before Run has listed them.
func (a *Announcer) Links() []Link {
	links := slices.Clone(*a.links.Load())
	for i := range links {
		links[i].MAC = slices.Clone(links[i].MAC)
		links[i].Prefixes = slices.Clone(links[i].Prefixes)
	}
	return links
}

// Changed returns the channel that gets a value after Links has changed;
// changes that nobody has read yet merge into one.
func (a *Announcer) Changed() <-chan struct{} { return a.changed }

// Stats returns what was sent until now.
func (a *Announcer) Stats() Stats {
	return Stats{IPv4: a.count4.stats(), IPv6: a.count6.stats()}
}

// Run watches the links and speaks for the claims on them until ctx ends. It
// returns nil when all it started has ended: what fails meanwhile is logged
// and tried again. Call it once.
func (a *Announcer) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // before the wait: deferred calls run last first

	watch := newWatcher(a.log)
	wg.Go(func() { watch.run(ctx) })

	var devices []device
	workers := map[role]*worker{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case devices = <-watch.devices:
			a.publish(devices)
		case <-a.wake:
		}
		wanted := roles(devices, a.claims.Load())
		for r, w := range workers {
			if !wanted[r] {
				w.stop()
				delete(workers, r)
			}
		}
		for r := range wanted {
			if w, ok := workers[r]; ok {
				signal(w.wake)
				continue
			}
			wctx, stop := context.WithCancel(ctx)
			w := a.newWorker(r, stop)
			workers[r] = w
			wg.Go(func() { w.run(wctx) })
		}
	}
}

// publish makes the links visible, and says so if they differ.
func (a *Announcer) publish(devices []device) {
	links := make([]Link, len(devices))
	for i, d := range devices {
		links[i] = d.Link
	}
	if slices.EqualFunc(*a.links.Load(), links, Link.equal) {
		return
	}
	a.links.Store(&links)
	for _, l := range links {
		a.log.Info("link can speak layer 2", "link", l.Name, "mac", l.MAC.String(), "up", l.Up, "prefixes", l.Prefixes)
	}
	signal(a.changed)
}

func (l Link) equal(m Link) bool {
	return l.Name == m.Name && l.Up == m.Up && slices.Equal(l.MAC, m.MAC) && slices.Equal(l.Prefixes, m.Prefixes)
}

// signal leaves a value in a channel of capacity 1, unless one lies there.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
