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

// Rival is another speaker that says it has an address that this node answers
// for. That is so for a moment when an address moves; else two nodes hold
// different opinions, as after a partition of the network. Who is right is not
// decided here.
type Rival struct {
	Addr netip.Addr
	MAC  [6]byte
	// First and Last are when it was heard, in a rivalSeries without a rivalPause of RivalMemory.
	First, Last time.Time
}

// RivalMemory is for how long after it was last heard a rival counts.
const RivalMemory = 3 * time.Second

const (
	// rivalPause is the least time between two signals about one rival.
	rivalPause = 200 * time.Millisecond
	// maxRivals is how many rivals for one address are told apart.
	maxRivals = 8
)

// rivals are those that were heard lately. The zero rivals is ready.
type rivals struct {
	mu    sync.Mutex
	heard map[netip.Addr]map[[6]byte]*rivalSeries // at most maxRivals each
	// proofs is when the latest proof of each was made, for as long as one could be
	// sent again.
	proofs map[rivalKey]time.Time
}

type rivalKey struct {
	addr netip.Addr
	mac  [6]byte
}

type rivalSeries struct{ first, last, told time.Time }

// Hear notes a rival. It reports whether it is a new one, and whether somebody should
// be told that it was heard.
func (r *rivals) Hear(addr netip.Addr, sender net.HardwareAddr, now time.Time) (isNew, tell bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.heard == nil {
		r.heard = map[netip.Addr]map[[6]byte]*rivalSeries{}
	}
	of := r.heard[addr]
	if of == nil {
		of = map[[6]byte]*rivalSeries{}
		r.heard[addr] = of
	}
	mac := [6]byte(sender)
	s := of[mac]
	if isNew = s == nil || s.over(now); isNew {
		maps.DeleteFunc(of, func(_ [6]byte, s *rivalSeries) bool { return s.over(now) })
		if len(of) == maxRivals {
			return false, false
		}
		s = &rivalSeries{first: now}
		of[mac] = s
	}
	s.last = now
	if now.Sub(s.told) < rivalPause {
		return false, false
	}
	s.told = now
	return isNew, true
}

// Fresh reports whether a proof, made at that time, was not seen before. Who records
// an announcement and sends it again proves nothing.
func (r *rivals) Fresh(addr netip.Addr, mac net.HardwareAddr, made time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.proofs == nil {
		r.proofs = map[rivalKey]time.Time{}
	}
	k := rivalKey{addr, [6]byte(mac)}
	if !made.After(r.proofs[k]) {
		return false
	}
	r.proofs[k] = made
	return true
}

func (s *rivalSeries) over(now time.Time) bool { return now.Sub(s.last) >= RivalMemory }

// Lately returns those that count, and forgets the others.
func (r *rivals) Lately(now time.Time) []Rival {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.proofs, func(_ rivalKey, made time.Time) bool { return now.Sub(made) > 2*neighbor.MaxSkew })
	var out []Rival
	for addr, of := range r.heard {
		maps.DeleteFunc(of, func(_ [6]byte, s *rivalSeries) bool { return s.over(now) })
		if len(of) == 0 {
			delete(r.heard, addr)
		}
		for mac, s := range of {
			out = append(out, Rival{addr, mac, s.first, s.last})
		}
	}
	slices.SortFunc(out, func(a, b Rival) int {
		return cmp.Or(a.Addr.Compare(b.Addr), slices.Compare(a.MAC[:], b.MAC[:]))
	})
	return out
}
