package nullroute

import (
	"net/netip"
	"slices"
)

const (
	mainTable = 254 // the kernel's

	// The rules come after those of others and just before the main table. The first
	// asks the main table, but for what is as wide as a default route or halves and
	// quarters of it; the second then asks ours.
	askMain    = 32750
	askOurs    = 32751
	widest     = 7  // prefix length
	suppressed = -1 // nothing is
)

// rule is a rule of ours: for what comes by a link, ask a table.
type rule struct {
	six      bool // IPv6
	priority int
	table    int
	suppress int // routes of this prefix length or shorter don't count; -1: all do
}

// route is an unreachable route of ours.
type route struct {
	prefix netip.Prefix
	table  int
}

// held is what the kernel has of ours.
type held struct {
	rules  []rule
	routes []route
	taken  string // who else uses the table, or the rules' priorities; "": nobody
}

// change is one thing to do. One of rule and route is set.
type change struct {
	remove bool
	rule   *rule
	route  *route
}

// changes returns how the kernel comes from what it has to null routes for want, in
// an order in which no rule leads to a table without its routes. The rules of a
// family are there only if it has prefixes.
func changes(have held, want []netip.Prefix, table int) []change {
	var out []change
	wanted, routes := make(map[route]bool, len(want)), make(map[route]bool, len(have.routes))
	for _, r := range have.routes {
		routes[r] = true
	}
	var rules []rule
	for _, p := range want {
		r := route{p.Masked(), table}
		if !wanted[r] && !routes[r] {
			out = append(out, change{route: &r})
		}
		wanted[r] = true
		if six := p.Addr().Is6(); !slices.ContainsFunc(rules, func(x rule) bool { return x.six == six }) {
			rules = append(rules, rule{six, askMain, mainTable, widest}, rule{six, askOurs, table, suppressed})
		}
	}
	for _, r := range rules {
		if !slices.Contains(have.rules, r) {
			out = append(out, change{rule: &r})
		}
	}
	// First that which leads to the table, then that which stands before it.
	for _, r := range slices.Backward(slices.SortedFunc(slices.Values(have.rules), func(a, b rule) int { return a.priority - b.priority })) {
		if !slices.Contains(rules, r) {
			out = append(out, change{remove: true, rule: &r})
		}
	}
	for _, r := range have.routes {
		if !wanted[r] {
			out = append(out, change{remove: true, route: &r})
		}
	}
	return out
}
