package lease

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

const (
	// singly and oneIn: up to 8 Leases, or a 16th of all, are read one by one. More are listed.
	singly, oneIn = 8, 16
	// atOnce is how many reads run concurrently.
	atOnce = 4
)

// follow starts a watch of all Leases, or of this speaker's alone where there are many
// speakers, unless that watch exists.
func (h *Heartbeat) follow(ctx context.Context) {
	_, large := h.Peers()
	if h.opening || h.watching.Reader != nil && h.watching.all == !large {
		return
	}
	h.opening = true
	watching, stop := context.WithCancel(ctx)
	h.jobs.Go(func() {
		leases, err := h.Watch(watching, !large, func() { wait.Signal(h.Changed) })
		h.watches <- watch{leases, !large, stop, err}
	})
}

// opened switches to a new watch, and ends the old one.
func (h *Heartbeat) opened(w watch) {
	h.opening = false
	if w.err != nil {
		w.stop()
		h.Log.Warn("can't watch the speakers' Leases", "err", w.err)
		return
	}
	if h.watching.stop != nil {
		h.watching.stop()
	}
	h.mu.Lock()
	h.watching = w
	h.mu.Unlock()
	wait.Signal(h.Changed)
}

// check reads the Leases that are in doubt. Renewals do not wait for it.
func (h *Heartbeat) check(ctx context.Context) {
	if h.checking {
		return
	}
	peers, _ := h.Peers()
	h.mu.Lock()
	due := h.tracker.Due(peers)
	h.mu.Unlock()
	if len(due) == 0 {
		h.checked(readout{})
		return
	}
	h.checking = true
	h.jobs.Go(func() {
		read, err := h.leases(ctx, due, max(singly, len(peers)/oneIn))
		h.checks <- readout{due, read, err}
	})
}

// checked records the Leases that were read.
func (h *Heartbeat) checked(r readout) {
	h.checking = false
	switch {
	case r.err != nil:
		h.Log.Warn("can't read the Leases of unreachable speakers", "err", r.err)
		return
	case h.behind: // Leases do not count before the L2Claims are read
		return
	}
	h.mu.Lock()
	changes, changed := h.tracker.ObserveRead(r.due, r.read, time.Now())
	h.mu.Unlock()
	h.report(changes, changed)
}

// leases reads the Leases that nodes hold, past the cache, sorted. It reads the current
// state: a renewal that is missing was not made before this speaker's own came back.
func (h *Heartbeat) leases(ctx context.Context, nodes []string, singly int) ([]Renewal, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var found coordinationv1.LeaseList
	if len(nodes) > singly {
		if err := h.Direct.List(ctx, &found, client.InNamespace(h.Namespace), client.MatchingLabels{cluster.LabelLease: "speaker"}); err != nil {
			return nil, fmt.Errorf("list the speakers' Leases: %w", err)
		}
		return slices.DeleteFunc(renewalsOf(found), func(r Renewal) bool {
			_, asked := slices.BinarySearch(nodes, r.Node)
			return !asked
		}), nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	found.Items = make([]coordinationv1.Lease, len(nodes))
	for i, node := range nodes {
		group.Go(func() error {
			err := h.Direct.Get(ctx, client.ObjectKey{Namespace: h.Namespace, Name: intent.LeaseName(node)}, &found.Items[i])
			if client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("read the Lease of the speaker on %s: %w", node, err)
			}
			return nil
		})
	}
	err := group.Wait()
	return renewalsOf(found), err
}

// look observes the Leases.
func (h *Heartbeat) look(ctx context.Context) {
	if err := h.observe(ctx); err != nil {
		h.Log.Warn("can't read the other speakers' Leases", "err", err)
	}
}

// observe records this speaker's own renewal if it came back, and then counts the others'
// unless the L2Claims must be read first.
func (h *Heartbeat) observe(ctx context.Context) error {
	renewals, err := h.renewals(ctx)
	if err != nil {
		return err
	}
	var own time.Time
	for _, r := range renewals {
		if r.Node == h.Node {
			own = r.Renewed
		}
	}
	h.mu.Lock()
	fresh, resync := h.tracker.Echo(own, time.Now())
	h.mu.Unlock()
	if resync {
		h.fallBehind(ctx)
	}
	h.late = !fresh
	if !fresh || h.behind {
		return nil
	}
	return h.count(ctx)
}

// count counts the renewals that the other speakers have missed, now that one of this
// speaker's came back.
func (h *Heartbeat) count(ctx context.Context) error {
	if !h.watching.all {
		h.check(ctx)
		return nil
	}
	renewals, err := h.renewals(ctx)
	if err != nil {
		return err
	}
	h.mu.Lock()
	changes, changed := h.tracker.Observe(renewals, time.Now())
	h.mu.Unlock()
	h.report(changes, changed)
	return nil
}
