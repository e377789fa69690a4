// Package contract is what every IPAM must do that speaks steelyard.ipam.v1, as a test. It is run
// on the ledger that simulations use, and by gRPC on the reference IPAM.
package contract

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/source/ledger"
)

// IPAM is what is tried. Errors are those of package ledger.
type IPAM interface {
	Allocate(ledger.Request) (netip.Addr, error)
	Release(cluster, uid string, a netip.Addr) error
	List(cluster string) ([]ledger.Allocation, error)
}

// Pools are what the IPAM that is tried must have, and no allocation.
func Pools() map[string][]ipam.Range {
	one := func(first, last string) ipam.Range {
		return ipam.Range{First: netip.MustParseAddr(first), Last: netip.MustParseAddr(last)}
	}
	return map[string][]ipam.Range{
		"lan":   {one("192.0.2.10", "192.0.2.12"), one("2001:db8::10", "2001:db8::11")},
		"other": {one("192.0.2.20", "192.0.2.20")},
	}
}

// try is one run.
type try struct {
	*testing.T
	IPAM
}

const ours = "c" // the cluster

func holder(uid string) ledger.Holder {
	return ledger.Holder{UID: uid, Namespace: "n", Name: "of-" + uid}
}

func addr(text string) netip.Addr {
	if text == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(text)
}

// allocate asks for an address, and tells what came of it.
func (x try) allocate(uid string, f ipam.Family, want, replaces string) (netip.Addr, error) {
	return x.Allocate(ledger.Request{Cluster: ours, Pool: "lan", Holder: holder(uid), Family: f, Addr: addr(want), Replaces: replaces})
}

func (x try) gives(uid string, f ipam.Family, want, replaces string) netip.Addr {
	x.Helper()
	a, err := x.allocate(uid, f, want, replaces)
	if err != nil || want != "" && a != addr(want) || ipam.FamilyOf(a) != f {
		x.Fatalf("%s, which asks for %q, gets %s, %v", uid, want, a, err)
	}
	return a
}

func (x try) refuses(uid string, f ipam.Family, want, replaces string, as error) {
	x.Helper()
	if a, err := x.allocate(uid, f, want, replaces); !errors.Is(err, as) {
		x.Errorf("%s, which asks for %q, gets %s, %v; want: %v", uid, want, a, err, as)
	}
}

func (x try) release(uid, a string) {
	x.Helper()
	if err := x.Release(ours, uid, addr(a)); err != nil {
		x.Errorf("release %s of %s: %v", a, uid, err)
	}
}

// holds checks what a cluster has, as "UID ADDRESS".
func (x try) holds(cluster string, want ...string) {
	x.Helper()
	all, err := x.List(cluster)
	if err != nil {
		x.Fatal(err)
	}
	have := []string{}
	for _, a := range all {
		have = append(have, a.UID+" "+a.Addr.String())
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		x.Errorf("%s holds %q, want %q", cluster, have, want)
	}
}

// Run tries IPAMs that the function makes, each new.
func Run(t *testing.T, fresh func(*testing.T) IPAM) {
	for _, bodies := range []map[string]func(try){allocations(), releases(), scopes()} {
		for name, body := range bodies {
			t.Run(name, func(t *testing.T) { body(try{t, fresh(t)}) })
		}
	}
}

func allocations() map[string]func(try) {
	return map[string]func(try){
		"a call that is repeated gets the same answer": func(x try) {
			a := x.gives("u1", ipam.IPv4, "", "")
			if again := x.gives("u1", ipam.IPv4, "", ""); again != a {
				x.Errorf("%s, then %s", a, again)
			}
			x.holds(ours, "u1 "+a.String())
		},
		"who has an address gets that, whatever it asks for": func(x try) {
			x.gives("u1", ipam.IPv4, "192.0.2.11", "")
			if a, err := x.allocate("u1", ipam.IPv4, "192.0.2.12", ""); err != nil || a != addr("192.0.2.11") {
				x.Errorf("it gets %s, %v", a, err)
			}
			x.holds(ours, "u1 192.0.2.11")
		},
		"one address of each family": func(x try) {
			x.gives("u1", ipam.IPv4, "", "")
			x.gives("u1", ipam.IPv6, "2001:db8::11", "")
			x.gives("u2", ipam.IPv6, "", "")
			x.refuses("u3", ipam.IPv6, "", "", ledger.ErrExhausted)
		},
		"no address is given twice": func(x try) {
			seen := map[netip.Addr]bool{}
			for _, uid := range []string{"u1", "u2", "u3"} {
				seen[x.gives(uid, ipam.IPv4, "", "")] = true
			}
			if len(seen) != 3 {
				x.Errorf("three Services have %d addresses", len(seen))
			}
			x.refuses("u4", ipam.IPv4, "", "", ledger.ErrExhausted)
			x.refuses("u4", ipam.IPv4, "192.0.2.10", "", ledger.ErrTaken)
		},
	}
}

func releases() map[string]func(try) {
	return map[string]func(try){
		"what is released is free": func(x try) {
			x.gives("u1", ipam.IPv4, "192.0.2.10", "")
			x.release("u1", "192.0.2.10")
			x.release("u1", "192.0.2.10")
			x.holds(ours)
			x.gives("u2", ipam.IPv4, "192.0.2.10", "")
		},
		"a late release takes nothing from another": func(x try) {
			x.gives("u1", ipam.IPv4, "192.0.2.10", "")
			x.release("u1", "192.0.2.11")
			x.release("u2", "192.0.2.10")
			x.holds(ours, "u1 192.0.2.10")
		},
		"a Service that is created again takes its address over": func(x try) {
			x.gives("old", ipam.IPv4, "192.0.2.10", "")
			x.refuses("new", ipam.IPv4, "192.0.2.10", "other", ledger.ErrTaken)
			x.gives("new", ipam.IPv4, "192.0.2.10", "old")
			x.release("old", "192.0.2.10")
			x.holds(ours, "new 192.0.2.10")
			x.gives("next", ipam.IPv4, "192.0.2.11", "none")
		},
	}
}

func scopes() map[string]func(try) {
	return map[string]func(try){
		"an address outside of the pool is refused": func(x try) {
			x.refuses("u1", ipam.IPv4, "192.0.2.20", "", ledger.ErrOutside)
			x.refuses("u1", ipam.IPv6, "192.0.2.10", "", ledger.ErrInvalid)
			x.refuses("", ipam.IPv4, "", "", ledger.ErrInvalid)
			x.holds(ours)
		},
		"a Service has one address of a family, of whatever pool": func(x try) {
			x.gives("u1", ipam.IPv4, "192.0.2.10", "")
			if a, err := x.Allocate(ledger.Request{Cluster: ours, Pool: "other", Holder: holder("u1"), Family: ipam.IPv4}); err != nil || a != addr("192.0.2.10") {
				x.Errorf("of another pool it gets %s, %v", a, err)
			}
			if all, err := x.List(ours); err != nil || len(all) != 1 || all[0].Pool != "lan" {
				x.Errorf("it holds %v, %v", all, err)
			}
		},
		"clusters are apart": func(x try) {
			x.gives("u1", ipam.IPv4, "192.0.2.10", "")
			const foreign = "d"
			if a, err := x.Allocate(ledger.Request{Cluster: foreign, Pool: "lan", Holder: holder("u1"), Family: ipam.IPv4, Addr: addr("192.0.2.10"), Replaces: "u1"}); !errors.Is(err, ledger.ErrTaken) {
				x.Errorf("another cluster gets %s, %v", a, err)
			}
			if err := x.Release(foreign, "u1", addr("192.0.2.10")); err != nil {
				x.Error(err)
			}
			x.holds(foreign)
			x.holds(ours, "u1 192.0.2.10")
			if a, err := x.Allocate(ledger.Request{Cluster: ours, Pool: "none", Holder: holder("u1"), Family: ipam.IPv4}); !errors.Is(err, ledger.ErrUnknownPool) {
				x.Errorf("a pool that is not there gives %s, %v", a, err)
			}
		},
	}
}
