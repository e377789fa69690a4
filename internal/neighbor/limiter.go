package neighbor

import (
	"hash/maphash"
	"net"
	"time"
)

// perSecond is how many questions of one station are answered for long.
const perSecond = 100

// requesters is how many stations a Limiter tells apart at most.
const requesters = 1024

// Limiter bounds how often one station is answered, in a fixed amount of
// memory: those that fall into one bucket, by chance, share its rate. It reads
// no clock. The zero Limiter is not ready: call NewLimiter.
type Limiter struct {
	seed    maphash.Seed // so that nobody can choose whose bucket to empty
	buckets [requesters]time.Time
}

// NewLimiter returns a Limiter that has seen nobody.
func NewLimiter() *Limiter { return &Limiter{seed: maphash.MakeSeed()} }

// Allow says whether to answer a station now. Beyond the burst, which should
// let it ask for all our addresses at once, it gets 100 answers a second.
// Questions sent to us alone count apart: who asks everybody, in another
// station's name, does not make that one's checks for us fail.
func (l *Limiter) Allow(m Message, now time.Time, burst int) bool {
	const interval = time.Second / perSecond
	key := struct {
		mac     [6]byte
		unicast bool
	}{macOf(m.Sender), m.Unicast}
	// The time at which the bucket is full again (the generic cell rate algorithm).
	full := &l.buckets[maphash.Comparable(l.seed, key)%requesters]
	if full.Before(now) {
		*full = now
	}
	if full.Sub(now) > time.Duration(burst)*interval {
		return false
	}
	*full = full.Add(interval)
	return true
}

func macOf(m net.HardwareAddr) (out [6]byte) {
	copy(out[:], m)
	return out
}
