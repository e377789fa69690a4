// Package unnumbered finds the router at the other end of a link by its router
// advertisements (RFC 4861), and makes this node known to it by advertisements
// of its own, which promise nothing: their lifetime is 0, so that nobody takes
// this node for a default router (section 4.2).
//
// It is for links with one router: of several, the one heard last counts.
package unnumbered

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/ipv6"
)

const (
	patience  = 2 * time.Second  // between attempts at a link that is not usable
	eager     = time.Second      // between messages while no router is heard
	unhurried = 10 * time.Second // between messages afterwards
)

// Find tells the link-local address of the router on a link, with the link as
// its zone, or why there is none, whenever either may have changed. It returns
// when ctx ends.
func Find(ctx context.Context, link string, tell func(router netip.Addr, problem string)) {
	for ctx.Err() == nil {
		err := find(ctx, link, tell)
		if ctx.Err() != nil {
			return
		}
		tell(netip.Addr{}, err.Error())
		select {
		case <-ctx.Done():
		case <-time.After(patience):
		}
	}
}

// find works until the link fails, or ctx ends.
func find(ctx context.Context, link string, tell func(netip.Addr, string)) error {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return fmt.Errorf("there is no interface %q on this node: %w", link, err)
	}
	if ifi.Flags&net.FlagUp == 0 {
		return fmt.Errorf("interface %q is down", link)
	}
	conn, own, err := ndp.Listen(ifi, ndp.LinkLocal)
	if err != nil {
		return fmt.Errorf("listen for routers on %s: %w", link, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := listenForRouters(conn); err != nil {
		return fmt.Errorf("listen for routers on %s: %w", link, err)
	}
	tell(netip.Addr{}, fmt.Sprintf("no router advertisement was heard on %s", link))
	heard := false
	next := time.Now()
	for {
		if !time.Now().Before(next) {
			if err := greet(conn, ifi, !heard); err != nil {
				return fmt.Errorf("send on %s: %w", link, err)
			}
			next = time.Now().Add(eager)
			if heard {
				next = time.Now().Add(unhurried)
			}
		}
		if err := conn.SetReadDeadline(next); err != nil {
			return fmt.Errorf("listen on %s: %w", link, err)
		}
		m, cm, from, err := conn.ReadFrom()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return fmt.Errorf("listen on %s: %w", link, err)
		}
		if isRouter(m, cm, from, own) {
			heard = true
			tell(from, "")
		}
	}
}

// listenForRouters has the kernel pass on router advertisements only, with
// their hop limits.
func listenForRouters(conn *ndp.Conn) error {
	var only ipv6.ICMPFilter
	only.SetAll(true)
	only.Accept(ipv6.ICMPTypeRouterAdvertisement)
	if err := conn.SetICMPFilter(&only); err != nil {
		return err
	}
	return conn.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true)
}

// isRouter reports whether a message is an advertisement by a router on this
// link: from further away its hop limit would be less (RFC 4861 section 6.1.2).
func isRouter(m ndp.Message, cm *ipv6.ControlMessage, from, own netip.Addr) bool {
	_, ok := m.(*ndp.RouterAdvertisement)
	return ok && cm != nil && cm.HopLimit == ndp.HopLimit && from.IsLinkLocalUnicast() && from.WithZone("") != own.WithZone("")
}

// greet makes this node known to the routers on the link, and asks who they are.
func greet(conn *ndp.Conn, ifi *net.Interface, ask bool) error {
	var options []ndp.Option
	if len(ifi.HardwareAddr) > 0 {
		options = []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: ifi.HardwareAddr}}
	}
	if ask {
		if err := conn.WriteTo(&ndp.RouterSolicitation{Options: options}, nil, netip.IPv6LinkLocalAllRouters()); err != nil {
			return err
		}
	}
	return conn.WriteTo(&ndp.RouterAdvertisement{Options: options}, nil, netip.IPv6LinkLocalAllNodes())
}
