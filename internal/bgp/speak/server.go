// Package speak speaks BGP (RFC 4271) with one peer at a time: it turns the words
// of package announce into those of gobgp, whose servers it keeps, and what
// gobgp says of a session into plain words.
//
// It decides nothing: package bgp says when a session begins and ends, and what
// is offered in it.
package speak

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/server"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// stopPatience bounds a goodbye. It normally takes a millisecond; it can take a
// hold time if the router has stopped reading. Then the server is left behind.
const stopPatience = 5 * time.Second

// Pool makes gobgp servers, and keeps the stopped ones for reuse: a server's main
// loop cannot be ended, so each one thrown away would leave a goroutine and
// some kilobytes behind for ever. Make one with NewPool.
type Pool struct {
	log *slog.Logger

	// globals guards two variables of gobgp's table package (SelectionOptions
	// and UseMultiplePaths): StartBgp writes them, always with the same
	// value, and every other server reads them whenever a path comes or goes.
	// What we ask of a server holds it for reading. What a router causes (an
	// UPDATE received, or routes dropped with a session) cannot be guarded:
	// there the race remains, harmless since the value never changes; a
	// router that exports nothing to us never causes it.
	globals sync.RWMutex

	mu   sync.Mutex
	free []*Server
}

// NewPool returns a Pool that has no servers yet.
func NewPool(log *slog.Logger) *Pool { return &Pool{log: log} }

// Server is a gobgp server in use for one peer, from Start to Stop.
type Server struct {
	pool    *Pool
	gobgp   *server.BgpServer
	logger  *logger
	prepend uint32 // AS number for routes that ask for prepending; 0: none
	unwatch context.CancelFunc
}

// Listener hears of a session, from several goroutines and with locks of
// gobgp's held: it must return at once and not call the Server. What was under
// way when the Server stopped may come late.
type Listener interface {
	// Reached tells the state the session has entered, and the AS number in
	// the peer's OPEN (0: none yet).
	Reached(state SessionState, peerASN uint32)
	// Unreached tells in plain words why there was no connection to the peer.
	Unreached(why string)
	// Failed tells in plain words why a session failed over its connection, and
	// the cause if it had been up ("": not known).
	Failed(why string, cause Cause)
	// Crashed tells that the server itself failed and should be replaced.
	Crashed(why string)
}

// Start takes a free server, or makes one, and configures it: no port, no
// peer, no path, nothing accepted from anybody.
func (s *Pool) Start(p announce.Peer, routerID netip.Addr, to Listener) (*Server, error) {
	srv := s.take()
	srv.prepend = prependASN(p)
	h := srv.logger.hear(p, to)
	watching, unwatch := context.WithCancel(context.Background()) // ended by stop
	srv.unwatch = unwatch
	if err := srv.configure(p.LocalASN, routerID); err != nil {
		srv.Stop()
		return nil, err
	}
	err := srv.gobgp.WatchEvent(watching, &api.WatchEventRequest{Peer: &api.WatchEventRequest_Peer{}}, h.event)
	if err != nil {
		srv.Stop()
		return nil, fmt.Errorf("watch BGP server: %w", err)
	}
	return srv, nil
}

func (s *Pool) take() *Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		srv := s.free[n-1]
		s.free = s.free[:n-1]
		return srv
	}
	l := &logger{log: s.log}
	srv := &Server{pool: s, logger: l, gobgp: server.NewBgpServer(server.LoggerOption(l))}
	go srv.gobgp.Serve() // has no exit; see Pool
	return srv
}

// Stop says goodbye to the peer (Cease, RFC 4486: our routes are gone at once)
// and gives the server back; it must not be used after that.
func (b *Server) Stop() {
	crashed := b.logger.deafen()
	b.unwatch()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		// Its only error is a nil request.
		_ = b.gobgp.StopBgp(context.Background(), &api.StopBgpRequest{})
	}()
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	select {
	case <-stopped:
	case <-patience.C:
		b.pool.log.Warn("abandoned a BGP server that does not stop")
		return
	}
	if crashed {
		return
	}
	b.pool.mu.Lock()
	defer b.pool.mu.Unlock()
	b.pool.free = append(b.pool.free, b)
}

// Leave lets go of the server without a word to the peer: the connection ends
// with this process, which a peer takes for a restart (RFC 4724).
func (b *Server) Leave() {
	b.logger.deafen()
	b.unwatch()
}

func (b *Server) configure(asn uint32, id netip.Addr) error {
	ctx := context.Background() // gobgp's calls do not look at it
	b.pool.globals.Lock()
	err := b.gobgp.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
		Asn:        asn,
		RouterId:   id.String(),
		ListenPort: -1,             // none
		Families:   []uint32{0, 1}, // IPv4 and IPv6 unicast, as indexes of gobgp's list
	}})
	b.pool.globals.Unlock()
	if err != nil {
		return fmt.Errorf("start BGP server: %w", err)
	}
	b.pool.globals.RLock()
	defer b.pool.globals.RUnlock()
	// The table is new, but a reused server still has its index of the old paths.
	if err := b.gobgp.DeletePath(ctx, &api.DeletePathRequest{}); err != nil {
		return fmt.Errorf("clear BGP server: %w", err)
	}
	return b.refuseAll(ctx)
}

// refuseAll accepts our own paths only. The import policy sees those too, so
// they need a statement before the default, which is to reject.
func (b *Server) refuseAll(ctx context.Context) error {
	const name = "local-only"
	err := b.gobgp.AddPolicy(ctx, &api.AddPolicyRequest{Policy: &api.Policy{
		Name: name,
		Statements: []*api.Statement{{
			Name:       name,
			Conditions: &api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL},
			Actions:    &api.Actions{RouteAction: api.RouteAction_ACCEPT},
		}},
	}})
	if err != nil {
		return fmt.Errorf("add import policy: %w", err)
	}
	err = b.gobgp.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
		Name:          "global",
		Direction:     api.PolicyDirection_IMPORT,
		Policies:      []*api.Policy{{Name: name}},
		DefaultAction: api.RouteAction_REJECT,
	}})
	if err != nil {
		return fmt.Errorf("assign import policy: %w", err)
	}
	return nil
}

// AddPeer begins the session with p, the peer that Start was told of. What is
// on offer by then is what the peer hears first.
func (b *Server) AddPeer(p announce.Peer) error {
	b.pool.globals.RLock()
	defer b.pool.globals.RUnlock()
	if err := b.gobgp.AddPeer(context.Background(), &api.AddPeerRequest{Peer: peerConfig(p)}); err != nil {
		return fmt.Errorf("add peer %s: %w", p.Addr, err)
	}
	return nil
}

// Apply makes one change to what is on offer.
func (b *Server) Apply(c Change) error {
	m, err := message(c.Path, b.prepend)
	if err != nil {
		return err
	}
	b.pool.globals.RLock()
	defer b.pool.globals.RUnlock()
	if c.Withdraw {
		err = b.gobgp.DeletePath(context.Background(), &api.DeletePathRequest{TableType: api.TableType_GLOBAL, Path: m})
	} else {
		_, err = b.gobgp.AddPath(context.Background(), &api.AddPathRequest{TableType: api.TableType_GLOBAL, Path: m})
	}
	if err != nil {
		return fmt.Errorf("offer %s: %w", c.Path.Route.Prefix, err)
	}
	return nil
}
