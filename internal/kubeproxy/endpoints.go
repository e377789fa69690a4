package kubeproxy

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

const (
	// endpointPollInterval is the pause between two rounds of questions.
	endpointPollInterval = 20 * time.Millisecond
	// endpointTimeout is how long an answer may take.
	endpointTimeout = 100 * time.Millisecond
)

// Endpoints follows the endpoints of Services with externalTrafficPolicy Local on this
// node. One that comes takes traffic only when kube-proxy sends to it, which may
// be a second after the API says that it is ready; kube-proxy tells at the
// Service's health check port. One that goes stays for as long, that the routes of
// others may come first. Without both, an endpoint that moves loses connections.
type Endpoints struct {
	limit   time.Duration // for how long to wait at most; 0: nothing is followed
	ask     func(ctx context.Context, at netip.AddrPort) bool
	Changed chan struct{} // buffered 1
	wake    chan struct{} // buffered 1: there is something to ask

	mu    sync.Mutex
	node  []netip.Addr
	known map[ipam.Key]*endpoint // nil before the first look
}

// endpoint is what is known of a Service's endpoints on this node.
type endpoint struct {
	port     uint16 // for health checks
	here     bool   // one of them is ready
	since    time.Time
	forwards bool // kube-proxy sends to it, or has been waited for long enough
}

// Endpoint is what the API says of a Service's endpoints on this node.
type Endpoint struct {
	Port           uint16 // for health checks; 0: none
	Ready, Serving bool
}

// NewEndpoints returns what follows endpoints, and waits for each for limit at most;
// 0: it follows none.
func NewEndpoints(limit time.Duration) *Endpoints {
	return &Endpoints{limit: limit, ask: healthy, Changed: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
}

// Follow takes over what the API says of all Services (those with Cluster traffic
// have endpoints everywhere, so that an edit to Local is no arrival), and tells
// what has become of each, and when to look again if nothing happens before (0:
// never). What is here at the first look counts as having been here: a speaker
// that restarts must not take its routes back.
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
		s.port, known[key] = f.Port, s
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

// after returns what becomes of s, which is nil if nothing was known, when the API says
// f of it; nil: it is not followed. At the first look all counts as having been here.
func (s *endpoint) after(f Endpoint, now time.Time, first bool, limit time.Duration) *endpoint {
	switch {
	case f.Ready && (s == nil || !s.here):
		return &endpoint{here: true, since: now, forwards: first || f.Port == 0}
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

// SetNodeAddresses says which addresses this node has: kube-proxy answers at these alone.
func (t *Endpoints) SetNodeAddresses(addrs []netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.node = addrs
}

// Run asks, while there is something to ask, until ctx ends.
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

// round asks once for each endpoint that has come, and reports whether it is to
// be asked again for any.
func (t *Endpoints) round(ctx context.Context) bool {
	t.mu.Lock()
	node, asked := t.node, map[*endpoint]uint16{}
	for _, s := range t.known {
		if s.here && !s.forwards {
			asked[s] = s.port
		}
	}
	t.mu.Unlock()
	open := len(asked)
	for s, port := range asked {
		answer := time.Since(s.since) >= t.limit
		for i := 0; i < len(node) && !answer; i++ {
			answer = t.ask(ctx, netip.AddrPortFrom(node[i], port))
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

// healthy reports whether kube-proxy says, at a Service's health check port, that
// it sends to an endpoint on this node.
func healthy(ctx context.Context, at netip.AddrPort) bool {
	_, err := get(ctx, fmt.Sprintf("http://%s/healthz", at), endpointTimeout)
	return err == nil
}
