package layer2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/internal/neighbor"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

const (
	retryPause = time.Second // before what failed is tried again
	wholeFirst = 2           // so many of the first announcements have both forms of ARP
)

// worker does what one role asks for: one socket, one reader, one announcer.
type worker struct {
	*Announcer
	role  role
	self  neighbor.Station
	proto neighbor.Protocol
	log   *slog.Logger
	count *counters
	rate  *neighbor.Rate // of the frames that are sent
	wake  chan struct{}  // buffered 1: look at the table again
	stop  context.CancelFunc
}

func newWorker(a *Announcer, r role, stop context.CancelFunc) *worker {
	w := &worker{
		Announcer: a, role: r, self: neighbor.Station{MAC: net.HardwareAddr(r.mac), Router: r.router},
		proto: neighbor.NDP(), count: a.ledger.At(r.link, string(r.family)), wake: make(chan struct{}, 1), stop: stop,
		rate: neighbor.NewRate(a.Rate),
	}
	if r.family == ipv4 {
		w.proto = neighbor.ARP()
	}
	w.log = a.log.With("link", r.link, "protocol", w.proto.Name)
	return w
}

// run serves until ctx ends. After an error it tries again, after a pause or when
// something changed: the link exists until ctx ends. It logs each new error once.
func (w *worker) run(ctx context.Context) {
	last := ""
	for ctx.Err() == nil {
		err := w.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != last {
			w.log.Warn("cannot use link, trying again", "err", err)
			last = err.Error()
		}
		select {
		case <-ctx.Done():
		case <-w.wake:
		case <-time.After(retryPause):
		}
	}
}

// wire is a worker's socket: a packet.Conn.
type wire interface {
	ReadFrom(frame []byte) (int, net.Addr, error)
	WriteTo(frame []byte, to net.Addr) (int, error)
	SetBPF(filter []bpf.RawInstruction) error
	Close() error
}

// serve opens the socket and uses it until ctx ends or the socket fails.
func (w *worker) serve(ctx context.Context) error {
	nothing, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err != nil {
		return fmt.Errorf("assemble a filter: %w", err)
	}
	ifi := &net.Interface{Index: w.role.index, Name: w.role.link, HardwareAddr: w.self.MAC}
	conn, err := packet.Listen(ifi, packet.Raw, int(w.proto.EtherType), &packet.Config{Filter: nothing})
	if err != nil {
		return fmt.Errorf("listen for %s on %s: %w", w.proto.Name, w.role.link, err)
	}
	w.log.Info("answering on link")
	return w.speak(ctx, conn)
}

// speak listens and announces until ctx ends or the wire fails, and closes the wire.
func (w *worker) speak(ctx context.Context, conn wire) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		<-ctx.Done() // ends the reader
		if err := conn.Close(); err != nil {
			return fmt.Errorf("close the socket for %s on %s: %w", w.proto.Name, w.role.link, err)
		}
		return nil
	})
	g.Go(func() error { return w.listen(ctx, conn) })
	g.Go(func() error { return w.announce(ctx, conn) })
	return g.Wait()
}

// announce sends probes and announcements on schedule. It keeps the filter on the
// claimed addresses, and for IPv6 the memberships of their solicited-node groups.
func (w *worker) announce(ctx context.Context, conn wire) error {
	groups := newMemberships(w.role.index)
	defer groups.Close()
	plan := neighbor.NewSchedule(w.proto.Gaps, neighbor.Refresh)
	trials := neighbor.NewSchedule(neighbor.ProbeGaps(), neighbor.ProbeRefresh)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var filtered []netip.Addr
	refused := ""
	var again time.Time // when to probe an address again; zero: none waits
	for stale := true; ; {
		if stale {
			var all []netip.Addr
			var free, tried []neighbor.Target
			all, free, tried, again = w.addresses(time.Now())
			// The filter first: an announcement brings requests.
			if !slices.Equal(all, filtered) {
				if err := w.filter(conn, all); err != nil {
					return err
				}
				filtered = all
			}
			refused = w.join(groups, all, refused)
			plan.Set(time.Now(), free)
			trials.Set(time.Now(), tried)
		}
		wait := max(min(plan.Wait(time.Now()), trials.Wait(time.Now())), w.rate.Wait(time.Now()))
		if refused != "" {
			wait = min(wait, retryPause)
		}
		if !again.IsZero() {
			wait = min(wait, time.Until(again))
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
			stale = true
		case <-timer.C:
			stale = refused != "" || !again.IsZero() && !time.Now().Before(again) // tries again
			room := w.rate.Room(time.Now())
			due := plan.Take(time.Now(), room)
			if err := errors.Join(w.sendBatch(conn, due), w.probe(conn, trials.Take(time.Now(), room-len(due)))); err != nil {
				return err
			}
		}
	}
}

// addresses returns all addresses that are claimed here, sorted. Of this node's own,
// free are those to announce and tried those to probe. again is when another one is
// to be probed; zero: none waits.
func (w *worker) addresses(now time.Time) (all []netip.Addr, free, tried []neighbor.Target, again time.Time) {
	for _, e := range w.claims.Load().On(w.role.link, w.role.family) {
		all = append(all, e.Addr)
		if !e.Own(w.role.link) {
			continue
		}
		switch probe, at := e.Holding.Trial(now); {
		case probe:
			tried = append(tried, neighbor.Target{Addr: e.Addr})
		case at.IsZero():
			free = append(free, neighbor.Target{Addr: e.Addr, Generation: e.Generation})
		case again.IsZero() || at.Before(again):
			again = at
		}
	}
	return all, free, tried, again
}

// filter has the kernel drop frames that concern none of the addresses. It replaces
// the old filter at once: no frame is lost, and none passes unfiltered. Kernels differ
// in how long a filter may be (net.core.optmem_max); a shorter one passes more frames.
func (w *worker) filter(conn wire, addrs []netip.Addr) error {
	for limit := neighbor.FullFilter; ; limit /= 2 {
		program, err := bpf.Assemble(w.proto.Filter(w.role.index, addrs, limit))
		if err != nil {
			return fmt.Errorf("assemble the filter for %s: %w", w.proto.Name, err)
		}
		err = conn.SetBPF(program)
		if errors.Is(err, unix.ENOMEM) && limit > 0 {
			continue
		}
		if err != nil {
			return fmt.Errorf("set the filter for %s on %s: %w", w.proto.Name, w.role.link, err)
		}
		w.log.Debug("set the filter", "addresses", len(addrs), "limit", limit, "instructions", len(program))
		return nil
	}
}

// join sets the memberships, and returns the error's text, or "". An error is no reason
// to stop: unicast solicitations arrive all the same, and on most switches multicast.
func (w *worker) join(g *memberships, addrs []netip.Addr, before string) string {
	if w.role.family != ipv6 {
		return "" // IPv4 neighbors ask by broadcast
	}
	solicited := make([]netip.Addr, len(addrs)) // those that end in the same 24 bits share one
	for i, addr := range addrs {
		solicited[i] = neighbor.SolicitedNode(addr)
	}
	err := g.Set(solicited)
	w.count.JoinFailed.Store(err != nil)
	if err == nil {
		return ""
	}
	if err.Error() != before {
		w.log.Warn("cannot join all solicited-node groups, trying again", "err", err)
	}
	return err.Error()
}

// probe sends the probes that are due. After the last one it ends probing.
func (w *worker) probe(conn wire, due []neighbor.Transmission) error {
	for _, t := range due {
		h := w.claims.Load().Claimed(t.Addr, w.role.link)
		if h == nil || !h.Current(w.watchdog.Check()) {
			continue // withdrawn just now, or about to be
		}
		if t.Sent >= neighbor.Probes && h.Pass(time.Now(), neighbor.ProbeForget) {
			// All links announce it now, and its state is reported.
			wait.Signal(w.Announcer.wake)
			wait.Signal(w.stateChanged)
		}
		if h.Answers() {
			continue
		}
		if err := w.send(conn, w.proto.Probe(t.Addr, w.self)); err != nil {
			return err
		}
		w.count.Probes.Add(1)
	}
	return nil
}

// sendBatch sends the announcements that are due, but for addresses withdrawn just now.
func (w *worker) sendBatch(conn wire, due []neighbor.Transmission) error {
	for _, t := range due {
		h := w.claims.Load().Claimed(t.Addr, w.role.link)
		if h == nil || !h.Current(w.watchdog.Check()) {
			continue
		}
		if h.Forgive(func(s sighting) bool { return time.Since(s.Last) > forget }) {
			wait.Signal(w.stateChanged)
		}
		n, err := w.sendAnnouncement(conn, t.Addr, w.forms(t))
		w.count.Announced.Add(n)
		if err != nil {
			return err
		}
	}
	return nil
}

// forms returns the frames of an announcement: first all of them, for neighbors know one
// form or the other; then, while it is repeated in short order, one form, and the next time
// the next. Where their rate is limited, that is so from the start: all addresses come first.
func (w *worker) forms(t neighbor.Transmission) [][]byte {
	all := w.announcement(t.Addr)
	repeated := t.Sent >= wholeFirst && t.Sent <= len(w.proto.Gaps)
	if !repeated && !w.rate.Limited() {
		return all
	}
	i := t.Sent % len(all)
	return all[i : i+1]
}

// sendAnnouncement returns how many frames it sent.
func (w *worker) sendAnnouncement(conn wire, addr netip.Addr, forms [][]byte) (n uint64, err error) {
	for _, f := range forms {
		if h := w.claims.Load().Claimed(addr, w.role.link); h == nil || !h.Current(w.watchdog.Check()) {
			break // withdrawn just now, or about to be
		}
		if err := w.send(conn, f); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// send writes a frame. A frame that does not fit into the link's queue is lost, as it
// could be on the wire: the neighbor asks again, or the announcement is repeated.
func (w *worker) send(conn wire, f []byte) error {
	w.rate.Sent(time.Now(), 1)
	_, err := conn.WriteTo(f, &packet.Addr{HardwareAddr: f[:6]})
	if err != nil && !errors.Is(err, unix.ENOBUFS) {
		return fmt.Errorf("send %s on %s: %w", w.proto.Name, w.role.link, err)
	}
	return nil
}
