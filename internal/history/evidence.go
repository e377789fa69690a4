package history

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// Evidence is all that tells who had which address.
type Evidence struct {
	Pools  []v1beta1.IPAddressPool
	Claims []v1beta1.L2Claim
	Events []Event
}

// sameTime is how far apart an event may be from what a status says of the same change: the event
// is of the moment in which it was written, the status of that in which it was decided.
const sameTime = 10 * time.Second

// Entries returns what the evidence tells, by time. An event that repeats what a status says is left out,
// and so is one that a Service has an address that it had before. The Services of an owner are those that had the
// address then.
func (e Evidence) Entries() []Entry {
	var all []Entry
	for i := range e.Pools {
		for _, c := range e.Pools[i].Status.History {
			all = append(all, EntryOf(e.Pools[i].Name, c))
		}
	}
	using := map[string][]string{} // by address
	for i := range e.Claims {
		c := &e.Claims[i]
		all = append(all, owners(c)...)
		using[string(c.Spec.Address)] = c.Status.Services
	}
	var events []Entry
	for _, v := range slices.SortedStableFunc(slices.Values(e.Events), func(a, b Event) int { return a.At.Compare(b.At) }) {
		for _, x := range v.Entries() {
			repeats := func(y Entry) bool { return x.repeats(y) }
			if !slices.ContainsFunc(all, repeats) && !slices.ContainsFunc(events, repeats) {
				events = append(events, x)
			}
		}
	}
	all = append(all, events...)
	slices.SortStableFunc(all, Entry.compare)
	return attribute(all, using)
}

// repeats reports whether the event x tells of the same change as y.
func (x Entry) repeats(y Entry) bool {
	if x.Address != y.Address || x.Change != y.Change || x.At.Sub(y.At).Abs() > sameTime {
		return false
	}
	if x.Change == Owned {
		return x.Node == y.Node && (x.From == y.From || y.From == "")
	}
	return x.Service == y.Service
}

// owners returns the owners of which an L2Claim tells.
func owners(c *v1beta1.L2Claim) (out []Entry) {
	former, address := c.Status.FormerOwners, string(c.Spec.Address)
	add := func(at time.Time, node, from, reason string) {
		out = append(out, Entry{At: at, Address: address, Change: Owned, Node: node, From: from, Pool: c.Status.Pool, Reason: reason, Source: FromClaim})
	}
	next := c.Status.Node
	for _, f := range former {
		if next != "" {
			add(f.Until.Time, next, f.Node, f.Reason)
		}
		next = f.Node
	}
	since, last := c.Status.Since, len(former)-1
	if last >= 0 {
		since = former[last].Since
	}
	if since == nil || next == "" {
		return out
	}
	// A Time is cut to the second: the address was granted before, within it.
	at := since.Add(time.Second - time.Microsecond)
	if last >= 0 && !at.Before(former[last].Until.Time) {
		at = former[last].Until.Add(-time.Microsecond)
	}
	add(at, next, "", "")
	return out
}

// attribute completes entries, which are sorted, from one another: it knows who had each address at each time.
func attribute(all []Entry, using map[string][]string) []Entry {
	type state struct {
		holders map[string]bool
		lost    string
		known   bool
	}
	of := map[string]*state{}
	out := all[:0]
	for _, e := range all {
		s := of[e.Address]
		if s == nil {
			s = &state{holders: map[string]bool{}}
			of[e.Address] = s
		}
		switch e.Change {
		case v1beta1.ChangeGranted:
			if s.holders[e.Service] && e.Source == FromEvent {
				continue
			}
			if s.lost != e.Service {
				e.Was = s.lost
			}
			s.holders[e.Service], s.known = true, true
		case v1beta1.ChangeReleased:
			delete(s.holders, e.Service)
			s.lost, s.known = e.Service, true
		case Owned:
			services := slices.Sorted(maps.Keys(s.holders))
			if !s.known {
				services = using[e.Address]
			}
			if len(services) > 0 {
				e.Service = strings.Join(services, ",")
			}
		}
		out = append(out, e)
	}
	return out
}

// Concerns reports whether an entry is about a Service, given as namespace/name.
func (e Entry) Concerns(service string) bool {
	return slices.Contains(strings.Split(e.Service, ","), service)
}

// Begins returns from when on a pool knows of each change of an address; zero: it has forgotten none.
func Begins(pool *v1beta1.IPAddressPool, address string) (out time.Time) {
	of, all := 0, pool.Status.History
	for _, c := range all {
		if c.Address == address {
			if of++; of == v1beta1.MaxHistoryOfAddress {
				return c.At.Time
			}
		}
	}
	if len(all) >= v1beta1.MaxHistory {
		return all[len(all)-1].At.Time
	}
	return out
}
