package layer2

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/internal/layer2/neighbour"
	"github.com/steelyard-lb/steelyard/internal/layer2/pulse"
)

// State is how far this node is with an address that it claims.
type State string

// The states.
const (
	Probing   State = "Probing"   // asking whether somebody has it; not answered yet
	Announced State = "Announced" // answered and announced
	Taken     State = "Taken"     // not answered: a stranger has it
)

// Standing is how this node stands to an address that it claims.
type Standing struct {
	Addr     netip.Addr
	State    State
	Links    []string         // that it is claimed on, and which are up; sorted
	Stranger net.HardwareAddr // who else was seen to have it lately; nil: nobody
	Link     string           // where the stranger was seen
}

// sighting is a stranger that says it has one of our addresses.
type sighting struct {
	mac  [6]byte
	link string
	last time.Time
}

// forget is how long after its last sign of life a stranger counts as gone, as
// long as we announce the address ourselves: then nothing makes it speak.
const forget = 10 * time.Minute

// defence is the least pause between two defences of an address (RFC 5227
// section 2.4).
const defence = 10 * time.Second

// holding is what is known of one claimed address. It outlives the tables that
// it is in. All methods may be called at any time.
type holding struct {
	mu       sync.Mutex
	free     bool     // of strangers, so that it can be answered
	seen     sighting // zero: nobody
	defended time.Time
	lapses   uint64 // of this process, when the address was claimed
}

func newHolding(trial bool, lapses uint64) *holding { return &holding{free: !trial, lapses: lapses} }

// current says that this process has not been held up since the address was claimed.
func (h *holding) current(p *pulse.Pulse) bool { return h.lapses == p.Beat() }

// answers says whether questions are to be answered.
func (h *holding) answers() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.free
}

func (h *holding) state() (State, sighting) {
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

// saw notes a stranger. It reports whether that is news.
func (h *holding) saw(s sighting) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	news := h.seen.mac != s.mac || h.seen.link != s.link
	h.seen = s
	return news
}

// forgive forgets the stranger if ok says so. It reports whether it did.
func (h *holding) forgive(ok func(sighting) bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if (h.seen == sighting{}) || !ok(h.seen) {
		return false
	}
	h.seen = sighting{}
	return true
}

// pass ends the trial if nobody has shown up lately. It reports whether it did.
func (h *holding) pass(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.free || h.seen != (sighting{}) && now.Sub(h.seen.last) < neighbour.ProbeForget {
		return false
	}
	h.free, h.seen = true, sighting{}
	return true
}

// defend says whether to defend the address now.
func (h *holding) defend(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.free || now.Sub(h.defended) < defence {
		return false
	}
	h.defended = now
	return true
}
