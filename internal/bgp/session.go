package bgp

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bgp/speak"
)

const (
	// retryPause lies between two attempts at what the router, or someone who
	// configures it, must change first.
	retryPause = 30 * time.Second
	// repairPause lies between two attempts at what this node may mend.
	repairPause = 5 * time.Second
)

// session holds the session with one peer in a goroutine of its own.
type session struct {
	routerID netip.Addr // fallback
	pool     *speak.Pool
	status   *status
	want     atomic.Pointer[announce.Peering] // the latest wish wins
	wake     chan struct{}                    // buffered 1
	after    <-chan struct{}                  // closed when a forerunner has ended; nil: there is none
	done     chan struct{}                    // closed when run has returned
	ctx      context.Context                  // of the whole session, which outlives no Run
	cancel   context.CancelFunc

	// Owned by the goroutine that runs.
	server  *speak.Server // nil: none in use
	peer    announce.Peer
	paths   map[netip.Prefix]speak.Path // on offer at server
	problem string                      // why not all routes are
	tried   announce.Peer               // the peer of the last attempt
	pauseTo time.Time                   // no attempt before, unless the peer changes
}

func newSession(ctx context.Context, s *Sessions, p announce.Peering) *session {
	n := &session{
		routerID: s.routerID,
		pool:     s.pool,
		wake:     make(chan struct{}, 1),
		done:     make(chan struct{}),
	}
	n.status = &status{log: s.log, wake: n.wake, changed: s.changed, peer: p.Peer}
	n.status.end()
	n.ctx, n.cancel = context.WithCancel(ctx)
	n.want.Store(&p)
	return n
}

func (s *session) set(p announce.Peering) {
	s.want.Store(&p)
	signal(s.wake)
}

// run works until the session's context ends, then says goodbye.
func (s *session) run() {
	defer close(s.done)
	defer s.cancel()
	defer s.hangUp()
	if s.after != nil {
		<-s.after
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
		timer.Stop()
		if wait := s.step(*s.want.Load()); wait > 0 {
			timer.Reset(wait)
		}
	}
}

// step brings the session nearer to the wish, and returns when to look again
// if nothing happens before (0: never).
func (s *session) step(want announce.Peering) time.Duration {
	asn, broken := s.status.seen()
	switch {
	case s.server == nil:
	case broken:
		s.hangUp()
		s.pauseTo = time.Now().Add(repairPause)
	case want.Peer != s.peer:
		s.hangUp()
	case !speak.ASNAllowed(s.peer, asn):
		s.hangUp()
		s.pauseTo = time.Now().Add(retryPause)
		s.status.fail(fmt.Sprintf("the router's AS number is %d, which is ours; this peer must be external", asn))
	}
	if s.server == nil {
		if wait := time.Until(s.pauseTo); wait > 0 && want.Peer == s.tried {
			return wait
		}
		if err := s.start(want); err != nil {
			s.hangUp()
			s.status.fail(err.Error())
			s.pauseTo = time.Now().Add(repairPause)
			return repairPause
		}
	} else if err := s.offer(want); err != nil {
		s.status.fail(err.Error())
		return repairPause
	}
	wait := s.status.settle(time.Now())
	if s.problem != "" {
		return repairPause // look whether there is a next hop by now
	}
	return wait
}

// start makes a server, gives it all routes, and only then the peer: the first
// UPDATEs are complete, which a graceful restart (RFC 4724) depends on.
func (s *session) start(want announce.Peering) error {
	s.tried = want.Peer
	run := s.status.begin(want.Peer)
	if err := speak.Check(want.Peer); err != nil {
		return err
	}
	server, err := s.pool.Start(want.Peer, speak.RouterID(want.Peer, s.routerID), run)
	if err != nil {
		return err
	}
	s.server, s.peer, s.paths = server, want.Peer, make(map[netip.Prefix]speak.Path)
	if err := s.offer(want); err != nil {
		return err
	}
	return server.AddPeer(want.Peer)
}

// offer makes what the server holds equal to the wished routes.
func (s *session) offer(want announce.Peering) error {
	hops, problem := nextHops(want)
	wanted := pathsOf(want, hops)
	for _, c := range speak.Diff(s.paths, wanted) {
		if err := s.server.Apply(c); err != nil {
			return err
		}
		if c.Withdraw {
			delete(s.paths, c.Path.Route.Prefix)
		} else {
			s.paths[c.Path.Route.Prefix] = c.Path
		}
	}
	s.problem = problem
	s.status.offers(len(s.paths), problem)
	return nil
}

// hangUp ends the session, if there is one, and lets go of its server.
func (s *session) hangUp() {
	if s.server != nil {
		s.server.Stop()
		s.server, s.paths = nil, nil
	}
	s.status.end()
}
