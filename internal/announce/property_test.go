package announce_test

import (
	"fmt"
	"math/rand"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// forSnapshots runs check on many random snapshots and stops at the first that
// fails.
func forSnapshots(t *testing.T, check func(*testing.T, announce.Snapshot, *rand.Rand)) {
	t.Helper()
	for seed := range int64(2000) {
		rng := rand.New(rand.NewSource(seed))
		s := randomSnapshot(rng)
		check(t, s, rng)
		if t.Failed() {
			t.Fatalf("the snapshot of seed %d:\n%+v", seed, s)
		}
	}
}

// random makes the parts of a snapshot.
type random struct{ *rand.Rand }

func randomSnapshot(rng *rand.Rand) announce.Snapshot {
	r := random{rng}
	var s announce.Snapshot
	for i := range 1 + rng.Intn(5) {
		s.Nodes = append(s.Nodes, r.node(fmt.Sprintf("node%d", i)))
	}
	for i := range rng.Intn(6) {
		s.Services = append(s.Services, r.service(fmt.Sprintf("s%d", i)))
	}
	for _, a := range addresses() {
		if r.chance(50) {
			s.Claims = append(s.Claims, announce.HeldClaim{Addr: a, Node: fmt.Sprintf("node%d", rng.Intn(6))})
		}
	}
	for i := range rng.Intn(3) {
		ad := announce.L2Advertisement{Name: fmt.Sprintf("ad%d", i), Selection: r.selection()}
		if r.chance(30) {
			ad.Links.Only = []string{"eth?"}
		}
		if r.chance(30) {
			ad.Links.Except = []string{"eth1"}
		}
		for range rng.Intn(3) {
			ad.Prefer = append(ad.Prefer, announce.Preference{Weight: 1 + rng.Intn(2), Nodes: r.selector(100)})
		}
		s.L2 = append(s.L2, ad)
	}
	for i := range rng.Intn(4) {
		ad := announce.BGPAdvertisement{Name: fmt.Sprintf("ad%d", i), Selection: r.selection(), Length4: 31 + rng.Intn(2), Length6: 127 + rng.Intn(2)}
		ad.Attributes = announce.Route{
			LocalPref: uint32(rng.Intn(3)), MED: uint32(rng.Intn(2)), HasMED: r.chance(50), Prepend: rng.Intn(3),
			Communities: []uint32{uint32(rng.Intn(3))}, Large: []announce.LargeCommunity{{Data1: uint32(rng.Intn(3))}},
		}
		if r.chance(30) {
			ad.Peers = map[string]bool{"p0": true}
		}
		s.BGP = append(s.BGP, ad)
	}
	for i := range rng.Intn(4) {
		s.Neighbors = append(s.Neighbors, announce.Neighbor{
			Peer:    announce.Peer{Name: fmt.Sprintf("p%d", i), Port: uint16(rng.Intn(3))},
			Nodes:   r.selector(30),
			Created: time.Unix(int64(rng.Intn(2)), 0),
		})
	}
	return s
}

func addresses() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("10.0.0.0"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("2001:db8::1")}
}

func (r random) chance(percent int) bool { return r.Intn(100) < percent }

func (r random) labels() map[string]string {
	return map[string]string{"x": fmt.Sprint(r.Intn(2)), "y": fmt.Sprint(r.Intn(2))}
}

// selector selects by one label, or all.
func (r random) selector(percent int) announce.Selector {
	if !r.chance(percent) {
		return nil
	}
	return having(map[string]string{[]string{"x", "y"}[r.Intn(2)]: fmt.Sprint(r.Intn(2))})
}

func (r random) selection() announce.Selection {
	out := announce.Selection{Nodes: r.selector(30), Services: r.selector(30), Withdraws: r.chance(30)}
	if r.chance(30) {
		out.Pools = map[string]bool{"p": true}
	}
	return out
}

func (r random) node(name string) announce.Node {
	n := announce.Node{Name: name, Labels: r.labels(), Live: r.chance(85)}
	if r.chance(10) {
		n.Excluded = "label"
	}
	n.Yields, n.Unready = r.chance(15), r.chance(15)
	for _, link := range []string{"eth0", "eth1", "wifi"} {
		if r.chance(70) {
			n.Links = append(n.Links, announce.Link{Name: link, Up: r.chance(80), Unnumbered: r.chance(20)})
		}
	}
	return n
}

func (r random) service(name string) announce.Service {
	s := announce.Service{Key: ipam.Key{Namespace: "n", Name: name}, Labels: r.labels(), Local: r.chance(30), ReadyOn4: map[string]bool{}, ReadyOn6: map[string]bool{}}
	s.NoEndpoints4, s.NoEndpoints6 = r.chance(30), r.chance(30)
	if r.chance(10) {
		s.Unstable = "it comes and goes"
	}
	for i := range 5 {
		s.ReadyOn4[fmt.Sprintf("node%d", i)], s.ReadyOn6[fmt.Sprintf("node%d", i)] = r.chance(60), r.chance(60)
	}
	for _, a := range addresses() {
		if r.chance(40) {
			s.Addrs = append(s.Addrs, announce.Address{Addr: a, Pool: []string{"p", "p", "q", ""}[r.Intn(4)], Node: []string{"", "", "", "", "node1", "node9"}[r.Intn(6)]})
		}
	}
	return s
}

// decideAll runs Decide as every node.
func decideAll(s announce.Snapshot) map[string]announce.Plan {
	out := map[string]announce.Plan{}
	for _, n := range s.Nodes {
		s.Self = n.Name
		out[n.Name] = announce.Decide(s)
	}
	return out
}

// owners returns the nodes that claim each address.
func owners(plans map[string]announce.Plan) map[netip.Addr][]string {
	out := map[netip.Addr][]string{}
	for name, p := range plans {
		for _, c := range p.Claims {
			out[c.Addr] = append(out[c.Addr], name)
		}
	}
	return out
}

// owner is the one node that claims a, or "".
func owner(plans map[string]announce.Plan, a netip.Addr) string {
	if names := owners(plans)[a]; len(names) == 1 {
		return names[0]
	}
	return ""
}

func TestExactlyOneOfTheBestCandidatesClaimsAnAddress(t *testing.T) {
	forSnapshots(t, func(t *testing.T, s announce.Snapshot, _ *rand.Rand) {
		have := owners(decideAll(s))
		for _, a := range addresses() {
			best := twinCandidates(s, a)
			i := slices.IndexFunc(s.Claims, func(c announce.HeldClaim) bool { return c.Addr == a })
			if i >= 0 && slices.Contains(best, s.Claims[i].Node) {
				best = []string{s.Claims[i].Node}
			}
			names := have[a]
			if len(names) != min(1, len(best)) || len(names) == 1 && !slices.Contains(best, names[0]) {
				t.Errorf("%s: the candidates are %v, and %v claim it", a, best, names)
			}
		}
	})
}

// twinCandidates returns the most preferred candidates for a, by the rules in
// docs/design/ownership.md.
func twinCandidates(s announce.Snapshot, a netip.Addr) []string {
	var best []string
	held := ""
	for _, c := range s.Claims {
		if c.Addr == a {
			held = c.Node
		}
	}
	top := -2000
	for _, n := range s.Nodes {
		weight, advertised, able := 0, false, n.Live && n.Excluded == ""
		if n.Yields || n.Unready && n.Name != held {
			weight = -1000
		}
		for _, svc := range s.Services {
			covered, selected, link := false, false, false
			for _, addr := range svc.Addrs {
				for _, ad := range s.L2 {
					if addr.Addr != a || !selects(ad.Selection, svc, addr) {
						continue
					}
					covered = true
					able = able && (addr.Node == "" || addr.Node == n.Name)
					if ad.Nodes != nil && !ad.Nodes(n.Labels) {
						continue
					}
					selected = true
					for _, l := range n.Links {
						link = link || l.Up && !l.Unnumbered && (len(ad.Links.Only) == 0 || l.Name != "wifi") && (len(ad.Links.Except) == 0 || l.Name != "eth1")
					}
					for _, p := range ad.Prefer {
						if p.Nodes(n.Labels) {
							weight += p.Weight
						}
					}
				}
			}
			advertised = advertised || covered
			able = able && (!covered || selected && link && (!svc.Local || svc.ReadyOn(a)[n.Name]))
		}
		if !able || !advertised || weight < top {
			continue
		}
		if weight > top {
			best, top = nil, weight
		}
		best = append(best, n.Name)
	}
	return best
}

func selects(sel announce.Selection, svc announce.Service, a announce.Address) bool {
	gone := svc.Unstable != "" || svc.NoEndpoints4 && a.Addr.Is4() || svc.NoEndpoints6 && a.Addr.Is6()
	if sel.Withdraws && !svc.Local && gone {
		return false
	}
	return a.Pool != "" && (sel.Pools == nil || sel.Pools[a.Pool]) && (sel.Services == nil || sel.Services(svc.Labels))
}

func TestANodeThatLeavesMovesOnlyItsOwnAndItsReturnMovesNone(t *testing.T) {
	forSnapshots(t, func(t *testing.T, s announce.Snapshot, rng *rand.Rand) {
		for i := range s.L2 {
			s.L2[i].Prefer = nil // a preferred node takes its addresses back
		}
		for i := range s.Nodes {
			s.Nodes[i].Yields, s.Nodes[i].Unready = false, false // so does one from a node that yields
		}
		before := decideAll(s)
		i := rng.Intn(len(s.Nodes))
		for name, less := range map[string]announce.Snapshot{"without its object": without(s, i), "without its speaker": exclusion(s, i)} {
			during := decideAll(less)
			for _, a := range addresses() {
				if was, is := owner(before, a), owner(during, a); was != is && was != s.Nodes[i].Name {
					t.Errorf("%s leaves, %s: %s moves from %q to %q", s.Nodes[i].Name, name, a, was, is)
				}
			}
			back := s
			back.Claims = nil
			for a, names := range owners(during) {
				back.Claims = append(back.Claims, announce.HeldClaim{Addr: a, Node: names[0]})
			}
			after := decideAll(back)
			for _, a := range addresses() {
				if was, is := owner(during, a), owner(after, a); was != "" && was != is {
					t.Errorf("%s returns: %s moves from %q to %q", s.Nodes[i].Name, a, was, is)
				}
			}
		}
	})
}

func without(s announce.Snapshot, i int) announce.Snapshot {
	s.Nodes = slices.Delete(slices.Clone(s.Nodes), i, i+1)
	return s
}

func exclusion(s announce.Snapshot, i int) announce.Snapshot {
	s.Nodes = slices.Clone(s.Nodes)
	s.Nodes[i].Live = false
	return s
}

func TestShufflingChangesNothing(t *testing.T) {
	forSnapshots(t, func(t *testing.T, s announce.Snapshot, rng *rand.Rand) {
		if want, have := decideAll(s), decideAll(shuffled(s, rng)); !reflect.DeepEqual(want, have) {
			t.Errorf("want %+v\nhave %+v", want, have)
		}
	})
}

func TestDecideDoesNotTouchItsInput(t *testing.T) {
	forSnapshots(t, func(t *testing.T, s announce.Snapshot, _ *rand.Rand) {
		before := fmt.Sprintf("%+v", s)
		decideAll(s)
		if diff := gocmp.Diff(before, fmt.Sprintf("%+v", s)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestResultsAgreeWithThePlan(t *testing.T) {
	forSnapshots(t, func(t *testing.T, s announce.Snapshot, _ *rand.Rand) {
		plans := decideAll(s)
		for name, p := range plans {
			for _, svc := range s.Services {
				for _, a := range svc.Addrs {
					o := p.Of(svc.Key).Of(a.Addr)
					if o.Owner != owner(plans, a.Addr) || o.Reason == announce.Announced && o.Owner != name {
						t.Errorf("%s has for %s %s: %+v; it is claimed by %q", name, svc.Key, a.Addr, o, owner(plans, a.Addr))
					}
				}
			}
		}
	})
}
