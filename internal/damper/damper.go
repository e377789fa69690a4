// Package damper finds Services whose endpoints come and go, as Pods do that crash in a
// loop: to announce and withdraw an address each time would cost more than it brings. (Route
// flap damping, RFC 2439, is the same idea.) Speakers and the controller use it alike, each
// with what it has seen itself; it is pure.
package damper

import (
	"fmt"
	"time"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

const (
	// memory is how long a return counts. It is longer than three of the longest pauses
	// between two starts of a container (5 min).
	memory = 20 * time.Minute
	// free is how many returns within memory are at once.
	free = 2
	// After one more return an endpoint must have served for firstHold, after the next for
	// twice as long, and so on up to longestHold.
	firstHold, longestHold = 10 * time.Second, 80 * time.Second
)

// Damper remembers when the endpoints of Services returned. The zero Damper is ready for use.
type Damper struct{ of map[ipam.Key]*service }

// service is the history of one Service.
type service struct {
	serves  bool
	returns []time.Time // the last ones, within memory
}

// Follow records for each Service whether an endpoint serves, and forgets the others. It
// returns why some are held back all the same, and after which time to call it again if
// nothing changes (0: never). What serves at the first call has always served.
func (d *Damper) Follow(now time.Time, serves map[ipam.Key]bool) (held map[ipam.Key]string, again time.Duration) {
	next := make(map[ipam.Key]*service, len(serves))
	held = map[ipam.Key]string{}
	for key, is := range serves {
		s, known := d.of[key]
		if !known {
			s = &service{serves: is}
		}
		if is && !s.serves {
			s.returns = append(s.returns, now)
		}
		s.serves, next[key] = is, s
		for len(s.returns) > 0 && now.Sub(s.returns[0]) >= memory {
			s.returns = s.returns[1:]
		}
		if n := len(s.returns); is && n > free {
			hold := min(longestHold, firstHold<<min(n-free-1, 10))
			if left := s.returns[n-1].Add(hold).Sub(now); left > 0 {
				held[key] = fmt.Sprintf("its endpoints came back %d times within %s; it is announced again when one has served for %s", n, memory, hold)
				if again == 0 || left < again {
					again = left
				}
			}
		}
	}
	d.of = next
	return held, again
}
