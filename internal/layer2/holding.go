package layer2

import (
	"slices"
	"sync"
	"time"
)

// State is how far this node is with an address that it claims.
type State string

// The states.
const (
	Probing   State = "Probing"   // asking whether somebody has it; not answered yet
	Announced State = "Announced" // answered and announced
	Taken     State = "Taken"     // not answered: a foreign host has it
)

// sighting is a foreign host that says it has one of our addresses.
type sighting struct {
	MAC   [6]byte
	Link  string
	Last  time.Time
	shown bool // it is told
}

const (
	// defence is the least pause between two defences of an address (RFC 5227
	// section 2.4).
	defence = 10 * time.Second
	// maxForeign is how many foreign hosts are told apart for one address. Those
	// beyond count as one more sign of life of the others.
	maxForeign = 4
)

// holding is what is known of one claimed address. It outlives the tables that
// it is in. All methods may be called at any time.
type holding struct {
	mu       sync.Mutex
	free     bool       // of foreign hosts, so that it can be answered
	seen     []sighting // foreign hosts, in the order in which they were first seen; at most maxForeign
	last     time.Time  // when any foreign host was last seen
	defended time.Time
	stalls   uint64 // of this process, when the address was claimed
	// wanted: a probe of somebody else was heard, or a foreign host seen. Later
	// probes say nothing: else one of them now and then would keep the address
	// unannounced for ever.
	wanted bool
	again  time.Time // when the trial that a probe of somebody else ended begins anew
}

func newHolding(trial bool, stalls uint64) *holding { return &holding{free: !trial, stalls: stalls} }

// Current says that this process, which had so many stalls until now, has not been
// held up since the address was claimed.
func (h *holding) Current(stalls uint64) bool { return h.stalls == stalls }

// Answers says whether questions are to be answered.
func (h *holding) Answers() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.free
}

// Trial says whether the address is to be probed now, and, if it is not free and
// not to be probed yet, when it is.
func (h *holding) Trial(now time.Time) (probe bool, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.free:
		return false, time.Time{}
	case now.Before(h.again):
		return false, h.again
	}
	return true, time.Time{}
}

// State returns how far this node is with the address, and the foreign hosts that
// were seen to have it and may be told.
func (h *holding) State() (State, []sighting) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var shown []sighting
	for _, s := range h.seen {
		if s.shown {
			shown = append(shown, s)
		}
	}
	switch {
	case h.free:
		return Announced, shown
	case len(shown) == 0:
		return Probing, nil
	}
	return Taken, shown
}

// Saw notes a foreign host. It reports whether that is news, to be told now: may is
// asked then, for there may be too much news.
func (h *holding) Saw(s sighting, may func() bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last, h.wanted = s.Last, true
	i := slices.IndexFunc(h.seen, func(o sighting) bool { return o.MAC == s.MAC && o.Link == s.Link })
	switch {
	case i >= 0:
		h.seen[i].Last = s.Last
	case len(h.seen) == maxForeign:
		return false
	default:
		i = len(h.seen)
		h.seen = append(h.seen, s)
	}
	if h.seen[i].shown || !may() {
		return false
	}
	h.seen[i].shown = true
	return true
}

// Wanted notes that somebody probes for the address, to take it (RFC 5227 section
// 2.1.1). In the first trial that counts: the trial begins anew after the pause, for
// which the other has time to take the address or to give way. It reports whether it did.
func (h *holding) Wanted(now time.Time, pause time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.free || h.wanted {
		return false
	}
	h.wanted, h.again = true, now.Add(pause)
	return true
}

// Forgive forgets the foreign hosts of which ok says so. It reports whether that
// changes what is told.
func (h *holding) Forgive(ok func(sighting) bool) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = slices.DeleteFunc(h.seen, func(s sighting) bool {
		forgiven := ok(s)
		changed = changed || forgiven && s.shown
		return forgiven
	})
	if len(h.seen) == 0 {
		h.last = time.Time{}
	}
	return changed
}

// Pass ends the trial unless a foreign host has been seen for the last time less
// than so long ago, or the trial is to begin anew. It reports whether it did.
func (h *holding) Pass(now time.Time, forget time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.free || now.Before(h.again) || !h.last.IsZero() && now.Sub(h.last) < forget {
		return false
	}
	h.free, h.seen, h.last = true, nil, time.Time{}
	return true
}

// Defend says whether to defend the address now.
func (h *holding) Defend(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.free || now.Sub(h.defended) < defence {
		return false
	}
	h.defended = now
	return true
}
