package main

import "time"

// recovery is how long after a lapse the others have had time to take this
// node's addresses over, if they held it for gone.
const recovery = 3 * time.Second

// lapse is what follows when this process was held up for so long that others
// may have taken its addresses over: it gives them all up, and takes them again
// when it has asked the API server whose they are, or if that is away, on the
// wire. The zero value is none.
type lapse struct {
	seen  uint64    // how many there were
	since time.Time // zero: it is over
}

// look takes in how many lapses there were, and reports whether that is news.
func (l *lapse) look(lapses uint64, connected bool, now time.Time) bool {
	if lapses != l.seen {
		*l = lapse{seen: lapses, since: now}
		return true
	}
	if connected || now.Sub(l.since) >= recovery {
		l.since = time.Time{}
	}
	return false
}

func (l *lapse) lasts() bool { return !l.since.IsZero() }
