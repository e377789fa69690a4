package dhcp

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/source/ledger"
)

// State is all leases of this machine. It has no lock.
type State struct {
	Config
	leases    map[key]*lease
	holders   map[netip.Addr]*lease // by what they have
	exchanges map[exchange]*lease
	watched   map[string]int // by cluster: how often its controller watches
	out       []Message
	events    []Event
}

// New returns a State that has no lease.
func New(c Config) *State {
	return &State{Config: c, leases: map[key]*lease{}, holders: map[netip.Addr]*lease{}, exchanges: map[exchange]*lease{}, watched: map[string]int{}}
}

// Allocate returns the address that a Service has, or has the State ask for one. It is called
// again until the error is no *PendingError; other errors are those of package ledger.
func (s *State) Allocate(r ledger.Request, now time.Time) (ledger.Allocation, error) {
	link, known := s.Links[r.Pool]
	switch {
	case unreadable(r):
		return ledger.Allocation{}, ledger.ErrInvalid
	case !known:
		return ledger.Allocation{}, refusal(ledger.ErrUnknownPool, "%q", r.Pool)
	}
	l := s.find(r, link, now)
	begun := l == nil
	switch {
	case begun && len(s.leases) >= mostLeases:
		return ledger.Allocation{}, refusal(ledger.ErrExhausted, "this program has %d leases", mostLeases)
	case begun:
		l = &lease{
			Allocation: ledger.Allocation{Cluster: r.Cluster, Pool: r.Pool, Holder: r.Holder},
			key:        key{r.Cluster, r.UID, r.Family}, id: identify(r.Cluster, r.Holder), link: link, want: r.Addr,
		}
		s.leases[l.key] = l
		s.enter(l, discovering, now)
	case l.has():
		return l.Allocation, nil
	case l.phase == failed:
		s.drop(l)
		return ledger.Allocation{}, l.refused
	}
	l.asked = now
	return ledger.Allocation{}, &PendingError{l.state(), begun}
}

// unreadable reports whether a request can't be meant.
func unreadable(r ledger.Request) bool {
	switch {
	case r.UID == "" || r.Cluster == "" || max(len(r.UID), len(r.Cluster), len(r.Namespace), len(r.Name)) > longestName:
		return true
	case r.Family != ipam.IPv4 && r.Family != ipam.IPv6:
		return true
	}
	return r.Addr.IsValid() && ipam.FamilyOf(r.Addr) != r.Family
}

// find returns what is there for a request; nil: nothing that serves it. What is there for another
// one of the same Service ends.
func (s *State) find(r ledger.Request, link string, now time.Time) *lease {
	k := key{r.Cluster, r.UID, r.Family}
	switch l := s.leases[k]; {
	case l == nil:
		return s.takeOver(k, r, link, now)
	case l.has() || l.phase != releasing && l.want == r.Addr && l.Pool == r.Pool:
		return l
	default:
		s.drop(l)
		return nil
	}
}

// takeOver returns the lease that the Service had before it was created again, as that of k. Such a
// lease that r can't use is given back, and so is that of another Service which r replaces. nil:
// there is none.
func (s *State) takeOver(k key, r ledger.Request, link string, now time.Time) *lease {
	id := identify(r.Cluster, r.Holder)
	for _, old := range s.leases {
		switch {
		case old.id != id || old.key.family != k.family || old.phase == releasing:
			continue
		case !old.has():
			s.drop(old)
			continue
		case old.link != link || r.Addr.IsValid() && r.Addr != old.Addr:
			s.release(old, now)
			continue
		}
		delete(s.leases, old.key)
		old.key, old.Holder, old.Pool = k, r.Holder, r.Pool
		s.leases[k] = old
		s.event(Leased, old, "")
		return old
	}
	if old := s.leases[key{r.Cluster, r.Replaces, r.Family}]; old != nil && old.has() && old.Addr == r.Addr {
		s.release(old, now)
	}
	return nil
}

// Release gives a lease back. One that is not there, or of another address, is no error.
func (s *State) Release(cluster, uid string, a netip.Addr, now time.Time) {
	if l := s.holders[a]; l != nil && l.key.cluster == cluster && l.key.uid == uid {
		s.release(l, now)
	}
}

// release sends that a lease is given back. In DHCPv4 nothing is answered to that (RFC 2131
// section 4.4.6): if the message is lost, the lease ends with its time.
func (s *State) release(l *lease, now time.Time) {
	s.event(Released, l, "")
	delete(s.holders, l.Addr)
	s.enter(l, releasing, now)
	s.out = append(s.out, s.send(l, now))
	if l.key.family == ipam.IPv4 {
		s.drop(l)
	}
}

// List returns the leases of a cluster, by address.
func (s *State) List(cluster string) []ledger.Allocation {
	var out []ledger.Allocation
	for _, l := range s.leases {
		if l.has() && l.key.cluster == cluster {
			out = append(out, l.Allocation)
		}
	}
	slices.SortFunc(out, func(a, b ledger.Allocation) int { return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.UID, b.UID)) })
	return out
}

// Watch takes in that the controller of a cluster watches, once more. The leases of a cluster whose
// controller does not watch are not renewed: another replica leads, or none.
func (s *State) Watch(cluster string) { s.watched[cluster]++ }

// Unwatch takes in that it watches once less.
func (s *State) Unwatch(cluster string) {
	if s.watched[cluster]--; s.watched[cluster] <= 0 {
		delete(s.watched, cluster)
	}
}

// Events returns what has happened since the last call.
func (s *State) Events() []Event {
	out := s.events
	s.events = nil
	return out
}

func (s *State) event(kind EventKind, l *lease, text string) {
	client := l.id.clientID()
	if l.key.family == ipam.IPv6 {
		client = l.id.duid()
	}
	s.events = append(s.events, Event{kind, l.Allocation, l.link, client, l.from, l.expires, text})
}

// sorted returns the leases in an order that does not depend on the map's.
func (s *State) sorted() []*lease {
	return slices.SortedFunc(maps.Values(s.leases), func(a, b *lease) int {
		return cmp.Or(a.next.Compare(b.next), cmp.Compare(a.key.cluster, b.key.cluster), cmp.Compare(a.key.uid, b.key.uid), cmp.Compare(a.key.family, b.key.family))
	})
}
