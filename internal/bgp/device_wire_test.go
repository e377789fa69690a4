package bgp

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// A router that listens on a port of its own, behind one of two cables that carry the same network
// on the node's side: only the binding to the device leads there.

func TestPortAndDeviceFRR4(t *testing.T) {
	testPortAndDevice(t, "10.9.5.1", "10.9.5.2", "/24", startDeviceFRR("ipv4"))
}

func TestPortAndDeviceFRR6(t *testing.T) {
	testPortAndDevice(t, "fd09:5::1", "fd09:5::2", "/64", startDeviceFRR("ipv6"))
}

func TestPortAndDeviceBIRD4(t *testing.T) {
	testPortAndDevice(t, "10.9.5.1", "10.9.5.2", "/24", startDeviceBIRD)
}

func TestPortAndDeviceBIRD6(t *testing.T) {
	testPortAndDevice(t, "fd09:5::1", "fd09:5::2", "/64", startDeviceBIRD)
}

func testPortAndDevice(t *testing.T, router, node, bits string, start func(t *testing.T, router, node string) (has func(prefix, hop string))) {
	if !inRack(t) {
		return
	}
	secondCable(t, router, node, bits)
	has := start(t, router, node)
	s, _ := startSessions(t)
	p := peer("p", router)
	p.Port, p.Device = 1179, "blue"
	prefix := "198.51.100.1/32"
	if strings.Contains(router, ":") {
		prefix = "2001:db8::1/128"
	}
	s.Set([]announce.Peering{{Peer: p, Routes: routes(prefix)}})
	establish(t, s, "p")
	has(prefix, node)
	p.Port = 1180
	s.Set([]announce.Peering{{Peer: p, Routes: routes(prefix)}})
	fails(t, s, "p", "port 1180")
}

// secondCable lays a cable, blue, beside eth0. Both carry the same network on the node's side, and
// the router is on the second one: only a binding leads there, and that needs a route too.
func secondCable(t *testing.T, router, node, bits string) {
	t.Helper()
	near := os.Getenv(routerNS)
	var nodad []string
	if strings.Contains(router, ":") {
		nodad = []string{"nodad"}
	}
	ip(t, "link", "add", "blue", "type", "veth", "peer", "name", "blue", "netns", near)
	for _, link := range []string{"eth0", "blue"} {
		ip(t, append([]string{"addr", "add", node + bits, "dev", link}, nodad...)...)
	}
	ip(t, "link", "set", "blue", "up")
	ip(t, "-n", near, "link", "set", "blue", "up")
	ip(t, append([]string{"-n", near, "addr", "add", router + bits, "dev", "blue"}, nodad...)...)
	ip(t, "netns", "exec", near, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore")
	ip(t, "route", "replace", netip.MustParsePrefix(router+bits).Masked().String(), "dev", "blue", "metric", "900")
}

func startDeviceBIRD(t *testing.T, router, node string) func(string, string) {
	b := startBird(t, fmt.Sprintf(`protocol bgp blue {
  local %s port 1179 as 64601; neighbor %s as 64512; strict bind; passive;
  ipv4 { import all; export none; };
  ipv6 { import all; export none; };
}
`, router, node))
	return func(prefix, hop string) { b.shows(t, "blue", prefix, "BGP.next_hop: "+hop) }
}

func startDeviceFRR(family string) func(*testing.T, string, string) func(string, string) {
	return func(t *testing.T, _, node string) func(string, string) {
		f := startFRR(t, os.Getenv(routerNS), frrHead+" neighbor "+node+" remote-as 64512\n neighbor "+node+" passive\n"+activate(node), "", "-p", "1179")
		return func(prefix, hop string) {
			t.Helper()
			if p := f.path(t, family, prefix); len(p.Nexthops) == 0 || p.Nexthops[0].IP != hop {
				t.Errorf("%s of FRR: %+v", prefix, p)
			}
		}
	}
}

// linkLocal returns the address of scope link that a namespace has on eth0.
func linkLocal(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", append(args, "-o", "-6", "addr", "show", "dev", "eth0", "scope", "link")...).Output()
	if err != nil || len(strings.Fields(string(out))) < 4 {
		t.Fatalf("the address of scope link: %v\n%s", err, out)
	}
	text, _, _ := strings.Cut(strings.Fields(string(out))[3], "/")
	return text
}

func TestALinkLocalRouterOfFRR(t *testing.T) {
	if !inRack(t) {
		return
	}
	node, router := linkLocal(t), linkLocal(t, "-n", os.Getenv(routerNS))
	f := startFRR(t, os.Getenv(routerNS), frrHead+fmt.Sprintf(" neighbor %s remote-as 64512\n neighbor %[1]s interface eth0\n neighbor %[1]s passive\n", node)+activate(node), "")
	s, _ := startSessions(t)
	p := peer("p", "fd09::1")
	p.Addr = netip.MustParseAddr(router).WithZone("eth0")
	s.Set([]announce.Peering{{Peer: p, Routes: routes("2001:db8::1/128")}})
	establish(t, s, "p")
	if got := f.path(t, "ipv6", "2001:db8::1/128"); len(got.Nexthops) == 0 || got.Nexthops[len(got.Nexthops)-1].IP != node {
		t.Errorf("want the next hop %s: %+v", node, got)
	}
}
