package layer2

import (
	"cmp"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/internal/neighbor"
)

// DuplicateOwner is another speaker that announces an address that this node answers
// for. That happens for a moment when an address moves, and for longer when two nodes
// both take themselves for the owner, as after a partition. Package failover decides
// which of them yields.
type DuplicateOwner struct {
	Addr netip.Addr
	MAC  [6]byte
	// First and Last are when it was heard, without a pause of DuplicateMemory between.
	First, Last time.Time
}

// DuplicateMemory is for how long after it was last heard a DuplicateOwner counts.
const DuplicateMemory = 3 * time.Second

const (
	// duplicatePause is the least time between two signals about one DuplicateOwner.
	duplicatePause = 200 * time.Millisecond
	// maxDuplicates is how many are kept for one address; others are ignored.
	maxDuplicates = 8
)

// duplicateOwners holds those that were heard lately. The zero value is ready.
type duplicateOwners struct {
	mu    sync.Mutex
	heard map[netip.Addr]map[[6]byte]*duplicateSeries // at most maxDuplicates each
	// proofs is when the latest proof of each was made, for as long as a copy of it
	// would be believed.
	proofs map[duplicateKey]time.Time
}

type duplicateKey struct {
	addr netip.Addr
	mac  [6]byte
}

type duplicateSeries struct{ first, last, reported time.Time }

// Hear records that sender announced addr. isNew: it was not among them before.
// signal: DuplicateOwnerHeard is due.
func (r *duplicateOwners) Hear(addr netip.Addr, sender net.HardwareAddr, now time.Time) (isNew, signal bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.heard == nil {
		r.heard = map[netip.Addr]map[[6]byte]*duplicateSeries{}
	}
	of := r.heard[addr]
	if of == nil {
		of = map[[6]byte]*duplicateSeries{}
		r.heard[addr] = of
	}
	mac := [6]byte(sender)
	s := of[mac]
	if isNew = s == nil || s.over(now); isNew {
		maps.DeleteFunc(of, func(_ [6]byte, s *duplicateSeries) bool { return s.over(now) })
		if len(of) == maxDuplicates {
			return false, false
		}
		s = &duplicateSeries{first: now}
		of[mac] = s
	}
	s.last = now
	if now.Sub(s.reported) < duplicatePause {
		return false, false
	}
	s.reported = now
	return isNew, true
}

// Fresh reports whether a proof, made at that time, is newer than all before. So a
// recorded announcement that is sent again proves nothing.
func (r *duplicateOwners) Fresh(addr netip.Addr, mac net.HardwareAddr, made time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.proofs == nil {
		r.proofs = map[duplicateKey]time.Time{}
	}
	k := duplicateKey{addr, [6]byte(mac)}
	if !made.After(r.proofs[k]) {
		return false
	}
	r.proofs[k] = made
	return true
}

func (s *duplicateSeries) over(now time.Time) bool { return now.Sub(s.last) >= DuplicateMemory }

// Recent returns those that count, sorted, and removes the others.
func (r *duplicateOwners) Recent(now time.Time) []DuplicateOwner {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.proofs, func(_ duplicateKey, made time.Time) bool { return now.Sub(made) > 2*neighbor.MaxSkew })
	var out []DuplicateOwner
	for addr, of := range r.heard {
		maps.DeleteFunc(of, func(_ [6]byte, s *duplicateSeries) bool { return s.over(now) })
		if len(of) == 0 {
			delete(r.heard, addr)
		}
		for mac, s := range of {
			out = append(out, DuplicateOwner{addr, mac, s.first, s.last})
		}
	}
	slices.SortFunc(out, func(a, b DuplicateOwner) int {
		return cmp.Or(a.Addr.Compare(b.Addr), slices.Compare(a.MAC[:], b.MAC[:]))
	})
	return out
}
