package ipam_test

import (
	"fmt"
	"math/rand"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// world is a random world, small so that Services often collide.
type world struct {
	rng       *rand.Rand
	pools     ipam.Pools
	requests  []ipam.Request
	kept      []ipam.Kept
	quotas    []worldQuota
	allocator ipam.Allocator
	born      int
}

func newWorld(seed int64) *world {
	w := &world{rng: rand.New(rand.NewSource(seed))}
	w.newPools()
	for range w.rng.Intn(9) {
		w.create()
		if r := &w.requests[len(w.requests)-1]; w.rng.Intn(2) == 0 {
			r.Has = w.several()
			r.StatusLocked, r.Changed = w.chance(20), w.chance(30)
			w.orphan(r, 30)
			w.meet(r, 50)
			w.reserve(r, 20)
			w.renumber(r)
		}
	}
	for range w.rng.Intn(4) {
		k := ipam.Key{Namespace: []string{"n", "n", "m"}[w.rng.Intn(3)], Name: fmt.Sprintf("z%d", w.rng.Intn(3))}
		if i := w.rng.Intn(9); i < len(w.requests) {
			k = w.requests[i].Service
		}
		w.keep(k, w.someAddrs(), w.rng.Intn(6))
	}
	w.newQuotas()
	return w
}

// keep has addresses be kept for a Service.
func (w *world) keep(k ipam.Key, addrs []netip.Addr, peak int) {
	for _, a := range addrs {
		w.kept = append(w.kept, ipam.Kept{Addr: a, For: k, Until: time.Unix(int64(w.rng.Intn(4)), 0), Peak: peak})
	}
}

// orphan has the pools that r has addresses of be gone, unless there are some.
func (w *world) orphan(r *ipam.Request, percent int) {
	r.GonePools = nil
	for _, a := range r.Has {
		if w.chance(percent) && (twin{pools: unfolded(w.pools)}).poolOf(a) == nil {
			r.GonePools = map[netip.Addr]string{a: w.unused("none")}
		}
	}
}

// keepsFor reports whether a is kept for r.
func (w *world) keepsFor(a netip.Addr, r ipam.Request) bool {
	return slices.ContainsFunc(w.kept, func(k ipam.Kept) bool { return k.Addr == a && k.For == r.Service })
}

// offer has the IPAMs of pools say something for r, or nothing.
func (w *world) offer(r *ipam.Request) {
	r.Offers = nil
	for _, name := range poolNames()[:3] {
		for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
			o := ipam.Offer{Pool: name, Family: f}
			switch w.rng.Intn(6) {
			case 0:
				continue
			case 1:
				o.Exhausted, o.Message = true, "has no address"
			case 2:
				o.Message = "says: no"
			default:
				o.Addr = universe()[w.rng.Intn(len(universe()))]
			}
			r.Offers = append(r.Offers, o)
		}
	}
}

// renumber has r keep some addresses beside others, and get addresses of some pools alone, or not.
func (w *world) renumber(r *ipam.Request) {
	r.Beside, r.Successors, r.Prefers = nil, nil, nil
	if w.chance(70) {
		return
	}
	for _, a := range r.Has {
		if w.chance(50) {
			r.Beside = append(r.Beside, a)
		}
	}
	for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
		if w.chance(40) {
			r.Successors = map[ipam.Family][]string{f: poolNames()[w.rng.Intn(4):][:1]}
		}
		if w.chance(20) {
			r.Successors = map[ipam.Family][]string{f: poolNames()[w.rng.Intn(3):][:2]}
		}
	}
	if w.chance(70) {
		r.Prefers = w.several()
	}
}

// meet has foreign hosts be found at the addresses that r has.
func (w *world) meet(r *ipam.Request, percent int) {
	r.Leaves = nil
	for _, a := range r.Has {
		if len(w.pools) == 0 {
			return
		}
		if by, _ := w.pools[0].Occupied.Of(a); by.Foreign && w.chance(percent) {
			r.Leaves = append(r.Leaves, a)
		}
	}
}

// universe is every address that any pool may hold; some of them are buggy.
func universe() []netip.Addr {
	var out []netip.Addr
	a4, a6 := netip.MustParseAddr("10.0.0.253"), netip.MustParseAddr("2001:db8::")
	for range 6 {
		out = append(out, a4, a6)
		a4, a6 = a4.Next(), a6.Next()
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

func (w *world) chance(percent int) bool { return w.rng.Intn(100) < percent }

// poolNames are the names that a pool can have, in order.
func poolNames() []string { return []string{"a", "b", "c", "d"} }

// newPools makes pools.
func (w *world) newPools() {
	homes, before := map[string][]ipam.Range{}, map[string][]ipam.Range{}
	for i, a := range universe() {
		if poolName := poolNames()[w.rng.Intn(3)]; w.chance(85) {
			homes[poolName] = append(homes[poolName], ipam.Range{First: a, Last: a})
		} else if i%4 != 0 {
			before[poolName] = append(before[poolName], ipam.Range{First: a, Last: a})
		}
	}
	for _, name := range poolNames()[:3] {
		if w.chance(15) {
			continue
		}
		p := ipam.Pool{
			Name: name, Ranges: ipam.Merge(homes[name], nil), Former: ipam.Merge(before[name], nil), AutoAssign: w.chance(80), AvoidBuggy: w.chance(30),
			Closed: w.chance(10), Order: w.rng.Intn(3) - 1, Frozen: w.chance(10), Priority: w.rng.Intn(3), CrossNamespace: w.chance(50),
		}
		if w.chance(20) {
			p.IPAM = "ipam.example.org:9000"
		}
		w.pick(&p, 30)
		if w.chance(15) {
			p.Replaces = []string{poolNames()[w.rng.Intn(4)]}
		}
		if w.chance(15) {
			p.Frozen, p.Overlapping = true, ipam.Merge(homes[poolNames()[w.rng.Intn(3)]], p.Ranges)
		}
		w.pools = append(w.pools, p)
	}
	w.occupy()
	w.rng.Shuffle(len(w.pools), func(i, j int) { w.pools[i], w.pools[j] = w.pools[j], w.pools[i] })
}

// occupy has something other than Services have some addresses, in one of three worlds.
func (w *world) occupy() {
	var o *ipam.Occupied
	if w.chance(33) {
		o = w.occupied()
	}
	for i := range w.pools {
		w.pools[i].Occupied = o
	}
	w.requests = slices.Clone(w.requests)
	for i := range w.requests {
		w.meet(&w.requests[i], 50)
		w.reserve(&w.requests[i], 20)
	}
}

// reserve has r be one of those that reservations name.
func (w *world) reserve(r *ipam.Request, percent int) {
	r.Reserved = nil
	for _, a := range universe() {
		if len(w.pools) == 0 {
			return
		}
		if by, _ := w.pools[0].Occupied.Of(a); by.Reserved != "" && w.chance(percent) {
			r.Reserved = append(r.Reserved, a)
		}
	}
	w.rng.Shuffle(len(r.Reserved), func(i, j int) { r.Reserved[i], r.Reserved[j] = r.Reserved[j], r.Reserved[i] })
}

func (w *world) occupied() *ipam.Occupied {
	o := &ipam.Occupied{Addrs: map[netip.Addr]ipam.Occupant{}}
	all := universe()
	for _, a := range all {
		switch w.rng.Intn(10) {
		case 0:
			o.Addrs[a] = ipam.Occupant{Name: "a router"}
		case 1:
			o.Addrs[a] = ipam.Occupant{Name: "a node", Node: "n", Alone: w.chance(50)}
		case 2:
			o.Addrs[a] = ipam.Occupant{Name: "a printer", Foreign: true}
		}
		if by, had := o.Addrs[a]; w.chance(15) && (!had || w.chance(30)) {
			by.Reserved, by.ReservedIn = "a reservation", []ipam.NamespaceSet{"n", "n", "m", "m,n"}[w.rng.Intn(4)]
			o.Addrs[a] = by
		}
	}
	if w.chance(30) {
		i := w.rng.Intn(len(all) / 2)
		o.Ranges = append(o.Ranges, ipam.OccupiedRange{Range: ipam.Range{First: all[i], Last: all[min(i+2, len(all)/2-1)]}, By: ipam.Occupant{Name: "the Pods"}})
	}
	return o
}

// pick lets p select Services, or, more often than not, all.
func (w *world) pick(p *ipam.Pool, percent int) {
	p.Selective, p.Allows = false, nil
	if w.chance(percent) {
		parity := w.rng.Intn(2)
		p.Selective = true
		p.Allows = func(k ipam.Key) bool { return int(k.Name[len(k.Name)-1])%2 == parity }
	}
}

// create adds the youngest Service.
func (w *world) create() ipam.Key {
	r := ipam.Request{Service: ipam.Key{Namespace: []string{"n", "n", "m"}[w.rng.Intn(3)], Name: fmt.Sprintf("s%d", w.born)}, Created: time.Unix(int64(w.born/2), 0)}
	w.born++
	w.ask(&r)
	w.reserve(&r, 20)
	w.offer(&r)
	w.requests = append(w.requests, r)
	w.limit()
	return r.Service
}

// ask makes all that r asks for again.
func (w *world) ask(r *ipam.Request) {
	both := [][]ipam.Family{{ipam.IPv4}, {ipam.IPv6}, {ipam.IPv4, ipam.IPv6}, {ipam.IPv6, ipam.IPv4}}
	*r = ipam.Request{Service: r.Service, Created: r.Created, Has: r.Has, StatusLocked: r.StatusLocked, Changed: r.Changed, GonePools: r.GonePools, Leaves: r.Leaves, Reserved: r.Reserved, Offers: r.Offers, Quotas: r.Quotas, Beside: r.Beside, Successors: r.Successors, Prefers: r.Prefers}
	r.Families = ipam.Families{Want: both[w.rng.Intn(4)], All: w.chance(50)}
	if w.chance(20) {
		r.Want = w.several()
	}
	if w.chance(25) {
		r.Count = 1 + w.rng.Intn(4)
	}
	if w.chance(20) {
		r.Pool = poolNames()[w.rng.Intn(4)]
	}
	if w.chance(50) {
		r.Share = ipam.Share{Key: "k", Local: w.chance(30), Pods: r.Service.Namespace + []string{"x", "y", "z"}[w.rng.Intn(3)]}
		w.place(r)
	}
	for number := range uint16(4) {
		if w.chance(30) {
			r.Ports = append(r.Ports, ipam.Port{Protocol: "TCP", Number: number + 80})
		}
	}
	if w.chance(5) {
		r.Want, r.Invalid = nil, "words"
	}
}

// place has r be served by other nodes.
func (w *world) place(r *ipam.Request) {
	r.On4, r.On6 = nil, nil
	for _, node := range []string{"1", "2", "3"} {
		if w.chance(40) {
			r.On4 = append(r.On4, node)
		}
		if w.chance(40) {
			r.On6 = append(r.On6, node)
		}
	}
}

// someAddrs returns at most one address of each family.
func (w *world) someAddrs() []netip.Addr {
	var out []netip.Addr
	all := universe()
	for _, half := range [][]netip.Addr{all[:len(all)/2], all[len(all)/2:]} {
		if w.chance(60) {
			out = append(out, half[w.rng.Intn(len(half))])
		}
	}
	return out
}

// several returns some addresses, now and then several of a family.
func (w *world) several() []netip.Addr {
	out := w.someAddrs()
	for w.chance(25) {
		for _, a := range w.someAddrs() {
			if !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

func (w *world) assign() map[ipam.Key]ipam.Grant {
	return assign(&w.allocator, w.pools, w.requests, w.kept)
}

// copied returns the requests, which share no memory with those of w.
func (w *world) copied() []ipam.Request {
	out := slices.Clone(w.requests)
	for i := range out {
		r := &out[i]
		r.Has, r.Want, r.Ports = slices.Clone(r.Has), slices.Clone(r.Want), slices.Clone(r.Ports)
		r.Families.Want = slices.Clone(r.Families.Want)
	}
	return out
}

// settle writes the grants.
func (w *world) settle(grants map[ipam.Key]ipam.Grant) { w.requests = holding(w.requests, grants) }

func (w *world) String() string {
	var b strings.Builder
	for _, p := range w.pools {
		fmt.Fprintf(&b, "pool %+v\n", p)
	}
	for _, r := range w.requests {
		fmt.Fprintf(&b, "svc %+v\n", r)
	}
	for _, q := range w.quotas {
		fmt.Fprintf(&b, "quota %+v\n", q)
	}
	for _, k := range w.kept {
		fmt.Fprintf(&b, "%s, peak %d\n", k, k.Peak)
	}
	return b.String()
}
