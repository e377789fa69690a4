package announce_test

import (
	"fmt"
	"math/rand"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/stories"
)

// holding is an address with its owner, and the nodes that may have it.
func holding(n int, owner string, may ...string) announce.Placement {
	return announce.Placement{Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), Node: owner, May: may}
}

func TestBalance(t *testing.T) {
	all := []string{"a", "b", "c"}
	for _, c := range []struct {
		name     string
		holdings []announce.Placement
		want     string
	}{
		{"nothing to move", nil, "[]"},
		{"an even spread stays", []announce.Placement{holding(1, "a", all...), holding(2, "b", all...)}, "[]"},
		{"one more than another is even", []announce.Placement{holding(1, "a", "a", "b"), holding(2, "a", "a", "b"), holding(3, "b", "a", "b")}, "[]"},
		{"two move from the node that has all", []announce.Placement{holding(1, "a", all...), holding(2, "a", all...), holding(3, "a", all...)},
			"[{192.0.2.1 a b} {192.0.2.2 a c}]"},
		{"an address without another candidate stays", []announce.Placement{holding(1, "a", "a"), holding(2, "a", "a"), holding(3, "a", "a", "b")}, "[{192.0.2.3 a b}]"},
		{"by way of a third", []announce.Placement{holding(1, "a", "a", "b"), holding(2, "a", "a", "b"), holding(3, "b", "b", "c")},
			"[{192.0.2.1 a b} {192.0.2.3 b c}]"},
		{"an address without an owner is ignored", []announce.Placement{holding(1, ""), holding(2, "a", "a", "b"), holding(3, "a", "a", "b")}, "[{192.0.2.2 a b}]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, fmt.Sprint(announce.Balance(c.holdings))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestBalanceIsTheBest compares Balance with an exhaustive search: no other assignment is more
// even, none that is as even takes fewer moves, and after the moves there are none left.
func TestBalanceIsTheBest(t *testing.T) {
	for seed := range int64(300) {
		rng := rand.New(rand.NewSource(seed))
		nodes := []string{"a", "b", "c", "d"}[:2+rng.Intn(3)]
		var holdings []announce.Placement
		for i := range 1 + rng.Intn(6) {
			var may []string
			for _, n := range nodes {
				if rng.Intn(3) > 0 {
					may = append(may, n)
				}
			}
			if len(may) > 0 {
				holdings = append(holdings, holding(i, may[rng.Intn(len(may))], may...))
			}
		}
		moves := announce.Balance(holdings)
		spread, least := best(holdings, map[string]int{}, 0)
		done := slices.Clone(holdings)
		for _, m := range moves {
			i := slices.IndexFunc(done, func(c announce.Placement) bool { return c.Addr == m.Addr })
			if done[i].Node != m.From || !slices.Contains(done[i].May, m.To) || m.From == m.To {
				t.Fatalf("seed %d: %v is no move for %v", seed, m, done[i])
			}
			done[i].Node = m.To
		}
		load := map[string]int{}
		for _, c := range done {
			load[c.Node]++
		}
		if have := squares(load); have != spread || len(moves) != least {
			t.Errorf("seed %d: spread %d in %d moves, the best is %d in %d; %v", seed, have, len(moves), spread, least, holdings)
		}
		if again := announce.Balance(done); len(again) > 0 {
			t.Errorf("seed %d: after these moves %v", seed, again)
		}
		if diff := cmp.Diff(moves, announce.Balance(stories.Shuffle(holdings, rng)), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("seed %d: another order has another result:\n%s", seed, diff)
		}
	}
}

func squares(load map[string]int) int {
	sum := 0
	for _, n := range load {
		sum += n * n
	}
	return sum
}

// best tries every assignment, and returns the least spread and the fewest moves for it.
func best(rest []announce.Placement, load map[string]int, moved int) (spread, moves int) {
	if len(rest) == 0 {
		return squares(load), moved
	}
	spread = -1
	for _, n := range rest[0].May {
		more := moved
		if n != rest[0].Node {
			more++
		}
		load[n]++
		s, m := best(rest[1:], load, more)
		load[n]--
		if spread < 0 || s < spread || s == spread && m < moves {
			spread, moves = s, m
		}
	}
	return spread, moves
}

// TestABigBalanceEndsSoon has many addresses on one of many nodes.
func TestABigBalanceEndsSoon(t *testing.T) {
	var nodes []string
	for i := range 40 {
		nodes = append(nodes, fmt.Sprintf("node%02d", i))
	}
	var holdings []announce.Placement
	for i := range 200 {
		holdings = append(holdings, holding(i, nodes[0], nodes...))
	}
	if moves := announce.Balance(holdings); len(moves) != 195 {
		t.Errorf("%d moves, want 195: 5 stay", len(moves))
	}
}

// The test edits each claim, as people do.
func TestPlacementsHaveTheNodesToWhichAnAddressCanMove(t *testing.T) {
	forSnapshots(t, func(t *testing.T, s announce.Snapshot, _ *rand.Rand) {
		for i := range s.Nodes {
			s.Nodes[i].Unready = false // it may keep what no other gives it
		}
		for _, h := range s.Placements() {
			for _, n := range s.Nodes {
				edited := s
				edited.Claims = slices.DeleteFunc(slices.Clone(s.Claims), func(c announce.HeldClaim) bool { return c.Addr == h.Addr })
				edited.Claims = append(edited.Claims, announce.HeldClaim{Addr: h.Addr, Node: n.Name})
				owner := ""
				for _, after := range edited.Placements() {
					if after.Addr == h.Addr {
						owner = after.Node
					}
				}
				if goes := owner == n.Name; goes != slices.Contains(h.May, n.Name) {
					t.Errorf("%s: moved to %s it is with %s; it may go to %v", h.Addr, n.Name, owner, h.May)
				}
			}
			for _, c := range s.Candidates(h.Addr) {
				if can := c.Reason == announce.Announced || c.Reason == announce.NotOwner; !can && slices.Contains(h.May, c.Node) || c.Reason == announce.Announced && c.Node != h.Node {
					t.Errorf("%s: %+v, and %+v", h.Addr, c, h)
				}
			}
		}
	})
}
