// Package unnumbered finds the router at the other end of a link by its router
// advertisements (RFC 4861), and makes this node known to it by advertisements of its
// own. These have the lifetime 0, so that no host takes this node for a default
// router (section 4.2).
//
// It is for links with one router. If there are several, the one that advertised last
// counts.
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
	retryInterval   = 2 * time.Second  // between attempts at a link that is not usable
	solicitInterval = time.Second      // between messages before a router is found
	refreshInterval = 10 * time.Second // between messages afterwards
)

// Find reports the link-local address of the router on a link, with the link as its
// zone, or why there is none, whenever either may have changed. It returns when ctx
// ends.
func Find(ctx context.Context, link string, report func(router netip.Addr, problem string)) {
	for ctx.Err() == nil {
		err := find(ctx, link, report)
		if ctx.Err() != nil {
			return
		}
		report(netip.Addr{}, err.Error())
		select {
		case <-ctx.Done():
		case <-time.After(retryInterval):
		}
	}
}

// find works until the link fails, or ctx ends.
func find(ctx context.Context, link string, report func(netip.Addr, string)) error {
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
	report(netip.Addr{}, fmt.Sprintf("no router advertisement was heard on %s", link))
	heard := false
	next := time.Now()
	for {
		if !time.Now().Before(next) {
			if err := advertise(conn, ifi, !heard); err != nil {
				return fmt.Errorf("send on %s: %w", link, err)
			}
			next = time.Now().Add(solicitInterval)
			if heard {
				next = time.Now().Add(refreshInterval)
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
			report(from, "")
		}
	}
}

// listenForRouters makes the kernel pass only router advertisements, with their hop
// limits.
func listenForRouters(conn *ndp.Conn) error {
	var only ipv6.ICMPFilter
	only.SetAll(true)
	only.Accept(ipv6.ICMPTypeRouterAdvertisement)
	if err := conn.SetICMPFilter(&only); err != nil {
		return err
	}
	return conn.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true)
}

// isRouter reports whether a message is an advertisement by a router on this link:
// one from further away has a lower hop limit (RFC 4861 section 6.1.2).
func isRouter(m ndp.Message, cm *ipv6.ControlMessage, from, own netip.Addr) bool {
	_, ok := m.(*ndp.RouterAdvertisement)
	return ok && cm != nil && cm.HopLimit == ndp.HopLimit && from.IsLinkLocalUnicast() && from.WithZone("") != own.WithZone("")
}

// advertise makes this node known to the routers on the link. With ask it solicits
// their advertisements.
func advertise(conn *ndp.Conn, ifi *net.Interface, ask bool) error {
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
