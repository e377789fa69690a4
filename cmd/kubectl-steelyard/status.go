package main

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/world"
)

// overview is the whole of Steelyard on one screen.
type overview struct {
	Problems   []problem     `json:"problems,omitempty"` // of all but Services
	Controller string        `json:"controller"`
	Pools      []poolUse     `json:"pools,omitempty"`
	Kept       []keptUse     `json:"kept,omitempty"`
	Nodes      []nodeUse     `json:"nodes,omitempty"`
	Sessions   []sessionUse  `json:"sessions,omitempty"`
	Services   serviceCounts `json:"services"`
	Unread     []string      `json:"unread,omitempty"` // what could not be read
}

// problem is what is wrong with an object.
type problem struct {
	Object  string `json:"object"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// poolUse is how much of one family a pool has given out, in decimal.
type poolUse struct {
	Pool     string `json:"pool"`
	Family   string `json:"family"`
	Accepted bool   `json:"accepted"`
	Used     string `json:"used"`
	Capacity string `json:"capacity"`
	Percent  int    `json:"percent"` // rounded down, at least 1 if any is used
}

// keptUse is an address that waits for a Service that was deleted.
type keptUse struct {
	Address string `json:"address"`
	Service string `json:"service"`
	Until   string `json:"until"`
}

// nodeUse is what a node's speaker does.
type nodeUse struct {
	Node      string               `json:"node"`
	Speaker   health.PresenceState `json:"speaker"`
	Absent    string               `json:"absent,omitempty"`   // why its speaker can't be counted on
	Excluded  string               `json:"excluded,omitempty"` // why it must not announce
	Links     string               `json:"links"`
	Addresses int                  `json:"addresses"` // of layer 2
	Sessions  string               `json:"sessions"`  // established/all
	Version   string               `json:"version"`
	Age       string               `json:"age"` // of the process
}

// sessionUse is a peer and the nodes' sessions to it.
type sessionUse struct {
	Peer        string   `json:"peer"`
	Established int      `json:"established"`
	Total       int      `json:"total"`
	Down        []string `json:"down,omitempty"` // nodes, each with its last error
}

// serviceCounts are the Services that Steelyard serves.
type serviceCounts struct {
	Total    int       `json:"total"`
	Fine     int       `json:"fine"`
	Problems []problem `json:"problems,omitempty"`
}

func status(t *tool) *cobra.Command {
	return t.watchable(&cobra.Command{
		Use:   "status",
		Short: "Show the health of Steelyard on one screen",
		Long: `Show the health of Steelyard on one screen: its controller, pools and how much
of them is used, nodes and their speakers, BGP sessions, and every Service that
has a problem.

Exit code 0: all is well; 2: something is not.`,
		Args: noArguments,
	}, func(ctx context.Context, _ []string) (answer, error) {
		w, err := t.world(ctx)
		if err != nil {
			return nil, err
		}
		return overviewOf(w), nil
	})
}

func overviewOf(w *world.Snapshot) overview {
	evaluation := w.Evaluate()
	o := overview{Pools: poolUses(evaluation), Sessions: sessionUses(w), Services: countServices(evaluation), Unread: w.Unread}
	for _, k := range slices.SortedFunc(slices.Values(evaluation.Kept), ipam.Kept.Compare) {
		o.Kept = append(o.Kept, keptUse{k.Addr.String(), k.For.String(), k.Until.UTC().Format(time.RFC3339)})
	}
	var absent string
	if o.Controller, absent = w.Controller(); absent != "" {
		o.Controller = absent
	}
	for i := range w.Nodes {
		o.Nodes = append(o.Nodes, nodeUseOf(w, w.Nodes[i].Name))
	}
	slices.SortFunc(o.Nodes, func(a, b nodeUse) int { return strings.Compare(a.Node, b.Node) })
	for _, n := range o.Nodes {
		if n.Speaker == health.Never && n.Excluded == "" {
			o.Problems = append(o.Problems, problem{"node " + n.Node, string(n.Speaker), n.Absent})
		}
	}
	for _, p := range w.Problems() {
		if p.Kind == "Speaker" && !expected(w, p) {
			continue
		}
		o.Problems = append(o.Problems, problem{strings.TrimSpace(p.Kind + " " + p.Name), p.Reason, p.Message})
	}
	o.Problems = append(o.Problems, ofConfiguration(evaluation)...)
	slices.SortStableFunc(o.Problems, func(a, b problem) int { return strings.Compare(a.Object, b.Object) })
	return o
}

// ofConfiguration tells what is not well with the configuration objects: as of now, whatever
// their conditions say.
func ofConfiguration(t *world.Evaluation) []problem {
	var out []problem
	for ref, v := range t.Checked.Validations {
		for _, f := range v.Faults() {
			out = append(out, problem{ref.Kind + " " + ref.Name, f.Reason, f.Message})
		}
	}
	for _, x := range t.Config.Described() { // what follows from more than the objects
		if c := health.Condition(x.Conditions, v1beta1.ConditionProgrammed); c.Reason == v1beta1.ReasonNoSessions {
			out = append(out, problem{x.Kind + " " + x.Name, c.Reason, c.Message})
		}
	}
	for i := range t.Config.Pools {
		for _, p := range health.OfPool(&t.Config.Pools[i]) {
			out = append(out, problem{p.Kind + " " + p.Name, p.Reason, p.Message})
		}
	}
	return out
}

// expected reports whether a speaker should be as its problem says that it is not:
// of a node that must not announce it may be away.
func expected(w *world.Snapshot, p health.Problem) bool {
	n := w.Node(p.Name)
	away := p.Reason == string(health.Unknown) || p.Reason == string(health.Stopped)
	return n != nil && (!away || w.Exclusion.Reason(n) == "")
}

func poolUses(t *world.Evaluation) []poolUse {
	var out []poolUse
	usage := t.Usage()
	for i := range t.Pools {
		p := &t.Pools[i]
		accepted := t.Checked.Validations[intent.Ref{Kind: "IPAddressPool", Name: p.Name}].Accepted.Reason == ""
		for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
			capacity := p.Capacity(f)
			if capacity.Sign() == 0 {
				continue
			}
			used := usage[i][f]
			percent := new(big.Int).Div(new(big.Int).Mul(big.NewInt(used), big.NewInt(100)), capacity)
			u := poolUse{p.Name, f.String(), accepted, fmt.Sprint(used), capacity.String(), int(percent.Int64())}
			if used > 0 {
				u.Percent = max(1, u.Percent)
			}
			out = append(out, u)
		}
	}
	slices.SortStableFunc(out, func(a, b poolUse) int { return strings.Compare(a.Pool, b.Pool) })
	return out
}

func nodeUseOf(w *world.Snapshot, node string) nodeUse {
	there := w.Presence(node)
	u := nodeUse{Node: node, Speaker: there.State, Absent: there.Message, Excluded: w.Exclusion.Reason(w.Node(node))}
	for i := range w.Speakers {
		s := &w.Speakers[i]
		if s.Name != node {
			continue
		}
		var links []string
		for _, l := range s.Status.Links {
			name := l.Name
			if !l.Up {
				name += " (down)"
			}
			links = append(links, name)
		}
		u.Links, u.Addresses, u.Version = strings.Join(links, ", "), int(s.Status.Addresses), s.Status.Version
		if c := s.Status.Sessions; c != nil && c.Total > 0 {
			u.Sessions = fmt.Sprintf("%d/%d", c.Established, c.Total)
		}
		if s.Status.Since != nil {
			u.Age = duration.HumanDuration(w.Now.Sub(s.Status.Since.Time))
		}
	}
	return u
}

func sessionUses(w *world.Snapshot) []sessionUse {
	uses := map[string]*sessionUse{}
	for i := range w.Config.Peers {
		name := w.Config.Peers[i].Name
		uses[name] = &sessionUse{Peer: name}
	}
	for i := range w.Sessions {
		s := &w.Sessions[i].Status
		u := uses[s.Peer]
		if u == nil || w.Node(s.Node) == nil {
			continue // it is about to be deleted
		}
		u.Total++
		switch {
		case w.Outdated(s.Node):
			u.Down = append(u.Down, fmt.Sprintf("node %s: Unknown: %s", s.Node, w.Absent(s.Node)))
			continue
		case w.Up(s):
			u.Established++
			continue
		}
		u.Down = append(u.Down, strings.TrimSuffix(fmt.Sprintf("node %s: %s: %s", s.Node, s.State, s.LastError), ": "))
	}
	var out []sessionUse
	for _, u := range uses {
		slices.Sort(u.Down)
		out = append(out, *u)
	}
	slices.SortFunc(out, func(a, b sessionUse) int { return strings.Compare(a.Peer, b.Peer) })
	return out
}

func countServices(t *world.Evaluation) serviceCounts {
	c := serviceCounts{Total: len(t.Served)}
	for _, s := range servicesOf(t) {
		if s.Reason != "" {
			c.Problems = append(c.Problems, problem{s.Namespace + "/" + s.Name, s.Reason, s.Summary})
		}
	}
	c.Fine = c.Total - len(c.Problems)
	return c
}
