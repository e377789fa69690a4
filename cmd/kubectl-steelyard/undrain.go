package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/world/collect"
)

func undrain(t *tool) *cobra.Command {
	var selector string
	c := t.command(&cobra.Command{
		Use:               "undrain NODE… | -l SELECTOR",
		Short:             "Let nodes announce again that were drained",
		Long:              "Let nodes announce again that were drained.\n\nRoutes come back by themselves. Addresses on the local network stay where they are:\n\"kubectl steelyard rebalance\" spreads them again.",
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: t.names(corev1Kind("Node"), ""),
	}, func(ctx context.Context, args []string) (answer, error) {
		c, err := t.connect()
		if err != nil {
			return nil, err
		}
		nodes, err := t.chosenNodes(ctx, c, args, selector)
		if err != nil {
			return nil, err
		}
		rule, err := t.exclusion(ctx, c)
		if err != nil {
			return nil, err
		}
		var out drains
		for _, n := range nodes {
			d, err := undrainNode(ctx, c, n, rule)
			if err != nil {
				return nil, errors.Join(t.print(out), err)
			}
			out.Nodes = append(out.Nodes, d)
		}
		return out, nil
	})
	c.Flags().StringVarP(&selector, "selector", "l", "", "undrain the nodes with these labels")
	return c
}

// exclusion returns what keeps nodes from announcing, by the flags of the controller.
func (t *tool) exclusion(ctx context.Context, c client.Reader) (intent.Exclusion, error) {
	if t.ignoreLabel {
		return intent.Exclusion{IgnoreLabel: true}, nil
	}
	if _, err := t.findHome(ctx, c); err != nil {
		return intent.Exclusion{}, err
	}
	s, err := collect.Settings(ctx, c, t.system)
	if apierrors.IsForbidden(err) {
		return intent.Exclusion{}, nil // as by default; --ignore-exclude-label tells otherwise
	}
	return s.Exclusion, err
}

func undrainNode(ctx context.Context, c client.Writer, node *corev1.Node, rule intent.Exclusion) (drained, error) {
	before, d := node.DeepCopy(), drained{Node: node.Name}
	was := node.Annotations[annotationDrain]
	switch was {
	case drainPutLabel:
		delete(node.Labels, v1beta1.LabelExcludeNode)
	case drainPutOwn:
		delete(node.Labels, v1beta1.LabelExclude)
	}
	label, labeled := strings.CutPrefix(rule.Reason(node), "label ")
	switch {
	case was == "" && labeled:
		return d, fmt.Errorf("node %s is excluded, but not by drain: to let it announce, kubectl label node %s %s-", node.Name, node.Name, label)
	case was == "":
		d.Actions = append(d.Actions, "node "+node.Name+" was not drained")
		return d, nil
	case labeled:
		d.Actions = append(d.Actions, "node "+node.Name+" stays excluded, as it was before the drain")
	default:
		d.Actions = append(d.Actions, "node "+node.Name+" may announce again; addresses on the local network stay where they are: see kubectl steelyard rebalance")
	}
	delete(node.Annotations, annotationDrain)
	if err := c.Patch(ctx, node, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return d, fmt.Errorf("take the label off Node %q: %w", node.Name, err)
	}
	return d, nil
}
