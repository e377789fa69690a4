// Package link lists the network interfaces of this node on which addresses can be
// announced, and follows their changes through netlink.
//
// It does not decide which addresses are announced on which of them.
package link

import (
	"bytes"
	"net"
	"net/netip"
	"path"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Link is a network interface on which addresses can be announced: it carries
// Ethernet frames, can broadcast, is no member of a bridge or bond, belongs to no
// container and no overlay network, and has an address or is asked for by its name.
type Link struct {
	Name     string
	MAC      net.HardwareAddr // 6 bytes
	Up       bool             // administratively up, and with carrier
	Prefixes []netip.Prefix   // its subnets (host bits zero), sorted; no link-local ones
	Addrs    []netip.Addr     // in each subnet the address that others should use, sorted
	// Unnumbered: it has no address, and is here because it was asked for by its name.
	Unnumbered bool
}

// Equal reports whether all fields are equal.
func (l Link) Equal(m Link) bool {
	return l.Name == m.Name && l.Up == m.Up && slices.Equal(l.MAC, m.MAC) && slices.Equal(l.Prefixes, m.Prefixes) &&
		slices.Equal(l.Addrs, m.Addrs) && l.Unnumbered == m.Unnumbered
}

// Device is a Link with what the kernel knows of it.
type Device struct {
	Link
	Index  int
	Epoch  uint32 // how often it lost its carrier: shows cuts too short to be seen
	IPv6   bool   // the kernel speaks IPv6 on it, so that groups can be joined
	Router bool   // the kernel forwards IPv6 packets that come in on it
	vrf    int    // index of the VRF that it is a member of; 0: of none
}

// Ignored returns the default globs of names to leave out: interfaces of container
// runtimes, network plugins and hypervisors. Their kind does not identify them, since
// they are bridges and veth pairs like others.
func Ignored() []string {
	return []string{
		"cni*", "cbr*", "docker*", "br-????????????", "podman*", "nerdctl*", "lxc*", "lxd*", "virbr*", "vnet*",
		"cali*", "vxlan*.calico", "cilium*", "flannel*", "weave*", "antrea*", "ovn-k8s-*", "kube-*", "nodelocaldns",
	}
}

// foreign reports whether links of this kind (the kernel's word) never lead to
// neighbors in the local network.
func foreign(kind string) bool {
	switch kind {
	case "vxlan", "geneve", "wireguard", "tun", "tuntap", "gre", "gretap", "ip6gre", "ip6gretap", "erspan", "ip6erspan",
		"ipip", "ip6tnl", "sit", "vti", "vti6", "xfrm", "gtp", "bareudp", "amt", "netkit", "dummy", "ifb", "nlmon", "vrf":
		return true
	}
	return false
}

// addresses are those of an interface: global: it has one that is not link-local.
type addresses struct {
	global   bool
	prefixes []netip.Prefix
	addrs    []netip.Addr
}

// passing are the flags of addresses that other hosts should not use: another address
// of the subnet is the primary one, or this one may soon be gone.
const passing = unix.IFA_F_SECONDARY | unix.IFA_F_TENTATIVE | unix.IFA_F_DEPRECATED | unix.IFA_F_DADFAILED

func (a *addresses) add(n *net.IPNet, flags int) {
	if n == nil {
		return
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	addr = addr.Unmap()
	if !ok || !addr.IsGlobalUnicast() {
		return
	}
	a.global = true
	if bits < addr.BitLen() {
		p := netip.PrefixFrom(addr, bits).Masked()
		if flags&passing == 0 && !slices.ContainsFunc(a.addrs, p.Contains) {
			a.addrs = append(a.addrs, addr)
		}
		a.prefixes = append(a.prefixes, p)
	}
}

// choice says by their names which interfaces to use.
type choice struct {
	ignored []string // globs: never these
	named   []string // also these if they have no address
}

// linkOf returns the Link for an interface; false: no address can be announced on it.
// An interface without an address reaches no host, unless its name is asked for. The
// node's ends of the Pods' veth pairs have none, or one without a subnet.
func linkOf(l netlink.Link, a addresses, c choice) (Link, bool) {
	attrs := l.Attrs()
	leads := a.global && (l.Type() != "veth" || len(a.prefixes) > 0)
	if !leads && !slices.Contains(c.named, attrs.Name) || !ethernet(attrs) || foreign(l.Type()) || matches(c.ignored, attrs.Name) {
		return Link{}, false
	}
	// The state follows the carrier up to 1 s late; the flag doesn't.
	const carrier = unix.IFF_UP | unix.IFF_LOWER_UP
	running := attrs.OperState == netlink.OperUp ||
		attrs.OperState == netlink.OperUnknown && attrs.RawFlags&unix.IFF_RUNNING != 0
	prefixes := slices.Clone(a.prefixes)
	slices.SortFunc(prefixes, netip.Prefix.Compare)
	addrs := slices.Clone(a.addrs)
	slices.SortFunc(addrs, netip.Addr.Compare)
	return Link{
		Name:     attrs.Name,
		MAC:      attrs.HardwareAddr,
		Up:       attrs.RawFlags&carrier == carrier && running,
		Prefixes: slices.Compact(prefixes),
		Addrs:    addrs,

		Unnumbered: !leads,
	}, true
}

// ethernet reports whether an interface has a MAC, can broadcast, and is no member of
// another one. A member of a VRF counts as none.
func ethernet(attrs *netlink.LinkAttrs) bool {
	const never = unix.IFF_LOOPBACK | unix.IFF_NOARP | unix.IFF_POINTOPOINT
	member := attrs.MasterIndex != 0 && (attrs.Slave == nil || attrs.Slave.SlaveType() != "vrf")
	return !member && len(attrs.HardwareAddr) == 6 && !bytes.Equal(attrs.HardwareAddr, make([]byte, 6)) &&
		attrs.RawFlags&unix.IFF_BROADCAST != 0 && attrs.RawFlags&never == 0
}

func matches(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(g string) bool {
		ok, err := path.Match(g, name)
		return err == nil && ok
	})
}

// readMessage sets the fields that netlink.Link lacks from the kernel's message. What
// an older kernel does not send stays zero.
func (d *Device) readMessage(m []byte) {
	for _, a := range attributes(m[unix.SizeofIfInfomsg:]) {
		switch a.Attr.Type &^ unix.NLA_F_NESTED {
		case unix.IFLA_CARRIER_DOWN_COUNT:
			if len(a.Value) == 4 {
				d.Epoch = nl.NativeEndian().Uint32(a.Value)
			}
		case unix.IFLA_AF_SPEC:
			for _, f := range attributes(a.Value) {
				if f.Attr.Type&^unix.NLA_F_NESTED == unix.AF_INET6 {
					d.IPv6 = true
					d.Router = forwarding(f.Value)
				}
			}
		}
	}
}

// forwarding reads net.ipv6.conf.LINK.forwarding, which is the first number of
// the link's IPv6 settings.
func forwarding(b []byte) bool {
	for _, a := range attributes(b) {
		if a.Attr.Type == unix.IFLA_INET6_CONF && len(a.Value) >= 4 {
			return nl.NativeEndian().Uint32(a.Value) != 0
		}
	}
	return false
}

// attributes parses what LinkDeserialize has parsed without an error.
func attributes(b []byte) []syscall.NetlinkRouteAttr {
	attrs, err := nl.ParseRouteAttr(b)
	if err != nil {
		return nil
	}
	return attrs
}
