package bgp

import "time"

// Failure is the class of a session's last error. It stays the same from attempt
// to attempt, where the words may change.
type Failure string

// The classes beside those of a loss, which are named as their causes.
const (
	// Unreachable: no connection, or one that ended before anything was heard. Its
	// words say what the last attempt met: an unreachable router shows several in turn.
	Unreachable Failure = "Unreachable"
	// Unsuitable: the session can't be held as this node, the peer and the router are.
	Unsuitable Failure = "Unsuitable"
	// Crashed: this node's BGP has failed, and is started again.
	Crashed Failure = "Crashed"
	// Incomplete: the session may be up, but not all routes are offered.
	Incomplete Failure = "Incomplete"
)

const (
	// recurs is how long an error is shown after it was last met, while others come
	// that were shown before it.
	recurs = 2 * time.Minute
	// maxShown is how many errors are shown as soon as they are met.
	maxShown = 8
)

// reason is an error of a session.
type reason struct {
	class Failure
	text  string
}

// failure is the error that is shown of a session. Errors that take turns change it
// no more once each was shown: who reads it is not told the same again and again.
// The zero failure is none.
type failure struct {
	reason
	met   time.Time       // last
	shown map[reason]bool // since the session was last up
}

// meet returns what is shown after an error was met, and whether that has changed.
func (f failure) meet(r reason, now time.Time) (_ failure, changed bool) {
	if r == f.reason {
		f.met = now
		return f, false
	}
	if (f.shown[r] || len(f.shown) >= maxShown) && now.Sub(f.met) < recurs {
		return f, false
	}
	shown := map[reason]bool{r: true}
	for old := range f.shown {
		if len(shown) < maxShown {
			shown[old] = true
		}
	}
	return failure{reason: r, met: now, shown: shown}, true
}
