package main

import (
	"time"

	"github.com/steelyard-lb/steelyard/internal/membership"
)

// recovery is how long after a lapse the others have had time to say that they
// held this node for gone: until the sessions with them are Up again, and more.
const recovery = 3 * time.Second

// lapse is what follows when this process was held up for so long that others
// may have taken its addresses over: it gives them all up, and takes them again
// when it has asked the API server whose they are. If that is away it takes them
// when speakers that hear it have not held it for gone; else it asks on the wire
// for each. The zero value is none.
type lapse struct {
	seen    uint64    // how many there were
	since   time.Time // zero: it is over
	accused uint64    // how often others had held this node for gone before
	trusted bool      // it is over without the API server's word
}

// look takes in how many lapses there were, and reports whether that is news.
func (l *lapse) look(lapses uint64, connected bool, view membership.View, now time.Time) bool {
	if lapses != l.seen {
		*l = lapse{seen: lapses, since: now, accused: view.Accusations}
		return true
	}
	blamed := view.Accusations != l.accused
	switch {
	case connected:
		l.since, l.trusted = time.Time{}, false
	case l.lasts() && now.Sub(l.since) >= recovery:
		l.since, l.trusted = time.Time{}, view.Up > 0 && !blamed
	case view.Isolated || blamed: // whose addresses are whose may have changed since
		l.trusted = false
	}
	return false
}

func (l *lapse) lasts() bool { return !l.since.IsZero() }
