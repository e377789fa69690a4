package main

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/leader"
	"github.com/steelyard-lb/steelyard/internal/planner"
)

// The pauses of the reporter: between two reports, and before what failed is
// tried again.
const (
	reportRest  = 500 * time.Millisecond
	retryReport = 2 * time.Second
)

// reporter writes what people look at: the status of the configuration objects.
// It also removes claims of addresses that nobody has, and our words from
// Services that are ours no more. Nobody waits for it.
type reporter struct {
	*reconciler
	count    func(kind string, err error)
	verdicts *verdictTally

	term *leader.Term       // that what follows belongs to
	left []client.ObjectKey // Services to be cleaned of our words

	searched bool            // for Services that left while nobody saw it
	page     client.Continue // where the search goes on
}

// scene is all that a report depends on.
type scene struct {
	intent.Configured
	sessions map[string][]v1beta1.BGPSession // by peer
	claims   []v1beta1.L2Claim

	// Of the last plan:
	usage   map[string][]planner.Usage
	kept    map[string][]ipam.Kept // by pool
	holders map[netip.Addr]bool    // and of what Services show
}

// report is one run. It returns when to try again what failed; 0: never.
func (r *reporter) report(ctx context.Context) (time.Duration, error) {
	t := r.leading()
	if t == nil {
		return 0, nil
	}
	if r.term != t {
		r.term, r.left, r.searched = t, nil, false
	}
	s, err := r.scene(ctx, t)
	if err != nil || s == nil {
		return 0, err
	}
	r.verdicts.set(t, s.Objects, s.Config.Verdicts)
	good := r.writeAll(t, slices.Concat(r.statuses(s), r.orphans(s), r.former()))
	if !r.searched {
		if err := r.search(t); err != nil {
			r.log.Warn("can't find the Services that have left; trying again", "err", err)
			good = false
		}
	}
	if !good || len(r.left) > 0 {
		return retryReport, nil
	}
	return 0, nil
}

// scene reads what the report is made from; nil: there is no plan yet.
func (r *reporter) scene(ctx context.Context, t *leader.Term) (*scene, error) {
	s := &scene{}
	var err error
	if s.Configured, err = r.configuration.Read(ctx); err != nil {
		return nil, err
	}
	var sessions v1beta1.BGPSessionList
	if err := cluster.List(ctx, r.client, &sessions); err != nil {
		return nil, err
	}
	var claims v1beta1.L2ClaimList
	if err := cluster.List(ctx, r.client, &claims); err != nil {
		return nil, err
	}
	s.sessions, s.claims = byPeer(sessions.Items), claims.Items
	services, err := r.services(ctx)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil || r.last.term != t {
		return nil, nil
	}
	s.usage, s.kept, s.holders = r.last.Usage(), r.last.KeptIn(), r.last.Holders()
	for _, svc := range services { // others' too: they may be a second Steelyard's, of another class
		for _, a := range intent.Holds(svc) {
			s.holders[a] = true
		}
	}
	r.left = append(r.left, r.state.Released()...)
	return s, nil
}

// write is one write to the API server.
type write struct {
	kind   string // of the object that is patched; empty: it is not a patch
	what   string // for the log
	do     func(context.Context) error
	failed func() // called, if set, when it fails; never at once with another
}

// writeAll makes all writes, many at once, and reports whether all succeeded.
func (r *reporter) writeAll(t *leader.Term, writes []write) bool {
	errs := make([]error, len(writes))
	var group errgroup.Group
	group.SetLimit(parallelAgain)
	for i, w := range writes {
		group.Go(func() error {
			ctx, cancel := t.WriteContext(writeTimeout)
			defer cancel()
			if errs[i] = ctx.Err(); errs[i] == nil {
				errs[i] = client.IgnoreNotFound(w.do(ctx)) // deleted meanwhile: nothing is left to write
				if w.kind != "" {
					r.count(w.kind, errs[i])
				}
			}
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	good := true
	for i, w := range writes {
		if errs[i] == nil {
			continue
		}
		good = false
		r.log.Warn("can't "+w.what+"; trying again", "err", errs[i])
		if w.failed != nil {
			w.failed()
		}
	}
	return good
}

// statuses returns the writes that bring the status of every configuration
// object up to date.
func (r *reporter) statuses(s *scene) []write {
	accepted := make(map[string][]ipam.Range, len(s.Config.Pools))
	for _, p := range s.Config.Pools {
		accepted[p.Name] = p.Accepted
	}
	return slices.Concat(
		judged(r, s, s.Objects.Pools, func(o *v1beta1.IPAddressPool) *[]metav1.Condition {
			o.Status.Accepted = intent.Accepted(accepted[o.Name])
			o.Status.Kept = intent.KeptStatus(s.kept[o.Name])
			o.Status.IPv4, o.Status.IPv6 = nil, nil
			for _, u := range s.usage[o.Name] {
				if u.Family == ipam.IPv4 {
					o.Status.IPv4 = u.Status()
				} else {
					o.Status.IPv6 = u.Status()
				}
			}
			return &o.Status.Conditions
		}),
		judged(r, s, s.Objects.Peers, func(o *v1beta1.BGPPeer) *[]metav1.Condition {
			o.Status.Sessions = s.sessionsOf(o.Name)
			return &o.Status.Conditions
		}),
		judged(r, s, s.Objects.L2, func(o *v1beta1.L2Advertisement) *[]metav1.Condition { return &o.Status.Conditions }),
		judged(r, s, s.Objects.BGP, func(o *v1beta1.BGPAdvertisement) *[]metav1.Condition { return &o.Status.Conditions }),
		judged(r, s, s.Objects.Profiles, func(o *v1beta1.BFDProfile) *[]metav1.Condition { return &o.Status.Conditions }),
		judged(r, s, s.Objects.Communities, func(o *v1beta1.Community) *[]metav1.Condition { return &o.Status.Conditions }),
	)
}

// judged returns the writes that bring the objects of one kind up to date. The
// function status fills in what is not a condition, and returns the conditions.
func judged[T any, P interface {
	*T
	client.Object
	DeepCopy() *T
}](r *reporter, s *scene, objects []T, status func(P) *[]metav1.Condition) []write {
	kind := reflect.TypeFor[T]().Name()
	var out []write
	for i := range objects {
		before := P(&objects[i])
		after := P(before.DeepCopy())
		s.judge(kind, after, status(after))
		if equality.Semantic.DeepEqual(before, after) {
			continue
		}
		out = append(out, write{
			kind: kind,
			what: fmt.Sprintf("write the status of %s %q", kind, after.GetName()),
			do: func(ctx context.Context) error {
				return r.client.Status().Patch(ctx, after, client.MergeFrom(before))
			},
		})
	}
	return out
}

// judge sets the conditions that follow from the verdict on the object.
func (s *scene) judge(kind string, obj client.Object, conditions *[]metav1.Condition) {
	v := s.Config.Verdicts[intent.Ref{Kind: kind, Name: obj.GetName()}]
	if kind == "BGPPeer" && v.Reason == "" {
		v.Reason, v.Message = overlap(s.sessions[obj.GetName()])
	}
	ready := metav1.Condition{Type: v1beta1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAccepted, Message: v.Message, ObservedGeneration: obj.GetGeneration()}
	if v.Reason != "" {
		ready.Status, ready.Reason = metav1.ConditionFalse, v.Reason
	}
	intent.SetCondition(conditions, ready)
	if len(v.NoEffect) == 0 {
		meta.RemoveStatusCondition(conditions, v1beta1.ConditionInEffect)
		return
	}
	intent.SetCondition(conditions, metav1.Condition{
		Type: v1beta1.ConditionInEffect, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonNoEffectYet, ObservedGeneration: obj.GetGeneration(),
		Message: "accepted, but without any effect in this version: " + strings.Join(v.NoEffect, ", "),
	})
}

// sessionsOf counts the sessions to a peer.
func (s *scene) sessionsOf(peer string) *v1beta1.SessionCount {
	var n v1beta1.SessionCount
	for _, x := range s.sessions[peer] {
		n.Total++
		if x.Status.State == health.Established {
			n.Established++
		}
	}
	return &n
}

// orphans returns the deletions of claims of addresses that no Service has.
func (r *reporter) orphans(s *scene) []write {
	var out []write
	for i := range s.claims {
		c := &s.claims[i]
		if a, err := netip.ParseAddr(string(c.Spec.Address)); err == nil && s.holders[a] || c.DeletionTimestamp != nil {
			continue
		}
		out = append(out, write{
			what: "delete L2Claim " + c.Name + ", whose address no Service has",
			do: func(ctx context.Context) error {
				return r.client.Delete(ctx, c, client.Preconditions{UID: &c.UID, ResourceVersion: &c.ResourceVersion})
			},
		})
	}
	return out
}
