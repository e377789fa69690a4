package layer2

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// memberships holds the IPv6 multicast groups that are joined on one link. Sockets
// that receive nothing join them, at IPv6 level: so the kernel sends MLD reports,
// which snooping switches need, and sets the NIC's filter. Make one with
// newMemberships, and close it.
type memberships struct {
	index   int                // of the interface
	joined  map[netip.Addr]int // the socket that joined it
	sockets []int
}

// newMemberships returns no memberships, on the interface of that index.
func newMemberships(index int) *memberships {
	return &memberships{index: index, joined: map[netip.Addr]int{}}
}

// Set joins these groups, which may repeat, and leaves all others. It stops at the
// first group that the kernel refuses, since it would also refuse the next.
func (g *memberships) Set(groups []netip.Addr) error {
	wanted := make(map[netip.Addr]bool, len(groups))
	for _, group := range groups {
		wanted[group] = true
	}
	for group, fd := range g.joined {
		if wanted[group] {
			continue
		}
		// It fails only if the link, and with it the membership, is gone.
		_ = unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_LEAVE_GROUP, g.request(group))
		delete(g.joined, group)
	}
	for group := range wanted {
		if _, ok := g.joined[group]; ok {
			continue
		}
		if err := g.join(group); err != nil {
			return fmt.Errorf("join multicast groups on interface %d: %w", g.index, err)
		}
	}
	return nil
}

// join uses the newest socket with room, or opens another: the kernel's optmem_max
// allows each socket some hundred or thousand memberships.
func (g *memberships) join(group netip.Addr) error {
	for i := len(g.sockets) - 1; i >= 0; i-- {
		err := g.joinBy(g.sockets[i], group)
		if !errors.Is(err, unix.ENOMEM) && !errors.Is(err, unix.ENOBUFS) {
			return err
		}
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return err
	}
	if err := g.joinBy(fd, group); err != nil {
		_ = unix.Close(fd) // it holds nothing
		return err
	}
	g.sockets = append(g.sockets, fd)
	return nil
}

func (g *memberships) joinBy(fd int, group netip.Addr) error {
	err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, g.request(group))
	if err == nil {
		g.joined[group] = fd
	}
	return err
}

func (g *memberships) request(group netip.Addr) *unix.IPv6Mreq {
	return &unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(g.index)}
}

// Close leaves all groups.
func (g *memberships) Close() {
	for _, fd := range g.sockets {
		_ = unix.Close(fd)
	}
}
