package neighbor

import (
	"hash/maphash"
	"net"
	"time"
)

const (
	// PerSecond is how many questions of one station are answered for long.
	PerSecond = 100
	// sets and ways are how many stations a Limiter tells apart: each belongs into
	// either of two sets, and has an account there while it asks.
	sets, ways = 1024, 4
)

// Limiter bounds how often one station is answered, in a fixed amount of memory.
// Each station has its own account, so that none is refused for what others ask. A
// station that can have none, for those in both its sets are all in use, is refused:
// thousands must ask at their limit for that. It reads no clock. The zero Limiter is
// not ready: call NewLimiter.
type Limiter struct {
	seed     maphash.Seed // random, so that a host cannot choose which account it takes
	accounts [sets][ways]account
}

// account is one station's. It is free once its time has passed: then nothing counts
// against the host that had it.
type account struct {
	of   requester
	full int64 // when all is allowed again (the generic cell rate algorithm), in Unix nanoseconds
}

// requester is a station and how it asks. Questions sent to us alone count apart: who
// asks all hosts, in another station's name, does not make that one's checks for us
// fail.
type requester struct {
	mac     [6]byte
	unicast bool
}

// NewLimiter returns a Limiter that allows every host its burst.
func NewLimiter() *Limiter { return &Limiter{seed: maphash.MakeSeed()} }

// Allow says whether to answer a station now. Beyond the burst, which should let it
// ask for all our addresses at once, it gets so many answers a second.
func (l *Limiter) Allow(m Message, now time.Time, burst, perSecond int) bool {
	interval := int64(time.Second) / int64(perSecond)
	a := l.account(requester{macOf(m.Sender), m.Unicast}, now.UnixNano())
	if a == nil || a.full-now.UnixNano() > int64(burst)*interval {
		return false
	}
	a.full += interval
	return true
}

// account returns the station's account, or a new one in that of its sets where more
// are free, or nil.
func (l *Limiter) account(of requester, now int64) *account {
	h := maphash.Comparable(l.seed, of)
	var found *account
	most := 0
	for _, set := range []*[ways]account{&l.accounts[h%sets], &l.accounts[h>>32%sets]} {
		var free *account
		n := 0
		for i := range set {
			switch a := &set[i]; {
			case a.full <= now:
				free, n = a, n+1
			case a.of == of:
				return a
			}
		}
		if n > most {
			found, most = free, n
		}
	}
	if found != nil {
		*found = account{of, now}
	}
	return found
}

func macOf(m net.HardwareAddr) (out [6]byte) {
	copy(out[:], m)
	return out
}
