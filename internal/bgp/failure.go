package bgp

import "time"

// Failure is the class of a session's last error. It stays the same from attempt to
// attempt, where the text may change.
type Failure string

// The classes, beside the causes of a loss.
const (
	// Unreachable: no connection, or one that ended before the router sent anything.
	// The text is that of the last attempt: an unreachable router causes several in
	// turn.
	Unreachable Failure = "Unreachable"
	// Unsuitable: this node, the peer's configuration and the router do not fit
	// together.
	Unsuitable Failure = "Unsuitable"
	// Crashed: BGP failed on this node, and is restarted.
	Crashed Failure = "Crashed"
	// Incomplete: the session may be up, but not all routes are advertised.
	Incomplete Failure = "Incomplete"
)

const (
	// recurs is how long an error stays shown after its last occurrence, while
	// errors occur that were shown before it.
	recurs = 2 * time.Minute
	// maxShown is how many different errors are shown as soon as they occur.
	maxShown = 8
)

// sessionError is an error of a session.
type sessionError struct {
	class Failure
	text  string
}

// failure is the error that a session shows. Errors that alternate are each shown
// once, so that the reader is not notified again and again. The zero failure is none.
type failure struct {
	sessionError
	met   time.Time             // of the last occurrence
	shown map[sessionError]bool // since the session was last up
}

// meet returns what is shown after an error occurred, and whether that has changed.
func (f failure) meet(r sessionError, now time.Time) (_ failure, changed bool) {
	if r == f.sessionError {
		f.met = now
		return f, false
	}
	if (f.shown[r] || len(f.shown) >= maxShown) && now.Sub(f.met) < recurs {
		return f, false
	}
	shown := map[sessionError]bool{r: true}
	for old := range f.shown {
		if len(shown) < maxShown {
			shown[old] = true
		}
	}
	return failure{sessionError: r, met: now, shown: shown}, true
}
