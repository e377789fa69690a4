package health

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// Established is the state of a BGP session that is up (RFC 4271 section 8.2.2).
const Established = "Established"

// BFDDown is the reason of a peer with sessions whose BFD is not up.
const BFDDown = "BFDDown"

// Up reports whether a BGP session is up, as far as is known. The report of a speaker
// that the API server has lost does not count.
func (w *Objects) Up(s *v1beta1.BGPSessionStatus) bool {
	return s.State == Established && !w.Outdated(s.Node)
}

// WasUp reports whether a BGP session was up when its speaker was last heard of. The
// controller writes v1beta1.SessionUnknown over the state of a session whose speaker is dead.
func WasUp(s *v1beta1.BGPSessionStatus) bool {
	return s.State == Established || s.State == v1beta1.SessionUnknown && s.Prefixes != nil && s.Prefixes.Advertised > 0
}

// ofSessions returns the problems of BGP sessions: one for each peer, however many nodes
// have it. Speakers that the API server has lost have a problem of their own.
func (w *Objects) ofSessions() []Problem {
	peers, nodes := map[string][]*v1beta1.BGPSessionStatus{}, map[string]int{} // nodes: how many sessions are up
	for i := range w.Sessions {
		s := &w.Sessions[i].Status
		if w.Outdated(s.Node) || s.State == v1beta1.SessionUnknown {
			continue // in the second case the speaker is about to report again
		}
		peers[s.Peer] = append(peers[s.Peer], s)
		if s.State == Established {
			nodes[s.Node]++
		}
	}
	var out []Problem
	for peer, sessions := range peers {
		down, without := make([]Failure, 0, len(sessions)), make([]Failure, 0)
		for _, s := range sessions {
			switch {
			case s.State != Established:
				down = append(down, FailureOf(s))
			case s.BFD != "" && s.BFD != "Up":
				without = append(without, Failure{s.Node, s.BFD})
			}
		}
		if len(down) > 0 {
			out = append(out, Problem{"BGPPeer", peer, Fault, v1beta1.ReasonSessionsDown, Failures(down, len(sessions)), alertOf(down, len(sessions), nodes)})
		}
		if len(without) > 0 {
			out = append(out, Problem{"BGPPeer", peer, Fault, BFDDown, Failures(without, len(sessions)), "SteelyardBFDDown"})
		}
	}
	return out
}

// alertOf returns the alert for sessions that are down, of so many to a peer.
func alertOf(down []Failure, of int, up map[string]int) string {
	switch {
	case len(down) == of:
		return "SteelyardRouterLost"
	case slices.ContainsFunc(down, func(f Failure) bool { return up[f.Node] == 0 }):
		return "SteelyardNodeWithoutSession"
	}
	return "SteelyardBGPSessionDown"
}

// Failure is what is wrong with the session of a node.
type Failure struct{ Node, Cause string }

// FailureOf returns why a session is not up.
func FailureOf(s *v1beta1.BGPSessionStatus) Failure {
	if s.State == v1beta1.SessionUnknown {
		return Failure{s.Node, "the node's speaker is not heard of, or has stopped"}
	}
	return Failure{s.Node, cmp.Or(s.LastError, "the session is not up yet")}
}

// most is how many nodes, and how many causes, a message names.
const most = 3

// Failures sums up what is wrong on how many of so many nodes: "on 2 of 3 nodes (node2,
// node3): connection refused".
func Failures(of []Failure, total int) string {
	by, nodes := map[string]int{}, make([]string, len(of))
	for i, f := range of {
		by[f.Cause]++
		nodes[i] = f.Node
	}
	slices.Sort(nodes)
	text := fmt.Sprintf("on %d of %d nodes", len(nodes), total)
	if total == 1 {
		text = "on " + nodes[0]
	} else if len(nodes) < total {
		named := nodes[:min(most, len(nodes))]
		if more := len(nodes) - len(named); more > 0 {
			named = append(slices.Clone(named), fmt.Sprintf("%d more", more))
		}
		text += " (" + strings.Join(named, ", ") + ")"
	}
	causes := slices.SortedFunc(maps.Keys(by), func(a, b string) int { return cmp.Or(by[b]-by[a], cmp.Compare(a, b)) })
	if len(causes) == 1 {
		return text + ": " + causes[0]
	}
	for i, c := range causes[:min(most, len(causes))] {
		separator := "; "
		if i == 0 {
			separator = ": "
		}
		text += fmt.Sprintf("%son %d %s", separator, by[c], c)
	}
	if len(causes) > most {
		text += "; on others other causes"
	}
	return text
}
