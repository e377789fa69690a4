package layer2

import (
	"sync"
	"time"
)

// State is how far this node is with an address that it claims.
type State string

// The states.
const (
	Probing   State = "Probing"   // asking whether somebody has it; not answered yet
	Announced State = "Announced" // answered and announced
	Taken     State = "Taken"     // not answered: a stranger has it
)

// sighting is a stranger that says it has one of our addresses. The zero sighting
// is nobody.
type sighting struct {
	MAC  [6]byte
	Link string
	Last time.Time
}

// defence is the least pause between two defences of an address (RFC 5227
// section 2.4).
const defence = 10 * time.Second

// holding is what is known of one claimed address. It outlives the tables that
// it is in. All methods may be called at any time.
type holding struct {
	mu       sync.Mutex
	free     bool // of strangers, so that it can be answered
	seen     sighting
	defended time.Time
	stalls   uint64 // of this process, when the address was claimed
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

// State returns how far this node is with the address, and the stranger that was
// seen to have it.
func (h *holding) State() (State, sighting) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.free:
		return Announced, h.seen
	case h.seen == sighting{}:
		return Probing, h.seen
	}
	return Taken, h.seen
}

// Saw notes a stranger. It reports whether that is news.
func (h *holding) Saw(s sighting) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	news := h.seen.MAC != s.MAC || h.seen.Link != s.Link
	h.seen = s
	return news
}

// Forgive forgets the stranger if ok says so. It reports whether it did.
func (h *holding) Forgive(ok func(sighting) bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if (h.seen == sighting{}) || !ok(h.seen) {
		return false
	}
	h.seen = sighting{}
	return true
}

// Pass ends the trial unless a stranger has been seen for the last time less than
// so long ago. It reports whether it did.
func (h *holding) Pass(now time.Time, forget time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.free || h.seen != (sighting{}) && now.Sub(h.seen.Last) < forget {
		return false
	}
	h.free, h.seen = true, sighting{}
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
