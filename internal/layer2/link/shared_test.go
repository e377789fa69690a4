package link

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBefore(t *testing.T) {
	lan, other := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24")
	device := func(name string, index int, up bool, prefixes ...netip.Prefix) Device {
		return Device{Link: Link{Name: name, Up: up, Prefixes: prefixes}, Index: index}
	}
	eth0, eth1, eth2 := device("eth0", 2, true, lan), device("eth1", 3, true, lan), device("eth2", 4, true, other)
	down, member := device("eth1", 3, false, lan), device("eth1", 3, true, lan)
	member.vrf = 9
	for _, c := range []struct {
		name    string
		devices []Device
		routes  []Route
		want    map[string][]string
	}{
		{"each in a subnet of its own", []Device{eth0, eth2}, nil, map[string][]string{}},
		{"without routes the lowest index", []Device{eth0, eth1, eth2}, nil, map[string][]string{"eth1": {"eth0"}}},
		{"the first route", []Device{eth0, eth1}, []Route{{lan, 3, 0}, {lan, 2, 0}}, map[string][]string{"eth0": {"eth1"}}},
		{"the lowest metric", []Device{eth0, eth1}, []Route{{lan, 3, 101}, {lan, 2, 100}}, map[string][]string{"eth1": {"eth0"}}},
		{"who has a route before who has none", []Device{eth0, eth1}, []Route{{lan, 3, 101}}, map[string][]string{"eth0": {"eth1"}}},
		{"a route to elsewhere says nothing", []Device{eth0, eth1}, []Route{{other, 3, 0}}, map[string][]string{"eth1": {"eth0"}}},
		{"who is down comes before no host", []Device{eth0, down}, []Route{{lan, 3, 0}, {lan, 2, 0}}, map[string][]string{}},
		{"in another VRF it is another network", []Device{eth0, member}, nil, map[string][]string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Before(c.devices, c.routes)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
