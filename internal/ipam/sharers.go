package ipam

import (
	"iter"
	"maps"
	"net/netip"
)

// sharers are the Services that hold an address together, grouped so that those which
// refuse to share it with another one are found without a look at each.
type sharers struct {
	kinds  map[sharerKind]int32 // the oldest of each
	oldest int32
	other  int32 // the oldest that is not of the namespace of the oldest; -1: there is none
}

// sharerKind is what holders have in common that refuse the same requests, apart from
// their ports.
type sharerKind struct {
	key       string
	namespace string // "" where the pool lets all share, unless local
	local     bool
	had       bool // they had the address before
}

// addSharer enters a further holder of a, whose first one is given.
func (al *allocation) addSharer(first, rank int32, a netip.Addr) {
	c := al.sharers[a]
	if c == nil {
		c = &sharers{kinds: map[sharerKind]int32{}, oldest: first, other: -1}
		c.kinds[al.kindOf(first, a)] = first
		al.sharers[a] = c
	}
	k := al.kindOf(rank, a)
	if old, there := c.kinds[k]; !there || rank < old {
		c.kinds[k] = rank
	}
	differs := al.request(rank).Service.Namespace != al.request(c.oldest).Service.Namespace
	switch {
	case rank < c.oldest && differs:
		c.oldest, c.other = rank, c.oldest
	case rank < c.oldest:
		c.oldest = rank
	case differs && (c.other < 0 || rank < c.other):
		c.other = rank
	}
}

func (al *allocation) kindOf(rank int32, a netip.Addr) sharerKind {
	r := al.request(rank)
	k := sharerKind{key: r.Share.Key, namespace: r.Service.Namespace, local: r.Share.Local, had: r.has(a)}
	if al.crossNamespace(a) && !k.local {
		k.namespace = ""
	}
	return k
}

// addPorts enters the ports of a holder of a.
func (al *allocation) addPorts(rank int32, a netip.Addr) {
	c := al.groupOf[a]
	for _, p := range al.request(rank).Ports {
		s := endpoint{a, p}
		old, taken := al.ports[s]
		if !taken && c != nil {
			c.listeners[p]++
		}
		if !taken || rank < old {
			al.ports[s] = rank
		}
	}
}

// blocker returns the oldest holder of a that may not share it with r, and the reason. If each
// may, but no node would serve all, it returns the oldest of all.
func (al *allocation) blocker(a netip.Addr, r *Request) (other *Request, reason string) {
	oldest := int32(len(al.order))
	for rank := range al.possibleBlockers(a, r) {
		if rank < oldest {
			if no := al.refuses(a, al.request(rank), r); no != "" {
				oldest, reason = rank, no
			}
		}
	}
	switch {
	case reason != "":
		return al.request(oldest), reason
	case !al.apart(a, r):
		return nil, ""
	}
	for rank := range al.holdersOf(a) {
		oldest = min(oldest, rank)
	}
	return al.request(oldest), al.apartText(a, r)
}

// possibleBlockers yields holders of a, among them the oldest who refuses to share it
// with r.
func (al *allocation) possibleBlockers(a netip.Addr, r *Request) iter.Seq[int32] {
	first, c := al.firstHolder(a), al.sharers[a]
	if first == nil || c == nil || first.conflicting {
		return al.holdersOf(a)
	}
	return func(yield func(int32) bool) {
		for _, p := range r.Ports {
			if rank, taken := al.ports[endpoint{a, p}]; taken && !yield(rank) {
				return
			}
		}
		if c.other >= 0 && !yield(c.other) || !yield(c.oldest) {
			return
		}
		maps.Values(c.kinds)(yield)
	}
}

// holdersOf yields all holders of a.
func (al *allocation) holdersOf(a netip.Addr) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for x := al.firstHolder(a); x != nil; x = al.nextHolder(x) {
			if !yield(x.rank) {
				return
			}
		}
	}
}
