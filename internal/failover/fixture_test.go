package failover

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

const self = "self"

var (
	addr  = netip.MustParseAddr("192.0.2.1")
	addr2 = netip.MustParseAddr("192.0.2.2")
)

func macOf(node string) [6]byte { return [6]byte{2, 0, 0, 0, 0, node[0]} }

// fixture is a node whose facts a test changes between Steps. At first three nodes
// are alive, the API server is heard and was for a while, and no node has the addresses.
type fixture struct {
	*State
	Facts
}

func newFixture() *fixture {
	d := &fixture{State: New(Options{Node: self, Heartbeat: time.Second, Misses: 3})}
	d.Now = time.Unix(1000, 0)
	d.State.phase, d.State.syncedAt, d.State.former = Synced, d.Now.Add(-time.Second), map[netip.Addr]bool{}
	d.API = API{true, true, true}
	d.MACs, d.Leases, d.Speakers = map[[6]byte]string{}, map[string]Lease{}, map[string]bool{}
	d.Members.Standing = map[string]membership.Standing{}
	d.Probes = map[netip.Addr]Probe{}
	for _, n := range []string{self, "x", "y"} {
		d.MACs[macOf(n)], d.Leases[n], d.Speakers[n], d.Members.Standing[n] = n, Lease{Renewed: d.Now}, true, membership.Alive
		d.Cluster.Nodes = append(d.Cluster.Nodes, announce.Node{Name: n, Links: []announce.Link{{Name: "eth0", Up: true, MAC: macOf(n)}}})
	}
	d.Cluster.L2 = []announce.L2Advertisement{{Name: "all"}}
	for i, a := range []netip.Addr{addr, addr2} {
		d.Cluster.Services = append(d.Cluster.Services, announce.Service{
			Key: ipam.Key{Namespace: "default", Name: fmt.Sprint("s", i)}, Addrs: []announce.Address{{Addr: a, Pool: "lan"}},
		})
	}
	return d
}

// claim has the L2Claims name these owners, who answer.
func (d *fixture) claim(owners map[netip.Addr]string) {
	d.Claims = nil
	for a, n := range owners {
		d.Claims = append(d.Claims, Claim{announce.HeldClaim{Addr: a, Node: n}, n})
	}
}

func (d *fixture) dead(node string)      { d.Members.Standing[node] = membership.Dead }
func (d *fixture) alive(node string)     { d.Members.Standing[node] = membership.Alive }
func (d *fixture) exclude(reason string) { d.Cluster.Nodes[0].Excluded = reason }
func (d *fixture) away()                 { d.API = API{WasSynced: true} }
func (d *fixture) back()                 { d.API = API{true, true, true} }

// probed has a probe of a find a node, or "" for none.
func (d *fixture) probed(a netip.Addr, node string) {
	p := Probe{Reply: membership.Unanswered, Asked: d.Now, Done: d.Now, Links: []string{"eth0"}}
	if node != "" {
		p.Reply, p.MAC, p.Answered = membership.Answered, macOf(node), d.Now
	}
	d.Probes[a] = p
}

func (d *fixture) heard(a netip.Addr, node string, first time.Time) {
	d.Facts.Conflicts = []Conflict{{Addr: a, MAC: macOf(node), First: first, Last: d.Now}}
}

// step makes one after a pause.
func (d *fixture) step(after time.Duration) Output {
	d.Now = d.Now.Add(after)
	f := d.Facts // a View is never changed, and the tests change theirs
	f.Members.Standing, f.Members.Segments = maps.Clone(f.Members.Standing), maps.Clone(f.Members.Segments)
	for segment, v := range f.Members.Segments {
		v.Standing = maps.Clone(v.Standing)
		f.Members.Segments[segment] = v
	}
	return d.Step(f)
}

// told puts what matters of an Output into words.
func summary(o Output) string {
	var out []string
	for _, c := range o.Plan.Claims {
		text := "answers " + c.Addr.String()
		if o.Unconfirmed[c.Addr] {
			text += " unconfirmed"
		}
		out = append(out, text)
	}
	for _, c := range o.Proxy {
		out = append(out, fmt.Sprintf("proxies %s as %x", c.Addr, c.ProxyReplies[0].MAC[5]))
	}
	for _, a := range slices.SortedFunc(maps.Keys(o.Probe), netip.Addr.Compare) {
		out = append(out, "probes "+a.String())
	}
	return strings.Join(append(out, string(o.Phase)), ", ")
}

func expect(t *testing.T, what string, o Output, want string) {
	t.Helper()
	if diff := cmp.Diff(want, summary(o)); diff != "" {
		t.Errorf("%s: want -, have +:\n%s", what, diff)
	}
}
