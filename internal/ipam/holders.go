package ipam

import "net/netip"

// holders says who has which address.
type holders struct {
	first map[netip.Addr]int32 // index in all of the first holder of an address
	all   []holder
}

// holder is a Service that has an address. What is below next is set in the first
// holder of an address and tells of all.
type holder struct {
	addr           netip.Addr
	rank           int32
	next           int32 // index in all of another holder of the same address; 0: there is none
	local          bool  // of some holder externalTrafficPolicy is Local
	mixed          bool  // not all have the same Pods
	crossNamespace bool  // not all are of one namespace
	fresh          bool  // some holder did not have it before
	changed        bool  // the request of some holder has changed
	conflicting    bool  // the status of one is locked, and it may not share the address with the rest
}

// reset forgets all holders, and makes room for n.
func (hs *holders) reset(n int) {
	if hs.all = zeroed(hs.all, n)[:0]; hs.first == nil {
		hs.first = make(map[netip.Addr]int32, n)
	}
	clear(hs.first)
}

func (hs *holders) clear() {
	clear(hs.first)
	hs.all = hs.all[:0]
}

// firstHolder returns the first holder of a, or nil.
func (hs *holders) firstHolder(a netip.Addr) *holder {
	if i, held := hs.first[a]; held {
		return &hs.all[i]
	}
	return nil
}

// nextHolder returns another holder of the address of x, or nil after the last one.
func (hs *holders) nextHolder(x *holder) *holder {
	if x.next == 0 {
		return nil
	}
	return &hs.all[x.next]
}

// addHolder enters x and returns the first holder of its address, which may be x itself.
func (hs *holders) addHolder(x holder) *holder {
	n := int32(len(hs.all))
	hs.all = append(hs.all, x)
	i, held := hs.first[x.addr]
	if !held {
		hs.first[x.addr] = n
		return &hs.all[n]
	}
	first := &hs.all[i]
	hs.all[n].next, first.next = first.next, n
	return first
}
