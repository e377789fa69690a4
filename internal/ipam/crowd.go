package ipam

import (
	"iter"
	"maps"
	"net/netip"
)

// crowd is who uses an address together, so that who refuses to share it with
// another is found without a look at each.
type crowd struct {
	kinds  map[kind]int32 // the oldest of each
	oldest int32
	other  int32 // the oldest whose Pods are not those of the oldest; -1: there is none
}

// kind is what users have in common who refuse the same requests, but for their
// ports and, if their traffic is not Local, their Pods.
type kind struct {
	key       string
	namespace string // "" where the pool lets all share
	pods      string // "" unless local
	local     bool
	had       bool // they had the address before
}

// join enters a further user of a, whose first one is given.
func (b *book) join(first, rank int32, a netip.Addr) {
	c := b.crowds[a]
	if c == nil {
		c = &crowd{kinds: map[kind]int32{}, oldest: first, other: -1}
		c.kinds[b.kindOf(first, a)] = first
		b.crowds[a] = c
	}
	k := b.kindOf(rank, a)
	if old, there := c.kinds[k]; !there || rank < old {
		c.kinds[k] = rank
	}
	differs := b.request(rank).Share.Pods != b.request(c.oldest).Share.Pods
	switch {
	case rank < c.oldest && differs:
		c.oldest, c.other = rank, c.oldest
	case rank < c.oldest:
		c.oldest = rank
	case differs && (c.other < 0 || rank < c.other):
		c.other = rank
	}
}

func (b *book) kindOf(rank int32, a netip.Addr) kind {
	r := b.request(rank)
	k := kind{key: r.Share.Key, namespace: r.Service.Namespace, local: r.Share.Local, had: r.has(a)}
	if b.across(a) {
		k.namespace = ""
	}
	if k.local {
		k.pods = r.Share.Pods
	}
	return k
}

// listen enters the ports of a user of a.
func (b *book) listen(rank int32, a netip.Addr) {
	c := b.circles[a]
	for _, p := range b.request(rank).Ports {
		s := socket{a, p}
		old, taken := b.ports[s]
		if !taken && c != nil {
			c.listeners[p]++
		}
		if !taken || rank < old {
			b.ports[s] = rank
		}
	}
}

// blocker returns the oldest user of a with whom r may not share it, and why.
func (b *book) blocker(a netip.Addr, r *Request) (other *Request, why string) {
	oldest := int32(len(b.order))
	for rank := range b.candidates(a, r) {
		if rank < oldest {
			if no := b.refuses(a, b.request(rank), r); no != "" {
				oldest, why = rank, no
			}
		}
	}
	if why == "" {
		return nil, ""
	}
	return b.request(oldest), why
}

// candidates yields users of a, among them the oldest who refuses to share it
// with r.
func (b *book) candidates(a netip.Addr, r *Request) iter.Seq[int32] {
	first, c := b.first(a), b.crowds[a]
	if first == nil || c == nil || first.odd {
		return b.users(a)
	}
	return func(yield func(int32) bool) {
		for _, p := range r.Ports {
			if rank, taken := b.ports[socket{a, p}]; taken && !yield(rank) {
				return
			}
		}
		if c.other >= 0 && !yield(c.other) || !yield(c.oldest) {
			return
		}
		maps.Values(c.kinds)(yield)
	}
}

// users yields everybody who uses a.
func (b *book) users(a netip.Addr) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for x := b.first(a); x != nil; x = b.after(x) {
			if !yield(x.rank) {
				return
			}
		}
	}
}
