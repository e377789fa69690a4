// Package rival remembers which other speakers were heard to have an address of
// this node.
package rival

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
	// First and Last are when it was heard, in a series without a pause of Memory.
	First, Last time.Time
}

// Memory is for how long after it was last heard a rival counts.
const Memory = 3 * time.Second

// pause is the least time between two signals about one rival.
const pause = 200 * time.Millisecond

// Rivals are those that were heard lately. The zero Rivals is ready.
type Rivals struct {
	mu    sync.Mutex
	heard map[key]*series
}

type key struct {
	addr netip.Addr
	mac  [6]byte
}

type series struct{ first, last, told time.Time }

// Hear notes a rival. It reports whether somebody should be told.
func (r *Rivals) Hear(addr netip.Addr, mac net.HardwareAddr, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.heard == nil {
		r.heard = map[key]*series{}
	}
	k := key{addr, [6]byte(mac)}
	s := r.heard[k]
	if s == nil || now.Sub(s.last) >= Memory {
		s = &series{first: now}
		r.heard[k] = s
	}
	s.last = now
	if now.Sub(s.told) < pause {
		return false
	}
	s.told = now
	return true
}

// Lately returns those that count, and forgets the others.
func (r *Rivals) Lately(now time.Time) []Rival {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Rival
	for k, s := range r.heard {
		if now.Sub(s.last) >= Memory {
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
