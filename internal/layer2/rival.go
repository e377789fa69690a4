package layer2

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
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

// rivalPause is the least time between two signals about one rival.
const rivalPause = 200 * time.Millisecond

// rivals are those that were heard lately. The zero rivals is ready.
type rivals struct {
	mu    sync.Mutex
	heard map[rivalKey]*rivalSeries
}

type rivalKey struct {
	addr netip.Addr
	mac  [6]byte
}

type rivalSeries struct{ first, last, told time.Time }

// Hear notes a rival. It reports whether somebody should be told.
func (r *rivals) Hear(addr netip.Addr, mac net.HardwareAddr, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.heard == nil {
		r.heard = map[rivalKey]*rivalSeries{}
	}
	k := rivalKey{addr, [6]byte(mac)}
	s := r.heard[k]
	if s == nil || now.Sub(s.last) >= RivalMemory {
		s = &rivalSeries{first: now}
		r.heard[k] = s
	}
	s.last = now
	if now.Sub(s.told) < rivalPause {
		return false
	}
	s.told = now
	return true
}

// Lately returns those that count, and forgets the others.
func (r *rivals) Lately(now time.Time) []Rival {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Rival
	for k, s := range r.heard {
		if now.Sub(s.last) >= RivalMemory {
			delete(r.heard, k)
			continue
		}
		out = append(out, Rival{k.addr, k.mac, s.first, s.last})
	}
	slices.SortFunc(out, func(a, b Rival) int {
		return cmp.Or(a.Addr.Compare(b.Addr), slices.Compare(a.MAC[:], b.MAC[:]))
	})
	return out
}
