package link

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Route is one of the kernel's routes to a subnet that is reached without a router.
type Route struct {
	Prefix netip.Prefix
	Index  int // of the interface
	Metric uint32
}

// Before returns, for each link that shares a subnet with others that are up, which of
// those come before it. A link must not answer for what a link before it answers for:
// the node would have two MACs for one address in one network, and a reverse-path
// filter would drop what arrives by the second.
//
// First is the link that the kernel uses to send to that subnet: of several routes the
// one of the lowest metric, then the first. Of links without a route it is the one of
// the lowest index. Routes are in the kernel's order.
func Before(devices []Device, routes []Route) map[string][]string {
	type place struct {
		metric       uint64
		route, index int
	}
	places := map[string]place{}
	for _, d := range devices {
		p := place{metric: 1 << 32, index: d.Index}
		for i, r := range routes {
			if r.Index == d.Index && slices.Contains(d.Prefixes, r.Prefix) && uint64(r.Metric) < p.metric {
				p.metric, p.route = uint64(r.Metric), i
			}
		}
		places[d.Name] = p
	}
	out := map[string][]string{}
	for _, d := range devices {
		for _, o := range devices {
			if o.Name == d.Name || !o.Up || !o.shares(d) {
				continue
			}
			a, b := places[o.Name], places[d.Name]
			if cmp.Or(cmp.Compare(a.metric, b.metric), cmp.Compare(a.route, b.route), cmp.Compare(a.index, b.index)) < 0 {
				out[d.Name] = append(out[d.Name], o.Name)
			}
		}
	}
	return out
}

// shares reports whether two links are in one subnet.
func (d Device) shares(o Device) bool {
	return d.vrf == o.vrf && slices.ContainsFunc(d.Prefixes, func(p netip.Prefix) bool { return slices.Contains(o.Prefixes, p) })
}

// Shared reports whether any two links are in one subnet.
func Shared(devices []Device) bool {
	for i, d := range devices {
		if slices.ContainsFunc(devices[i+1:], d.shares) {
			return true
		}
	}
	return false
}

// Routes returns the routes of the main table that Before needs.
func Routes() ([]Route, error) {
	var out []Route
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			if r.Dst == nil || len(r.Gw) > 0 {
				continue
			}
			if addr, ok := netip.AddrFromSlice(r.Dst.IP); ok {
				bits, _ := r.Dst.Mask.Size()
				out = append(out, Route{netip.PrefixFrom(addr.Unmap(), bits), r.LinkIndex, uint32(r.Priority)})
			}
		}
	}
	return out, nil
}
