package planner

import (
	"github.com/steelyard-lb/steelyard/internal/wait"
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Step is what a pass comes to.
type Step struct {
	Writes  []Write       // writes to begin, in this order
	Late    []*Service    // whose changes, of the condition Announced alone, give way to the others
	Forgets []types.UID   // attempts that are not wanted any more
	Agreed  []Write       // Services that show what they shall, although another client wrote that
	Awaits  bool          // a pass is due when a write lands
	Again   time.Duration // when to look again if nothing happens before; 0: never
}

// Write is a write to begin.
type Write struct {
	Service *corev1.Service
	Change  Change
}

// Step returns what is to be done about what differs from the plan.
//
// An address goes to a Service only when no other one may still show it:
// otherwise a watch could see it on both.
func (p Plan) Step(s Snapshot) Step {
	showing := p.showing(s.Attempts)
	out := Step{Again: wait.Soonest(s.again(), p.again(s.Now), p.nextEnd(s.Now))}
	var blocked []int
	for i, x := range p.Services {
		a, tried := s.Attempts[x.Object.UID]
		switch {
		case tried && a.inFlight:
			out.Awaits = out.Awaits || !a.settles(x.Object, x.Change)
		case tried && s.Now.Before(a.notBefore):
		case p.Contests[x.Object.UID].waits(s.Now) && !x.releasing:
			if c, differs := conditionsOf(x.Object, p.Contests[x.Object.UID]); differs {
				out.Writes = append(out.Writes, Write{x.Object, c})
			}
		case x.Change == nil:
			p.rest(i, a, tried, &out)
		case slices.ContainsFunc(x.Change.gains, func(a netip.Addr) bool { return len(showing[a]) > 0 }):
			blocked = append(blocked, i)
		case x.Change.AnnouncedOnly:
			out.Late = append(out.Late, x)
		default:
			out.Writes = append(out.Writes, Write{x.Object, *x.Change})
		}
	}
	out.Writes = append(out.Writes, p.free(blocked, showing)...)
	out.Awaits = out.Awaits || len(blocked) > 0 || p.awaits()
	return out
}

// awaits reports whether a pass is due when a write lands, also one that nothing waits for.
func (p Plan) awaits() bool { return p.returns || p.moving() }

// free returns the write that frees those that wait for one another, as two that swap
// addresses do; none: they do not.
func (p Plan) free(blocked []int, showing map[netip.Addr][]int) []Write {
	i, ok := p.deadlocked(blocked, showing)
	if !ok {
		return nil
	}
	c := stepDown(p.Services[i].Object, p.Grants[i], p.Services[i].orphaned, p.occupied)
	c.announce(p.Services[i].Object, p.announced, nil)
	return []Write{{p.Services[i].Object, c}}
}

// rest adds what is to be done about a Service that shows what it shall, as far as is known.
func (p Plan) rest(i int, a Attempt, tried bool, out *Step) {
	x := p.Services[i]
	switch {
	case tried && len(a.maybe) == 0:
		out.Forgets = append(out.Forgets, x.Object.UID)
	case tried: // what it shows is right, if that is what it shows: the answer tells
		c, _ := p.changeFor(i)
		out.Writes = append(out.Writes, Write{x.Object, c})
	case p.Contests[x.Object.UID].overwritten(): // another client wrote that
		out.Agreed = append(out.Agreed, Write{x.Object, Change{Addrs: p.Grants[i].Addrs}})
		out.Again = wait.Soonest(out.Again, Quiet)
	}
}

// again returns when something is to be done about the first contest; 0: nothing is.
func (p Plan) again(now time.Time) time.Duration {
	first := time.Duration(0)
	for _, c := range p.Contests {
		first = wait.Soonest(first, c.again(now))
	}
	return first
}

// again returns when the first of what failed is to be tried again; 0: nothing is.
func (s Snapshot) again() time.Duration {
	first := time.Duration(0)
	for _, a := range s.Attempts {
		if left := a.notBefore.Sub(s.Now); !a.inFlight && left > 0 {
			first = wait.Soonest(first, left)
		}
	}
	return first
}

// showing returns, for each address that some Service shows, or may show soon,
// and is not to have, which Services these are.
func (p Plan) showing(attempts map[types.UID]Attempt) map[netip.Addr][]int {
	out := map[netip.Addr][]int{}
	for i, x := range p.Services {
		if x.Change != nil {
			for _, a := range x.Change.loses {
				out[a] = append(out[a], i)
			}
		}
		if len(attempts) == 0 {
			continue
		}
		for _, a := range without(attempts[x.Object.UID].shows(), p.Grants[i].Addrs) {
			out[a] = append(out[a], i)
		}
	}
	return out
}

// deadlocked returns the oldest of the blocked Services that wait, perhaps by way
// of others, for themselves, and that has something to give up.
func (p Plan) deadlocked(blocked []int, showing map[netip.Addr][]int) (int, bool) {
	without := make(map[int]bool, len(blocked)) // without hope, as far as is known
	for _, i := range blocked {
		without[i] = true
	}
	for again := true; again; {
		again = false
		for i := range maps.Keys(without) {
			waits := slices.ContainsFunc(p.Services[i].Change.gains, func(a netip.Addr) bool {
				return slices.ContainsFunc(showing[a], func(holder int) bool { return without[holder] })
			})
			if !waits { // its holder is about to release it
				delete(without, i)
				again = true
			}
		}
	}
	for _, i := range blocked {
		if without[i] && len(p.Services[i].Change.loses) > 0 {
			return i, true
		}
	}
	return 0, false
}
