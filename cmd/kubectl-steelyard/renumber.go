package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// moving are the arguments and flags of the steps of a renumbering.
type moving struct {
	waiting
	pool, to string
	ttl      time.Duration
	force    bool
}

func renumber(t *tool) *cobra.Command {
	var m moving
	c := t.command(&cobra.Command{
		Use:   "renumber plan|start|finish|abort POOL [--to POOL]",
		Short: "Move the Services of a pool to another pool, without a failed connection",
		Long: `Move the Services of a pool to another pool, without a failed connection.

  plan    shows which new address each Service gets, and what stands in the way.
          It changes nothing.
  start   gives each Service the new address beside the old one, and waits until
          every Service has it.
  finish  waits for the TTL, puts the new addresses first in the status of the
          Services, waits for the TTL again, and withdraws the old ones.
  abort   goes back: the old addresses come first again, then the TTL passes, then
          the new ones are withdrawn.

A new address has the host part of the old one where both pools list ranges of the
same size. How far the renumbering is stands in the old pool (spec.renumbering): a step
that is interrupted goes on when it is called again.`,
		Example: `  kubectl steelyard renumber plan old --to new
  kubectl steelyard renumber start old --to new --ttl 10m
  kubectl steelyard renumber finish old`,
		Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return []string{"plan", "start", "finish", "abort"}, cobra.ShellCompDirectiveNoFileComp
			}
			return t.names(v1beta1.GroupVersion().WithKind("IPAddressPool"), "")(cmd, args[1:], begun)
		},
	}, func(ctx context.Context, args []string) (answer, error) {
		steps := map[string]func(context.Context, moving) (answer, error){"plan": t.planned, "start": t.start, "finish": t.finish, "abort": t.abort}
		step, known := steps[args[0]]
		if !known {
			return nil, unknown("step", args[0], []string{"plan", "start", "finish", "abort"})
		}
		m.pool = args[1]
		return step(ctx, m)
	})
	c.Flags().StringVar(&m.to, "to", "", "pool that replaces it (default: the one in its spec.replacedBy)")
	c.Flags().DurationVar(&m.ttl, "ttl", 0, "how long clients may use an address that they have looked up (default: as the pool says, else 5m)")
	c.Flags().BoolVar(&m.force, "force", false, "start also if some Service gets no new address, or none that is announced")
	m.addFlags(c, 24*time.Hour)
	return c
}

// planned shows the plan.
func (t *tool) planned(ctx context.Context, m moving) (answer, error) {
	_, r, err := t.plan(ctx, m)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// plan reads the cluster, and works out how the Services of the pool move.
func (t *tool) plan(ctx context.Context, m moving) (client.WithWatch, renumbering, error) {
	c, err := t.connect()
	if err != nil {
		return nil, renumbering{}, err
	}
	pool, err := t.replaced(ctx, c, m.pool, m.to)
	if err != nil {
		return nil, renumbering{}, err
	}
	if m.ttl > 0 {
		pool.Spec.Renumbering = &v1beta1.Renumbering{Phase: phaseOf(pool), TTL: v1beta1.Duration(m.ttl.String())}
	}
	w, err := t.look(ctx, c)
	if err != nil {
		return nil, renumbering{}, err
	}
	return c, planOf(w, pool), nil
}

func (t *tool) start(ctx context.Context, m moving) (answer, error) {
	c, r, err := t.plan(ctx, m)
	if err != nil {
		return nil, err
	}
	if r.Phase != v1beta1.RenumberingPlanned && r.Phase != v1beta1.RenumberingStarted {
		return nil, fmt.Errorf("the renumbering of %s has started, and is %s: see kubectl steelyard renumber plan %s", m.pool, r.Phase, m.pool)
	}
	if missing := r.missing(); !m.force && len(r.Notes)+len(missing) > 0 {
		return nil, fmt.Errorf("not started, for %s: see kubectl steelyard renumber plan %s --to %s; --force starts all the same", strings.Join(append(r.Notes, noAddress(missing)...), "; "), r.Pool, r.To)
	}
	if err := t.enter(ctx, c, r, v1beta1.RenumberingStarted); err != nil {
		return nil, err
	}
	return t.settled(ctx, c, m, 0)
}

func noAddress(services []string) []string {
	if len(services) == 0 {
		return nil
	}
	return []string{"no new address is there for Services " + strings.Join(services, ", ")}
}

func (t *tool) finish(ctx context.Context, m moving) (answer, error) {
	return t.through(ctx, m, map[v1beta1.RenumberingPhase]v1beta1.RenumberingPhase{
		v1beta1.RenumberingStarted: v1beta1.RenumberingSwitched, v1beta1.RenumberingSwitched: v1beta1.RenumberingFinished,
	})
}

func (t *tool) abort(ctx context.Context, m moving) (answer, error) {
	return t.through(ctx, m, map[v1beta1.RenumberingPhase]v1beta1.RenumberingPhase{
		v1beta1.RenumberingSwitched: v1beta1.RenumberingStarted, v1beta1.RenumberingStarted: v1beta1.RenumberingPlanned,
	})
}

// through takes a renumbering from phase to phase. It waits for the TTL in each, but goes back from Switched at
// once; and where no phase is next, until the Services show what the last one gives them.
func (t *tool) through(ctx context.Context, m moving, after map[v1beta1.RenumberingPhase]v1beta1.RenumberingPhase) (answer, error) {
	c, r, err := t.plan(ctx, m)
	if err != nil {
		return nil, err
	}
	aborts := after[v1beta1.RenumberingStarted] == v1beta1.RenumberingPlanned
	if err := begun(r, aborts); err != nil {
		return nil, err
	}
	ttl, err := time.ParseDuration(r.TTL)
	if err != nil {
		return nil, fmt.Errorf("spec.renumbering.ttl of IPAddressPool %s: %w", m.pool, err)
	}
	for {
		to, more := after[r.Phase]
		if !more {
			return t.settled(ctx, c, m, 0)
		}
		if !aborts || r.Phase == v1beta1.RenumberingStarted {
			a, err := t.settled(ctx, c, m, ttl)
			if err != nil || !aborts && !m.force && !a.clean() {
				return a, err
			}
		}
		if err := t.enter(ctx, c, r, to); err != nil {
			return nil, err
		}
		r.Phase = to
	}
}

// begun says why a renumbering can't be finished or aborted, or nil.
func begun(r renumbering, aborts bool) error {
	switch {
	case r.Phase == v1beta1.RenumberingPlanned:
		return fmt.Errorf("the renumbering of %s has not started: kubectl steelyard renumber start %s --to %s", r.Pool, r.Pool, r.To)
	case r.Phase == v1beta1.RenumberingFinished && aborts:
		return errors.New("the old addresses are withdrawn: to go back, renumber the other way, once this pool is not replaced any more")
	}
	return nil
}

// enter writes a phase into the pool, unless the pool has moved on since it was read.
func (t *tool) enter(ctx context.Context, c client.Client, r renumbering, phase v1beta1.RenumberingPhase) error {
	return retry.RetryOnConflict(retry.DefaultRetry, func() error { // its status is also written meanwhile
		pool := &v1beta1.IPAddressPool{}
		if err := c.Get(ctx, client.ObjectKey{Name: r.Pool}, pool); err != nil {
			return fmt.Errorf("read IPAddressPool %q: %w", r.Pool, err)
		}
		if now := phaseOf(pool); now != r.Phase && now != phase {
			return fmt.Errorf("the renumbering of %s is %s meanwhile: another command goes on with it", r.Pool, now)
		}
		before := pool.DeepCopy()
		pool.Spec.ReplacedBy = r.To
		pool.Spec.Renumbering = &v1beta1.Renumbering{Phase: phase, TTL: v1beta1.Duration(r.TTL)}
		if err := c.Patch(ctx, pool, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
			return fmt.Errorf("write phase %s into IPAddressPool %q: %w", phase, r.Pool, err)
		}
		t.printError(fmt.Sprintf("%s: %s", phase, meaning(phase)))
		return nil
	})
}

// meaning says what a phase does.
func meaning(phase v1beta1.RenumberingPhase) string {
	switch phase {
	case v1beta1.RenumberingStarted:
		return "each Service has both addresses, the old one first"
	case v1beta1.RenumberingSwitched:
		return "each Service has both addresses, the new one first"
	case v1beta1.RenumberingFinished:
		return "the old addresses are withdrawn"
	}
	return "the new addresses are withdrawn"
}

// settled waits until each Service shows what the present phase gives it, and has for so long.
func (t *tool) settled(ctx context.Context, c client.Client, m moving, ttl time.Duration) (renumbering, error) {
	if !m.wait && ttl == 0 {
		_, r, err := t.plan(ctx, m)
		return r, err
	}
	if !m.wait {
		m.timeout = time.Second // it says what there is to wait for
	}
	ok, err := m.until(ctx, t, func(ctx context.Context) (string, bool, error) {
		pool := &v1beta1.IPAddressPool{}
		if err := c.Get(ctx, client.ObjectKey{Name: m.pool}, pool); err != nil {
			return "", false, fmt.Errorf("read IPAddressPool %q: %w", m.pool, err)
		}
		state, done := t.progress(pool, ttl)
		return state, done, nil
	})
	if err != nil {
		return renumbering{}, err
	}
	_, r, err := t.plan(ctx, m)
	if err == nil && !ok {
		err = fmt.Errorf("not done after %s: it goes on when the command is called again", m.timeout)
	}
	return r, err
}

// progress says how far the Services of a pool are, and whether they have been there for so long.
func (t *tool) progress(pool *v1beta1.IPAddressPool, ttl time.Duration) (state string, done bool) {
	phase, now := phaseOf(pool), pool.Status.Renumbering
	switch {
	case phase == v1beta1.RenumberingPlanned:
		return "waiting for the controller", now == nil
	case now == nil || now.Phase != phase:
		return "waiting for the controller", false
	case now.Since == nil:
		return fmt.Sprintf("%s: %d Services have addresses of %s, and %d of them new ones; not every Service shows that yet", phase, now.Services, pool.Name, now.Moved), false
	}
	end := now.Since.Add(ttl)
	return fmt.Sprintf("%s since %s: waiting for the TTL until %s", phase, now.Since.UTC().Format(time.RFC3339), end.UTC().Format(time.RFC3339)), !t.now().Before(end)
}
