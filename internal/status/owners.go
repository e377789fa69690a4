package status

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/history"
)

// successions has the reasons for which this node put its name into L2Claims in the place of others',
// until their statuses say so: those are written later, perhaps after a probe. The zero value is ready to use.
type successions struct {
	mu      sync.Mutex
	reasons map[netip.Addr]string
}

// named notes that this node has put its name into the claim of a.
func (s *successions) named(a netip.Addr, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reasons == nil {
		s.reasons = map[netip.Addr]string{}
	}
	s.reasons[a] = reason
}

// reason returns why this node's name is in the claim of a. If the node did not put it there, someone else did.
func (s *successions) reason(a netip.Addr) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reason, own := s.reasons[a]; own {
		return reason
	}
	return v1beta1.ReasonOwnerNamed
}

// keep forgets the claims of addresses that this node does not answer for.
func (s *successions) keep(claimed map[netip.Addr]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for a := range s.reasons {
		if !claimed[a] {
			delete(s.reasons, a)
		}
	}
}

// done forgets why this node's name is in the claim of a: the status says it now.
func (s *successions) done(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.reasons, a)
}

// successionOf is the reason for which this node takes the place of another one: that is dead, or alive.
func (r *Reporter) successionOf(from string) string {
	if r.alive[from] {
		return v1beta1.ReasonHandover
	}
	return v1beta1.ReasonNodeNotLive
}

// succeed has the status of a claim, which was another before, tell since when this node is the owner of an
// address, and which nodes were before. It returns that as an entry.
func (r *Reporter) succeed(want *v1beta1.L2ClaimStatus, before v1beta1.L2ClaimStatus, addr netip.Addr) history.Entry {
	now := time.Now()
	out := history.Entry{At: now, Address: addr.String(), Change: history.Owned, Service: strings.Join(want.Services, ","), Node: r.Node, Pool: want.Pool, Source: history.FromClaim}
	want.Since, want.FormerOwners = before.Since, before.FormerOwners
	if before.Node == r.Node && want.Since != nil {
		return out
	}
	want.Since = &metav1.Time{Time: now}
	if before.Node != "" && before.Node != r.Node {
		out.From, out.Reason = before.Node, r.successions.reason(addr)
		want.FormerOwners = history.Succeed(before, now, out.Reason)
	}
	return out
}
