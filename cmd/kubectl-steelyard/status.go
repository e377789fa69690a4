package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
	"github.com/steelyard-lb/steelyard/internal/world"
)

// overview is the whole of Steelyard on one screen.
type overview struct {
	Problems   []problem     `json:"problems,omitempty"` // of all but Services
	Controller controllerUse `json:"controller"`
	Pools      []poolUse     `json:"pools,omitempty"`
	Kept       []keptUse     `json:"kept,omitempty"`
	Nodes      []nodeUse     `json:"nodes,omitempty"`
	Sessions   []sessionUse  `json:"sessions,omitempty"`
	Services   serviceCounts `json:"services"`
	Unread     []string      `json:"unread,omitempty"` // what could not be read
	now        time.Time
}

// controllerUse is the replica of the controller that leads.
type controllerUse struct {
	Replica string `json:"replica,omitempty"`
	Version string `json:"version,omitempty"` // empty: not known
	Absent  string `json:"absent,omitempty"`  // why none leads
}

// problem is what is wrong with an object.
type problem struct {
	Object  string `json:"object"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// poolUse is how much of one family a pool has given out. Of IPv6 the numbers may be
// greater than a program can count that takes them for floating point.
type poolUse struct {
	Pool     string      `json:"pool"`
	Family   string      `json:"family"`
	Accepted bool        `json:"accepted"`
	Used     json.Number `json:"used"`
	Capacity json.Number `json:"capacity"`
	Percent  int         `json:"percent"` // rounded down, at least 1 if any is used
}

// keptUse is an address that waits for a Service that was deleted.
type keptUse struct {
	Address string      `json:"address"`
	Service string      `json:"service"`
	Until   metav1.Time `json:"until"`
}

// nodeUse is what a node's speaker does.
type nodeUse struct {
	Node      string               `json:"node"`
	Speaker   health.PresenceState `json:"speaker"`
	Absent    string               `json:"absent,omitempty"`   // why its speaker can't be counted on
	Excluded  string               `json:"excluded,omitempty"` // why it must not announce
	Yields    bool                 `json:"yields,omitempty"`   // it announces only what no other node can: it is unschedulable
	Links     []nodeLink           `json:"links,omitempty"`
	Addresses int                  `json:"addresses"`          // of layer 2
	Sessions  *sessionCount        `json:"sessions,omitempty"` // none: it holds none
	Version   string               `json:"version,omitempty"`
	Since     *metav1.Time         `json:"since,omitempty"` // the process runs
}

// nodeLink is a link of a node.
type nodeLink struct {
	Name string `json:"name"`
	Up   bool   `json:"up"`
}

// sessionCount counts BGP sessions.
type sessionCount struct {
	Established int `json:"established"`
	Total       int `json:"total"`
}

// sessionUse is a peer and the nodes' sessions to it.
type sessionUse struct {
	Peer        string        `json:"peer"`
	Established int           `json:"established"`
	Total       int           `json:"total"`
	Down        []sessionDown `json:"down,omitempty"`
}

// sessionDown is a session that is not up, or not known to be.
type sessionDown struct {
	Node   string `json:"node"`
	State  string `json:"state"`
	Detail string `json:"why,omitempty"`
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
	o := overview{
		Pools: poolUses(evaluation), Sessions: sessionUses(w), Services: countServices(evaluation), Problems: problemsOf(evaluation), Unread: w.Unread, now: w.Now,
	}
	for _, k := range slices.SortedFunc(slices.Values(evaluation.Kept), ipam.Kept.Compare) {
		o.Kept = append(o.Kept, keptUse{k.Addr.String(), k.For.String(), metav1.NewTime(k.Until)})
	}
	o.Controller.Replica, o.Controller.Absent = w.Controller()
	o.Controller.Version = w.ControllerVersion()
	for i := range w.Nodes {
		o.Nodes = append(o.Nodes, nodeUseOf(w, w.Nodes[i].Name))
	}
	slices.SortFunc(o.Nodes, func(a, b nodeUse) int { return strings.Compare(a.Node, b.Node) })
	return o
}

// problemsOf returns what is wrong with all but Services.
func problemsOf(t *world.Evaluation) []problem {
	var out []problem
	for _, p := range t.Problems() {
		out = append(out, problem{strings.TrimSpace(p.Kind + " " + p.Name), p.Reason, p.Message})
	}
	out = append(out, ofConfiguration(t)...)
	slices.SortStableFunc(out, func(a, b problem) int { return strings.Compare(a.Object, b.Object) })
	return out
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
		for _, of := range []string{v1beta1.ConditionPrefixKnown, v1beta1.ConditionIPAMReady} {
			if c := health.Condition(x.Conditions, of); c.Status == metav1.ConditionFalse {
				out = append(out, problem{x.Kind + " " + x.Name, c.Reason, c.Message})
			}
		}
		if c := health.Condition(x.Conditions, v1beta1.ConditionProgrammed); c.Reason == v1beta1.ReasonNoSessions || c.Reason == v1beta1.ReasonNoNodeSelected {
			out = append(out, problem{x.Kind + " " + x.Name, c.Reason, c.Message})
		}
	}
	for _, x := range t.Externals {
		if x.Refused != "" {
			out = append(out, problem{"Service " + x.Service.String(), world.ExternalIPRefused, fmt.Sprintf("%s in spec.externalIPs is of IPAddressPool %s, and no node announces it: %s", x.Addr, x.Pool, x.Refused)})
		}
	}
	for i := range t.Config.Pools {
		for _, p := range health.OfPool(&t.Config.Pools[i]) {
			out = append(out, problem{p.Kind + " " + p.Name, p.Reason, p.Message})
		}
	}
	return out
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
			u := poolUse{p.Name, f.String(), accepted, json.Number(fmt.Sprint(used)), json.Number(capacity.String()), int(percent.Int64())}
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
	u := nodeUse{Node: node, Speaker: there.State, Absent: there.Message, Excluded: w.Exclusion.Reason(w.Node(node)), Yields: w.Exclusion.Yields(w.Node(node))}
	for i := range w.Speakers {
		s := &w.Speakers[i]
		if s.Name != node {
			continue
		}
		for _, l := range s.Status.Links {
			u.Links = append(u.Links, nodeLink{l.Name, l.Up})
		}
		u.Addresses, u.Version, u.Since = int(s.Status.Addresses), s.Status.Version, s.Status.Since
		if c := s.Status.Sessions; c != nil && c.Total > 0 {
			u.Sessions = &sessionCount{int(c.Established), int(c.Total)}
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
			u.Down = append(u.Down, sessionDown{s.Node, string(health.Unknown), w.Absent(s.Node)})
			continue
		case w.Up(s):
			u.Established++
			continue
		}
		u.Down = append(u.Down, sessionDown{s.Node, cmp.Or(s.State, string(health.Unknown)), s.LastError})
	}
	var out []sessionUse
	for _, u := range uses {
		slices.SortFunc(u.Down, func(a, b sessionDown) int { return strings.Compare(a.Node, b.Node) })
		out = append(out, *u)
	}
	slices.SortFunc(out, func(a, b sessionUse) int { return strings.Compare(a.Peer, b.Peer) })
	return out
}

func countServices(t *world.Evaluation) serviceCounts {
	c := serviceCounts{Total: len(t.Served)}
	for _, s := range servicesOf(t) {
		name := s.Namespace + "/" + s.Name
		found := len(c.Problems)
		if s.Reason != "" {
			c.Problems = append(c.Problems, problem{name, s.Reason, s.Summary})
		}
		svc := t.Service(ipam.Key{Namespace: s.Namespace, Name: s.Name})
		if intent.PoolDeleted(svc) {
			c.Problems = append(c.Problems, problem{name, v1beta1.ReasonPoolDeleted, printable.Message(health.Condition(svc.Status.Conditions, v1beta1.ConditionAllocated).Message)})
		}
		for _, x := range health.OfAnnotations(svc) {
			c.Problems = append(c.Problems, problem{name, x.Reason, x.Message})
		}
		if text := intent.IgnoredText(t.AnnotationPrefixes.Ignored(svc)); text != "" {
			c.Problems = append(c.Problems, problem{name, health.Incomplete, text})
		}
		if len(c.Problems) == found {
			c.Fine++
		}
	}
	return c
}
