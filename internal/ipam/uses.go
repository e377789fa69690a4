package ipam

import (
	"hash/maphash"
	"net/netip"
)

// uses says who has which address. It is a hash table with open addressing: most
// addresses have one user and are looked up once, and then this touches a fifth
// of the memory that a map does.
type uses struct {
	seed  maphash.Seed // whoever names an address can't choose its slot
	slots []int32      // index in all of the first use of an address; 0: none. A power of two, half of them free
	all   []use        // the first is none
}

// use is that a Service has an address. What is below next is set in the first
// use of an address and tells of all.
type use struct {
	addr   netip.Addr
	rank   int32
	next   int32 // another use of the same address; 0: none
	local  bool  // somebody's traffic is Local
	mixed  bool  // not all have the same Pods
	across bool  // not all are of one namespace
	fresh  bool  // somebody did not have it before
	odd    bool  // one is stuck and may not share it with the rest
}

// empty forgets all uses, and makes room for n.
func (u *uses) empty(n int) {
	size := 16
	for size < 2*n {
		size *= 2
	}
	u.seed, u.slots, u.all = maphash.MakeSeed(), blank(u.slots, size), blank(u.all, n+1)[:1]
}

func (u *uses) clear() {
	clear(u.slots)
	u.all = u.all[:1]
}

// slot returns where the first use of a is, or would be. Sixteen addresses that
// follow one another lie in one line of the cache: pools are used in order.
func (u *uses) slot(a netip.Addr) *int32 {
	key := a.As16()
	line := uint64(key[15] % 16)
	key[15] -= byte(line)
	for i := maphash.Bytes(u.seed, key[:])&^15 + line; ; i++ {
		s := &u.slots[i&uint64(len(u.slots)-1)]
		if *s == 0 || u.all[*s].addr == a {
			return s
		}
	}
}

// first returns the first use of a, or nil.
func (u *uses) first(a netip.Addr) *use {
	if i := *u.slot(a); i != 0 {
		return &u.all[i]
	}
	return nil
}

// after returns another use of the address of x, or nil when all were told.
func (u *uses) after(x *use) *use {
	if x.next == 0 {
		return nil
	}
	return &u.all[x.next]
}

// add enters x and returns the first use of its address, which may be x itself.
func (u *uses) add(x use) *use {
	n := int32(len(u.all))
	u.all = append(u.all, x)
	s := u.slot(x.addr)
	if *s != 0 {
		first := &u.all[*s]
		u.all[n].next, first.next = first.next, n
		return first
	}
	*s = n
	return &u.all[n]
}
