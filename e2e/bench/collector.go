package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

// news is that a prefix can be reached, or not any more, and when it was heard.
type update struct {
	at     time.Time
	prefix netip.Prefix
	there  bool
}

// record is what was heard, in order.
type record struct {
	mu      sync.Mutex
	update  []update
	updates int // messages
	routes  map[netip.Prefix]bool
	up      time.Time       // since when the session is up
	dials   []time.Duration // how long each session took from the connection to being up
}

func (r *record) hear(n update) {
	r.update = append(r.update, n)
	if n.there {
		r.routes[n.prefix] = true
	} else {
		delete(r.routes, n.prefix)
	}
}

// await waits for a piece of news from after a time, and returns how much later
// that came.
func (r *record) await(ctx context.Context, prefix netip.Prefix, there bool, after time.Time) (time.Duration, error) {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		r.mu.Lock()
		i := slices.IndexFunc(r.update, func(n update) bool { return n.prefix == prefix && n.there == there && n.at.After(after) })
		var took time.Duration
		if i >= 0 {
			took = r.update[i].at.Sub(after)
		}
		r.mu.Unlock()
		if i >= 0 {
			return took, nil
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("wait for %s (there: %t): not within a minute", prefix, there)
}

// rests waits until a prefix is there, or is not: a change from that can be seen.
// On a busy machine BFD may have taken the route away by itself.
func (r *record) rests(ctx context.Context, prefix netip.Prefix, there bool) error {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
		r.mu.Lock()
		done := r.routes[prefix] == there
		r.mu.Unlock()
		if done {
			return nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("wait for %s (there: %t) before it changes: not within two minutes", prefix, there)
}

// whole waits until a session, of after a time, has brought n routes, and
// returns how long that took from when it was up.
func (r *record) whole(ctx context.Context, n int, after time.Time) (time.Duration, error) {
	for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); {
		r.mu.Lock()
		done := r.up.After(after) && len(r.routes) == n
		var took time.Duration
		if done && n > 0 {
			took = r.update[len(r.update)-1].at.Sub(r.up)
		}
		r.mu.Unlock()
		if done {
			return took, nil
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("wait for %d routes: not within 10 minutes", n)
}

// heard returns how many UPDATEs have come so far.
func (r *record) heard() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.update = nil
	return r.updates
}

// onRouter runs f with its thread on the rack's router.
func onRouter(r *lab.Rack, f func() error) error {
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		ns, err := netns.GetFromName(r.Name + "-router")
		if err == nil {
			err = errors.Join(netns.Set(ns), ns.Close())
		}
		if err == nil {
			err = f()
		}
		failed <- err
	}()
	return <-failed
}

// collector is a BGP router that takes all and says nothing.
type collector struct {
	record
	listener net.Listener
	conn     net.Conn // the session's; guarded by the record
}

// collect listens on the rack's router.
func collect(r *lab.Rack, port int) (*collector, error) {
	c := &collector{}
	c.routes = map[netip.Prefix]bool{}
	err := onRouter(r, func() (err error) {
		c.listener, err = net.Listen("tcp", fmt.Sprintf("192.0.2.1:%d", port))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen as a router: %w", err)
	}
	go func() {
		for {
			conn, err := c.listener.Accept()
			if err != nil {
				return // closed
			}
			if err := c.serve(conn); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
				fmt.Fprintln(os.Stderr, "bench: collector:", err)
			}
		}
	}()
	return c, nil
}

// serve holds one session until it ends.
func (c *collector) serve(conn net.Conn) error {
	defer conn.Close()
	begun := time.Now()
	open, err := bgp.NewBGPOpenMessage(64601, 90, netip.MustParseAddr("192.0.2.1"), []bgp.OptionParameterInterface{
		bgp.NewOptionParameterCapability([]bgp.ParameterCapabilityInterface{bgp.NewCapMultiProtocol(bgp.RF_IPv4_UC), bgp.NewCapFourOctetASNumber(64601)}),
	})
	if err != nil {
		return fmt.Errorf("make an OPEN: %w", err)
	}
	for _, m := range []*bgp.BGPMessage{open, bgp.NewBGPKeepAliveMessage()} {
		if err := send(conn, m); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.conn, c.up, c.routes = conn, time.Time{}, map[netip.Prefix]bool{}
	c.mu.Unlock()
	for {
		head := make([]byte, bgp.BGP_HEADER_LENGTH)
		if _, err := io.ReadFull(conn, head); err != nil {
			return err
		}
		h := &bgp.BGPHeader{}
		if err := h.DecodeFromBytes(head); err != nil {
			return err
		}
		body := make([]byte, int(h.Len)-len(head))
		if _, err := io.ReadFull(conn, body); err != nil {
			return err
		}
		at := time.Now()
		switch h.Type {
		case bgp.BGP_MSG_KEEPALIVE:
			if err := c.alive(conn, begun, at); err != nil {
				return err
			}
		case bgp.BGP_MSG_UPDATE:
			m, err := bgp.ParseBGPBody(h, body)
			if err != nil {
				return err
			}
			c.update(m.Body.(*bgp.BGPUpdate), at)
		}
	}
}

// alive answers a KEEPALIVE; the first has brought the session up.
func (c *collector) alive(conn net.Conn, begun, at time.Time) error {
	c.mu.Lock()
	first := c.up.IsZero()
	if first {
		c.up = at
		c.dials = append(c.dials, at.Sub(begun))
	}
	c.mu.Unlock()
	if first {
		return nil
	}
	return send(conn, bgp.NewBGPKeepAliveMessage())
}

func (c *collector) update(u *bgp.BGPUpdate, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.updates++
	for _, x := range u.WithdrawnRoutes {
		c.hear(update{at, netip.MustParsePrefix(x.NLRI.String()), false})
	}
	for _, x := range u.NLRI {
		c.hear(update{at, netip.MustParsePrefix(x.NLRI.String()), true})
	}
}

// again ends the session, and returns when.
func (c *collector) again() (time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now(), c.conn.Close()
}

func send(conn net.Conn, m *bgp.BGPMessage) error {
	b, err := m.Serialize()
	if err != nil {
		return err
	}
	_, err = conn.Write(b)
	return err
}

// forwardingTable records the routes in the kernel of the rack's router until
// ctx ends.
func forwardingTable(ctx context.Context, r *lab.Rack) (*record, error) {
	table := &record{routes: map[netip.Prefix]bool{}}
	changes := make(chan netlink.RouteUpdate, 1024)
	err := onRouter(r, func() error {
		return netlink.RouteSubscribeWithOptions(changes, ctx.Done(), netlink.RouteSubscribeOptions{
			// Thousands of routes may come at once, and what finds no room ends the subscription.
			ReceiveBufferSize: 64 << 20, ReceiveBufferForceSize: true,
			ErrorCallback: func(err error) {
				if ctx.Err() == nil {
					fmt.Fprintln(os.Stderr, "bench: the router's routes are no longer watched:", err)
				}
			},
		})
	})
	if err != nil {
		return nil, fmt.Errorf("watch the router's routes: %w", err)
	}
	go func() {
		for change := range changes {
			at := time.Now()
			if change.Dst == nil {
				continue
			}
			prefix, err := netip.ParsePrefix(change.Dst.String())
			if err == nil {
				table.mu.Lock()
				table.hear(update{at, prefix, change.Type == unix.RTM_NEWROUTE})
				table.mu.Unlock()
			}
		}
	}()
	return table, nil
}
