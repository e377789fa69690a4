package ipam_test

import (
	"fmt"
	"math/big"
	"math/rand"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

func TestMerge(t *testing.T) {
	for _, c := range []struct{ name, in, except, want string }{
		{name: "ranges that overlap become one", in: "10.0.0.1-10.0.0.5,10.0.0.3-10.0.0.9", want: "10.0.0.1-10.0.0.9"},
		{name: "a range within another vanishes", in: "10.0.0.1-10.0.0.9,10.0.0.3-10.0.0.5", want: "10.0.0.1-10.0.0.9"},
		{name: "ranges that touch become one", in: "10.0.0.5-10.0.0.9,10.0.0.1-10.0.0.4", want: "10.0.0.1-10.0.0.9"},
		{name: "ranges apart stay apart, sorted", in: "10.0.0.5-10.0.0.9,10.0.0.1-10.0.0.3", want: "10.0.0.1-10.0.0.3,10.0.0.5-10.0.0.9"},
		{name: "IPv4 comes before IPv6", in: "2001:db8::1,10.0.0.1", want: "10.0.0.1-10.0.0.1,2001:db8::1-2001:db8::1"},
		{name: "the end of IPv4 does not touch the start of IPv6", in: "::-::1,255.255.255.255", want: "255.255.255.255-255.255.255.255,::-::1"},
		{name: "what is excluded makes a gap", in: "10.0.0.1-10.0.0.9", except: "10.0.0.3-10.0.0.4", want: "10.0.0.1-10.0.0.2,10.0.0.5-10.0.0.9"},
		{name: "both ends can be excluded", in: "10.0.0.1-10.0.0.9", except: "10.0.0.0-10.0.0.1,10.0.0.9-10.0.0.20", want: "10.0.0.2-10.0.0.8"},
		{name: "all can be excluded", in: "0.0.0.0-255.255.255.255", except: "0.0.0.0-255.255.255.255", want: ""},
		{name: "a range in the wrong order counts as empty", in: "10.0.0.9-10.0.0.1,10.0.0.4", want: "10.0.0.4-10.0.0.4"},
		{name: "an exclusion in the wrong order counts as empty", in: "10.0.0.1-10.0.0.9", except: "10.0.0.6-10.0.0.4", want: "10.0.0.1-10.0.0.9"},
		{name: "an exclusion of the other family does nothing", in: "10.0.0.1-10.0.0.9", except: "::-ffff::", want: "10.0.0.1-10.0.0.9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var except, want []ipam.Range
			if c.except != "" {
				except = parseRanges(c.except)
			}
			if c.want != "" {
				want = parseRanges(c.want)
			}
			if diff := cmp.Diff(want, ipam.Merge(parseRanges(c.in), except), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHoldsAndContains(t *testing.T) {
	p := ipam.Pool{Ranges: parseRanges("10.0.0.255-10.0.1.5,10.0.1.8-10.0.1.9,2001:db8::-2001:db8::5")}
	careful := p
	careful.AvoidBuggy = true
	for addr, want := range map[string][2]bool{
		"10.0.0.254": {false, false}, "10.0.0.255": {true, false}, "10.0.1.0": {true, false}, "10.0.1.1": {true, true},
		"10.0.1.5": {true, true}, "10.0.1.6": {false, false}, "10.0.1.8": {true, true}, "10.0.1.10": {false, false},
		"2001:db8::": {true, true}, "2001:db8::6": {false, false}, "::10.0.1.1": {false, false},
	} {
		a := netip.MustParseAddr(addr)
		if have := [2]bool{p.Holds(a), careful.Holds(a)}; have != want {
			t.Errorf("%s: held by the pool, and by one that avoids buggy addresses: want %v, have %v", a, want, have)
		}
	}
}

// numbered returns the nth address of a small part of the family; the part of
// IPv4 spans three addresses that end in .0 or .255.
func numbered(f ipam.Family, n int) netip.Addr {
	if f == ipam.IPv4 {
		return netip.AddrFrom4([4]byte{10, 0, byte((250 + n) / 256), byte((250 + n) % 256)})
	}
	return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 15: byte(n % 256), 14: byte(n / 256)})
}

const numbers = 300

func randomRanges(rng *rand.Rand) []ipam.Range {
	var out []ipam.Range
	for range rng.Intn(6) {
		f := []ipam.Family{ipam.IPv4, ipam.IPv6}[rng.Intn(2)]
		n := rng.Intn(numbers)
		out = append(out, ipam.Range{First: numbered(f, n), Last: numbered(f, min(numbers-1, n+rng.Intn(60)-5))})
	}
	return out
}

// set is a set of addresses the naive way.
func set(ranges []ipam.Range) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
		for n := range numbers {
			a := numbered(f, n)
			if slices.ContainsFunc(ranges, func(r ipam.Range) bool {
				return ipam.FamilyOf(r.First) == f && !a.Less(r.First) && !r.Last.Less(a)
			}) {
				out[a] = true
			}
		}
	}
	return out
}

func TestRangesAgreeWithSets(t *testing.T) {
	for seed := range int64(1000) {
		rng := rand.New(rand.NewSource(seed))
		in, except := randomRanges(rng), randomRanges(rng)
		want, without := set(in), set(except)
		for a := range without {
			delete(want, a)
		}
		have := ipam.Merge(in, except)
		if diff := cmp.Diff(want, set(have), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Fatalf("seed %d: Merge(%v, %v) = %v\n%s", seed, in, except, have, diff)
		}
		for i := 1; i < len(have); i++ {
			if a, b := have[i-1].Last, have[i].First; !a.Less(b) || a.Next() == b {
				t.Fatalf("seed %d: Merge(%v, %v) = %v: not sorted, or not as few as possible", seed, in, except, have)
			}
		}
		other := ipam.Merge(except, nil)
		both, overlap := ipam.Overlap(have, ipam.Merge(in, nil))
		if overlap != (len(have) > 0) || overlap && (!set(have)[both.First] || !set(in)[both.Last] || both.Last.Less(both.First)) {
			t.Fatalf("seed %d: Overlap of %v and %v: %v, %v", seed, have, in, both, overlap)
		}
		if both, overlap := ipam.Overlap(have, other); overlap {
			t.Fatalf("seed %d: %v was taken out of %v, yet they overlap in %v", seed, other, have, both)
		}
		for _, careful := range []bool{false, true} {
			p := ipam.Pool{Ranges: have, AvoidBuggy: careful}
			if err := countsAs(p, set(have)); err != nil {
				t.Fatalf("seed %d: %v: %v", seed, have, err)
			}
		}
	}
}

// countsAs compares Capacity and Holds with a set.
func countsAs(p ipam.Pool, all map[netip.Addr]bool) error {
	count := map[ipam.Family]int64{}
	for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
		for n := range numbers {
			a := numbered(f, n)
			last := a.AsSlice()[len(a.AsSlice())-1]
			want := all[a] && !(p.AvoidBuggy && a.Is4() && (last == 0 || last == 255))
			if want {
				count[f]++
			}
			if p.Holds(a) != want {
				return fmt.Errorf("Holds(%s) is %v", a, !want)
			}
		}
		if have := p.Capacity(f); have.Cmp(big.NewInt(count[f])) != 0 {
			return fmt.Errorf("capacity of %s: want %d, have %s", f, count[f], have)
		}
	}
	return nil
}

func TestCapacityOfLargePools(t *testing.T) {
	for _, c := range []struct {
		name, ranges string
		careful      bool
		want4, want6 string
	}{
		{name: "a /64 exceeds 64 bits", ranges: "2001:db8::-2001:db8::ffff:ffff:ffff:ffff", want4: "0", want6: "18446744073709551616"},
		{name: "all of IPv4", ranges: "0.0.0.0-255.255.255.255", want4: "4294967296", want6: "0"},
		{name: "all of IPv4 but .0 and .255", ranges: "0.0.0.0-255.255.255.255", careful: true, want4: "4261412864", want6: "0"},
		{name: "a single buggy address", ranges: "10.0.0.0", careful: true, want4: "0", want6: "0"},
		{name: "both families", ranges: "10.0.0.1-10.0.0.3,::1", want4: "3", want6: "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := ipam.Pool{Ranges: parseRanges(c.ranges), AvoidBuggy: c.careful}
			have := []string{p.Capacity(ipam.IPv4).String(), p.Capacity(ipam.IPv6).String()}
			if diff := cmp.Diff([]string{c.want4, c.want6}, have); diff != "" {
				t.Error(diff)
			}
		})
	}
}
