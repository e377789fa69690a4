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
	// singly is how many Leases are read one by one, or one in so many of all; more are listed.
	singly, oneIn = 8, 16
	// atOnce is how many are read at a time.
	atOnce = 4
)

// follow has those Leases watched that should be: all, or the own one where there are many
// speakers.
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

// opened goes on by a watch that is there, and ends the one before.
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

// check reads the Leases that are in doubt. No renewal waits for that.
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

// checked takes in the Leases that were read.
func (h *Heartbeat) checked(r readout) {
	h.checking = false
	switch {
	case r.err != nil:
		h.Log.Warn("can't read the Leases of speakers that are not heard", "err", r.err)
		return
	case h.behind: // they count when the L2Claims are read
		return
	}
	h.mu.Lock()
	news, changed := h.tracker.ObserveRead(r.due, r.read, time.Now())
	h.mu.Unlock()
	h.report(news, changed)
}

// leases reads, past the cache, the Leases of nodes that hold one, sorted: as they are now,
// so that a renewal that is missing was not made before the own one came back.
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
