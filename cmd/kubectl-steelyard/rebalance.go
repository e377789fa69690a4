package main

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// rebalanced is what rebalance answers.
type rebalanced struct {
	Nodes   []nodeLoad `json:"nodes"`
	Moves   []moved    `json:"moves"`
	Applied bool       `json:"applied"`
}

// nodeLoad is how many addresses a node answers for.
type nodeLoad struct {
	Node   string `json:"node"`
	Before int    `json:"before"`
	After  int    `json:"after"`
}

func rebalance(t *tool) *cobra.Command {
	var w waiting
	var apply, planOnly, dryRun bool
	c := t.command(&cobra.Command{
		Use:   "rebalance [--dry-run | --apply]",
		Short: "Spread the addresses of the local network evenly over the nodes, with few moves",
		Long: `Spread the addresses of the local network evenly over the nodes, with few moves.

An address only goes to a node that can announce it and is not less preferred. With
--dry-run, which is the default, nothing is changed: exit code 2 says that there is
something to move. --apply moves the addresses one after the other, and stops at the
first that does not arrive. An address that has moved meanwhile is not moved again.`,
		Args: noArguments,
	}, func(ctx context.Context, _ []string) (answer, error) { return t.rebalance(ctx, apply, w) })
	c.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing, and tell what would be moved (the default)")
	c.Flags().BoolVar(&planOnly, "plan", false, "the same as --dry-run")
	c.Flags().BoolVar(&apply, "apply", false, "move it")
	c.MarkFlagsMutuallyExclusive("plan", "dry-run", "apply")
	w.addFlags(c, 30*time.Second)
	return c
}

func (t *tool) rebalance(ctx context.Context, apply bool, w waiting) (answer, error) {
	c, err := t.connect()
	if err != nil {
		return nil, err
	}
	seen, err := t.look(ctx, c)
	if err != nil {
		return nil, err
	}
	holdings := seen.Evaluate().Shown().Placements()
	a := rebalanced{Moves: []moved{}, Applied: apply}
	for _, m := range announce.Balance(holdings) {
		a.Moves = append(a.Moves, moved{Address: m.Addr.String(), From: m.From, To: m.To})
	}
	a.Nodes = loads(holdings, a.Moves)
	if !apply {
		return a, nil
	}
	for i := range a.Moves {
		if a.Moves[i], err = t.carry(ctx, c, a.Moves[i], w); err != nil {
			return nil, err
		}
		t.printError(a.Moves[i].Message)
		if !a.Moves[i].Done && !a.Moves[i].Skipped {
			break
		}
	}
	return a, nil
}

// loads counts for each node that has an address, or may have one.
func loads(holdings []announce.Placement, moves []moved) []nodeLoad {
	by := map[string]*nodeLoad{}
	at := func(node string) *nodeLoad {
		if by[node] == nil {
			by[node] = &nodeLoad{Node: node}
		}
		return by[node]
	}
	for _, h := range holdings {
		at(h.Node).Before++
		at(h.Node).After++
		for _, n := range h.May {
			at(n)
		}
	}
	for _, m := range moves {
		at(m.From).After--
		at(m.To).After++
	}
	out := []nodeLoad{}
	for _, node := range slices.Sorted(maps.Keys(by)) {
		out = append(out, *by[node])
	}
	return out
}

func (rebalanced) kind() string { return "Rebalance" }

// clean reports whether nothing is left to be moved.
func (r rebalanced) clean() bool {
	return !slices.ContainsFunc(r.Moves, func(m moved) bool { return !m.Done })
}

func (r rebalanced) draw(p *printer) {
	rows := [][]cell{header("NODE", "ADDRESSES", "AFTER")}
	for _, n := range r.Nodes {
		rows = append(rows, []cell{plain(n.Node), plain(strconv.Itoa(n.Before)), plain(strconv.Itoa(n.After))})
	}
	if len(r.Nodes) == 0 {
		p.line(plain("no address is announced on the local network"))
		return
	}
	p.table("", rows...)
	p.line()
	if len(r.Moves) == 0 {
		p.line(plain("as even as it can be: nothing to move"))
		return
	}
	rows = [][]cell{header("MOVE", "FROM", "TO", "")}
	for _, m := range r.Moves {
		state := plain("")
		switch {
		case m.Done:
			state = good("done")
		case m.Skipped:
			state = warn(m.Message)
		case m.Message != "":
			state = bad(m.Message)
		case r.Applied:
			state = warn("not tried")
		}
		rows = append(rows, []cell{plain(m.Address), plain(m.From), plain(m.To), state})
	}
	p.table("", rows...)
	if !r.Applied {
		p.line()
		p.line(dimmed("to move them: kubectl steelyard rebalance --apply"))
	}
}
