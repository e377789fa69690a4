package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/steelyard-lb/steelyard/internal/dhcp"
	"github.com/steelyard-lb/steelyard/internal/dhcp/socket"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// brokenPause is how long to wait when a socket can't receive.
const brokenPause = time.Second

// place is one family on one link.
type place struct {
	link   string
	family ipam.Family
}

// wires are the sockets of all links.
type wires map[place]*socket.Socket

// openWires opens the sockets of links.
func openWires(links []string) (wires, error) {
	w := wires{}
	for _, link := range links {
		for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
			s, err := socket.Open(link, f)
			if err != nil {
				return nil, errors.Join(err, w.close())
			}
			w[place{link, f}] = s
		}
	}
	return w, nil
}

func (w wires) close() error {
	var all []error
	for _, s := range w {
		all = append(all, s.Close())
	}
	return errors.Join(all...)
}

// send sends a message.
func (w wires) send(m dhcp.Message) error {
	return w[place{m.Link, m.Family}].Send(m.Payload)
}

// run passes on what comes in, until ctx ends or a link is gone. A socket reports once that its link
// is down, and works again when the link is up.
func (w wires) run(ctx context.Context, received func(dhcp.Message)) error {
	group, ctx := errgroup.WithContext(ctx)
	for at, s := range w {
		group.Go(func() error {
			for {
				payload, from, err := s.Receive()
				switch {
				case ctx.Err() != nil:
					return nil
				case err != nil && s.Gone():
					return err
				case err != nil:
					wait.Sleep(ctx, brokenPause)
				default:
					received(dhcp.Message{Link: at.link, Family: at.family, From: from, Payload: payload})
				}
			}
		})
	}
	context.AfterFunc(ctx, func() { _ = w.close() }) // ends what waits
	return group.Wait()
}

// prefix returns an address of an interface with its subnet; the zero Prefix: it can't be read.
func prefix(a net.Addr) netip.Prefix {
	p, err := netip.ParsePrefix(a.String())
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// own reports whether this machine has an address.
func own(a netip.Addr) bool {
	all, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(all, func(x net.Addr) bool { return prefix(x).Addr() == a })
}

// named returns the name of the interface that has an address in a subnet; text that is no subnet
// is a name already.
func named(text string) (string, error) {
	subnet, err := netip.ParsePrefix(text)
	if err != nil {
		return text, nil //nolint:nilerr // it is a name
	}
	all, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("list the network interfaces: %w", err)
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil {
			return "", fmt.Errorf("list the addresses of %s: %w", i.Name, err)
		}
		if slices.ContainsFunc(addrs, func(x net.Addr) bool { return subnet.Contains(prefix(x).Addr()) }) {
			return i.Name, nil
		}
	}
	return "", fmt.Errorf("no network interface has an address in %s", subnet)
}
