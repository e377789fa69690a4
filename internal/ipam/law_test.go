package ipam_test

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// lawful checks each grant against its request, and all users of an address
// against one another.
func lawful(w *world, grants map[ipam.Key]ipam.Grant) error {
	if len(grants) != len(w.requests) {
		return fmt.Errorf("%d answers to %d requests", len(grants), len(w.requests))
	}
	tw := twin{pools: unfolded(w.pools), users: map[netip.Addr][]ipam.Request{}}
	for _, r := range w.requests {
		g := grants[r.Service]
		if len(g.Addrs) != len(g.Pools) {
			return fmt.Errorf("%v: not one pool for each address: %+v", r.Service, g)
		}
		err := lawfulGrant(w, tw, r, g)
		if r.StatusLocked {
			err = lawfulStuck(tw, r, g)
		}
		if err != nil {
			return err
		}
		for _, a := range g.Addrs { // that some node serves all is asked when one comes to share it: the twin knows the order
			if slices.ContainsFunc(tw.users[a], func(u ipam.Request) bool { return !tw.mayShare(a, u, r) }) {
				return fmt.Errorf("%v shares %s with one it may not share it with", r.Service, a)
			}
		}
		tw.enter(r, g.Addrs)
	}
	if err := lawfulQuotas(w, grants); err != nil {
		return err
	}
	return noServiceGetsALockedAddress(w, grants)
}

func lawfulGrant(w *world, tw twin, r ipam.Request, g ipam.Grant) error {
	if (g.Reason == "") != (len(g.Addrs) > 0) {
		return fmt.Errorf("%v: neither addresses nor a reason, or both: %+v", r.Service, g)
	}
	if g.Reason != "" && g.Message == "" {
		return fmt.Errorf("%v: a reason without words: %+v", r.Service, g)
	}
	if n := len(firstOfEach(g.Addrs)); r.Invalid == "" && r.Families.All && n != 0 && n != len(r.Families.Want) {
		had := func(a netip.Addr) bool { return slices.Contains(r.Has, a) }
		if n != 1 || !slices.ContainsFunc(g.Addrs, had) || g.Message == "" { // it keeps what it has, and what was kept for it, with a message
			return fmt.Errorf("%v wants all of %v and has %v, %q", r.Service, r.Families.Want, g.Addrs, g.Message)
		}
	}
	if !slices.Equal(g.Addrs, inOrder(g.Addrs, r)) {
		return fmt.Errorf("%v wants %v and has %v", r.Service, r.Families.Want, g.Addrs)
	}
	if err := lawfulNumber(r, g); err != nil {
		return err
	}
	for i, a := range g.Addrs {
		p := tw.poolOf(a)
		if p != nil && !slices.Contains(r.Has, a) && !given(*p, a, r) && !w.keepsFor(a, r) {
			return fmt.Errorf("%v gets %s, which the IPAM of %s does not hand out for it", r.Service, a, p.Name)
		}
		if !tw.suited(a, r) || tw.poolFor(a, r) != g.Pools[i] {
			return fmt.Errorf("%v must not have %s of %s", r.Service, a, g.Pools[i])
		}
		switch {
		case slices.Contains(r.Has, a):
		case !tw.suits(a, r):
			return fmt.Errorf("%v got %s, which it might only have kept", r.Service, a)
		case !admits(occupant(*p, a), a, r):
			return fmt.Errorf("%v got %s, which is reserved for others", r.Service, a)
		case p.Frozen:
			return fmt.Errorf("%v got %s of the frozen pool %s", r.Service, a, p.Name)
		case !slices.Contains(r.Want, a) && r.Pool == "" && !p.AutoAssign && !slices.Contains(r.Reserved, a) && !slices.Contains(r.Successors[ipam.FamilyOf(a)], p.Name):
			return fmt.Errorf("%v got %s of %s, which gives nothing by itself", r.Service, a, p.Name)
		}
	}
	lost := slices.ContainsFunc(r.Has, func(a netip.Addr) bool { return !slices.Contains(g.Addrs, a) })
	if lost != (g.Moved != "") {
		return fmt.Errorf("%v had %v, has %v, with the message %q", r.Service, r.Has, g.Addrs, g.Moved)
	}
	return nil
}

// lawfulNumber checks that r has none twice, no more than it asks for, and a message if it has fewer.
func lawfulNumber(r ipam.Request, g ipam.Grant) error {
	for i, a := range g.Addrs {
		if slices.Contains(g.Addrs[:i], a) {
			return fmt.Errorf("%v has %s twice", r.Service, a)
		}
	}
	for _, f := range r.Families.Want {
		n := numberOf(without(g.Addrs, r), f)
		if r.Invalid == "" && n > countOf(r, f) || hasFamily(g.Addrs, f) && n < countOf(r, f) && r.Invalid == "" && g.Message == "" {
			return fmt.Errorf("%v asks for %d %s addresses and has %v, %q", r.Service, countOf(r, f), f, g.Addrs, g.Message)
		}
	}
	return nil
}

func lawfulStuck(tw twin, r ipam.Request, g ipam.Grant) error {
	for i, a := range g.Addrs {
		want := ""
		if p := tw.poolOf(a); p != nil {
			want = p.Name
		} else if tw.absent(r.GonePools[a]) && (r.Pool == "" || r.Pool == r.GonePools[a]) {
			want = r.GonePools[a]
		}
		if !slices.Contains(r.Has, a) || g.Pools[i] != want {
			return fmt.Errorf("%v is stuck with %v and has %s of %q", r.Service, r.Has, a, g.Pools[i])
		}
	}
	if g.Reason != "" || g.Message != "" || g.Moved != "" {
		return fmt.Errorf("%v is locked, with the grant %+v", r.Service, g)
	}
	return nil
}

// noServiceGetsALockedAddress fails if a Service gets an address that a locked one shows and may
// not share with it.
func noServiceGetsALockedAddress(w *world, grants map[ipam.Key]ipam.Grant) error {
	for _, s := range w.requests {
		for _, r := range w.requests {
			for _, a := range grants[r.Service].Addrs {
				if s.StatusLocked && !r.StatusLocked && !slices.Contains(r.Has, a) && slices.Contains(s.Has, a) && !(twin{pools: unfolded(w.pools)}).mayShare(a, s, r) {
					return fmt.Errorf("%v got %s, which %v is stuck with", r.Service, a, s.Service)
				}
			}
		}
	}
	return nil
}

// noServiceWaitsInVain fails if a Service that got nothing could have had what is
// still free.
func noServiceWaitsInVain(w *world, grants map[ipam.Key]ipam.Grant) error {
	tw := twin{pools: unfolded(w.pools), users: map[netip.Addr][]ipam.Request{}, quota: newTwinQuota()}
	for _, r := range w.requests {
		tw.enter(r, grants[r.Service].Addrs)
		if r.StatusLocked {
			tw.enter(r, r.Has)
		}
	}
	tw.settle(w, grants)
	for _, r := range w.requests {
		if len(grants[r.Service].Addrs) == 0 && r.Invalid == "" && !r.StatusLocked {
			tw.quota.drawn = nil
			if addrs, ok := tw.completes(r, nil); ok {
				return fmt.Errorf("%v waits for %v, which is free: %+v", r.Service, addrs, grants[r.Service])
			}
		}
	}
	return nil
}

// waitersDoNothing fails if the world would be another without one that waits.
// It must be settled: then no Service yields.
func waitersDoNothing(w *world) error {
	all := w.assign()
	for i, r := range w.requests {
		kept := false
		for _, k := range w.kept { // what is kept for a namespace depends on what it wants
			kept = kept || k.For.Namespace == r.Service.Namespace
		}
		if len(all[r.Service].Addrs) > 0 || len(r.Has) > 0 || kept {
			continue
		}
		want := map[ipam.Key]ipam.Grant{}
		for k, g := range all {
			if k != r.Service {
				want[k] = g
			}
		}
		rest := slices.Delete(slices.Clone(w.requests), i, i+1)
		if diff := diffOf(want, assign(&w.allocator, w.pools, rest, w.kept)); diff != "" {
			return fmt.Errorf("%v has nothing, and without it there is another end: %s", r.Service, diff)
		}
		return nil // one a time is enough
	}
	return nil
}

// stays fails if anyone but those who are touched loses an address.
func stays(before, after map[ipam.Key]ipam.Grant, touched ...ipam.Key) error {
	for k, g := range before {
		for _, a := range g.Addrs {
			if !slices.Contains(touched, k) && !slices.Contains(after[k].Addrs, a) {
				return fmt.Errorf("%v had %v and has %v", k, g.Addrs, after[k].Addrs)
			}
		}
	}
	return nil
}

// leavers are the Services that have an address of a foreign host: they move when they can.
func (w *world) leavers() []ipam.Key {
	var out []ipam.Key
	for _, r := range w.requests {
		if len(r.Leaves) > 0 {
			out = append(out, r.Service)
		}
	}
	return out
}

// onlyPoolsTake fails if a Service loses an address that some pool still holds
// and allows it, unless it had to give up another.
func onlyPoolsTake(w *world, after map[ipam.Key]ipam.Grant) error {
	tw := twin{pools: unfolded(w.pools)}
	for _, r := range w.requests {
		all := !slices.ContainsFunc(r.Has, func(a netip.Addr) bool { return !tw.suited(a, r) })
		for _, a := range r.Has {
			if all && !r.StatusLocked && len(r.Leaves) == 0 && !slices.Contains(after[r.Service].Addrs, a) {
				return fmt.Errorf("%v had %v, which the pools still allow, and has %+v", r.Service, r.Has, after[r.Service])
			}
		}
	}
	return nil
}
