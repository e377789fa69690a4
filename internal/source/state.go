package source

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

const (
	// firstPause and longestPause lie between calls that fail, each twice as long as the last.
	firstPause   = time.Second
	longestPause = time.Minute
	// longestAway is the longest pause before an IPAM is asked again that can't be reached.
	longestAway = 10 * time.Second
	// relistEvery is how often an IPAM is listed that reports no change.
	relistEvery = time.Minute
	// relistRest is the least pause after a list: an IPAM also reports changes that the controller
	// has asked for.
	relistRest = 2 * time.Second
	// settleTime is how long an allocation of a Service that is there, and does not need it at
	// the moment, is left alone: its status may be unwritable for a moment.
	settleTime = 5 * time.Second
)

// State is what is known of all IPAMs. It has no lock. The zero State knows nothing.
type State struct {
	servers map[string]*server // by endpoint
	order   []string           // of servers, sorted
	calls   uint64             // numbers them; none comes twice, also in another term
}

// server is what is known of one IPAM.
type server struct {
	targets []*Target // of its pools, by name; those of the last time if there are none now
	gone    bool      // it is no pool's any more
	listed  bool      // List was answered in this term
	listing uint64    // the List that is under way; 0: none is
	relist  time.Time // when to list again
	down    string    // why it can't be asked now, as a clause; "": it can
	fails   int       // lists in a row
	held    map[Key]allocation
	holders map[netip.Addr]string // UIDs, by what they hold
	entries map[place]*entry
}

// allocation is what an IPAM holds for a Key.
type allocation struct {
	addr     netip.Addr // zero: nothing
	pool     string     // that it was asked for
	orphaned time.Time  // since when no Service claims it; zero: one does
	leaving  bool       // a Release was sent, and nothing has shown since that the IPAM holds it still
}

// place is what is asked for: a Key may be of several pools.
type place struct {
	Key
	pool string
}

// entry is what is known of a place beside what the IPAM holds.
type entry struct {
	call      uint64 // that is under way; 0: none is
	answered  uint64 // the last call that was begun when one was answered
	fails     int
	after     time.Time // no call before
	said      string    // what it said to the last call, as a clause; "": it was good, or there was none
	exhausted bool
	refused   bool // it said of the address that the Service has that it is another's
	unfit     bool // said tells what it handed out, and the Service can't have
}

// Reset forgets everything: a term begins. Answers to calls of the last one count for nothing.
func (s *State) Reset() { s.servers, s.order = nil, nil }

// target returns the server and the Target of a pool; nil: it has none.
func (s *State) target(pool string) (*server, *Target) {
	for _, b := range s.servers {
		if i := slices.IndexFunc(b.targets, func(t *Target) bool { return t.Pool == pool }); i >= 0 {
			return b, b.targets[i]
		}
	}
	return nil, nil
}

// Known reports whether the IPAM of a pool is known.
func (s *State) Known(pool string) bool {
	b, _ := s.target(pool)
	return b != nil
}

// Set takes in the pools that IPAMs choose the addresses of. What an IPAM holds that is no
// pool's any more is given back little by little.
func (s *State) Set(targets []*Target) {
	if len(targets)+len(s.servers) == 0 { // usually
		return
	}
	if s.servers == nil {
		s.servers = map[string]*server{}
	}
	of := map[string][]*Target{}
	for _, t := range slices.SortedFunc(slices.Values(targets), func(a, b *Target) int { return cmp.Compare(a.Pool, b.Pool) }) {
		of[t.Endpoint] = append(of[t.Endpoint], t)
	}
	for endpoint, all := range of {
		b := s.servers[endpoint]
		if b == nil {
			b = &server{held: map[Key]allocation{}, holders: map[netip.Addr]string{}, entries: map[place]*entry{}}
			s.servers[endpoint] = b
		}
		if !slices.EqualFunc(b.targets, all, func(x, y *Target) bool { return x.Revision == y.Revision }) {
			b.relist, b.fails, b.down = time.Time{}, 0, "" // it may know us now
		}
		b.targets = all
	}
	for endpoint, b := range s.servers {
		b.gone = of[endpoint] == nil
		if b.gone && b.listed && b.listing == 0 && len(b.held)+len(b.entries) == 0 {
			delete(s.servers, endpoint)
		}
	}
	s.order = slices.AppendSeq(s.order[:0], maps.Keys(s.servers))
	slices.Sort(s.order)
}

// main returns the Target by which the IPAM is listed; nil: it can't be asked at all.
func (b *server) main() *Target {
	if i := slices.IndexFunc(b.targets, func(t *Target) bool { return t.Fault == "" }); i >= 0 {
		return b.targets[i]
	}
	return nil
}

// Offers returns what IPAMs have said for a Service, by its UID.
func (s *State) Offers(uid string) []ipam.Offer {
	var out []ipam.Offer
	for _, endpoint := range s.order {
		b := s.servers[endpoint]
		for _, t := range b.targets {
			for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
				k := Key{uid, f}
				o := ipam.Offer{Pool: t.Pool, Family: f, Message: b.down}
				if has := b.held[k]; has.pool == t.Pool && !has.leaving {
					o.Addr = has.addr
				}
				if e := b.entries[place{k, t.Pool}]; e != nil && b.down == "" {
					o.Message, o.Exhausted, o.Unfit = e.said, e.exhausted, e.unfit
				}
				if t.Fault != "" {
					o.Message = "can't be asked: " + t.Fault
				}
				if o.Addr.IsValid() || o.Exhausted || o.Message != "" {
					out = append(out, o)
				}
			}
		}
	}
	return out
}

// Disagreement returns what is to be said of an address that a Service has of a pool: that its IPAM
// does not agree; "": nothing is.
func (s *State) Disagreement(pool string, k Key, a netip.Addr) string {
	b, t := s.target(pool)
	if b == nil || !b.listed || b.held[k].addr == a {
		return ""
	}
	e := b.entries[place{k, pool}]
	if e == nil || e.said == "" {
		return ""
	}
	return fmt.Sprintf("the IPAM of IPAddressPool %q (%s) does not hold %s for this Service, and %s", pool, t.Endpoint, a, e.said)
}

// Lost reports whether a Service is to leave an address of a pool: the IPAM refuses it, or
// holds another one for the Service by now.
func (s *State) Lost(pool string, k Key, a netip.Addr) bool {
	b, t := s.target(pool)
	if b == nil || !t.MovesLost || !b.listed || b.down != "" || t.Fault != "" || b.held[k].addr == a {
		return false
	}
	e := b.entries[place{k, pool}]
	return b.held[k].addr.IsValid() || e != nil && e.refused
}

// Health is how the IPAM of a pool does.
type Health struct {
	Reason, Message string // Reason "": it answers, or Message says why not
	Pending         bool   // it has not answered yet
}

// Health returns how IPAMs do, by pool.
func (s *State) Health() map[string]Health {
	out := map[string]Health{}
	for _, b := range s.servers {
		for _, t := range b.targets {
			switch {
			case t.Fault != "":
				out[t.Pool] = Health{Reason: t.FaultReason, Message: t.Fault}
			case b.down != "":
				out[t.Pool] = Health{Message: fmt.Sprintf("the IPAM at %s %s", t.Endpoint, b.down)}
			case !b.listed:
				out[t.Pool] = Health{Pending: true, Message: fmt.Sprintf("the IPAM at %s has not answered yet", t.Endpoint)}
			default:
				out[t.Pool] = Health{}
			}
		}
	}
	return out
}

// Changed takes in that an IPAM reports a change.
func (s *State) Changed(endpoint string) {
	if b := s.servers[endpoint]; b != nil {
		b.relist = time.Time{}
		for _, e := range b.entries {
			if e.exhausted {
				e.after = time.Time{}
			}
		}
	}
}

func (b *server) entry(p place) *entry {
	e := b.entries[p]
	if e == nil {
		e = &entry{}
		b.entries[p] = e
	}
	return e
}

// leaves notes whether what the IPAM holds for k may not be held for long.
func (b *server) leaves(k Key, leaving bool) {
	if has, held := b.held[k]; held {
		has.leaving = leaving
		b.held[k] = has
	}
}

// set notes what the IPAM holds for k.
func (b *server) set(k Key, a allocation) {
	old := b.held[k]
	if b.holders[old.addr] == k.UID {
		delete(b.holders, old.addr)
	}
	if !a.addr.IsValid() {
		delete(b.held, k)
		return
	}
	if a.addr == old.addr {
		a.orphaned = old.orphaned
	}
	b.held[k], b.holders[a.addr] = a, k.UID
}
