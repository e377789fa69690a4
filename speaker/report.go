package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bgp"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/layer2"
)

// retryAfter is the pause after a report that failed.
const retryAfter = 2 * time.Second

// reporter writes what this node does, after it does it: L2Claims, BGPSessions
// and its Speaker object. It is off the critical path: nothing that it waits
// for delays an announcement.
type reporter struct {
	client   client.Client
	events   events.EventRecorder
	log      *slog.Logger
	node     string
	since    time.Time
	claims   *cluster.Overlay[*v1beta1.L2Claim]
	links    *layer2.Announcer
	sessions *bgp.Sessions
	plan     *atomic.Pointer[announce.Plan]
	trigger  <-chan struct{}
}

func (r *reporter) run(ctx context.Context) error {
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.trigger:
		case <-r.sessions.Changed():
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
func (r *reporter) report(ctx context.Context, p *announce.Plan) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var node corev1.Node
	if err := r.client.Get(ctx, client.ObjectKey{Name: r.node}, &node); err != nil {
		return fmt.Errorf("read the own Node: %w", err)
	}
	states := r.sessions.States()
	// The Speaker first: others need its links to see in this node an owner.
	return errors.Join(r.reportSpeaker(ctx, &node, states), r.reportClaims(ctx, p), r.reportSessions(ctx, &node, states))
}

// claimName returns the name of an address's L2Claim.
func claimName(a netip.Addr) string {
	name := strings.ReplaceAll(a.String(), ":", "-")
	// A name must not start or end with a dash: "::1" is "0--1".
	if strings.HasPrefix(name, "-") {
		name = "0" + name
	}
	if strings.HasSuffix(name, "-") {
		name += "0"
	}
	return name
}

// readClaims returns all claims, as of the cache or later. They must not be changed.
func readClaims(ctx context.Context, reader client.Reader, overlay *cluster.Overlay[*v1beta1.L2Claim]) ([]*v1beta1.L2Claim, error) {
	var list v1beta1.L2ClaimList
	if err := cluster.List(ctx, reader, &list); err != nil {
		return nil, err
	}
	out := make([]*v1beta1.L2Claim, len(list.Items))
	for i := range list.Items {
		out[i] = &list.Items[i]
	}
	overlay.Apply(out)
	return out, nil
}

// reportClaims enters this node in the L2Claims of the addresses that it
// answers for.
func (r *reporter) reportClaims(ctx context.Context, p *announce.Plan) error {
	have, err := readClaims(ctx, r.client, r.claims)
	if err != nil {
		return err
	}
	byName := make(map[string]*v1beta1.L2Claim, len(have))
	for _, c := range have {
		byName[c.Name] = c
	}
	links := r.links.Links()
	var failed []error
	for _, c := range p.Claims {
		failed = append(failed, r.reportClaim(ctx, byName[claimName(c.Addr)], r.claimStatus(p, c, links), c.Addr))
	}
	return errors.Join(failed...)
}

// claimStatus returns what is to be told of a claim, but for its time.
func (r *reporter) claimStatus(p *announce.Plan, c announce.Claim, links []layer2.Link) v1beta1.L2ClaimStatus {
	s := v1beta1.L2ClaimStatus{Node: r.node}
	for _, l := range links {
		if l.Up && c.Links.Match(l.Name) {
			s.Links = append(s.Links, v1beta1.ClaimLink{Name: l.Name, MAC: l.MAC.String()})
		}
	}
	for key, v := range p.Verdicts {
		if _, ok := v.Layer2[c.Addr]; ok {
			s.Services = append(s.Services, key.String())
		}
	}
	slices.Sort(s.Services)
	return s
}

// reportClaim writes one claim. The write that makes this node the owner is told
// in an event on each of the Services.
func (r *reporter) reportClaim(ctx context.Context, have *v1beta1.L2Claim, want v1beta1.L2ClaimStatus, addr netip.Addr) error {
	now := metav1.Now()
	claim := &v1beta1.L2Claim{}
	claim.Name, claim.Spec.Address = claimName(addr), v1beta1.IPAddress(addr.String())
	if have != nil {
		claim = have.DeepCopy()
	}
	if claim.Spec.Node != r.node {
		before := claim.DeepCopy()
		claim.Spec.Node = r.node
		var err error
		if have == nil {
			err = r.client.Create(ctx, claim)
		} else {
			err = r.client.Patch(ctx, claim, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
		}
		if err != nil {
			return fmt.Errorf("name this node in L2Claim %q: %w", claim.Name, err)
		}
		r.claims.Saw(claim.DeepCopy())
		r.tellOwner(ctx, want.Services, claim.DeepCopy(), before.Spec.Node)
	}
	before := claim.DeepCopy()
	want.Since, want.Conditions = claim.Status.Since, slices.Clone(claim.Status.Conditions)
	if claim.Status.Node != r.node || want.Since == nil {
		want.Since = &now
	}
	meta.SetStatusCondition(&want.Conditions, metav1.Condition{
		Type: v1beta1.ConditionAnnounced, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAnnounced, ObservedGeneration: claim.Generation,
	})
	claim.Status = want
	if equality.Semantic.DeepEqual(before.Status, claim.Status) {
		return nil
	}
	if err := r.client.Status().Patch(ctx, claim, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("patch the status of L2Claim %q: %w", claim.Name, err)
	}
	r.claims.Saw(claim)
	return nil
}

// tellOwner says on each Service of an address that this node answers for it
// from now on. The claim goes with the event: without, this event and the one
// of another address would be merged, and the second text lost.
func (r *reporter) tellOwner(ctx context.Context, services []string, claim *v1beta1.L2Claim, before string) {
	note := fmt.Sprintf("node %s answers for %s", r.node, claim.Spec.Address)
	if before != "" {
		note += ", after node " + before
	}
	for _, name := range services {
		ns, n, _ := strings.Cut(name, "/")
		svc := &corev1.Service{}
		if err := r.client.Get(ctx, client.ObjectKey{Namespace: ns, Name: n}, svc); err != nil {
			continue // gone meanwhile: nobody to tell
		}
		r.events.Eventf(svc, claim, corev1.EventTypeNormal, v1beta1.ReasonAnnounced, "Announce", "%s", note)
	}
}

func (r *reporter) reportSessions(ctx context.Context, node *corev1.Node, states []bgp.State) error {
	var list v1beta1.BGPSessionList
	if err := cluster.List(ctx, r.client, &list); err != nil {
		return err
	}
	have := map[string]*v1beta1.BGPSession{}
	for i := range list.Items {
		if s := &list.Items[i]; s.Status.Node == r.node || metav1.IsControlledBy(s, node) {
			have[s.Name] = s
		}
	}
	var failed []error
	for _, state := range states {
		name := r.node + "." + state.Peer
		err := r.put(ctx, node, existing(have[name], name), func(o client.Object) {
			s := o.(*v1beta1.BGPSession)
			s.Status = v1beta1.BGPSessionStatus{
				Node: r.node, Peer: state.Peer, State: string(state.Session), LastError: state.LastError,
				Since: timeOf(state.Since), Prefixes: &v1beta1.PrefixCount{Advertised: int32(state.Advertised)},
			}
		})
		failed = append(failed, err)
		delete(have, name)
	}
	for _, s := range have {
		if err := r.client.Delete(ctx, s); client.IgnoreNotFound(err) != nil {
			failed = append(failed, fmt.Errorf("delete BGPSession %q: %w", s.Name, err))
		}
	}
	return errors.Join(failed...)
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

func (r *reporter) reportSpeaker(ctx context.Context, node *corev1.Node, states []bgp.State) error {
	have := &v1beta1.Speaker{}
	switch err := r.client.Get(ctx, client.ObjectKey{Name: r.node}, have); {
	case apierrors.IsNotFound(err):
		have = nil
	case err != nil:
		return fmt.Errorf("read Speaker %q: %w", r.node, err)
	}
	status := v1beta1.SpeakerStatus{
		Addresses: int32(len(r.plan.Load().Claims)),
		Sessions:  &v1beta1.SessionCount{Total: int32(len(states))},
		Version:   version(),
		Since:     timeOf(r.since),
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
	return r.put(ctx, node, existing(have, r.node), func(o client.Object) {
		s := o.(*v1beta1.Speaker)
		status.Conditions = slices.Clone(s.Status.Conditions)
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{Type: v1beta1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonRunning})
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

// version returns the version of this program, as far as the build knows it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}
