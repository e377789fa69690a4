package cluster

import (
	"hash/fnv"
	"hash/maphash"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// initialEvents is how many notes of one topic are sent without a pause between.
	initialEvents = 5
	// firstPause and longestPause are the pauses that follow, doubled each time, at
	// most. Each is shorter by up to half, so that many hosts don't tell at once.
	firstPause   = 20 * time.Minute
	longestPause = time.Hour
	// maxKinds is how many kinds of events count as different within a topic.
	maxKinds = 8
	// maxTopics is how many topics are remembered. Events on more are not sent.
	maxTopics = 50000
)

// topic is what events have in common that repeat one another, whatever their messages
// are.
type topic struct {
	uid                          types.UID
	kind, namespace, name, where string // where: the program's host
	reason, detail               string
}

// series is what was sent on one topic.
type series struct {
	sent   int           // events that were sent
	pause  time.Duration // since the last one; 0: there is none
	last   time.Time     // when the last one was sent
	held   int           // events that were not sent since
	latest time.Time     // the latest event, sent or not
	kinds  []string      // of the events that were sent: the first maxKinds
}

// repeats decides which events are sent: of each topic the first few, then one after a
// pause that doubles up to an hour. So an event that returns for ever, or whose message
// changes for ever, is sent for ever, but seldom. An event of a new kind is sent at once.
// A topic without an event for an hour starts again.
type repeats struct {
	seed  maphash.Seed
	of    map[uint64]*series // by the topic's hash, which is smaller
	swept time.Time
}

// next reports whether an event on t, of some kind, is sent now, and how many were
// held back since the last that was.
func (r *repeats) next(t topic, kind string, now time.Time) (held int, send bool) {
	r.sweep(now)
	key := maphash.Comparable(r.seed, t)
	s := r.of[key]
	switch {
	case s == nil && len(r.of) >= maxTopics:
		return 0, false
	case s == nil || now.Sub(s.latest) > longestPause:
		s = new(series)
		r.of[key] = s
	}
	s.latest = now
	isNew := len(s.kinds) < maxKinds && !slices.Contains(s.kinds, kind)
	if isNew {
		s.kinds = append(s.kinds, kind)
	}
	if !isNew && now.Sub(s.last) < s.pause {
		s.held++
		return 0, false
	}
	held = s.held
	s.sent, s.held, s.last = s.sent+1, 0, now
	if s.sent >= initialEvents {
		s.pause = t.pause(s.sent - initialEvents)
	}
	return held, true
}

// pause returns the pause number n of a topic, the first is 0.
func (t topic) pause(n int) time.Duration {
	longest := longestPause
	if n < 2 {
		longest = min(firstPause<<n, longestPause)
	}
	h := fnv.New32a()
	for _, s := range []string{string(t.uid), t.kind, t.namespace, t.name, t.where, t.reason, t.detail, string(rune('0' + n%8))} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return longest - longest/2*time.Duration(h.Sum32()>>16)/(1<<16)
}

// sweep forgets, now and then, the topics of which nothing was heard for long.
func (r *repeats) sweep(now time.Time) {
	if r.of == nil {
		r.seed, r.of = maphash.MakeSeed(), map[uint64]*series{}
	}
	if now.Sub(r.swept) < longestPause/4 {
		return
	}
	r.swept = now
	maps.DeleteFunc(r.of, func(_ uint64, s *series) bool { return now.Sub(s.latest) > longestPause })
}
