package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/world"
)

// session is what a BGPSession says, in a line.
type session struct {
	Node   string       `json:"node"`
	Peer   string       `json:"peer"`
	Router string       `json:"router"` // address or interface
	State  string       `json:"state"`
	BFD    string       `json:"bfd,omitempty"`
	MyASN  int64        `json:"myASN,omitempty"`
	ASN    int64        `json:"peerASN,omitempty"`
	Routes int32        `json:"routes"` // that are advertised
	Since  *metav1.Time `json:"since,omitempty"`
	Detail string       `json:"why,omitempty"` // it is not up, or last went down, or goes on for a peer that has changed
}

// sessionList is what the command sessions answers.
type sessionList struct {
	Sessions []session `json:"sessions"`
	now      time.Time
	some     bool // not of all nodes and peers
}

func sessions(t *tool) *cobra.Command {
	var node, peer string
	c := t.command(&cobra.Command{
		Use:   "sessions",
		Short: "List the nodes' BGP sessions, and why one is not up",
		Args:  noArguments,
	}, func(ctx context.Context, _ []string) (answer, error) {
		w, err := t.world(ctx)
		if err != nil {
			return nil, err
		}
		if err := namesSessions(w, node, peer); err != nil {
			return nil, err
		}
		a := sessionList{Sessions: []session{}, now: w.Now, some: node+peer != ""}
		for i := range w.Sessions {
			s := reported(w, &w.Sessions[i])
			if (node == "" || s.Node == node) && (peer == "" || s.Peer == peer) {
				a.Sessions = append(a.Sessions, s)
			}
		}
		slices.SortFunc(a.Sessions, func(a, b session) int {
			return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Peer, b.Peer))
		})
		return a, nil
	})
	c.Flags().StringVar(&node, "node", "", "only those of this node")
	c.Flags().StringVar(&peer, "peer", "", "only those to this BGPPeer")
	t.completeNames(c, map[string]string{"node": "Node", "peer": "BGPPeer"})
	return c
}

// namesSessions says whether there is a node and a peer of these names, which may
// be empty.
func namesSessions(w *world.Snapshot, node, peer string) error {
	nodes, peers := nodeNames(w.Nodes), []string{}
	for i := range w.Config.Peers {
		peers = append(peers, w.Config.Peers[i].Name)
	}
	for i := range w.Sessions { // their objects may have gone
		nodes, peers = append(nodes, w.Sessions[i].Status.Node), append(peers, w.Sessions[i].Status.Peer)
	}
	switch {
	case node != "" && !slices.Contains(nodes, node):
		return unknown("node", node, nodes)
	case peer != "" && !slices.Contains(peers, peer):
		return unknown("BGPPeer", peer, peers)
	}
	return nil
}

// reported is a session as it is known: a speaker that is not heard of may have lost it.
func reported(w *world.Snapshot, of *v1beta1.BGPSession) session {
	s := sessionOf(of, w.Config.Peers)
	if w.Outdated(s.Node) && s.State != v1beta1.SessionUnknown {
		s.State, s.Detail = "Unknown", fmt.Sprintf("it was %s when last heard of; %s", s.State, w.Absent(s.Node))
	}
	return s
}

func sessionOf(s *v1beta1.BGPSession, peers []v1beta1.BGPPeer) session {
	out := session{Node: s.Status.Node, Peer: s.Status.Peer, State: cmp.Or(s.Status.State, "unknown"), BFD: s.Status.BFD, Since: s.Status.Since, Detail: cmp.Or(s.Status.LastError, pending(s.Status.Pending))}
	if s.Status.Prefixes != nil {
		out.Routes = s.Status.Prefixes.Advertised
	}
	for i := range peers {
		if peers[i].Name == out.Peer {
			out.MyASN, out.ASN = peers[i].Spec.MyASN, peers[i].Spec.PeerASN
			out.Router = cmp.Or(string(peers[i].Spec.PeerAddress), peers[i].Spec.Interface)
		}
	}
	return out
}

// pending says what the session goes on without.
func pending(p *v1beta1.PendingChanges) string {
	switch {
	case p == nil:
		return ""
	case p.Until == v1beta1.UntilOtherNodes:
		return p.Fields + ": changed; the session restarts when those of other nodes have"
	}
	return p.Fields + ": changed; in force from the next session on"
}

func (sessionList) kind() string { return "SessionReport" }

func (a sessionList) clean() bool {
	return !slices.ContainsFunc(a.Sessions, func(s session) bool { return s.State != health.Established })
}

func (a sessionList) names() []string {
	var out []string
	for _, s := range a.Sessions {
		out = append(out, "bgpsession.steelyard.dev/"+v1beta1.SessionName(s.Node, s.Peer))
	}
	return out
}

func (a sessionList) draw(p *printer) {
	if len(a.Sessions) == 0 {
		text := "there is no BGP session"
		if a.some {
			text = "there is no such BGP session"
		}
		p.line(plain(text))
		return
	}
	drawSessions(p, "", a.Sessions, a.now)
}

// drawSessions draws sessions, at a time.
func drawSessions(p *printer, indent string, of []session, now time.Time) {
	show := func(row []cell) []cell {
		if p.wide {
			return row
		}
		return slices.Delete(slices.Clone(row), 3, 5)
	}
	rows := [][]cell{show(header("NODE", "PEER", "ROUTER", "MY-ASN", "PEER-ASN", "STATE", "BFD", "ROUTES", "SINCE", "WHY"))}
	for _, s := range of {
		state := bad(s.State)
		if s.State == health.Established {
			state = good(s.State)
		}
		bfd := plain(s.BFD)
		if s.BFD == "Up" {
			bfd = good(s.BFD)
		}
		rows = append(rows, show([]cell{plain(s.Node), plain(s.Peer), plain(s.Router), plainf("%d", s.MyASN), plainf("%d", s.ASN), state, bfd,
			plain(strconv.Itoa(int(s.Routes))), dimmed(since(s.Since, now)), plain(s.Detail)}))
	}
	p.table(indent, rows...)
}
