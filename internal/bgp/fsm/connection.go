package fsm

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

const (
	// openTimeout is how long a router that accepted the connection may take to send
	// its OPEN. RFC 4271 section 8.2.2 suggests four minutes.
	openTimeout = time.Minute
	// lateTimeout is how much the hold time is extended in case this process was too
	// busy to read.
	lateTimeout = 200 * time.Millisecond
	// refreshPause is the time between two answers to ROUTE-REFRESH.
	refreshPause = time.Second
	// writeTimeout is how long sending a message may take before the hold time is
	// agreed upon, or at the end of the session.
	writeTimeout = time.Second
)

// run connects, and holds the session.
func (s *Session) run() {
	conn := s.connect()
	if conn == nil {
		return
	}
	defer conn.Close() // an error changes nothing: the connection ends anyway
	s.serve(conn)
}

// serve holds the session over a connection until that ends.
func (s *Session) serve(conn net.Conn) {
	c := &connection{Session: s, conn: conn, state: OpenSent, start: time.Now(), in: make(chan message, 4), holdTime: openTimeout}
	c.enc = encoder{local: localAddr(conn), asn: s.peer.LocalASN}
	// Stop must not wait for a router that reads nothing.
	unblock := context.AfterFunc(s.ctx, func() { _ = conn.SetWriteDeadline(time.Now().Add(writeTimeout)) })
	defer unblock()
	err := c.hold()
	if errors.As(err, new(writeError)) {
		err = c.closeReason(err)
	}
	c.end(err)
}

// message is one of the router's messages, or why there will be no more.
type message struct {
	kind uint8
	body []byte
	err  error
}

// connection is a session over one TCP connection. One goroutine owns it, another one
// reads.
type connection struct {
	*Session
	enc      encoder
	conn     net.Conn
	in       chan message
	start    time.Time
	heard    atomic.Int64 // when the router's last message came, since start
	state    SessionState
	peerASN  uint32
	holdTime time.Duration
	late     bool      // the hold time has passed, and is extended by lateTimeout
	broken   bool      // a message may have been sent in part: no other may follow
	notified bool      // a NOTIFICATION was sent
	has      AdjRIBOut // what the peer has received

	asked    [2]bool   // IPv4, IPv6: the peer wants all routes again, after refreshPause
	repeated time.Time // when all routes were last sent again
}

// errHold means that the hold timer has expired (RFC 4271 section 6.5).
var errHold = errors.New("hold timer expired")

// writeError is a failure to send.
type writeError struct{ error }

// received is a NOTIFICATION of the router.
type received struct {
	notification
	said string
}

func (r received) Error() string { return r.String() }

// timers are those of a session (RFC 4271 section 10), and the one of refreshPause.
type timers struct{ hold, keepalive, refresh *time.Timer }

// newTimers starts the hold timer. The others start later.
func newTimers(hold time.Duration) timers {
	return timers{time.NewTimer(hold), time.NewTimer(time.Hour), time.NewTimer(time.Hour)}
}

func (t timers) stop() {
	t.hold.Stop()
	t.keepalive.Stop()
	t.refresh.Stop()
}

// hold sends an OPEN and holds the session. It returns why the session ends.
func (c *connection) hold() error {
	c.report(func(to Listener) { to.StateChanged(OpenSent, 0) })
	open, err := ourOpen(c.peer, c.routerID)
	if err != nil {
		return err
	}
	if err := c.write(open); err != nil {
		return err
	}
	go c.guard("reader", c.read)
	t := newTimers(c.holdTime)
	defer t.stop()
	for {
		if err := c.step(t); err != nil {
			return err
		}
	}
}

// step waits for an event and handles it.
func (c *connection) step(t timers) error {
	before := c.state
	if err := c.handleEvent(t); err != nil {
		return err
	}
	if before == OpenSent && c.state == OpenConfirm { // the hold time is agreed upon
		t.hold.Reset(c.holdTime)
		if err := c.keepalive(t.keepalive); err != nil {
			return err
		}
	}
	if c.asked != [2]bool{} {
		t.refresh.Reset(refreshPause - time.Since(c.repeated))
	}
	return nil
}

// handleEvent waits for an event and handles it as the state asks for.
func (c *connection) handleEvent(t timers) error {
	wake := c.wake
	if c.state != Established {
		wake = nil
	}
	select {
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	case m := <-c.in:
		return c.take(m)
	case <-t.hold.C:
		return c.expire(t.hold)
	case <-t.keepalive.C:
		return c.keepalive(t.keepalive)
	case <-wake:
		return c.update()
	case <-t.refresh.C:
		return c.repeat()
	}
}

// read reads until the connection ends or a message is malformed.
func (c *connection) read() {
	r := newReader(c.conn, func() { c.heard.Store(int64(time.Since(c.start))) }, func() { c.updates.Add(1) })
	for {
		kind, body, err := r.next()
		select {
		case c.in <- message{kind, body, err}:
		case <-c.ended:
			return
		}
		if err != nil {
			return
		}
	}
}

// take handles a message in the current state (RFC 4271 section 8.2.2).
func (c *connection) take(m message) error {
	switch {
	case m.err != nil:
		return m.err
	case m.kind == notificationMessage:
		n, said := parseNotification(m.body)
		return received{n, said}
	case m.kind == openMessage && c.state == OpenSent:
		return c.opened(m.body)
	case m.kind == keepaliveMessage && c.state == OpenConfirm:
		return c.establish()
	case m.kind == keepaliveMessage && c.state == Established:
		return nil
	case m.kind == refreshMessage && c.state == Established:
		return c.refresh(m.body)
	}
	// RFC 6608: which message, in which state.
	subcode := map[SessionState]uint8{OpenSent: 1, OpenConfirm: 2, Established: 3}[c.state]
	return &fault{notification: notification{stateError, subcode}, data: []byte{m.kind}, text: "it sent " + kindName(m.kind) + " in the state " + string(c.state)}
}

// opened handles the router's OPEN (RFC 4271 section 6.2) and adopts what both sides
// support.
func (c *connection) opened(body []byte) error {
	o, bad := parseOpen(body)
	if bad == nil {
		bad = refusal(c.peer, c.routerID, o)
	}
	if bad != nil {
		return bad
	}
	c.holdTime = min(o.HoldTime, holdTime(c.peer))
	o.HoldTime = c.holdTime
	c.peerASN, c.enc.internal, c.enc.capabilities = o.asn, o.asn == c.peer.LocalASN, o.Capabilities
	c.agree(o.Capabilities)
	c.enter(OpenConfirm)
	return nil
}

// establish sends all routes to the peer.
func (c *connection) establish() error {
	c.enter(Established)
	if err := c.update(); err != nil || !c.peer.Graceful {
		return err
	}
	for _, f := range families(c.peer) {
		if f == bgp.RF_IPv4_UC && !c.enc.capabilities.IPv4 || f == bgp.RF_IPv6_UC && !c.enc.capabilities.IPv6 {
			continue
		}
		b, err := endOfRIB(f)
		if err == nil {
			err = c.write(b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// update sends what has changed to the peer.
func (c *connection) update() error {
	want := c.want.Load().agreed(c.peer, c.enc.capabilities)
	return c.send(c.has, want)
}

// refresh handles a ROUTE-REFRESH (RFC 2918): the peer wants all routes of one family
// again.
func (c *connection) refresh(body []byte) error {
	afi, safi := uint16(body[0])<<8|uint16(body[1]), body[3]
	if safi != safiUnicast || afi != afiIPv4 && afi != afiIPv6 {
		return nil
	}
	c.asked[afi-afiIPv4] = true
	if time.Since(c.repeated) < refreshPause {
		return nil
	}
	return c.repeat()
}

// repeat sends all routes of the families that the peer has asked for.
func (c *connection) repeat() error {
	all, want := c.has, c.has
	if !c.asked[0] {
		all.NextHops.V4 = NextHops{}.V4
	}
	if !c.asked[1] {
		all.NextHops.V6 = NextHops{}.V6
	}
	c.asked, c.repeated = [2]bool{}, time.Now()
	if err := c.send(AdjRIBOut{}, all); err != nil {
		return err
	}
	c.received(want)
	return nil
}

// received records what the peer has received.
func (c *connection) received(o AdjRIBOut) {
	c.has = o
	c.sent.Store(&sent{o, c.enc})
}

// send sends the changes from have to want.
func (c *connection) send(have, want AdjRIBOut) error {
	list := changes(have, want)
	messages, err := c.enc.updates(list)
	if err != nil {
		return err
	}
	for _, b := range messages {
		if err := c.write(b); err != nil {
			return err
		}
	}
	c.received(want)
	withdrawn := 0
	for i := range list {
		if list[i].Withdraw {
			withdrawn++
		}
	}
	if len(list) > 0 {
		c.report(func(to Listener) { to.Sent(len(list)-withdrawn, withdrawn) })
	}
	return nil
}

// enter changes the state.
func (c *connection) enter(state SessionState) {
	c.state = state
	c.report(func(to Listener) { to.StateChanged(state, c.peerASN) })
}

// keepalive sends a KEEPALIVE and sets the timer for the next one (RFC 4271 section
// 4.4).
func (c *connection) keepalive(timer *time.Timer) error {
	interval := c.holdTime / 3
	if c.peer.KeepaliveTime != 0 && c.holdTime == holdTime(c.peer) {
		interval = c.peer.KeepaliveTime
	}
	timer.Reset(jitter(interval))
	b, err := bgp.NewBGPKeepAliveMessage().Serialize()
	if err != nil {
		return err
	}
	return c.write(b)
}

// expire returns errHold if the router was silent for the whole hold time; else it
// sets the timer again. This process may have stalled with messages unread, so the
// reader gets a moment first.
func (c *connection) expire(timer *time.Timer) error {
	left := c.holdTime - (time.Since(c.start) - time.Duration(c.heard.Load()))
	switch {
	case left > 0:
		c.late = false
		timer.Reset(left)
	case !c.late:
		c.late = true
		timer.Reset(lateTimeout)
	default:
		return errHold
	}
	return nil
}

// write sends a whole message. A router that reads nothing for the whole hold time
// counts as dead.
func (c *connection) write(b []byte) error {
	if c.ctx.Err() == nil {
		if err := c.conn.SetWriteDeadline(time.Now().Add(c.holdTime)); err != nil {
			return writeError{err}
		}
	}
	n, err := c.conn.Write(b)
	if err != nil {
		c.broken = n > 0
		return writeError{err}
	}
	return nil
}
