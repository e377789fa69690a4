package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/health"
)

// annotationDrain on a Node says that drain was there, and what it found: the
// label that excludes the node is only taken away again if drain put it there.
const annotationDrain = v1beta1.Group + "/drain"

// The values of annotationDrain.
const (
	drainPutLabel   = "label-added"
	drainFoundLabel = "label-was-there"
)

// drained is what drain and undrain answer.
type drained struct {
	Node      string   `json:"node"`
	Actions   []string `json:"actions"`
	Remaining []string `json:"remaining,omitempty"` // what the node still announces, or no node does any more
}

func (d drained) clean() bool { return len(d.Remaining) == 0 }

func (d drained) draw(p *printer) {
	for _, s := range d.Actions {
		p.line(plain(s))
	}
	for _, s := range d.Remaining {
		p.line(warn("! "), plain(s))
	}
}

// waiting are the flags of commands that wait for something to come true.
type waiting struct {
	wait    bool
	timeout time.Duration
}

func (w *waiting) addFlags(c *cobra.Command, timeout time.Duration) {
	c.Flags().BoolVar(&w.wait, "wait", true, "wait until it is done")
	c.Flags().DurationVar(&w.timeout, "timeout", timeout, "how long to wait")
}

// until asks again and again whether it is done, and prints each new state; it
// reports whether it came true in time.
func (w waiting) until(ctx context.Context, t *tool, done func(context.Context) (state string, ok bool, err error)) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	said := ""
	for {
		state, ok, err := done(ctx)
		switch {
		case ctx.Err() != nil:
			return false, nil
		case err != nil:
			return false, err
		case ok:
			return true, nil
		case state != said:
			t.printError(state)
			said = state
		}
		select {
		case <-ctx.Done():
			return false, nil
		case <-ticker.C:
		}
	}
}

func drain(t *tool) *cobra.Command {
	var w waiting
	var force bool
	c := t.command(&cobra.Command{
		Use:   "drain NODE",
		Short: "Move everything that a node announces to others, and keep it from announcing",
		Long: `Move everything that a node announces to others, and keep it from announcing.

It sets the label ` + v1beta1.LabelExcludeNode + `, as does
"kubectl label"; other load balancers and cloud providers also use it. Pods stay where they are;
"kubectl drain" moves those. Addresses on the local network
move without a gap; BGP routes are first made the last choice (RFC 8326).

It refuses if no other node can announce some address, unless --force is given; exit
code 2 says that such an address is left.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: t.names(corev1Kind("Node"), ""),
	}, func(ctx context.Context, args []string) (answer, error) { return t.drain(ctx, args[0], force, w) })
	c.Flags().BoolVar(&force, "force", false, "drain also if no other node can announce some address")
	w.addFlags(c, 2*time.Minute)
	return c
}

func undrain(t *tool) *cobra.Command {
	return t.command(&cobra.Command{
		Use:               "undrain NODE",
		Short:             "Let a node announce again that was drained",
		Long:              "Let a node announce again that was drained.\n\nRoutes come back by themselves. Addresses on the local network stay where they are:\n\"kubectl steelyard rebalance\" spreads them again.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: t.names(corev1Kind("Node"), ""),
	}, func(ctx context.Context, args []string) (answer, error) { return t.undrain(ctx, args[0]) })
}

func (t *tool) node(ctx context.Context, c client.Reader, name string) (*corev1.Node, error) {
	var node corev1.Node
	err := c.Get(ctx, client.ObjectKey{Name: name}, &node)
	if apierrors.IsNotFound(err) {
		var all corev1.NodeList
		if err := c.List(ctx, &all); err == nil { // else that it is not there will do
			return nil, unknown("node", name, nodeNames(all.Items))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read Node %q: %w", name, err)
	}
	return &node, nil
}

func nodeNames(nodes []corev1.Node) []string {
	out := make([]string, len(nodes))
	for i := range nodes {
		out[i] = nodes[i].Name
	}
	return out
}

func (t *tool) drain(ctx context.Context, name string, force bool, w waiting) (answer, error) {
	c, err := t.connect()
	if err != nil {
		return nil, err
	}
	node, err := t.node(ctx, c, name)
	if err != nil {
		return nil, err
	}
	seen, err := t.look(ctx, c)
	if err != nil {
		return nil, err
	}
	if alone := onlyOn(seen, name); len(alone) > 0 && !force {
		return nil, fmt.Errorf("no node but %s can announce %s; kubectl steelyard explain tells why; drain --force does it nevertheless", name, strings.Join(alone, ", "))
	}
	before := node.DeepCopy()
	_, labeled := node.Labels[v1beta1.LabelExcludeNode]
	d := drained{Node: name}
	switch {
	case node.Annotations[annotationDrain] != "" && labeled:
		d.Actions = append(d.Actions, "node "+name+" was drained before")
	case labeled:
		set(&node.Annotations, annotationDrain, drainFoundLabel)
		d.Actions = append(d.Actions, "node "+name+" was excluded already; undrain will leave it so")
	default:
		set(&node.Annotations, annotationDrain, drainPutLabel)
		set(&node.Labels, v1beta1.LabelExcludeNode, "")
		d.Actions = append(d.Actions, "node "+name+" is excluded")
	}
	if err := c.Patch(ctx, node, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return nil, fmt.Errorf("label Node %q: %w", name, err)
	}
	switch there := seen.Presence(name); {
	case !w.wait:
		return d, nil
	case there.State == health.Never, there.State == health.Stopped: // what its objects say is from before
		d.Actions = append(d.Actions, "nothing is announced from it: "+there.Message)
		return d, nil
	case there.State == health.Unknown:
		return t.awaitTaken(ctx, c, d, w)
	}
	return t.awaitDrained(ctx, c, d, w)
}

// awaitDrained waits until nothing is announced from a node.
func (t *tool) awaitDrained(ctx context.Context, c client.Reader, d drained, w waiting) (answer, error) {
	var last announced
	ok, err := w.until(ctx, t, func(ctx context.Context) (string, bool, error) {
		var err error
		last, err = announcedFrom(ctx, c, d.Node)
		return fmt.Sprintf("%s still announces %d addresses and %d routes", d.Node, len(last.addresses), last.routes), len(last.addresses) == 0 && last.routes == 0, err
	})
	switch {
	case err != nil:
		return nil, err
	case ok:
		d.Actions = append(d.Actions, "nothing is announced from it")
	default:
		for _, a := range last.addresses {
			d.Remaining = append(d.Remaining, a+" is still announced from "+d.Node)
		}
		if last.routes > 0 {
			d.Remaining = append(d.Remaining, fmt.Sprintf("%d routes are still announced from %s", last.routes, d.Node))
		}
	}
	d.Remaining = append(d.Remaining, last.silent...)
	return d, nil
}

// awaitTaken waits until other nodes have taken over the addresses of a node whose
// speaker is not heard of, and does not hear that it is drained. Of its routes
// only the routers know.
func (t *tool) awaitTaken(ctx context.Context, c client.Reader, d drained, w waiting) (answer, error) {
	var last announced
	_, err := w.until(ctx, t, func(ctx context.Context) (string, bool, error) {
		var err error
		last, err = announcedFrom(ctx, c, d.Node)
		return fmt.Sprintf("%d addresses of %s are not taken over yet", len(last.addresses), d.Node), len(last.addresses) == 0, err
	})
	if err != nil {
		return nil, err
	}
	seen, err := t.look(ctx, c)
	if err != nil {
		return nil, err
	}
	switch there := seen.Presence(d.Node); there.State {
	case health.Unknown:
		d.Remaining = append(d.Remaining, "what "+d.Node+" announces is not known: "+there.Message)
	case health.Alive, health.Isolated:
		return t.awaitDrained(ctx, c, d, w)
	default:
		d.Actions = append(d.Actions, "nothing is announced from it: "+there.Message)
	}
	for _, a := range last.addresses {
		d.Remaining = append(d.Remaining, a+" was not taken over by another node")
	}
	d.Remaining = append(d.Remaining, last.silent...)
	return d, nil
}

// announced is what a node announces, as its speaker tells.
type announced struct {
	addresses []string
	routes    int
	silent    []string // addresses that named it, and for which no node answers
}

func announcedFrom(ctx context.Context, c client.Reader, node string) (announced, error) {
	var out announced
	var list v1beta1.L2ClaimList
	if err := c.List(ctx, &list); err != nil {
		return out, fmt.Errorf("list L2Claims: %w", err)
	}
	for i := range list.Items {
		switch x := claimOf(&list.Items[i]); {
		case x.Answers == node:
			out.addresses = append(out.addresses, x.Address)
		case x.Node == node && !x.Announced:
			out.silent = append(out.silent, fmt.Sprintf("no node answers for %s (%s): %s", x.Address, strings.Join(x.Services, ", "), x.Detail))
		}
	}
	slices.SortFunc(out.addresses, compareAddresses)
	slices.Sort(out.silent)
	var held v1beta1.BGPSessionList
	if err := c.List(ctx, &held); err != nil {
		return out, fmt.Errorf("list BGPSessions: %w", err)
	}
	for i := range held.Items {
		if s := sessionOf(&held.Items[i], nil); s.Node == node {
			out.routes += int(s.Routes)
		}
	}
	return out, nil
}

func (t *tool) undrain(ctx context.Context, name string) (answer, error) {
	c, err := t.connect()
	if err != nil {
		return nil, err
	}
	node, err := t.node(ctx, c, name)
	if err != nil {
		return nil, err
	}
	before := node.DeepCopy()
	_, labeled := node.Labels[v1beta1.LabelExcludeNode]
	d := drained{Node: name}
	switch was := node.Annotations[annotationDrain]; {
	case was == "" && labeled:
		return nil, fmt.Errorf("node %s is excluded, but not by drain: to let it announce, kubectl label node %s %s-", name, name, v1beta1.LabelExcludeNode)
	case was == "":
		d.Actions = append(d.Actions, "node "+name+" was not drained")
		return d, nil
	case was == drainFoundLabel && labeled:
		d.Actions = append(d.Actions, "node "+name+" stays excluded, as it was before the drain")
	default:
		delete(node.Labels, v1beta1.LabelExcludeNode)
		d.Actions = append(d.Actions, "node "+name+" may announce again; addresses on the local network stay where they are: see kubectl steelyard rebalance")
	}
	delete(node.Annotations, annotationDrain)
	if err := c.Patch(ctx, node, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return nil, fmt.Errorf("take the label off Node %q: %w", name, err)
	}
	return d, nil
}

func set(m *map[string]string, key, value string) {
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[key] = value
}
