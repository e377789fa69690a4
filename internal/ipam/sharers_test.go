package ipam

import (
	"fmt"
	"math/rand"
	"net/netip"
	"testing"
	"time"
)

// TestWhoRefusesToShareIsFoundWithoutALookAtEach has a crowd come in any order.
func TestWhoRefusesToShareIsFoundWithoutALookAtEach(t *testing.T) {
	a := netip.MustParseAddr("192.0.2.1")
	for seed := range int64(2000) {
		rng := rand.New(rand.NewSource(seed))
		pools := Pools{{Name: "p", Ranges: []Range{{a, a}}, CrossNamespace: rng.Intn(2) == 0}}
		requests, order := make([]*Request, 12), make([]int32, 12)
		for i := range requests {
			r := &Request{Service: Key{fmt.Sprint("n", rng.Intn(2)), fmt.Sprintf("%02d", i)}, Created: time.Unix(int64(i), 0), Families: Families{Want: []Family{IPv4}}}
			r.Share = Share{Key: []string{"k", "k", "k", "k", "l", ""}[rng.Intn(6)], Local: rng.Intn(4) == 0, Pods: fmt.Sprint(r.Service.Namespace, rng.Intn(2))}
			for _, node := range []string{"1", "2", "3"} {
				if rng.Intn(2) == 0 {
					r.On4 = append(r.On4, node)
				}
			}
			r.Changed = rng.Intn(5) == 0
			r.Ports = []Port{{"TCP", uint16(rng.Intn(20))}, {"UDP", uint16(rng.Intn(20))}}
			if rng.Intn(2) == 0 {
				r.Has = []netip.Addr{a}
			}
			requests[i], order[i] = r, int32(i)
		}
		u := new(holders)
		u.reset(len(requests))
		b := newAllocation(newPoolIndex(pools), requests, order, u)
		for _, rank := range rng.Perm(len(requests)) {
			for _, r := range requests {
				if err := agreeAbout(b, a, r); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			if !b.blocked(a, requests[rank]) {
				b.enter(int32(rank), pooledAddr{a, b.find(a)})
			}
		}
	}
}

// agreeAbout compares blocker and blocked with a look at each user.
func agreeAbout(al *allocation, a netip.Addr, r *Request) error {
	want, reason := (*Request)(nil), ""
	oldest := (*Request)(nil)
	for rank := range al.holdersOf(a) {
		u := al.request(rank)
		if oldest == nil || CompareAge(u, oldest) < 0 {
			oldest = u
		}
		if no := al.refuses(a, u, r); no != "" && (want == nil || CompareAge(u, want) < 0) {
			want, reason = u, no
		}
	}
	if want == nil && al.apart(a, r) {
		want, reason = oldest, al.apartText(a, r)
	}
	if have, words := al.blocker(a, r); have != want || words != reason {
		return fmt.Errorf("%v: want %v for %q, have %v for %q", r, want, reason, have, words)
	}
	if have := al.blocked(a, r); have != (want != nil) {
		return fmt.Errorf("%v: blocked is %t", r, have)
	}
	return nil
}
