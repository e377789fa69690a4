package nullroute

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// protocol marks our rules and routes (rtm_protocol, fib_rule_hdr); iproute2 has no name for it.
const protocol = 74

// notFrom is the link to whose packets the rules do not apply: those that the node itself sends.
const notFrom = "lo"

// netlinks is the kernel, by netlink.
type netlinks struct {
	handle *netlink.Handle
}

// newNetlink keeps one socket for all requests. Without it, each opens one.
func newNetlink() netlinks {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return netlinks{&netlink.Handle{}} // the first request says why
	}
	return netlinks{h}
}

func families() []int { return []int{unix.AF_INET, unix.AF_INET6} }

func (n netlinks) ours() (kernelState, error) { return n.list(unix.RT_TABLE_UNSPEC) }

func (n netlinks) in(table int) (kernelState, error) { return n.list(table) }

// list reads one table, or all.
func (n netlinks) list(table int) (kernelState, error) {
	var out kernelState
	for _, family := range families() {
		rules, err := n.handle.RuleList(family)
		if family == unix.AF_INET6 && errors.Is(err, unix.EAFNOSUPPORT) {
			continue // the kernel has no IPv6
		} else if err != nil {
			return out, fmt.Errorf("list routing rules: %w", err)
		}
		for i := range rules {
			out.addRule(&rules[i], family == unix.AF_INET6, table)
		}
		routes, err := n.handle.RouteListFiltered(family, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return out, fmt.Errorf("list the routes of table %d: %w", table, err)
		}
		for i := range routes {
			out.addRoute(&routes[i], table)
		}
	}
	return out, nil
}

// addRule adds a rule if it is ours, or notes that another program's rule conflicts with
// ours for table.
func (h *kernelState) addRule(x *netlink.Rule, six bool, table int) {
	switch {
	case x.Protocol == protocol:
		h.rules = append(h.rules, rule{six, x.Priority, x.Table, x.SuppressPrefixlen})
	case table == unix.RT_TABLE_UNSPEC:
	case x.Table == table:
		h.taken = fmt.Sprintf("another program's rule (ip rule, priority %d) uses table %d", x.Priority, table)
	case x.Priority == askMain || x.Priority == askOurs:
		h.taken = fmt.Sprintf("another program has a rule of priority %d (ip rule)", x.Priority)
	}
}

// addRoute adds a route if it is ours, or notes that another program has it in table.
func (h *kernelState) addRoute(x *netlink.Route, table int) {
	prefix, ok := prefixOf(x.Dst)
	switch {
	case x.Protocol == protocol && x.Type == unix.RTN_UNREACHABLE && ok:
		h.routes = append(h.routes, route{prefix, x.Table})
	case table != unix.RT_TABLE_UNSPEC:
		h.taken = fmt.Sprintf("another program has routes in table %d (ip route show table %[1]d)", table)
	}
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	bits, size := n.Mask.Size()
	return netip.PrefixFrom(addr, bits), ok && size == addr.BitLen()
}

func (n netlinks) do(c change) error {
	switch {
	case c.rule != nil:
		return n.doRule(*c.rule, c.remove)
	default:
		return n.doRoute(*c.route, c.remove)
	}
}

func (n netlinks) doRule(r rule, remove bool) error {
	x := netlink.NewRule()
	x.Family = unix.AF_INET
	if r.six {
		x.Family = unix.AF_INET6
	}
	x.Priority, x.Table, x.SuppressPrefixlen, x.Protocol = r.priority, r.table, r.suppress, protocol
	x.Invert, x.IifName = true, notFrom
	if remove {
		return done(n.handle.RuleDel(x), "remove the routing rule of priority %d", r.priority)
	}
	return done(n.handle.RuleAdd(x), "add the routing rule of priority %d", r.priority)
}

func (n netlinks) doRoute(r route, remove bool) error {
	x := &netlink.Route{
		Dst:   &net.IPNet{IP: r.prefix.Addr().AsSlice(), Mask: net.CIDRMask(r.prefix.Bits(), r.prefix.Addr().BitLen())},
		Table: r.table, Type: unix.RTN_UNREACHABLE, Protocol: protocol,
	}
	if remove {
		return done(n.handle.RouteDel(x), "remove the unreachable route for %s", r.prefix)
	}
	return done(n.handle.RouteAdd(x), "add an unreachable route for %s", r.prefix)
}

// done returns nil if err says that the change was made already.
func done(err error, format string, args ...any) error {
	if err == nil || errors.Is(err, syscall.EEXIST) || errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
