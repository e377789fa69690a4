// Package layer2 answers ARP (RFC 826, RFC 5227) and NDP (RFC 4861) for the
// addresses it is given, on the links that their claims select, announces them
// to the neighbors when they arrive, and tells of strangers, and of other
// speakers, that have them.
//
// It decides nothing about which node answers for which address: package
// announce does. It adds no address to any link, so the kernel neither owns
// nor routes the addresses, and everything ends with the process.
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

// Options are what an administrator may choose.
type Options struct {
	Ignore []string // names of links never to speak on, globs of path.Match's syntax
	Defend bool     // announce an address again when a stranger says that it has it
	// StallLimit is for how long this process can be held up before others may have
	// taken its addresses over; 0: for ever.
	StallLimit time.Duration
	// Rate is how many frames of ARP, and of NDP, this node sends on a link in a second
	// of its own accord; what it answers counts there, and is always sent. 0: any number.
	Rate int
}

// Link is a network interface that can speak layer 2.
type Link = link.Link

// Announcer answers for claimed addresses. Make one with New.
type Announcer struct {
	Options
	log      *slog.Logger
	claims   atomic.Pointer[table]  // read for each packet, so that a withdrawal holds at once
	setting  sync.Mutex             // held to replace claims
	links    atomic.Pointer[[]Link] // immutable once stored
	speakers atomic.Pointer[map[[6]byte]bool]
	keys     atomic.Pointer[[][]byte]
	kernel   atomic.Pointer[string] // what KernelAnswers returns
	wake     chan struct{}          // buffered 1: claims, or the outcome of a trial, changed
	changed  chan struct{}          // buffered 1: links changed
	turned   chan struct{}          // buffered 1: standings changed
	listed   atomic.Bool            // links is what the kernel has
	ledger   ledger

	watchdog  *watchdog
	rivals    rivals
	contested chan struct{} // buffered 1: a rival was heard
	news      *rate.Limiter // of what frames of others may make this node tell
}

// Of what the frames of others say, so much is told at once for all addresses
// together, and so much each second: each is a line in the log, and what is told of
// foreign hosts a write to the API server and an event, too.
const (
	newsBurst     = 100
	newsPerSecond = 1
)

// mayTell reports whether one more piece of news may be told now.
func (a *Announcer) mayTell() bool { return a.news.AllowN(time.Now(), 1) }

// New returns an Announcer that claims nothing. It starts nothing.
func New(log *slog.Logger, o Options) *Announcer {
	a := &Announcer{
		Options: o, log: log, wake: make(chan struct{}, 1), changed: make(chan struct{}, 1), turned: make(chan struct{}, 1), contested: make(chan struct{}, 1),
		news: rate.NewLimiter(newsPerSecond, newsBurst),
	}
	a.watchdog = newWatchdog(o.StallLimit)
	a.claims.Store(newTable(nil, nil, 0))
	a.links.Store(&[]Link{})
	a.speakers.Store(&map[[6]byte]bool{})
	a.kernel.Store(new(string))
	a.keys.Store(new([][]byte))
	return a
}

// Set replaces all claims, and returns at once; nil withdraws all. Withdrawal
// is silent: once Set has returned, no question that arrives is answered for
// an address that it left out. Setting the same claims again does nothing. An
// address whose claim is New when it arrives is probed first (RFC 5227 section
// 2.1.1, RFC 4862 section 5.4), and answered only if no stranger has it. One
// whose Round has changed is announced anew. One goroutine at a time may call it.
func (a *Announcer) Set(claims []announce.Claim) {
	a.setting.Lock()
	defer a.setting.Unlock()
	a.claims.Store(newTable(claims, a.claims.Load(), a.watchdog.Stalls()))
	wait.Signal(a.wake)
}

// SetSpeakers tells the MACs of all nodes' links: who has one of them is no
// stranger. This node's own need not be among them.
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
			wait.Signal(a.turned)
		}
	}
}

// stranger says whether no speaker has that MAC.
func (a *Announcer) stranger(mac net.HardwareAddr) bool {
	return !(*a.speakers.Load())[[6]byte(mac)] && !a.ours(mac)
}

// ours says whether a link of this node has that MAC.
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

// Changed returns the channel that gets a value after Links has changed;
// changes that nobody has read yet merge into one.
func (a *Announcer) Changed() <-chan struct{} { return a.changed }

// Turned returns the channel that gets a value after the state of an address,
// the stranger that has it, or KernelAnswers changed by itself: not by Set.
func (a *Announcer) Turned() <-chan struct{} { return a.turned }

// Stalls counts how often this process was held up for longer than
// Options.StallLimit. Addresses that were claimed then are neither answered for nor
// announced until a Set has left them out and a later one claims them again.
func (a *Announcer) Stalls() uint64 { return a.watchdog.Beat() }

// Stalled returns the channel that gets a value after a stall.
func (a *Announcer) Stalled() <-chan struct{} { return a.watchdog.Stalled() }

// Run watches the links and speaks for the claims on them until ctx ends. It
// returns nil when all it started has ended: what fails meanwhile is logged
// and tried again. Call it once.
func (a *Announcer) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // before the wait: deferred calls run last first

	watch := link.NewWatcher(a.log, a.Ignore)
	wg.Go(func() { watch.Run(ctx) })
	wg.Go(func() { a.watchdog.Run(ctx) })

	var devices []link.Device
	known := false // devices were told
	var cuts link.Cuts
	settled := time.NewTimer(0)
	defer settled.Stop()
	workers := map[role]*worker{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case devices = <-watch.Devices():
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

// KernelAnswers says why this node's kernel answers ARP for the addresses of
// Services by itself, so that more nodes than the owner do; "": it does not.
func (a *Announcer) KernelAnswers() string { return *a.kernel.Load() }

// askKernel looks at that anew. The sysctls in question don't tell of changes,
// but kube-proxy, which sets them, changes addresses often.
func (a *Announcer) askKernel() {
	why, err := link.KernelAnswers()
	if err != nil {
		a.log.Warn("can't tell whether the kernel answers ARP for Services", "error", err)
		return
	}
	if why == a.KernelAnswers() {
		return
	}
	if why != "" {
		a.log.Warn("the kernel answers ARP for Services", "why", why)
	} else {
		a.log.Info("the kernel does not answer ARP for Services any more")
	}
	a.kernel.Store(&why)
	wait.Signal(a.turned)
}

// publish makes the links visible, and says so if they differ.
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
