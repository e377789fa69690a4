package layer2

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

func TestOneOfSeveralLinksAnswers(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.100")
	before := linkFacts{before: map[string][]string{"eth1": {"eth0"}}}
	for _, c := range []struct {
		name  string
		links announce.Links
		want  []string
	}{
		{"the first of those that are selected", announce.Links{}, []string{"eth0", "eth2"}},
		{"the other one, if it alone is selected", announce.Links{Only: []string{"eth1"}}, []string{"eth1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			claims := []announce.Claim{{Addr: addr, Links: c.links}}
			for _, table := range []*table{newTable(claims, nil, 0).with(before), newTable(claims, newTable(nil, nil, 0).with(before), 0)} {
				var got []string
				for _, link := range []string{"eth0", "eth1", "eth2"} {
					if table.Claimed(addr, link) != nil {
						got = append(got, link)
					}
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("links (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// A claim on all links is not answered on a link without an address; one that names it is,
// and so is what is asked there about both families.
func TestWireLinkWithoutAddress(t *testing.T) {
	onWire(t, func(w *rig) {
		run(w, "ip", "link", "add", "v0", "type", "veth", "peer", "name", "cv0", "netns", w.client)
		run(w, "ip", "link", "set", "v0", "up")
		w.onClient("ip", "link", "set", "cv0", "up")
		asked := func() string { return w.onClient("sh", "-c", "arping -c 2 -w 2 -I cv0 -s 0.0.0.0 "+vip4+" || true") }
		w.Set(append(claimsFor(vip6), announce.Claim{Addr: netip.MustParseAddr(vip4)}))
		w.until("n0 is up", func() bool { return w.up("n0") })
		if w.up("v0") {
			t.Error("v0 is listed, and no claim named it")
		}
		w.SetNamed([]string{"v0"})
		w.until("v0 is listed when it is named", func() bool { return w.up("v0") })
		if got := asked(); strings.Contains(got, "Unicast reply") {
			t.Errorf("a claim on all links is answered on v0: %s", got)
		}
		w.Set([]announce.Claim{{Addr: netip.MustParseAddr(vip4), Links: announce.Links{Only: []string{"v0"}}}})
		w.until("a claim that names it is answered", func() bool { return strings.Contains(asked(), "Unicast reply") })
		w.SetNamed(nil)
		w.until("v0 is not listed when it is no longer named", func() bool { return !w.up("v0") })
	})
}

// Of two links in one subnet the one answers by which the kernel sends, so that a
// reverse-path filter passes what comes; when it is cut the other one does.
func TestWireTwoLinksInOneSubnet(t *testing.T) {
	onWire(t, func(w *rig) {
		const second = "02:00:00:00:00:0e"
		w.onClient("ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0")
		w.onClient("ip", "link", "set", "br0", "up")
		w.onClient("ip", "addr", "flush", "dev", "c0")
		w.onClient("ip", "link", "set", "c0", "master", "br0")
		w.onClient("ip", "addr", "add", "192.0.2.1/24", "dev", "br0")
		run(w, "ip", "link", "add", "n1", "address", second, "type", "veth", "peer", "name", "c1", "netns", w.client)
		w.onClient("ip", "link", "set", "c1", "master", "br0", "up")
		run(w, "ip", "addr", "add", "192.0.2.12/24", "dev", "n1")
		run(w, "ip", "link", "set", "n1", "up")
		w.until("both links are up", func() bool { return w.up("n0") && w.up("n1") })
		w.Set(claimsFor(vip4))
		asked := func() string {
			return strings.ToLower(w.onClient("sh", "-c", "arping -c 3 -w 4 -I br0 "+vip4+" || true"))
		}
		only := func(mac, other string) func() bool {
			return func() bool {
				got := asked()
				return strings.Contains(got, mac) && !strings.Contains(got, other)
			}
		}
		w.until("the first link's MAC alone answers", only(nodeMAC, second))
		if got := w.Addresses()[0].Links; len(got) != 1 || got[0] != "n0" {
			t.Errorf("links %v", got)
		}
		// The filter passes what comes by that link alone; the kernel itself answers not.
		for _, setting := range []string{"conf.all.rp_filter=1", "conf.n0.rp_filter=1", "conf.n1.rp_filter=1", "conf.all.arp_ignore=1"} {
			run(w, "sysctl", "-qw", "net.ipv4."+setting)
		}
		run(w, "ip", "addr", "add", vip4+"/32", "dev", "lo")
		server, err := net.Listen("tcp", vip4+":80")
		must(err)
		defer server.Close()
		for range 20 {
			w.onClient("ip", "neigh", "flush", "dev", "br0")
			w.onClient("timeout", "2", "bash", "-c", "echo > /dev/tcp/"+vip4+"/80")
		}
		w.onClient("ip", "link", "set", "c0", "down")
		w.until("the second link answers when the first is cut", only(second, nodeMAC))
		w.onClient("ip", "link", "set", "c0", "up")
		w.until("the first answers again", only(nodeMAC, second))
		run(w, "ip", "route", "del", "192.0.2.0/24", "dev", "n0")
		time.Sleep(10 * time.Millisecond)
		w.until("the link by which the kernel sends answers", only(second, nodeMAC))
	})
}
