package nullroute

import (
	"cmp"
	"net/netip"
	"slices"
)

const (
	mainTable = 254 // the kernel's

	// The rules come after those of other programs and just before the main table. The first
	// looks in the main table, but ignores prefixes of up to widest bits: a default route, and
	// the halves and quarters that some programs replace it by. The second looks in ours.
	askMain    = 32750
	askOurs    = 32751
	widest     = 7  // prefix length
	suppressed = -1 // ignore nothing
)

// rule is a rule of ours: for packets that come from a link, look in a table.
type rule struct {
	six      bool // IPv6
	priority int
	table    int
	suppress int // ignore routes of this prefix length or shorter; -1: none
}

// route is an unreachable route of ours.
type route struct {
	prefix netip.Prefix
	table  int
}

// kernelState is what the kernel has of ours.
type kernelState struct {
	rules  []rule
	routes []route // sorted
	taken  string  // which other program uses the table, or the rules' priorities; "": none
}

// change is one thing to do. One of rule and route is set.
type change struct {
	remove bool
	rule   *rule
	route  *route
}

// changes returns the changes from the kernel's state to null routes for want, in an order
// in which no rule refers to a table without its routes. A family has rules only if it has
// prefixes. have.routes and want are sorted.
func changes(have kernelState, want []netip.Prefix, table int) []change {
	out, removed := differences(have.routes, want, table)
	rules := rulesFor(want, table)
	for _, r := range rules {
		if !slices.Contains(have.rules, r) {
			out = append(out, change{rule: &r})
		}
	}
	// First the rule that refers to our table, then the one before it.
	for _, r := range slices.Backward(slices.SortedFunc(slices.Values(have.rules), func(a, b rule) int { return a.priority - b.priority })) {
		if !slices.Contains(rules, r) {
			out = append(out, change{remove: true, rule: &r})
		}
	}
	return append(out, removed...)
}

// differences returns which routes to add and which to remove.
func differences(have []route, want []netip.Prefix, table int) (added, removed []change) {
	for len(have) > 0 || len(want) > 0 {
		order := 0
		switch {
		case len(have) == 0:
			order = 1
		case len(want) == 0:
			order = -1
		default:
			order = have[0].compare(route{want[0], table})
		}
		if order > 0 {
			added = append(added, change{route: &route{want[0], table}})
		}
		if order < 0 {
			removed = append(removed, change{remove: true, route: &route{have[0].prefix, have[0].table}})
		}
		if order <= 0 {
			have = have[1:]
		}
		if order >= 0 {
			want = want[1:]
		}
	}
	return added, removed
}

// compare orders routes by prefix, then table.
func (r route) compare(s route) int {
	return cmp.Or(r.prefix.Compare(s.prefix), cmp.Compare(r.table, s.table))
}

// rulesFor returns the rules that null routes for want need.
func rulesFor(want []netip.Prefix, table int) []rule {
	var out []rule
	for _, six := range []bool{false, true} {
		if slices.ContainsFunc(want, func(p netip.Prefix) bool { return p.Addr().Is6() == six }) {
			out = append(out, rule{six, askMain, mainTable, widest}, rule{six, askOurs, table, suppressed})
		}
	}
	return out
}

// holding returns what the kernel has when it has null routes for want alone.
func holding(want []netip.Prefix, table int) kernelState {
	out := kernelState{rules: rulesFor(want, table), routes: make([]route, len(want))}
	for i, p := range want {
		out.routes[i] = route{p, table}
	}
	return out
}
