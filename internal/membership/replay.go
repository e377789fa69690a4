package membership

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Each message bears the start of its sender, a time, and a number of its own since
// then, so that none counts twice, even if it was recorded. (What it says could be old.)
// A clock may have been set back over a restart: then others know a later start of
// this speaker, and tell it, and it goes on from that.

// numbers gives messages their numbers. Its methods may be called at any time.
type numbers struct {
	start atomic.Uint64
	n     atomic.Uint64
}

// next returns the start and number of the next message.
func (n *numbers) next() (start, number uint64) { return n.start.Load(), n.n.Add(1) }

// follow makes the start later than one that another speaker knows.
func (n *numbers) follow(known uint64) {
	for {
		start := n.start.Load()
		if known < start || n.start.CompareAndSwap(start, known+1) {
			return
		}
	}
}

// window is which messages of one sender were received since one of its starts: the
// 64 up to the highest number (as RFC 4303 section 3.4.3 has it), for some may overtake
// others on the way.
type window struct {
	start, top uint64
	seen       uint64    // bit i: number top-i
	reminded   time.Time // when the sender last got a reply that a later start is known
}

// replays are the windows of the senders. The zero value is ready.
type replays struct {
	mu      sync.Mutex
	of      map[string]*window
	callers map[string]time.Time // who are no members: when one was heard last
}

// remindAfter is the least pause between two replies to a sender that a later
// start of it is known.
const remindAfter = time.Second

// fresh reports whether a message has not been received before, and otherwise the
// later start that its sender is to be told of; 0: none. Speakers of earlier versions
// number nothing.
func (r *replays) fresh(now time.Time, m Message, members []Member) (ok bool, known uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.of[m.From]
	switch {
	case !slices.ContainsFunc(members, func(o Member) bool { return o.Name == m.From }):
		return false, 0
	case m.Number == 0:
		return w == nil, 0
	case w == nil || m.Start > w.start:
		if r.of == nil {
			r.of = map[string]*window{}
		}
		if w == nil { // else nothing has been added
			maps.DeleteFunc(r.of, func(name string, _ *window) bool {
				return !slices.ContainsFunc(members, func(o Member) bool { return o.Name == name })
			})
		}
		r.of[m.From] = &window{start: m.Start, top: m.Number, seen: 1}
		return true, 0
	case m.Start < w.start:
		if now.Sub(w.reminded) < remindAfter {
			return false, 0
		}
		w.reminded = now
		return false, w.start
	}
	return w.mark(m.Number), 0
}

// callInterval is how often a message of a sender that is no member counts.
const callInterval = time.Second

// calls reports whether a message of a sender that is no member counts: one in callInterval.
// Their number is bounded, for all are signed.
func (r *replays) calls(now time.Time, name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.callers[name]) < callInterval {
		return false
	}
	if r.callers == nil {
		r.callers = map[string]time.Time{}
	}
	r.callers[name] = now
	return true
}

// mark reports whether a number is new.
func (w *window) mark(n uint64) bool {
	if n > w.top {
		w.seen, w.top = w.seen<<(n-w.top)|1, n // a shift by 64 or more leaves nothing
		return true
	}
	bit := uint64(1) << (w.top - n) // likewise: too old to tell
	if bit == 0 || w.seen&bit != 0 {
		return false
	}
	w.seen |= bit
	return true
}
