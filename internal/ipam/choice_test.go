package ipam_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/stories"
)

// TestChoices tells, for stories as those of TestStories, how each pool stands
// with the youngest Service.
func TestChoices(t *testing.T) {
	stories.Run(t, "testdata/choices/*.txt", func(t *testing.T, reported, want string) {
		pools, requests, kept, err := parseWorld(reported)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, c := range choices(pools, requests, kept, requests[len(requests)-1].Service) {
			line := fmt.Sprintf("%s %s %s", c.Pool, c.Family, c.Reason)
			for _, a := range c.Addrs {
				line += " " + a.String()
			}
			lines = append(lines, line)
		}
		if diff := gocmp.Diff(want, strings.Join(lines, "\n")); diff != "" {
			t.Errorf("want -, have +:\n%s", diff)
		}
	})
}

func choices(pools ipam.Pools, requests []ipam.Request, kept []ipam.Kept, k ipam.Key) []ipam.Choice {
	return ipam.Choices(pools, pointers(requests), kept, k)
}

func TestChoicesAgreeWithAssign(t *testing.T) {
	forWorlds(t, func(t *testing.T, w *world) {
		grants := w.assign()
		for _, r := range w.requests {
			g := grants[r.Service]
			var chosen, withheld int
			for _, c := range choices(w.pools, w.requests, w.kept, r.Service) {
				switch c.Reason {
				case ipam.Chosen:
					chosen += len(c.Addrs)
					for _, a := range c.Addrs {
						if i := slices.Index(g.Addrs, a); i < 0 || g.Pools[i] != c.Pool {
							t.Errorf("%v was granted %v of %v, and chose %v of %s", r.Service, g.Addrs, g.Pools, a, c.Pool)
						}
					}
				case ipam.Withheld:
					withheld++
				}
			}
			inPools := len(slices.DeleteFunc(slices.Clone(g.Pools), func(p string) bool {
				return !slices.ContainsFunc(w.pools, func(q ipam.Pool) bool { return q.Name == p })
			}))
			if chosen != inPools && !r.StatusLocked {
				t.Errorf("%v was granted %v of %v, and chose %d", r.Service, g.Addrs, g.Pools, chosen)
			}
			if withheld > 0 && g.Reason == ipam.PoolExhausted && len(r.Families.Want) == 1 {
				t.Errorf("%v is refused with %s, and %d pools could serve it", r.Service, g.Reason, withheld)
			}
		}
	})
}
