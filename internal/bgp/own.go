package bgp

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// ownAddress is an address of this node.
type ownAddress struct {
	addr netip.Addr
	link string
	rank rank
}

// rank is how well an address serves as one end of a session or as a next hop: the least
// does best.
type rank int

const (
	lasting rank = iota
	passing      // secondary, temporary, deprecated (RFC 4862) or not tried yet
	alone        // in no subnet: most likely a virtual address, which moves to other nodes
	local        // link-local
)

// rankOf returns the rank of an address with these flags of the kernel.
func rankOf(a netip.Addr, host bool, flags int) rank {
	switch {
	case a.IsLinkLocalUnicast():
		return local
	case host:
		return alone
	case flags&(unix.IFA_F_SECONDARY|unix.IFA_F_DEPRECATED|unix.IFA_F_TENTATIVE|unix.IFA_F_OPTIMISTIC) != 0: // secondary is temporary in IPv6
		return passing
	}
	return lasting
}

// ownAddresses returns the addresses of this node, the best first: by rank, then the lowest.
func ownAddresses() ([]ownAddress, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var out []ownAddress
	for _, x := range addrs {
		a, ok := netip.AddrFromSlice(x.IP)
		ones, bits := x.Mask.Size()
		a = a.Unmap()
		if name := names[x.LinkIndex]; ok && name != "" && (a.IsGlobalUnicast() || a.IsLinkLocalUnicast()) && x.Flags&unix.IFA_F_DADFAILED == 0 {
			out = append(out, ownAddress{a, name, rankOf(a, ones == bits, x.Flags)})
		}
	}
	slices.SortFunc(out, func(a, b ownAddress) int { return cmp.Or(cmp.Compare(a.rank, b.rank), a.addr.Compare(b.addr)) })
	return out, nil
}

// resolveAddresses returns the peer with the addresses that this node's own routes and links
// tell.
func resolveAddresses(p announce.Peer) (_ announce.Peer, err error) {
	if p.Gateway != (announce.Gateway{}) {
		if p.Addr, err = gatewayOf(p.Gateway); err != nil {
			return p, err
		}
	}
	if p.Source == (announce.Source{}) || p.SourceAddr.IsValid() {
		return p, nil
	}
	own, err := ownAddresses()
	if err == nil {
		p.SourceAddr, err = sourceOf(p, own)
	}
	return p, err
}

// sourceOf returns the best address that p.Source allows.
func sourceOf(p announce.Peer, own []ownAddress) (netip.Addr, error) {
	far := !p.Addr.IsLinkLocalUnicast()
	for _, o := range own {
		if o.addr.Is4() == p.Addr.Is4() && (p.Source.Link == "" || o.link == p.Source.Link) &&
			(p.Source.Prefix.Contains(o.addr) || !p.Source.Prefix.IsValid()) && !(far && o.rank == local) {
			if o.addr.Is6() && o.rank == local {
				return o.addr.WithZone(o.link), nil
			}
			return o.addr, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("this node has no address of %s%s for the session", familyName(p.Addr), place(p.Source))
}

func familyName(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// place puts in words where a source address is looked for.
func place(s announce.Source) (text string) {
	if s.Link != "" {
		text = " on " + s.Link
	}
	if s.Prefix.IsValid() {
		text += " in " + s.Prefix.String()
	}
	return text
}

// gatewayOf returns the gateway of this node's default route with the least metric.
func gatewayOf(g announce.Gateway) (netip.Addr, error) {
	family := netlink.FAMILY_V4
	if g.Is6() {
		family = netlink.FAMILY_V6
	}
	routes, err := netlink.RouteList(nil, family)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list routes: %w", err)
	}
	slices.SortStableFunc(routes, func(a, b netlink.Route) int { return cmp.Compare(a.Priority, b.Priority) })
	for _, r := range routes {
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones > 0 {
				continue
			}
		}
		hops := r.MultiPath
		if len(hops) == 0 {
			hops = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw}}
		}
		for _, hop := range hops {
			gw, ok := netip.AddrFromSlice(hop.Gw)
			link, err := netlink.LinkByIndex(hop.LinkIndex)
			if !ok || err != nil || g.Link != "" && link.Attrs().Name != g.Link {
				continue // it is no gateway, or its link has just been removed
			}
			if gw = gw.Unmap(); gw.Is6() && gw.IsLinkLocalUnicast() {
				gw = gw.WithZone(link.Attrs().Name)
			}
			return gw, nil
		}
	}
	on := ""
	if g.Link != "" {
		on = " on " + g.Link
	}
	return netip.Addr{}, fmt.Errorf("this node has no default route of %s%s with a gateway", g.Family, on)
}
