// Package layer2 answers ARP (RFC 826, RFC 5227) and NDP (RFC 4861) for the
// addresses that it is given, on the links that their claims select. It announces
// each address when it arrives, and reports conflicts: foreign hosts, and other
// speakers, that have one of the addresses.
//
// It does not decide which node answers for which address: packages announce and
// failover do. It adds no address to any link. So the kernel neither owns nor routes
// the addresses, and everything ends with the process.
package layer2

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/layer2/link"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// Options are what an administrator can choose.
type Options struct {
	Ignore []string // links never to use: globs of their names (path.Match)
	Defend bool     // announce an address again when a foreign host claims it (RFC 5227 section 2.4 c)
	// StallLimit is the longest stall of this process after which its addresses are
	// certainly still its own. A longer one may have cost it its addresses. 0: stalls are
	// not detected.
	StallLimit time.Duration
	// Rate limits the announcements and probes that this node sends on a link, in frames
	// a second for ARP and the same for NDP. Answers count and are always sent. 0: no limit.
	Rate int
}

// Link is a network interface that can speak layer 2.
type Link = link.Link

// Announcer answers for claimed addresses. Make one with New.
type Announcer struct {
	Options
	log          *slog.Logger
	claims       atomic.Pointer[table]  // read for each packet, so that a withdrawal holds at once
	setting      sync.Mutex             // held to replace claims
	links        atomic.Pointer[[]Link] // immutable once stored
	speakers     atomic.Pointer[map[[6]byte]bool]
	keys         atomic.Pointer[[][]byte]
	kernel       atomic.Pointer[string] // what KernelAnswers returns
	wake         chan struct{}          // buffered 1: claims, or the result of probing, changed
	changed      chan struct{}          // buffered 1: links changed
	stateChanged chan struct{}          // buffered 1: the state of an address changed
	listed       atomic.Bool            // links is what the kernel has
	ledger       ledger

	watch          *link.Watcher
	watchdog       *watchdog
	duplicates     duplicateOwners
	duplicateHeard chan struct{} // buffered 1: another speaker announced an address of this node
	reports        *rate.Limiter // limits what frames of others can make this node report
}

// Frames of others can cause a burst of reports, and then so many a second, for all
// addresses together: each report is a line in the log, and one about a foreign host
// is also a write to the API server and an event.
const (
	reportBurst      = 100
	reportsPerSecond = 1
)

// mayReport reports whether one more report is allowed now, and counts it.
func (a *Announcer) mayReport() bool { return a.reports.AllowN(time.Now(), 1) }

// New returns an Announcer that claims nothing. It starts nothing.
func New(log *slog.Logger, o Options) *Announcer {
	a := &Announcer{
		Options: o, log: log, wake: make(chan struct{}, 1), changed: make(chan struct{}, 1), stateChanged: make(chan struct{}, 1), duplicateHeard: make(chan struct{}, 1),
		reports: rate.NewLimiter(reportsPerSecond, reportBurst),
	}
	a.watch = link.NewWatcher(log, o.Ignore)
	a.watchdog = newWatchdog(o.StallLimit)
	a.claims.Store(newTable(nil, nil, 0))
	a.links.Store(&[]Link{})
	a.speakers.Store(&map[[6]byte]bool{})
	a.kernel.Store(new(string))
	a.keys.Store(new([][]byte))
	return a
}

// Set replaces all claims, and returns at once; nil withdraws all. Withdrawal
// sends nothing: once Set has returned, no request that arrives is answered for
// an address that it left out. Setting the same claims again does nothing.
//
// An address whose claim has NeedsDAD when it arrives is probed first (RFC 5227
// section 2.1.1, RFC 4862 section 5.4), and answered only if no foreign host has it.
// An address whose Generation has changed is announced again. One goroutine at a
// time may call Set.
func (a *Announcer) Set(claims []announce.Claim) {
	a.setting.Lock()
	defer a.setting.Unlock()
	a.claims.Store(newTable(claims, a.claims.Load(), a.watchdog.Stalls()))
	wait.Signal(a.wake)
}

// SetSpeakers sets the MACs of all nodes' links: a host with one of them is not foreign.
// This node's own MACs need not be among them.
func (a *Announcer) SetSpeakers(macs [][6]byte) {
	known := map[[6]byte]bool{}
	for _, m := range macs {
		known[m] = true
	}
	if maps.Equal(known, *a.speakers.Load()) {
		return
	}
	a.speakers.Store(&known)
	for _, e := range a.claims.Load().Entries() {
		if e.Holding.Forgive(func(s sighting) bool { return known[s.MAC] }) {
			wait.Signal(a.stateChanged)
		}
	}
}

// SetNamed sets the names of the links that are used though they have no address, by claims
// that name them.
func (a *Announcer) SetNamed(names []string) { a.watch.SetNamed(names) }

// isForeign reports whether no speaker has that MAC.
func (a *Announcer) isForeign(mac net.HardwareAddr) bool {
	return !(*a.speakers.Load())[[6]byte(mac)] && !a.ours(mac)
}

// ours reports whether a link of this node has that MAC.
func (a *Announcer) ours(mac net.HardwareAddr) bool {
	return slices.ContainsFunc(*a.links.Load(), func(l Link) bool { return slices.Equal(l.MAC, mac) })
}

// Links returns the links that can speak layer 2 now, sorted by name; none
// before Run has listed them.
func (a *Announcer) Links() []Link {
	links := slices.Clone(*a.links.Load())
	for i := range links {
		links[i].MAC = slices.Clone(links[i].MAC)
		links[i].Prefixes, links[i].Addrs = slices.Clone(links[i].Prefixes), slices.Clone(links[i].Addrs)
	}
	return links
}

// Listed reports whether Links is what the kernel has: not before Run has asked.
func (a *Announcer) Listed() bool { return a.listed.Load() }

// Changed returns the channel that gets a value after Links has changed.
// Changes merge into one value until it is read.
func (a *Announcer) Changed() <-chan struct{} { return a.changed }

// StateChanged returns the channel that gets a value after the state of an address,
// its foreign hosts, or KernelAnswers has changed, unless Set changed it.
func (a *Announcer) StateChanged() <-chan struct{} { return a.stateChanged }

// Stalls counts the stalls of this process that were longer than Options.StallLimit.
// An address that was claimed during a stall is neither answered nor announced until
// one Set has left it out and a later one claims it again.
func (a *Announcer) Stalls() uint64 { return a.watchdog.Check() }

// Stalled returns the channel that gets a value after a stall.
func (a *Announcer) Stalled() <-chan struct{} { return a.watchdog.Stalled() }

// Run watches the links, and answers and announces on them until ctx ends. It
// returns nil when all that it started has ended. It logs what fails meanwhile,
// and tries it again. Call it once.
func (a *Announcer) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // before the wait: deferred calls run last first

	wg.Go(func() { a.watch.Run(ctx) })
	wg.Go(func() { a.watchdog.Run(ctx) })

	var devices []link.Device
	known := false // devices is what the kernel has
	var cuts link.Cuts
	settled := time.NewTimer(0)
	defer settled.Stop()
	workers := map[role]*worker{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case devices = <-a.watch.Devices():
			a.askKernel()
			known = true
		case <-a.wake:
		case <-settled.C:
		}
		links, next := cuts.Links(devices, time.Now())
		a.publish(links)
		a.listed.Store(known)
		settled.Reset(a.order(devices, links, next))
		wanted := roles(devices, a.claims.Load())
		for r, w := range workers {
			if !wanted[r] {
				w.stop()
				delete(workers, r)
			}
		}
		for r := range wanted {
			if w, ok := workers[r]; ok {
				wait.Signal(w.wake)
				continue
			}
			wctx, stop := context.WithCancel(ctx)
			w := newWorker(a, r, stop)
			workers[r] = w
			wg.Go(func() { w.run(wctx) })
		}
	}
}

// KernelAnswers returns the reason for which this node's kernel answers ARP for the
// addresses of Services by itself, beside their owner; "": it does not.
func (a *Announcer) KernelAnswers() string { return *a.kernel.Load() }

// askKernel updates what KernelAnswers returns. The kernel does not announce changes
// of the sysctls in question, but kube-proxy, which sets them, changes addresses often.
func (a *Announcer) askKernel() {
	reason, err := link.KernelAnswers()
	if err != nil {
		a.log.Warn("cannot check whether the kernel answers ARP for Services", "err", err)
		return
	}
	if reason == a.KernelAnswers() {
		return
	}
	if reason != "" {
		a.log.Warn("the kernel answers ARP for Services", "reason", reason)
	} else {
		a.log.Info("the kernel no longer answers ARP for Services")
	}
	a.kernel.Store(&reason)
	wait.Signal(a.stateChanged)
}

// publish stores the links, and signals Changed if they differ.
func (a *Announcer) publish(links []Link) {
	if slices.EqualFunc(*a.links.Load(), links, Link.Equal) {
		return
	}
	a.links.Store(&links)
	for _, l := range links {
		a.log.Info("link can speak layer 2", "link", l.Name, "mac", l.MAC.String(), "up", l.Up, "prefixes", l.Prefixes)
	}
	wait.Signal(a.changed)
}
