package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bgp"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/layer2"
	"github.com/steelyard-lb/steelyard/internal/membership"
	"github.com/steelyard-lb/steelyard/internal/version"
)

// retryAfter is the pause after a report that failed.
const retryAfter = 2 * time.Second

// reporter writes what this node does, after it does it: L2Claims, BGPSessions
// and its Speaker object. It is off the critical path: nothing that it waits
// for delays an announcement.
type reporter struct {
	client   client.Client
	tell     func(cluster.Note)
	log      *slog.Logger
	node     string
	since    time.Time
	claims   *cluster.Overlay[*v1beta1.L2Claim]
	links    *layer2.Announcer
	sessions *bgp.Sessions
	group    *membership.Group
	host     *host
	plan     *atomic.Pointer[decision]
	trigger  <-chan struct{}

	// What was told of by events.
	told      map[string]bgp.State // by name of the peer
	conflicts map[announce.Conflict]bool
}

func (r *reporter) run(ctx context.Context) error {
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return r.farewell()
		case <-r.trigger:
		case <-r.sessions.Changed():
		case <-r.links.Turned():
		case <-r.host.changed:
		case <-retry.C:
		}
		if p := r.plan.Load(); p != nil {
			if err := r.report(ctx, p); err != nil && ctx.Err() == nil {
				r.log.Warn("can't report; trying again", "err", err)
				retry.Reset(retryAfter)
			}
		}
	}
}

// report brings every object up to date; one that fails doesn't hold up the
// others.
func (r *reporter) report(ctx context.Context, d *decision) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var node corev1.Node
	if err := r.client.Get(ctx, client.ObjectKey{Name: r.node}, &node); err != nil {
		return fmt.Errorf("read the own Node: %w", err)
	}
	if !d.offers { // what BGPSessions say is from before a restart
		return errors.Join(r.reportSpeaker(ctx, &node, d, nil), r.reportClaims(ctx, d))
	}
	states := withShadowed(r.sessions.States(), d.Plan.Shadowed)
	r.reportConflicts(ctx, d.Plan.Conflicts)
	// The Speaker first: others need its links to see in this node an owner.
	return errors.Join(r.reportSpeaker(ctx, &node, d, states), r.reportClaims(ctx, d), r.reportSessions(ctx, &node, states, d.Plan.Shadowed))
}

// farewell says that this speaker stopped by itself.
func (r *reporter) farewell() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	have := &v1beta1.Speaker{}
	if err := r.client.Get(ctx, client.ObjectKey{Name: r.node}, have); err != nil {
		return client.IgnoreNotFound(err)
	}
	after := have.DeepCopy()
	intent.SetCondition(&after.Status.Conditions, metav1.Condition{Type: v1beta1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonStopped})
	after.Status.Sessions = nil
	if r.group.Heard() {
		intent.SetCondition(&after.Status.Conditions, metav1.Condition{
			Type: v1beta1.ConditionRestarting, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonRestarting,
			Message: fmt.Sprintf("the node keeps its addresses for %s; meanwhile another speaker answers for them", membership.Hold),
		})
	} else {
		after.Status.Addresses = 0
	}
	if err := r.client.Status().Patch(ctx, after, client.MergeFrom(have)); err != nil {
		return fmt.Errorf("say in Speaker %q that it stopped: %w", r.node, err)
	}
	return nil
}

// existing returns a copy of what the cache has, or a new object of that name.
func existing[T any, P interface {
	*T
	client.Object
	DeepCopy() *T
}](have P, name string) P {
	if have != nil {
		return have.DeepCopy()
	}
	out := P(new(T))
	out.SetName(name)
	return out
}

func timeOf(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	out := metav1.NewTime(t.Truncate(time.Second))
	return &out
}

func (r *reporter) reportSpeaker(ctx context.Context, node *corev1.Node, d *decision, states []bgp.State) error {
	have := &v1beta1.Speaker{}
	switch err := r.client.Get(ctx, client.ObjectKey{Name: r.node}, have); {
	case apierrors.IsNotFound(err):
		have = nil
	case err != nil:
		return fmt.Errorf("read Speaker %q: %w", r.node, err)
	}
	status := v1beta1.SpeakerStatus{
		Addresses: int32(len(d.Plan.Claims)),
		Sessions:  &v1beta1.SessionCount{Total: int32(len(states))},
		Version:   version.String(),
		Since:     timeOf(r.since),
		Host:      r.host.facts.Load(),
	}
	for _, s := range states {
		if s.Session == bgp.Established {
			status.Sessions.Established++
		}
	}
	for _, l := range r.links.Links() {
		link := v1beta1.SpeakerLink{Name: l.Name, MAC: l.MAC.String(), Up: l.Up}
		for _, p := range l.Prefixes {
			link.Prefixes = append(link.Prefixes, p.String())
		}
		status.Links = append(status.Links, link)
	}
	loud, cutOff := r.links.KernelAnswers(), ""
	if r.group.View().Isolated {
		cutOff = "it hears no other speaker, and no gateway answers; so it answers for nothing"
	}
	return r.put(ctx, node, existing(have, r.node), func(o client.Object) {
		s := o.(*v1beta1.Speaker)
		status.Conditions = slices.Clone(s.Status.Conditions)
		for _, c := range []metav1.Condition{
			{Type: v1beta1.ConditionKernelAnswers, Reason: v1beta1.ReasonNoStrictARP, Message: loud},
			{Type: v1beta1.ConditionIsolated, Reason: v1beta1.ReasonCutOff, Message: cutOff},
			{Type: v1beta1.ConditionRestarting},
		} {
			if c.Message == "" {
				meta.RemoveStatusCondition(&status.Conditions, c.Type)
				continue
			}
			c.Status = metav1.ConditionTrue
			intent.SetCondition(&status.Conditions, c)
		}
		intent.SetCondition(&status.Conditions, metav1.Condition{Type: v1beta1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonRunning})
		s.Status = status
	})
}

// put writes the status of an object that this node's speaker owns, if it
// differs, and creates the object if it is not there.
func (r *reporter) put(ctx context.Context, node *corev1.Node, obj client.Object, set func(client.Object)) error {
	if obj.GetUID() == "" {
		obj.SetOwnerReferences([]metav1.OwnerReference{ownedBy(node)})
		if err := r.client.Create(ctx, obj); err != nil {
			return fmt.Errorf("create %T %q: %w", obj, obj.GetName(), err)
		}
	}
	before := obj.DeepCopyObject().(client.Object)
	set(obj)
	if equality.Semantic.DeepEqual(before, obj) {
		return nil
	}
	if err := r.client.Status().Patch(ctx, obj, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("patch the status of %T %q: %w", obj, obj.GetName(), err)
	}
	return nil
}

// ownedBy makes an object vanish with the Node.
func ownedBy(node *corev1.Node) metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID, Controller: &yes}
}
