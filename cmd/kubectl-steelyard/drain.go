package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/world"
)

// annotationDrain on a Node says that drain was there, and what it found: the
// label that excludes the node is only taken away again if drain put it there.
const annotationDrain = v1beta1.Group + "/drain"

// The values of annotationDrain.
const (
	drainPutLabel   = "label-added"
	drainPutOwn     = "own-label-added" // v1beta1.LabelExclude, where the other one is ignored
	drainFoundLabel = "label-was-there"
)

// drains is what drain and undrain answer.
type drains struct {
	DryRun bool      `json:"dryRun,omitempty"`
	Nodes  []drained `json:"nodes"`
}

func (drains) kind() string { return "Drain" }

func (d drains) clean() bool {
	return !slices.ContainsFunc(d.Nodes, func(n drained) bool { return len(n.Remaining) > 0 })
}

func (d drains) draw(p *printer) {
	for _, n := range d.Nodes {
		n.draw(p)
	}
}

// drained is what became of one node.
type drained struct {
	Node      string   `json:"node"`
	Actions   []string `json:"actions"`
	Remaining []string `json:"remaining,omitempty"` // what the node still announces, or no node does any more
}

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

// draining are the flags and arguments of drain.
type draining struct {
	waiting
	nodes    []string
	selector string
	force    bool
	dryRun   bool
}

func drain(t *tool) *cobra.Command {
	var d draining
	c := t.command(&cobra.Command{
		Use:   "drain NODE… | -l SELECTOR",
		Short: "Move everything that nodes announce to others, and keep them from announcing",
		Long: `Move everything that nodes announce to others, and keep them from announcing.

It sets the label ` + v1beta1.LabelExcludeNode + `, as does
"kubectl label"; other load balancers and cloud providers also use it. (Where that
label is ignored, it sets ` + v1beta1.LabelExclude + `.) Pods stay where they are;
"kubectl drain" moves those. Addresses on the local network
move without a gap; BGP routes are first made the last choice (RFC 8326). Of several
nodes one is drained after the other.

It refuses if no other node can announce some address, unless --force is given; exit
code 2 says that such an address is left. --dry-run changes nothing: it says what
would move, and what would be left.`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: t.names(corev1Kind("Node"), ""),
	}, func(ctx context.Context, args []string) (answer, error) {
		d.nodes = args
		return t.drain(ctx, d)
	})
	c.Flags().StringVarP(&d.selector, "selector", "l", "", "drain the nodes with these labels")
	c.Flags().BoolVar(&d.force, "force", false, "drain also if no other node can announce some address")
	c.Flags().BoolVar(&d.dryRun, "dry-run", false, "change nothing, and tell what would be")
	d.addFlags(c, 2*time.Minute)
	return c
}

// chosenNodes returns the nodes of these names, or with the labels that a selector asks for.
func (t *tool) chosenNodes(ctx context.Context, c client.Reader, names []string, selector string) ([]*corev1.Node, error) {
	var out []*corev1.Node
	switch {
	case (len(names) == 0) == (selector == ""):
		return nil, errors.New("name the nodes, or select them by their labels with -l")
	case selector == "":
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			n, err := t.node(ctx, c, name)
			if err != nil {
				return nil, err
			}
			out = append(out, n)
		}
		return out, nil
	}
	by, err := labels.Parse(selector)
	if err != nil {
		return nil, fmt.Errorf("-l %s: %w", selector, err)
	}
	var list corev1.NodeList
	if err := c.List(ctx, &list, client.MatchingLabelsSelector{Selector: by}); err != nil {
		return nil, fmt.Errorf("list Nodes: %w", err)
	}
	for i := range list.Items {
		out = append(out, &list.Items[i])
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no node has the labels %s", selector)
	}
	return out, nil
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

func (t *tool) drain(ctx context.Context, o draining) (answer, error) {
	c, err := t.connect()
	if err != nil {
		return nil, err
	}
	nodes, err := t.chosenNodes(ctx, c, o.nodes, o.selector)
	if err != nil {
		return nil, err
	}
	seen, err := t.look(ctx, c)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Name
	}
	alone := onlyOn(seen, names...)
	if o.dryRun {
		return wouldDrain(ctx, c, names, alone)
	}
	if len(alone) > 0 && !o.force {
		return nil, fmt.Errorf("no node but %s can announce %s; kubectl steelyard explain tells why; drain --force does it nevertheless", strings.Join(names, ", "), strings.Join(alone, ", "))
	}
	var out drains
	for _, n := range nodes {
		d, err := t.drainNode(ctx, c, n, seen, o.waiting)
		if err != nil {
			return nil, errors.Join(t.print(out), err)
		}
		out.Nodes = append(out.Nodes, d)
	}
	return out, nil
}

// wouldDrain tells what a drain of these nodes would move, and which addresses no other node
// could announce then.
func wouldDrain(ctx context.Context, c client.Reader, names, alone []string) (answer, error) {
	out := drains{DryRun: true}
	for _, name := range names {
		has, err := announcedFrom(ctx, c, name)
		if err != nil {
			return nil, err
		}
		out.Nodes = append(out.Nodes, drained{Node: name, Actions: []string{fmt.Sprintf("node %s would be excluded; it announces %s and %s", name, counted(len(has.addresses), "address"), counted(has.routes, "route"))}})
	}
	for _, a := range alone {
		last := &out.Nodes[len(out.Nodes)-1]
		last.Remaining = append(last.Remaining, "no other node can announce "+a)
	}
	return out, nil
}

func (t *tool) drainNode(ctx context.Context, c client.WithWatch, node *corev1.Node, seen *world.Snapshot, w waiting) (drained, error) {
	before, name := node.DeepCopy(), node.Name
	label, mark := v1beta1.LabelExcludeNode, drainPutLabel
	if seen.Exclusion.IgnoreLabel {
		label, mark = v1beta1.LabelExclude, drainPutOwn
	}
	_, labeled := node.Labels[label]
	d := drained{Node: name}
	switch {
	case node.Annotations[annotationDrain] != "" && labeled:
		d.Actions = append(d.Actions, "node "+name+" was drained before")
	case labeled:
		set(&node.Annotations, annotationDrain, drainFoundLabel)
		d.Actions = append(d.Actions, "node "+name+" was excluded already; undrain will leave it so")
	default:
		set(&node.Annotations, annotationDrain, mark)
		set(&node.Labels, label, "")
		d.Actions = append(d.Actions, "node "+name+" is excluded")
	}
	if err := c.Patch(ctx, node, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return d, fmt.Errorf("label Node %q: %w", name, err)
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
func (t *tool) awaitDrained(ctx context.Context, c client.Reader, d drained, w waiting) (drained, error) {
	var last announced
	ok, err := w.until(ctx, t, func(ctx context.Context) (string, bool, error) {
		var err error
		last, err = announcedFrom(ctx, c, d.Node)
		return fmt.Sprintf("%s still announces %s and %s", d.Node, counted(len(last.addresses), "address"), counted(last.routes, "route")), len(last.addresses) == 0 && last.routes == 0, err
	})
	switch {
	case err != nil:
		return d, err
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
func (t *tool) awaitTaken(ctx context.Context, c client.Reader, d drained, w waiting) (drained, error) {
	var last announced
	_, err := w.until(ctx, t, func(ctx context.Context) (string, bool, error) {
		var err error
		last, err = announcedFrom(ctx, c, d.Node)
		return fmt.Sprintf("%d addresses of %s are not taken over yet", len(last.addresses), d.Node), len(last.addresses) == 0, err
	})
	if err != nil {
		return d, err
	}
	seen, err := t.look(ctx, c)
	if err != nil {
		return d, err
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

func set(m *map[string]string, key, value string) {
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[key] = value
}
