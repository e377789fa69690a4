package intent_test

import (
	"cmp"
	"fmt"
	"math/rand"
	"net/netip"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// near returns the nth of a few addresses of a family; three of IPv4 are ones
// that avoidBuggyIPs avoids.
func near(f ipam.Family, n int) netip.Addr {
	if f == ipam.IPv4 {
		return netip.AddrFrom4([4]byte{10, 0, byte((250 + n) / 256), byte(250 + n)})
	}
	return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 15: byte(n)})
}

const nearby = 40

func randomRanges(rng *rand.Rand, most int) []v1beta1.AddressRange {
	var out []v1beta1.AddressRange
	for range rng.Intn(most + 1) {
		f := []ipam.Family{ipam.IPv4, ipam.IPv6}[rng.Intn(2)]
		first := rng.Intn(nearby)
		last := min(nearby-1, first+rng.Intn(9))
		out = append(out, v1beta1.AddressRange(fmt.Sprintf("%s-%s", near(f, first), near(f, last))))
	}
	return out
}

func randomPools(rng *rand.Rand) []v1beta1.IPAddressPool {
	out := make([]v1beta1.IPAddressPool, rng.Intn(8))
	for i := range out {
		out[i].ObjectMeta = metav1.ObjectMeta{Name: fmt.Sprint("p", i), CreationTimestamp: metav1.NewTime(time.Unix(int64(rng.Intn(4)), 0))}
		out[i].Spec = v1beta1.IPAddressPoolSpec{Addresses: randomRanges(rng, 4), Exclude: randomRanges(rng, 2), AvoidBuggyIPs: rng.Intn(3) == 0}
		if rng.Intn(6) == 0 {
			out[i].Spec.Addresses = append(out[i].Spec.Addresses, "nonsense")
		}
		for range rng.Intn(2) {
			for _, r := range randomRanges(rng, 4) {
				out[i].Status.Accepted = append(out[i].Status.Accepted, string(r))
			}
		}
	}
	return out
}

// only returns what is in ranges, address by address, and satisfies keep.
func only(ranges []ipam.Range, keep func(netip.Addr) bool) []ipam.Range {
	var out []ipam.Range
	for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
		for n := range nearby {
			a := near(f, n)
			if contains(ranges, a) && keep(a) {
				out = append(out, ipam.Range{First: a, Last: a})
			}
		}
	}
	return ipam.Merge(out, nil)
}

func contains(ranges []ipam.Range, a netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(r ipam.Range) bool { return r.Contains(a) })
}

// slowly is what becomes of pools, told address by address.
func slowly(pools []v1beta1.IPAddressPool) []ipam.Pool {
	slices.SortFunc(pools, func(a, b v1beta1.IPAddressPool) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	out := make([]ipam.Pool, len(pools))
	accepted := make([][]ipam.Range, len(pools))
	owner := map[netip.Addr]int{}
	for i, obj := range pools {
		obj.Status = v1beta1.IPAddressPoolStatus{}
		out[i] = intent.Parse(intent.Objects{Pools: []v1beta1.IPAddressPool{obj}}).Pools[0].Pool
		listed := v1beta1.IPAddressPool{}
		for _, s := range pools[i].Status.Accepted {
			listed.Spec.Addresses = append(listed.Spec.Addresses, v1beta1.AddressRange(s))
		}
		accepted[i] = intent.Parse(intent.Objects{Pools: []v1beta1.IPAddressPool{listed}}).Pools[0].Ranges
	}
	for _, claimed := range []func(i int, a netip.Addr) bool{
		func(i int, a netip.Addr) bool { return contains(accepted[i], a) },
		func(i int, _ netip.Addr) bool { return !out[i].Frozen },
		func(int, netip.Addr) bool { return true },
	} {
		for i, p := range out {
			only(p.Ranges, func(a netip.Addr) bool {
				if _, taken := owner[a]; !taken && claimed(i, a) {
					owner[a] = i
				}
				return false
			})
		}
	}
	for i := range out {
		p, all := &out[i], out[i].Ranges
		owns := func(a netip.Addr) bool { return owner[a] == i }
		had := only(all, func(a netip.Addr) bool { return owns(a) && contains(accepted[i], a) })
		if p.Ranges = only(all, owns); slices.Equal(p.Ranges, all) {
			continue
		}
		if len(had) == 0 {
			p.Frozen = true
		} else {
			p.Ranges = had
		}
		p.Overlapping = only(all, func(a netip.Addr) bool { return !contains(p.Ranges, a) })
	}
	return out
}

// poolOf is what Config.PoolOf is.
func poolOf(pools []ipam.Pool, a netip.Addr) string {
	for _, has := range []func(p *ipam.Pool) bool{func(p *ipam.Pool) bool { return p.Holds(a) }, func(p *ipam.Pool) bool { return p.Overlaps(a) }} {
		for i := range pools {
			if has(&pools[i]) {
				return pools[i].Name
			}
		}
	}
	return ""
}

func TestOverlapsAgreeWithTheSlowWay(t *testing.T) {
	for seed := range int64(500) {
		pools := randomPools(rand.New(rand.NewSource(seed)))
		want := slowly(slices.Clone(pools))
		config := intent.Parse(intent.Objects{Pools: pools})
		for i, p := range config.Pools {
			if diff := gocmp.Diff(poolText(want[i]), poolText(p.Pool)); diff != "" || p.Name != want[i].Name {
				t.Fatalf("seed %d: pool %s of\n%v\n%s", seed, p.Name, pools, diff)
			}
			if reason := config.Validations[intent.Ref{Kind: "IPAddressPool", Name: p.Name}].Accepted.Reason; reason != v1beta1.ReasonInvalid && (reason == v1beta1.ReasonOverlaps) != (len(p.Overlapping) > 0) {
				t.Fatalf("seed %d: pool %s lacks %v, reason %q", seed, p.Name, p.Overlapping, reason)
			}
		}
		for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
			for n := range nearby {
				if a := near(f, n); config.PoolOf(a) != poolOf(want, a) {
					t.Fatalf("seed %d: %s is of pool %q, not of %q; %v", seed, a, config.PoolOf(a), poolOf(want, a), pools)
				}
			}
		}
	}
}

// recorded is pools with what the controller writes into their statuses.
func recorded(pools []v1beta1.IPAddressPool) []v1beta1.IPAddressPool {
	out := slices.Clone(pools)
	for _, p := range intent.Parse(intent.Objects{Pools: pools}).Pools {
		i := slices.IndexFunc(out, func(obj v1beta1.IPAddressPool) bool { return obj.Name == p.Name })
		out[i].Status.Accepted = intent.Accepted(p.Accepted)
	}
	return out
}

func TestToRecordWhatIsAcceptedChangesNothing(t *testing.T) {
	for seed := range int64(500) {
		pools := randomPools(rand.New(rand.NewSource(seed)))
		want, have := intent.Parse(intent.Objects{Pools: pools}), intent.Parse(intent.Objects{Pools: recorded(pools)})
		for i, p := range want.Pools {
			if diff := gocmp.Diff(poolText(p.Pool), poolText(have.Pools[i].Pool)); diff != "" {
				t.Fatalf("seed %d: pool %s of\n%v\n%s", seed, p.Name, pools, diff)
			}
		}
	}
}

func TestAnEditTakesNothingFromOtherPools(t *testing.T) {
	for seed := range int64(500) {
		rng := rand.New(rand.NewSource(seed))
		pools := recorded(randomPools(rng))
		if len(pools) == 0 {
			continue
		}
		before := intent.Parse(intent.Objects{Pools: pools})
		edited := slices.Clone(pools)
		victim := rng.Intn(len(pools))
		edited[victim].Spec.Addresses = append(randomRanges(rng, 4), edited[victim].Spec.Addresses...)
		after := intent.Parse(intent.Objects{Pools: edited})
		for i, p := range before.Pools {
			q := after.Pools[i]
			if p.Name == edited[victim].Name {
				if kept := ipam.Merge(p.Accepted, q.Ranges); len(kept) > 0 {
					t.Fatalf("seed %d: pool %s was edited, and lost %v of %v", seed, p.Name, kept, p.Accepted)
				}
				continue
			}
			if lost := ipam.Merge(p.Accepted, q.Ranges); len(lost) > 0 || q.Frozen && !p.Frozen {
				t.Fatalf("seed %d: pool %s lost %v, frozen %t, for pool %s was edited", seed, p.Name, lost, q.Frozen, edited[victim].Name)
			}
		}
	}
}

func TestPoolsAtTheEndOfAFamily(t *testing.T) {
	config := intent.Parse(parse(t, `
		IPAddressPool p {addresses: [255.255.255.255, "ffff::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]}
		IPAddressPool q {addresses: [255.255.255.250-255.255.255.255, "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]}`))
	for addr, want := range map[string]string{"255.255.255.255": "p", "255.255.255.254": "q", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": "p", "::": "q"} {
		if have := config.PoolOf(netip.MustParseAddr(addr)); have != want {
			t.Errorf("%s: want %q, have %q", addr, want, have)
		}
	}
}
