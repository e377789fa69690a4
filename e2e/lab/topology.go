package lab

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/steelyard-lb/steelyard/e2e/lab/hosts"
)

// sysctls are set in each host before it has a cable, because a new link takes
// its settings from "default".
var sysctls = []string{
	"net.ipv4.conf.all.rp_filter=0",
	"net.ipv4.conf.default.rp_filter=0",
	// A redirect would teach the client a way around the router.
	"net.ipv4.conf.all.send_redirects=0",
	"net.ipv4.conf.default.send_redirects=0",
	"net.ipv4.conf.all.accept_redirects=0",
	"net.ipv4.conf.default.accept_redirects=0",
	"net.ipv6.conf.all.accept_redirects=0",
	"net.ipv6.conf.default.accept_redirects=0",
	"net.ipv6.conf.default.accept_ra=0",
	// Without it a link that goes down loses its IPv6 addresses for good.
	"net.ipv6.conf.all.keep_addr_on_down=1",
	"net.ipv6.conf.default.keep_addr_on_down=1",
}

// sysctls are the settings of one host: only nodes and the router pass packets on.
func (h Host) sysctls() []string {
	switch {
	case h.Name == "switch": // a bridge needs no addresses of its own
		return []string{"net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"}
	case h.Node > 0 || h.Name == "router":
		return slices.Concat(sysctls, []string{
			"net.ipv4.ip_forward=1",
			"net.ipv6.conf.all.forwarding=1",
			// Flows, not hosts, are spread over equal routes.
			"net.ipv4.fib_multipath_hash_policy=1",
			"net.ipv6.fib_multipath_hash_policy=1",
		})
	}
	return sysctls
}

// cables are the ip commands that connect the hosts: each has eth0, and the
// other end is the switch's port with the host's name. The host outside hangs
// on the router's eth1 instead.
func (r *Rack) cables() string {
	var b strings.Builder
	fmt.Fprintf(&b, "link add name br0 netns %s type bridge forward_delay 0 mcast_snooping 0\n", r.ns("switch"))
	for _, h := range r.Hosts() {
		switch h.Name {
		case "switch":
		case "outside":
			fmt.Fprintf(&b, "link add name eth0 netns %s type veth peer name eth1 netns %s\n", r.ns(h.Name), r.ns("router"))
		default:
			fmt.Fprintf(&b, "link add name eth0 netns %s type veth peer name %s netns %s\n", r.ns(h.Name), h.Name, r.ns("switch"))
		}
	}
	return b.String()
}

// addresses are the ip commands run inside one host.
func (r *Rack) addresses(h Host) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("link set lo up")
	if h.Name == "switch" {
		line("link set br0 up")
		for _, p := range r.Hosts() {
			if p.V4.IsValid() && p.Name != "outside" {
				line("link set %s master br0 up", p.Name)
			}
		}
		return b.String()
	}
	line("link set eth0 up")
	line("addr add %s dev eth0", h.V4)
	line("addr add %s dev eth0 nodad", h.V6)
	via4, via6 := lanV4, lanV6
	switch h.Name {
	case "router":
		line("link set eth1 up")
		line("addr add %s dev eth1", at(outsideV4, 1, 24))
		line("addr add %s dev eth1 nodad", at(outsideV6, 1, 64))
	case "outside":
		via4, via6 = outsideV4, outsideV6
		fallthrough
	default:
		line("route add default via %s", at(via4, 1, 24).Addr())
		line("route add default via %s", at(via6, 1, 64).Addr())
	}
	if h.Node == 0 && h.Name != "router" && h.Name != "control" {
		return b.String()
	}
	for _, n := range r.nodes() {
		if n.Node != h.Node {
			v4, v6 := n.pods()
			line("route add %s via %s", v4, n.V4.Addr())
			line("route add %s via %s", v6, n.V6.Addr())
		}
	}
	return b.String()
}

// buildNetwork makes the hosts and their cables.
func (r *Rack) buildNetwork(ctx context.Context) error {
	var add strings.Builder
	for _, h := range r.Hosts() {
		fmt.Fprintf(&add, "netns add %s\n", r.ns(h.Name))
	}
	if err := hosts.IP(ctx, "", add.String()); err != nil {
		return fmt.Errorf("make the hosts: %w", err)
	}
	err := r.eachHost(func(h Host) error {
		out, err := r.Command(ctx, h.Name, append([]string{"sysctl", "-q", "-w"}, h.sysctls()...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", h.Name, err, bytes.TrimSpace(out))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("set the hosts' sysctls (the kernel needs IPv6, IP_ROUTE_MULTIPATH): %w", err)
	}
	if err := hosts.IP(ctx, "", r.cables()); err != nil {
		return fmt.Errorf("lay the cables (the kernel needs VETH and BRIDGE): %w", err)
	}
	err = r.eachHost(func(h Host) error { return hosts.IP(ctx, r.ns(h.Name), r.addresses(h)) })
	if err != nil {
		return fmt.Errorf("give the hosts their addresses: %w", err)
	}
	probe := map[string][]string{"nftables": {"nft", "list", "tables"}, "iptables": {"iptables", "-t", "nat", "-S"}}[r.proxyMode()]
	if out, err := r.Command(ctx, "node1", probe...).CombinedOutput(); err != nil {
		return fmt.Errorf("this kernel cannot run kube-proxy in %s mode: %s: %w: %s", r.Proxy, strings.Join(probe, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

func (r *Rack) eachHost(do func(Host) error) error {
	var g errgroup.Group
	for _, h := range r.Hosts() {
		g.Go(func() error { return do(h) })
	}
	return g.Wait()
}

// Cut takes the far end of the host's cable down, so that the host's own end
// loses its carrier.
func (r *Rack) Cut(host string) error { return r.setCable(host, "down") }

// Join undoes Cut.
func (r *Rack) Join(host string) error { return r.setCable(host, "up") }

func (r *Rack) setCable(host, state string) error {
	var cabled []string
	for _, h := range r.Hosts() {
		if h.V4.IsValid() {
			cabled = append(cabled, h.Name)
		}
	}
	if !slices.Contains(cabled, host) {
		return fmt.Errorf("no host %q with a cable in rack %s; there are %s", host, r.Name, strings.Join(cabled, ", "))
	}
	far, port := "switch", host
	if host == "outside" {
		far, port = "router", "eth1"
	}
	if err := hosts.IP(context.Background(), r.ns(far), "link set "+port+" "+state+"\n"); err != nil {
		return fmt.Errorf("set the cable of %s %s: %w", host, state, err)
	}
	return nil
}
