package main

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/world"
)

// onlyOn returns, as text, the addresses that are announced, and that no node would
// announce without these nodes.
func onlyOn(w *world.Snapshot, nodes ...string) []string {
	t := w.Evaluate()
	s := t.Shown()
	s.Nodes = slices.Clone(s.Nodes)
	for i := range s.Nodes {
		n := &s.Nodes[i]
		unknown := slices.Contains(nodes, n.Name) && w.Presence(n.Name).State == health.Unknown
		n.Live = n.Live || unknown // it may be there
	}
	before, after := announcedIn(t, s), announcedIn(t, excluded(s, nodes))
	var out []string
	for _, a := range slices.SortedFunc(maps.Keys(before), netip.Addr.Compare) {
		switch now := after[a]; {
		case !before[a].known() || now.known():
		case len(now.unreachable) > 0:
			out = append(out, fmt.Sprintf("%s (%s would by BGP, and no session of it is up)", a, strings.Join(now.unreachable, ", ")))
		default:
			out = append(out, a.String())
		}
	}
	return out
}

// excluded returns s with nodes that must not announce anything.
func excluded(s announce.Snapshot, nodes []string) announce.Snapshot {
	s.Nodes = slices.Clone(s.Nodes)
	for i := range s.Nodes {
		if slices.Contains(nodes, s.Nodes[i].Name) {
			s.Nodes[i].Excluded = "label"
		}
	}
	return s
}

// reach is how neighbors and routers come to know of an address.
type reach struct {
	layer2      bool     // a node answers for it
	bgp         bool     // a node offers it, in a session that is up or whose state is unknown
	unreachable []string // nodes that would offer it, and whose sessions are all down
}

func (r reach) known() bool { return r.layer2 || r.bgp }

// announcedIn tells of each address who announces it by s, which is of t.
// Services that share an address are as one.
func announcedIn(t *world.Evaluation, s announce.Snapshot) map[netip.Addr]reach {
	out := map[netip.Addr]reach{}
	said := t.Announcements(s)
	for i := range s.Services {
		of := said.Of[s.Services[i].Key]
		for _, a := range s.Services[i].Addrs {
			r := out[a.Addr]
			r.layer2 = r.layer2 || of.Owner[a.Addr] != ""
			if nodes := of.Offers[a.Addr]; len(nodes) > 0 {
				up, all := t.Established(nodes, a.Addr)
				r.bgp = r.bgp || up > 0 || all == 0
				if up == 0 && all > 0 {
					r.unreachable = nodes
				}
			}
			out[a.Addr] = r
		}
	}
	return out
}
