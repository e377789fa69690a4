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
	Probing   State = "Probing"   // not answered yet: this node asks whether another host has it (RFC 5227 section 2.1.1)
	Announced State = "Announced" // answered and announced
	Conflict  State = "Conflict"  // not answered: a foreign host has it (RFC 5227 section 2.4)
)

// sighting is a foreign host that claims one of our addresses.
type sighting struct {
	MAC   [6]byte
	Link  string
	Last  time.Time
	shown bool // State returns it
}

const (
	// defendInterval is the least pause between two defenses of an address:
	// DEFEND_INTERVAL of RFC 5227 section 1.1.
	defendInterval = 10 * time.Second
	// maxForeign is how many foreign hosts are kept for one address. A frame of
	// another one only shows that the conflict goes on.
	maxForeign = 4
)

// holding is the state of one claimed address. It outlives the tables that
// it is in. Its methods are safe for concurrent use.
type holding struct {
	mu       sync.Mutex
	free     bool       // no foreign host has it: this node answers
	seen     []sighting // foreign hosts, in the order in which they were first seen; at most maxForeign
	last     time.Time  // when any foreign host was last seen
	defended time.Time
	stalls   uint64 // of this process, when the address was claimed
	// probeHeard: a foreign host probed for the address, or claimed it. Only the first
	// probe counts: else a probe now and then would keep the address unannounced
	// for ever.
	probeHeard bool
	retryAt    time.Time // when to probe again after a foreign host's probe; zero: now
}

func newHolding(trial bool, stalls uint64) *holding { return &holding{free: !trial, stalls: stalls} }

// Current reports whether this process, which has had so many stalls until now, had
// none since the address was claimed.
func (h *holding) Current(stalls uint64) bool { return h.stalls == stalls }

// Answers reports whether to answer requests.
func (h *holding) Answers() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.free
}

// Trial reports whether to probe the address now. If it is not free and its probing
// waits, at is when to go on.
func (h *holding) Trial(now time.Time) (probe bool, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.free:
		return false, time.Time{}
	case now.Before(h.retryAt):
		return false, h.retryAt
	}
	return true, time.Time{}
}

// State returns how far this node is with the address, and the foreign hosts that
// claimed it lately and were reported.
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
	return Conflict, shown
}

// Saw records a frame of a foreign host. It reports whether to report the host now:
// once for each, and only if may, which limits reports, allows it.
func (h *holding) Saw(s sighting, may func() bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last, h.probeHeard = s.Last, true
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

// ProbeHeard records that a foreign host probes for the address, to take it (RFC 5227
// section 2.1.1). The first such probe stops our own probing for the pause, in which
// the host can take the address or give way. ProbeHeard reports whether it did so.
func (h *holding) ProbeHeard(now time.Time, pause time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.free || h.probeHeard {
		return false
	}
	h.probeHeard, h.retryAt = true, now.Add(pause)
	return true
}

// Forgive removes the foreign hosts for which ok returns true. It reports whether
// that changes what State returns.
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

// Pass ends probing and has the address answered, unless a foreign host claimed it
// within forget, or probing waits. It reports whether it did.
func (h *holding) Pass(now time.Time, forget time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.free || now.Before(h.retryAt) || !h.last.IsZero() && now.Sub(h.last) < forget {
		return false
	}
	h.free, h.seen, h.last = true, nil, time.Time{}
	return true
}

// Defend reports whether to defend the address now (RFC 5227 section 2.4 c), and counts that as done.
func (h *holding) Defend(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.free || now.Sub(h.defended) < defendInterval {
		return false
	}
	h.defended = now
	return true
}
