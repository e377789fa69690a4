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
	// First and Last are when it was heard, in a series without a pause of RivalMemory.
	First, Last time.Time
}

// RivalMemory is for how long after it was last heard a rival counts.
const RivalMemory = 3 * time.Second

// rivalPause is the least time between two signals about one rival.
const rivalPause = 200 * time.Millisecond

// rivals are those that were heard lately. The zero value is ready.
type rivals struct {
	mu    sync.Mutex
	heard map[rivalry]*series
}

type rivalry struct {
	addr netip.Addr
	mac  [6]byte
}

type series struct{ first, last, told time.Time }

// hear notes a rival. It reports whether somebody should be told.
func (r *rivals) hear(addr netip.Addr, mac net.HardwareAddr, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.heard == nil {
		r.heard = map[rivalry]*series{}
	}
	key := rivalry{addr, [6]byte(mac)}
	s := r.heard[key]
	if s == nil || now.Sub(s.last) >= RivalMemory {
		s = &series{first: now}
		r.heard[key] = s
	}
	s.last = now
	if now.Sub(s.told) < rivalPause {
		return false
	}
	s.told = now
	return true
}

// lately returns those that count, and forgets the others.
func (r *rivals) lately(now time.Time) []Rival {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Rival
	for key, s := range r.heard {
		if now.Sub(s.last) >= RivalMemory {
			delete(r.heard, key)
			continue
		}
		out = append(out, Rival{key.addr, key.mac, s.first, s.last})
	}
	slices.SortFunc(out, func(a, b Rival) int {
		return cmp.Or(a.Addr.Compare(b.Addr), slices.Compare(a.MAC[:], b.MAC[:]))
	})
	return out
}

// Rivals returns the rivals that were heard lately, by address.
func (a *Announcer) Rivals() []Rival { return a.rivals.lately(time.Now()) }

// Contested returns the channel that gets a value when a rival was heard.
func (a *Announcer) Contested() <-chan struct{} { return a.contested }

// contest takes in that somebody who is no stranger says that it has an address
// of this node's own. A station whose MAC is one of this node's is none.
func (w *worker) contest(addr netip.Addr, mac net.HardwareAddr) {
	if e := w.claims.Load().of[addr]; e == nil || !e.own(w.role.link) || w.ours(mac) {
		return
	}
	w.count.rivals.Add(1)
	if w.rivals.hear(addr, mac, time.Now()) {
		w.log.Info("another speaker says that it has an address of this node", "addr", addr, "mac", mac.String())
		signal(w.contested)
	}
}
