package main

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bgp"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/layer2"
)

// reconciler reads, thinks, and sets what the adapters are to do. It writes
// nothing to the API server: the reporter does, after the wire has changed.
type reconciler struct {
	options
	reader   client.Reader
	log      *slog.Logger
	claims   *cluster.Overlay[*v1beta1.L2Claim]
	beat     *heartbeat
	links    *layer2.Announcer
	sessions *bgp.Sessions
	plan     atomic.Pointer[announce.Plan] // the one in force; nil at first
	report   chan struct{}                 // told after every pass
}

func (r *reconciler) reconcile(ctx context.Context) (reconcile.Result, error) {
	snap, err := r.snapshot(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	r.apply(announce.Decide(snap), snap.Claims)
	return reconcile.Result{}, nil
}

// apply puts the plan in force, but for claims that are not safe to make yet.
func (r *reconciler) apply(p announce.Plan, held []announce.HeldClaim) {
	before := r.plan.Load()
	if before == nil {
		before = &announce.Plan{}
	}
	p.Claims = slices.DeleteFunc(p.Claims, func(c announce.Claim) bool {
		return !holds(before, c.Addr) && !r.mayTake(c.Addr, held)
	})
	r.links.Set(p.Claims)
	r.sessions.Set(p.Peerings)
	for _, c := range p.Claims {
		if !holds(before, c.Addr) {
			r.log.Info("claimed address", "addr", c.Addr)
		}
	}
	for _, c := range before.Claims {
		if !holds(&p, c.Addr) {
			r.log.Info("gave up address", "addr", c.Addr)
		}
	}
	r.plan.Store(&p)
	signal(r.report)
}

// mayTake reports whether this node may begin to answer for an address. While
// the API server is out of reach others may have taken over what this node's
// cache still calls its own; and at first it knows too little of the others to
// take what it did not hold before.
func (r *reconciler) mayTake(a netip.Addr, held []announce.HeldClaim) bool {
	if slices.Contains(held, announce.HeldClaim{Addr: a, Node: r.node}) {
		return r.beat.connected()
	}
	return r.beat.settled()
}

func holds(p *announce.Plan, a netip.Addr) bool {
	return slices.ContainsFunc(p.Claims, func(c announce.Claim) bool { return c.Addr == a })
}

// signal fills a channel of capacity 1.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
