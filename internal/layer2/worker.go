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

const retryPause = time.Second // before what failed is tried again

// worker plays one role: one socket, one reader, one announcer.
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

// run speaks until ctx ends. What fails is tried again after a pause, or when
// something changed, for the link exists as long as nobody ends ctx; each new
// error is logged once.
func (w *worker) run(ctx context.Context) {
	last := ""
	for ctx.Err() == nil {
		err := w.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != last {
			w.log.Warn("can't speak on link, trying again", "error", err)
			last = err.Error()
		}
		select {
		case <-ctx.Done():
		case <-w.wake:
		case <-time.After(retryPause):
		}
	}
}

// wire is what a worker speaks through: a packet.Conn.
type wire interface {
	ReadFrom(frame []byte) (int, net.Addr, error)
	WriteTo(frame []byte, to net.Addr) (int, error)
	SetBPF(filter []bpf.RawInstruction) error
	Close() error
}

// serve opens the socket and speaks until ctx ends or the socket fails.
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
	w.log.Info("speaking on link")
	return w.speak(ctx, conn)
}

// speak speaks until ctx ends or the wire fails, and closes it.
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

// announce keeps trials and announcements on schedule, the filter on the
// claimed addresses, and for IPv6 the memberships of the groups in which
// neighbors ask.
func (w *worker) announce(ctx context.Context, conn wire) error {
	groups := newMemberships(w.role.index)
	defer groups.Close()
	plan := neighbor.NewSchedule(w.proto.Gaps, neighbor.Refresh)
	trials := neighbor.NewSchedule(neighbor.ProbeGaps(), neighbor.ProbeRefresh)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var filtered []netip.Addr
	refused := ""
	var again time.Time // when a trial begins anew; zero: none does
	for stale := true; ; {
		if stale {
			var all []netip.Addr
			var free, tried []neighbor.Subject
			all, free, tried, again = w.addresses(time.Now())
			// First the filter: what is announced is asked for.
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

// addresses returns the addresses that are claimed here, sorted, which of those that
// are this node's own are free and which to be probed, and when there are more of
// these; zero: only if something happens.
func (w *worker) addresses(now time.Time) (all []netip.Addr, free, tried []neighbor.Subject, again time.Time) {
	for _, e := range w.claims.Load().On(w.role.link, w.role.family) {
		all = append(all, e.Addr)
		if !e.Own(w.role.link) {
			continue
		}
		switch probe, at := e.Holding.Trial(now); {
		case probe:
			tried = append(tried, neighbor.Subject{Addr: e.Addr})
		case at.IsZero():
			free = append(free, neighbor.Subject{Addr: e.Addr, Round: e.Round})
		case again.IsZero() || at.Before(again):
			again = at
		}
	}
	return all, free, tried, again
}

// filter has the kernel drop what concerns none of the addresses. The new
// filter takes the old one's place at once: no frame is lost, none slips
// through. Kernels differ in how long a filter they take (net.core.optmem_max),
// and a short one will do.
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

// join sets the memberships, and returns why that was refused, "" if it was
// not. It is no reason to stop: unicast questions, and on most switches
// multicast ones, arrive all the same.
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
		w.log.Warn("can't join all solicited-node groups, trying again", "error", err)
	}
	return err.Error()
}

// probe asks for addresses on trial, or ends their trials.
func (w *worker) probe(conn wire, turns []neighbor.Turn) error {
	for _, t := range turns {
		h := w.claims.Load().Claimed(t.Addr, w.role.link)
		if h == nil || !h.Current(w.watchdog.Beat()) {
			continue // withdrawn just now, or about to be
		}
		if t.Before >= neighbor.Probes && h.Pass(time.Now(), neighbor.ProbeForget) {
			// All links announce it now, and somebody may want to tell.
			wait.Signal(w.Announcer.wake)
			wait.Signal(w.turned)
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

// sendBatch announces addresses, unless they were withdrawn just now.
func (w *worker) sendBatch(conn wire, turns []neighbor.Turn) error {
	for _, t := range turns {
		h := w.claims.Load().Claimed(t.Addr, w.role.link)
		if h == nil || !h.Current(w.watchdog.Beat()) {
			continue
		}
		if h.Forgive(func(s sighting) bool { return time.Since(s.Last) > forget }) {
			wait.Signal(w.turned)
		}
		n, err := w.sendAnnouncement(conn, t.Addr, w.forms(t))
		w.count.Announced.Add(n)
		if err != nil {
			return err
		}
	}
	return nil
}

// forms returns the frames of an announcement. Where their rate is limited each turn
// gets one form, the next turn the next: first all addresses, then all forms.
func (w *worker) forms(t neighbor.Turn) [][]byte {
	all := w.announcement(t.Addr)
	if !w.rate.Limited() {
		return all
	}
	i := t.Before % len(all)
	return all[i : i+1]
}

// sendAnnouncement returns how many frames it sent.
func (w *worker) sendAnnouncement(conn wire, addr netip.Addr, forms [][]byte) (n uint64, err error) {
	for _, f := range forms {
		if h := w.claims.Load().Claimed(addr, w.role.link); h == nil || !h.Current(w.watchdog.Beat()) {
			break // withdrawn just now, or about to be
		}
		if err := w.send(conn, f); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// send writes a frame. One that does not fit into the link's queue is lost as
// it could be on the wire: it will be asked for again, or comes again.
func (w *worker) send(conn wire, f []byte) error {
	w.rate.Sent(time.Now(), 1)
	_, err := conn.WriteTo(f, &packet.Addr{HardwareAddr: f[:6]})
	if err != nil && !errors.Is(err, unix.ENOBUFS) {
		return fmt.Errorf("send %s on %s: %w", w.proto.Name, w.role.link, err)
	}
	return nil
}
