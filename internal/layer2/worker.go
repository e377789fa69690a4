package layer2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/internal/layer2/neighbour"
)

// worker plays one role: one socket, one reader, one announcer.
type worker struct {
	role  role
	proto neighbour.Protocol
	log   *slog.Logger
	table *atomic.Pointer[table]
	count *counters
	wake  chan struct{} // buffered 1: look at the table again
	stop  context.CancelFunc
}

func (a *Announcer) newWorker(r role, stop context.CancelFunc) *worker {
	w := &worker{role: r, proto: neighbour.NDP(), table: &a.claims, count: &a.count6, wake: make(chan struct{}, 1), stop: stop}
	if r.family == ipv4 {
		w.proto, w.count = neighbour.ARP(), &a.count4
	}
	w.log = a.log.With("link", r.link, "protocol", w.proto.Name)
	return w
}

// run speaks until ctx ends. What fails is tried again after a pause, for the
// link exists as long as nobody ends ctx; each new error is logged once.
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
		pause(ctx, retryPause)
	}
}

// serve opens the socket and speaks until ctx ends or the socket fails.
func (w *worker) serve(ctx context.Context) error {
	filter, err := bpf.Assemble(w.proto.Filter)
	if err != nil {
		return fmt.Errorf("assemble the filter for %s: %w", w.proto.Name, err)
	}
	ifi := &net.Interface{Index: w.role.index, Name: w.role.link, HardwareAddr: net.HardwareAddr(w.role.mac)}
	conn, err := packet.Listen(ifi, packet.Raw, int(w.proto.EtherType), &packet.Config{Filter: filter})
	if err != nil {
		return fmt.Errorf("listen for %s on %s: %w", w.proto.Name, w.role.link, err)
	}
	w.log.Info("speaking on link")
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		<-ctx.Done() // ends the reader
		if err := conn.Close(); err != nil {
			return fmt.Errorf("close the socket for %s on %s: %w", w.proto.Name, w.role.link, err)
		}
		return nil
	})
	g.Go(func() error { return w.answer(ctx, conn) })
	g.Go(func() error { return w.announce(ctx, conn) })
	return g.Wait()
}

// answer reads questions and answers those for claimed addresses.
func (w *worker) answer(ctx context.Context, conn *packet.Conn) error {
	s := neighbour.Station{MAC: net.HardwareAddr(w.role.mac), Claims: func(addr netip.Addr) bool {
		return ctx.Err() == nil && w.table.Load().claims(addr, w.role.link)
	}}
	buf := make([]byte, neighbour.MaxFrame)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("receive %s on %s: %w", w.proto.Name, w.role.link, err)
		}
		reply := w.proto.Answer(buf[:n], s)
		if reply == nil {
			continue
		}
		if err := w.send(conn, reply); err != nil {
			return err
		}
		w.count.answered.Add(1)
	}
}

// announce keeps the announcements on schedule, and for IPv6 the memberships
// of the groups in which neighbours ask.
func (w *worker) announce(ctx context.Context, conn *packet.Conn) error {
	groups := newGroups(w.role.index)
	defer groups.close()
	plan := neighbour.NewSchedule(w.proto.Gaps)
	timer := time.NewTimer(0)
	defer timer.Stop()
	refused := ""
	for stale := true; ; {
		if stale {
			addrs := w.table.Load().on(w.role.link, w.role.family)
			plan.Set(time.Now(), addrs)
			refused = w.join(groups, addrs, refused)
		}
		timer.Reset(untilNext(plan, refused != ""))
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
			stale = true
		case <-timer.C:
			stale = refused != "" // tries again
			if err := w.sendBatch(conn, plan.Take(time.Now())); err != nil {
				return err
			}
		}
	}
}

// join sets the memberships, and returns why that was refused, "" if it was
// not. It is no reason to stop: unicast questions, and on most switches
// multicast ones, arrive all the same.
func (w *worker) join(g *groups, addrs []netip.Addr, before string) string {
	if w.role.family != ipv6 {
		return "" // IPv4 neighbours ask by broadcast
	}
	err := g.set(addrs)
	if err == nil {
		return ""
	}
	if err.Error() != before {
		w.log.Warn("can't join all solicited-node groups, trying again", "error", err)
	}
	return err.Error()
}

// untilNext returns how long announce can sleep.
func untilNext(plan *neighbour.Schedule, retry bool) time.Duration {
	d := neighbour.Refresh
	if at, ok := plan.Next(); ok {
		d = min(d, time.Until(at))
	}
	if retry {
		d = min(d, retryPause)
	}
	return d
}

// sendBatch announces addresses, unless they were withdrawn just now.
func (w *worker) sendBatch(conn *packet.Conn, batch []netip.Addr) error {
	for _, addr := range batch {
		for _, f := range w.proto.Announce(addr, net.HardwareAddr(w.role.mac)) {
			if !w.table.Load().claims(addr, w.role.link) {
				break
			}
			if err := w.send(conn, f); err != nil {
				return err
			}
			w.count.announced.Add(1)
		}
	}
	return nil
}

// send writes a frame. One that does not fit into the link's queue is lost as
// it could be on the wire: it will be asked for again, or comes again.
func (w *worker) send(conn *packet.Conn, f []byte) error {
	_, err := conn.WriteTo(f, &packet.Addr{HardwareAddr: f[:6]})
	if err != nil && !errors.Is(err, unix.ENOBUFS) {
		return fmt.Errorf("send %s on %s: %w", w.proto.Name, w.role.link, err)
	}
	return nil
}
