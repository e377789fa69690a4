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
	}
	return out
}

// slowly is what becomes of pools, told address by address.
func slowly(pools []v1beta1.IPAddressPool) (out []ipam.Pool, poolOf map[netip.Addr]string) {
	slices.SortFunc(pools, func(a, b v1beta1.IPAddressPool) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	poolOf = map[netip.Addr]string{}
	owner, loser := map[netip.Addr]string{}, map[netip.Addr]string{}
	for _, obj := range pools {
		p := intent.Parse(intent.Objects{Pools: []v1beta1.IPAddressPool{obj}}).Pools[0].Pool
		var owned, lost []ipam.Range
		for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
			for n := range nearby {
				a := near(f, n)
				avoids := p.AvoidBuggy && a.Is4() && (a.As4()[3] == 0 || a.As4()[3] == 255)
				one := ipam.Range{First: a, Last: a}
				if _, both := ipam.Overlap(p.Ranges, []ipam.Range{one}); !both {
					continue
				}
				if owner[a] == "" {
					owned, owner[a] = append(owned, one), p.Name
					if !avoids {
						poolOf[a] = p.Name
					}
					continue
				}
				if lost = append(lost, one); loser[a] == "" && !avoids {
					loser[a] = p.Name
				}
			}
		}
		p.Ranges, p.Disputed, p.Frozen = ipam.Merge(owned, nil), ipam.Merge(lost, nil), len(lost) > 0
		out = append(out, p)
	}
	for a, name := range loser {
		if poolOf[a] == "" {
			poolOf[a] = name
		}
	}
	return out, poolOf
}

func TestOverlapsAgreeWithTheSlowWay(t *testing.T) {
	for seed := range int64(3000) {
		pools := randomPools(rand.New(rand.NewSource(seed)))
		want, poolOf := slowly(slices.Clone(pools))
		config := intent.Parse(intent.Objects{Pools: pools})
		for i, p := range config.Pools {
			if diff := gocmp.Diff(poolText(want[i]), poolText(p.Pool)); diff != "" || p.Name != want[i].Name {
				t.Fatalf("seed %d: pool %s of\n%v\n%s", seed, p.Name, pools, diff)
			}
			if reason := config.Verdicts[intent.Ref{Kind: "IPAddressPool", Name: p.Name}].Reason; (reason == v1beta1.ReasonOverlaps) != p.Frozen {
				t.Fatalf("seed %d: pool %s is frozen: %t, reason %q", seed, p.Name, p.Frozen, reason)
			}
		}
		for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
			for n := range nearby {
				if a := near(f, n); config.PoolOf(a) != poolOf[a] {
					t.Fatalf("seed %d: %s is of pool %q, not of %q; %v", seed, a, config.PoolOf(a), poolOf[a], pools)
				}
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
