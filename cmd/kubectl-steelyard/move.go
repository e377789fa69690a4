package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/world"
)

// moved is what move answers.
type moved struct {
	Address string `json:"address"`
	From    string `json:"from"`
	To      string `json:"to"`
	Done    bool   `json:"done"`              // To announces it, or would
	Skipped bool   `json:"skipped,omitempty"` // it was not moved, because it has moved since it was read
	Message string `json:"message"`
}

func (moved) kind() string { return "Move" }

func (m moved) clean() bool { return m.Done }

func (m moved) draw(p *printer) {
	if m.Done {
		p.line(plain(m.Message))
	} else {
		p.line(warn("! "), plain(m.Message))
	}
}

func move(t *tool) *cobra.Command {
	var w waiting
	var dryRun bool
	c := t.command(&cobra.Command{
		Use:   "move ADDRESS NODE",
		Short: "Have another node answer for an address on the local network",
		Long: `Have another node answer for an address on the local network.

It edits spec.node of the address's L2Claim, and waits until that node announces
the address: the new node begins before the old one ends. New connections notice
nothing; those that are open may end, for it is a node that keeps track of them.

A node that can't announce the address, or to which another is preferred, is
refused, with the reason. --dry-run changes nothing, and tells whether it would be.`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: t.moveArguments(),
	}, func(ctx context.Context, args []string) (answer, error) {
		return t.move(ctx, args[0], args[1], dryRun, w)
	})
	c.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing, and tell what would be")
	w.addFlags(c, 30*time.Second)
	return c
}

// moveArguments completes an address, then a node.
func (t *tool) moveArguments() cobra.CompletionFunc {
	nodes := t.names(corev1Kind("Node"), "")
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nodes(cmd, args, begun)
		}
		c, err := t.connect()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp // completion has no way to report it
		}
		var list v1beta1.L2ClaimList
		if err := c.List(cmd.Context(), &list); err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for _, c := range list.Items {
			out = append(out, string(c.Spec.Address))
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

func (t *tool) move(ctx context.Context, address, node string, dryRun bool, w waiting) (answer, error) {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return nil, fmt.Errorf("%q is no address", address)
	}
	c, err := t.connect()
	if err != nil {
		return nil, err
	}
	seen, err := t.look(ctx, c)
	if err != nil {
		return nil, err
	}
	claim := seen.Claim(addr)
	if err := movable(seen, claim, addr, node); err != nil {
		return nil, err
	}
	m := moved{Address: addr.String(), From: claim.Spec.Node, To: node}
	if x := claimOf(claim); x.Answers == node && x.Node == node {
		m.Done, m.Message = true, fmt.Sprintf("%s answers for %s already", node, addr)
		return m, nil
	}
	if dryRun {
		m.Done, m.Message = true, fmt.Sprintf("%s would answer for %s; now it is %s", node, addr, m.From)
		return m, nil
	}
	return t.carry(ctx, c, m, w)
}

// movable says why an address can't be moved to a node, or nil.
func movable(w *world.Snapshot, claim *v1beta1.L2Claim, addr netip.Addr, node string) error {
	evaluation := w.Evaluate()
	s := evaluation.Shown()
	candidates := s.Candidates(addr)
	switch {
	case len(candidates) == 0:
		return fmt.Errorf("no Service that Steelyard serves has the address %s", addr)
	case claim == nil && slices.ContainsFunc(candidates, func(c announce.Candidate) bool { return c.Reason == announce.Announced }):
		return fmt.Errorf("no node has reported yet that it answers for %s: try again in a moment, or see kubectl steelyard explain %s", addr, addr)
	case claim == nil:
		return fmt.Errorf("no node answers for %s on the local network; it may be announced by BGP alone, which every node does at once", addr)
	}
	i := slices.IndexFunc(candidates, func(c announce.Candidate) bool { return c.Node == node })
	if i < 0 {
		return unknown("node", node, nodeNames(w.Nodes))
	}
	if c := candidates[i]; c.Reason != announce.Announced && c.Reason != announce.NotOwner {
		return fmt.Errorf("%s can't announce %s: %s: %s", node, addr, c.Reason, whyNode(evaluation, addr, c, candidates))
	}
	for _, h := range s.Placements() {
		if h.Addr == addr && !slices.Contains(h.May, node) {
			return fmt.Errorf("%s would not keep %s: the advertisement prefers %s (spec.preferredNodeSelectors)", node, addr, strings.Join(h.May, ", "))
		}
	}
	return nil
}

// carry edits the claim, if it still names the node that the move is from, and
// waits until it has come true.
func (t *tool) carry(ctx context.Context, c client.WithWatch, m moved, w waiting) (moved, error) {
	addr := netip.MustParseAddr(m.Address)
	claim := &v1beta1.L2Claim{}
	name := client.ObjectKey{Name: intent.ClaimName(addr)}
	var err error
	if m.Skipped, err = rename(ctx, c, name, claim, m); m.Skipped || err != nil {
		m.Message = leftWhere(claim, m)
		return m, err
	}
	if !w.wait {
		m.Done, m.Message = true, fmt.Sprintf("%s is to answer for %s", m.To, m.Address)
		return m, nil
	}
	start := time.Now()
	ok, err := w.until(ctx, t, func(ctx context.Context) (string, bool, error) {
		if err := c.Get(ctx, name, claim); err != nil {
			return "", false, fmt.Errorf("read the L2Claim of %s: %w", m.Address, err)
		}
		x := claimOf(claim)
		return fmt.Sprintf("waiting for %s to announce %s", m.To, m.Address), x.Answers == m.To && x.Node == m.To, nil
	})
	switch {
	case err != nil:
		return m, err
	case ok:
		m.Done, m.Message = true, fmt.Sprintf("%s answers for %s, after %.1f s; before it was %s", m.To, m.Address, time.Since(start).Seconds(), m.From)
	case claim.Spec.Node != m.To:
		m.Message = fmt.Sprintf("%s went to %s instead of %s: see kubectl steelyard claims", m.Address, claim.Spec.Node, m.To)
	default:
		m.Message = fmt.Sprintf("%s does not announce %s yet, after %s: see kubectl steelyard claims", m.To, m.Address, w.timeout)
	}
	return m, nil
}

// rename has a claim name another node, and returns what became of it. One that
// does not name the node that the move is from any more is left alone.
func rename(ctx context.Context, c client.WithWatch, name client.ObjectKey, claim *v1beta1.L2Claim, m moved) (left bool, err error) {
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error { // its status is also written meanwhile
		left = false
		switch err := c.Get(ctx, name, claim); {
		case apierrors.IsNotFound(err):
			*claim, left = v1beta1.L2Claim{}, true
			return nil
		case err != nil:
			return fmt.Errorf("read the L2Claim of %s: %w", m.Address, err)
		case claim.Spec.Node == m.To:
			return nil // it was named already
		case claim.Spec.Node != m.From:
			left = true
			return nil
		}
		before := claim.DeepCopy()
		claim.Spec.Node = m.To
		if err := c.Patch(ctx, claim, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
			return fmt.Errorf("edit the L2Claim of %s: %w", m.Address, err)
		}
		return nil
	})
	return left, err
}

// leftWhere says what became of a claim that was left alone.
func leftWhere(claim *v1beta1.L2Claim, m moved) string {
	if claim.Name == "" {
		return m.Address + " is not announced on the local network any more"
	}
	return fmt.Sprintf("%s was moved to %s meanwhile, and is left there", m.Address, claim.Spec.Node)
}
