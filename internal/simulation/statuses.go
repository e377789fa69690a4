package simulation

import (
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/planner"
)

// reportRest and retryReport are the pauses of package controller's reporter.
const (
	reportRest  = 500 * time.Millisecond
	retryReport = 2 * time.Second
)

// statuses writes what pools keep, removes the L2Claims of addresses that no Service has,
// and takes the controller's words off Services that are its own no more.
type statuses struct {
	*controller
	due    bool
	busy   int
	rested time.Time
	term   int // that what follows belongs to
	left   []string
}

func (r *statuses) wake() {
	if r.due || r.cache == nil {
		return
	}
	r.due = true
	if r.busy == 0 {
		r.at(maxTime(r.now.Add(time.Millisecond), r.rested), r.write)
	}
}

func (r *statuses) write() {
	term := r.lease.leading()
	if r.due = false; term == 0 || r.plan == nil {
		return
	}
	if r.term != term {
		r.term, r.left = term, r.strays()
	}
	failed := false
	done := func(err error) {
		failed = failed || err != nil && err != errNotFound
		if r.busy--; r.busy > 0 {
			return
		}
		r.rested = r.now.Add(reportRest)
		switch {
		case failed:
			r.due = false
			r.in(retryReport, r.wake)
		case r.due:
			r.due = false
			r.wake()
		}
	}
	r.busy++
	r.configuration(done)
	r.orphans(done)
	r.former(done)
	done(nil)
}

// write sends one of the writes.
func (r *statuses) send(done func(error), do func() (any, error)) {
	timeLeft := r.timeLeft()
	if timeLeft == 0 {
		return
	}
	r.busy++
	r.askWithin(timeLeft, do, func(_ any, err error) { done(err) })
}

// configuration writes the statuses of pools and advertisements.
func (r *statuses) configuration(done func(error)) {
	for _, x := range planner.Statuses(r.configured(), planner.Reports{}, r.plan) {
		switch after := x.After.(type) {
		case *v1beta1.IPAddressPool:
			before := x.Before.(*v1beta1.IPAddressPool)
			after.Status.History = before.Status.History // it decides nothing
			if r.old || r.mutation.controller.silent {
				after.Status.Kept = before.Status.Kept
			}
			if equality.Semantic.DeepEqual(before.Status, after.Status) {
				continue
			}
			r.send(done, func() (any, error) {
				now := r.api.get(pools, after.Name)
				if now == nil {
					return nil, errNotFound
				}
				out := now.value.(poolValue).DeepCopy()
				patchPool(&out.Status, &before.Status, &after.Status)
				return r.putPool(out), nil
			})
		case *v1beta1.L2Advertisement:
			r.send(done, func() (any, error) {
				now := r.api.get(ads, after.Name)
				if now == nil {
					return nil, errNotFound
				}
				out := now.value.(adValue).DeepCopy()
				out.Status.Conditions = after.Status.Conditions
				r.putAd(out)
				return nil, nil
			})
		}
	}
}

// patchPool is a patch of what differs, which holds for any version.
func patchPool(now, before, after *v1beta1.IPAddressPoolStatus) {
	same := equality.Semantic.DeepEqual
	if !same(before.Kept, after.Kept) {
		now.Kept = after.Kept
	}
	if !same(before.Accepted, after.Accepted) {
		now.Accepted = after.Accepted
	}
	if !same(before.Conditions, after.Conditions) {
		now.Conditions = after.Conditions
	}
	now.IPv4, now.IPv6 = after.IPv4, after.IPv6
}

// orphans deletes the L2Claims of addresses that no Service has.
func (r *statuses) orphans(done func(error)) {
	holders := maps.Clone(r.plan.Holders)
	for _, o := range r.cache.table[services] {
		for _, a := range intent.Holds(o.value.(serviceValue).Service) {
			holders[a] = true
		}
	}
	for _, o := range r.cache.table[claims] {
		if holders[o.value.(claimValue).addr] {
			continue
		}
		r.send(done, func() (any, error) {
			if now := r.api.get(claims, o.name); now == nil || now.version != o.version {
				return nil, errConflict
			}
			r.remove(claims, o.name)
			return nil, nil
		})
	}
}

// strays returns the Services that bear our words and are no load balancers: they may
// have left while no leader was there.
func (r *statuses) strays() []string {
	var out []string
	for _, o := range r.api.table[services] {
		if !intent.Ours(o.value.(serviceValue).Service, "") {
			out = append(out, o.name)
		}
	}
	return out
}

// former takes our words off Services that have left.
func (r *statuses) former(done func(error)) {
	for _, key := range r.state.Released() {
		r.left = append(r.left, key.String())
	}
	all := r.left
	r.left = nil
	for _, name := range slices.Compact(slices.Sorted(slices.Values(all))) {
		r.send(func(err error) {
			if err != nil && err != errNotFound {
				r.left = append(r.left, name)
			}
			done(err)
		}, func() (any, error) {
			o := r.api.get(services, name)
			if o == nil || intent.Ours(o.value.(serviceValue).Service, "") {
				return nil, errNotFound
			}
			out := o.value.(serviceValue).DeepCopy()
			delete(out.Annotations, v1beta1.AnnotationPool)
			r.state.Finalizer().Remove(out)
			out.Status.Conditions = planner.WithoutOurs(out.Status.Conditions)
			if !equality.Semantic.DeepEqual(out, o.value.(serviceValue).Service) {
				r.putService(out, nil)
			}
			return nil, nil
		})
	}
}
