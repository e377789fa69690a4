package announce_test

import (
	"fmt"
	"math/rand"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/stories"
)

// TestCandidates prints, for stories like those of TestStories, each node's result for each
// address.
func TestCandidates(t *testing.T) {
	stories.Run(t, "testdata/candidates/*.txt", func(t *testing.T, given, want string) {
		s, err := parseSnapshot(given)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, a := range addressesOf(s) {
			for _, c := range s.Candidates(a) {
				fmt.Fprintf(&b, "%s %s: %s", a, c.Node, c.Reason)
				if c.Reason != announce.Announced && c.Reason != announce.NotOwner {
					fmt.Fprintf(&b, " for %s", c.Service.Name)
				}
				if c.Weight > 0 {
					fmt.Fprintf(&b, ", weight %d", c.Weight)
				}
				if c.Holds {
					b.WriteString(", holds it")
				}
				for _, l := range c.Links {
					fmt.Fprintf(&b, ", %s %s", l.Name, l.Reason)
				}
				if text := announce.LinksText(c.Links); c.Reason == announce.NoLinkUp && strings.Contains(text, " not in ") {
					fmt.Fprintf(&b, " (%s)", text)
				}
				b.WriteString("\n")
			}
		}
		if diff := gocmp.Diff(want, strings.TrimSpace(b.String())); diff != "" {
			t.Errorf("want -, have +:\n%s", diff)
		}
	})
}

// addressesOf returns the addresses of all Services, each once.
func addressesOf(s announce.Snapshot) []netip.Addr {
	var out []netip.Addr
	for _, svc := range s.Services {
		for _, a := range svc.Addrs {
			if !slices.Contains(out, a.Addr) {
				out = append(out, a.Addr)
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

func TestCandidatesAgreeWithDecide(t *testing.T) {
	forSnapshots(t, func(t *testing.T, s announce.Snapshot, rng *rand.Rand) {
		plans := decideAll(s)
		for _, a := range addresses() {
			for _, c := range s.Candidates(a) {
				said, sharers := map[announce.Reason]bool{}, 0
				for _, v := range plans[c.Node].Results {
					if o := v.Of(a); o.Reason != "" {
						said[o.Reason] = true
						sharers++
						if (o.Owner == c.Node) != (c.Reason == announce.Announced) {
							t.Errorf("%s on %s is %s, and the owner is %q", a, c.Node, c.Reason, o.Owner)
						}
					}
				}
				if !said[c.Reason] && c.Reason != announce.NotOwner {
					t.Errorf("%s on %s is %s, which Decide returns for no Service that has it: %v", a, c.Node, c.Reason, said)
				}
				usable := slices.ContainsFunc(c.Links, func(l announce.LinkResult) bool { return l.Reason == announce.LinkUsable })
				if c.Reason == announce.Announced && !usable || c.Reason == announce.NoLinkUp && usable && sharers == 1 {
					t.Errorf("%s on %s is %s with links %v", a, c.Node, c.Reason, c.Links)
				}
			}
		}
		if !reflect.DeepEqual(s.Candidates(addresses()[0]), shuffled(s, rng).Candidates(addresses()[0])) {
			t.Error("another order has other candidates")
		}
	})
}

func TestAboutKeepsAllThatMatters(t *testing.T) {
	forSnapshots(t, func(t *testing.T, s announce.Snapshot, rng *rand.Rand) {
		if len(s.Services) == 0 {
			return
		}
		svc := s.Services[rng.Intn(len(s.Services))]
		var of []netip.Addr
		for _, a := range svc.Addrs {
			of = append(of, a.Addr)
		}
		part, whole := decideAll(s.About(of)), decideAll(s)
		for node, plan := range whole {
			if len(of) == 0 {
				continue
			}
			if want, have := plan.Of(svc.Key), part[node].Of(svc.Key); !reflect.DeepEqual(want, have) {
				t.Errorf("%s on %s: want %v, have %v", svc.Key, node, want, have)
			}
			for i, p := range plan.Peerings {
				for _, r := range p.Routes {
					if slices.ContainsFunc(of, r.Prefix.Contains) && !slices.ContainsFunc(part[node].Peerings[i].Routes, r.Equal) {
						t.Errorf("%s offers %s %s, and the part does not: %v", node, p.Peer.Name, r, part[node].Peerings[i].Routes)
					}
				}
			}
		}
	})
}
