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
	conflicting    bool  // the status of one is locked, and it may not share the address with the rest
}

// reset forgets all holders, and makes room for n.
func (u *holders) reset(n int) {
	if u.all = zeroed(u.all, n)[:0]; u.first == nil {
		u.first = make(map[netip.Addr]int32, n)
	}
	clear(u.first)
}

func (u *holders) clear() {
	clear(u.first)
	u.all = u.all[:0]
}

// firstHolder returns the first holder of a, or nil.
func (u *holders) firstHolder(a netip.Addr) *holder {
	if i, held := u.first[a]; held {
		return &u.all[i]
	}
	return nil
}

// nextHolder returns another holder of the address of x, or nil after the last one.
func (u *holders) nextHolder(x *holder) *holder {
	if x.next == 0 {
		return nil
	}
	return &u.all[x.next]
}

// addHolder enters x and returns the first holder of its address, which may be x itself.
func (u *holders) addHolder(x holder) *holder {
	n := int32(len(u.all))
	u.all = append(u.all, x)
	i, held := u.first[x.addr]
	if !held {
		u.first[x.addr] = n
		return &u.all[n]
	}
	first := &u.all[i]
	u.all[n].next, first.next = first.next, n
	return first
}
