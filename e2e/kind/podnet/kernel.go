package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// protocol marks the routes that are this program's.
const protocol = 99

// setRoutes makes the kernel's routes of this program those wanted.
func setRoutes(wanted map[netip.Prefix]netip.Addr) error {
	for prefix, via := range wanted {
		route := netlink.Route{Dst: ipNet(prefix), Gw: via.AsSlice(), Protocol: protocol}
		if err := netlink.RouteReplace(&route); err != nil {
			return fmt.Errorf("set the route to %s by %s: %w", prefix, via, err)
		}
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		have, err := netlink.RouteListFiltered(family, &netlink.Route{Protocol: protocol}, netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
		for _, r := range have {
			ones, _ := r.Dst.Mask.Size()
			ip, _ := netip.AddrFromSlice(r.Dst.IP)
			if _, ok := wanted[netip.PrefixFrom(ip.Unmap(), ones)]; ok {
				continue
			}
			if err := netlink.RouteDel(&r); err != nil {
				return fmt.Errorf("remove the route to %s: %w", r.Dst, err)
			}
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// masquerade has the kernel translate what Pods send to others than Pods.
func masquerade(ctx context.Context, subnets string) error {
	var rules strings.Builder
	for _, s := range strings.Split(subnets, ",") {
		prefix, err := netip.ParsePrefix(s)
		if err != nil {
			return fmt.Errorf("read the Pods' subnets: %w", err)
		}
		family := "ip"
		if prefix.Addr().Is6() {
			family = "ip6"
		}
		fmt.Fprintf(&rules, "  %s saddr %s %[1]s daddr != %[2]s fib daddr type != local masquerade\n", family, prefix)
	}
	table := "table inet podnet\ndelete table inet podnet\ntable inet podnet {\n chain postrouting {\n  type nat hook postrouting priority srcnat\n" + rules.String() + " }\n}\n"
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(table)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("set up address translation: %w\n%s", err, out.Bytes())
	}
	return nil
}
