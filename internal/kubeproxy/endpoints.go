package kubeproxy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

const (
	// endpointPollInterval is the pause between two rounds of requests.
	endpointPollInterval = 20 * time.Millisecond
	// endpointTimeout is how long an answer may take.
	endpointTimeout = 100 * time.Millisecond
)

// Endpoints follows the endpoints on this node of Services with externalTrafficPolicy Local,
// and those on all nodes of Services whose addresses are withdrawn without endpoints.
//
// A new endpoint counts only when kube-proxy sends to it, which may be a second after the
// API shows it as ready. kube-proxy reports that at the Service's health check port. An
// endpoint that terminates and still serves counts for as long, so that other nodes can
// advertise their routes first. Without both rules an endpoint that moves loses connections.
type Endpoints struct {
	limit   time.Duration // the longest wait for one endpoint; 0: none are followed
	ask     func(ctx context.Context, at netip.AddrPort) bool
	dial    func(ctx context.Context, at netip.AddrPort) bool
	Changed chan struct{} // buffered 1
	wake    chan struct{} // buffered 1: signaled when there is an endpoint to ask about

	mu    sync.Mutex
	node  []netip.Addr
	known map[ipam.Key]*endpoint // nil before the first Follow
}

// endpoint is the state of a Service's endpoints on this node.
type endpoint struct {
	port     uint16         // for health checks
	dial     netip.AddrPort // of the Service; used if port is 0
	here     bool           // one of them is ready
	since    time.Time
	forwards bool // kube-proxy sends to it, or limit has passed
}

// Endpoint is the state in the API of a Service's endpoints on this node.
type Endpoint struct {
	Port           uint16         // for health checks; 0: none
	Dial           netip.AddrPort // where the Service answers TCP, if it has no such port; zero: unknown
	Ready, Serving bool
	Anywhere       bool // of all nodes: kube-proxy here sends to them
	// Before: until now the Service was announced whether it had endpoints or not. So they
	// count as long present: an edit, to Local for instance, is no arrival.
	Before bool
}

// NewEndpoints returns Endpoints that wait for each endpoint for at most limit; 0: they
// follow none.
func NewEndpoints(limit time.Duration) *Endpoints {
	return &Endpoints{limit: limit, ask: healthy, dial: connects, Changed: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
}

// Follow records the API's state of the endpoints that decide whether a Service is announced
// here. It returns the state of each that is arriving or terminating, and after which time to
// call it again if nothing else changes (0: never). Endpoints at the first call count as long
// present: a speaker that restarts must not withdraw its routes.
func (t *Endpoints) Follow(now time.Time, found map[ipam.Key]Endpoint) (out map[ipam.Key]announce.EndpointState, again time.Duration) {
	if t.limit == 0 {
		return nil, 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	first := t.known == nil
	known := make(map[ipam.Key]*endpoint, len(found))
	out = map[ipam.Key]announce.EndpointState{}
	for key, f := range found {
		s := t.known[key].after(f, now, first, t.limit)
		if s == nil {
			continue
		}
		s.port, s.dial, known[key] = f.Port, f.Dial, s
		switch {
		case !s.here:
			out[key] = announce.Terminating
			if left := t.limit - now.Sub(s.since); again == 0 || left < again {
				again = left
			}
		case !s.forwards:
			out[key] = announce.Arriving
			wait.Signal(t.wake)
		}
	}
	t.known = known
	return out, again
}

// after returns the state that follows s, which may be nil, when the API shows f; nil: the
// endpoint need not be followed. first: this is the first call of Follow.
func (s *endpoint) after(f Endpoint, now time.Time, first bool, limit time.Duration) *endpoint {
	if s == nil && f.Before {
		s = &endpoint{here: true, since: now, forwards: true}
	}
	switch {
	case f.Ready && (s == nil || !s.here):
		return &endpoint{here: true, since: now, forwards: first || f.Port == 0 && !f.Anywhere}
	case f.Ready:
		return s
	case s == nil || !s.forwards || !f.Serving:
		return nil
	case s.here:
		return &endpoint{since: now, forwards: true}
	case now.Sub(s.since) >= limit:
		return nil
	}
	return s
}

// SetNodeAddresses sets this node's addresses: kube-proxy answers only there.
func (t *Endpoints) SetNodeAddresses(addrs []netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.node = addrs
}

// Run asks kube-proxy about arriving endpoints until ctx ends.
func (t *Endpoints) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.wake:
		}
		for t.round(ctx) && wait.Sleep(ctx, endpointPollInterval) {
		}
	}
}

// round asks once about each arriving endpoint, and reports whether any must be asked about
// again.
func (t *Endpoints) round(ctx context.Context) bool {
	t.mu.Lock()
	node, asked := t.node, map[*endpoint]endpoint{}
	for _, s := range t.known {
		if s.here && !s.forwards {
			asked[s] = *s
		}
	}
	t.mu.Unlock()
	open := len(asked)
	for s, is := range asked {
		answer := time.Since(is.since) >= t.limit || is.dial.IsValid() && is.port == 0 && t.dial(ctx, is.dial)
		for i := 0; i < len(node) && !answer && is.port != 0; i++ {
			answer = t.ask(ctx, netip.AddrPortFrom(node[i], is.port))
		}
		if answer {
			open--
			t.mu.Lock()
			s.forwards = true
			t.mu.Unlock()
			wait.Signal(t.Changed)
		}
	}
	return open > 0
}

// healthy reports whether kube-proxy answers, at a Service's health check port, that it
// sends to an endpoint on this node.
func healthy(ctx context.Context, at netip.AddrPort) bool {
	_, err := get(ctx, fmt.Sprintf("http://%s/healthz", at), endpointTimeout)
	return err == nil
}

// connects reports whether a Service takes connections: kube-proxy refuses them while it
// knows no endpoint. The endpoint gets one without data.
func connects(ctx context.Context, at netip.AddrPort) bool {
	conn, err := (&net.Dialer{Timeout: endpointTimeout}).DialContext(ctx, "tcp", at.String())
	if err != nil {
		return false
	}
	_ = conn.Close() // the answer is known
	return true
}
