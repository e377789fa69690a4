package main

import (
	"context"
	"fmt"
	"math/big"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// reports returns the writes that bring the status of every configuration
// object up to date, that remove the claims of addresses nobody has, and that
// clean Services which are ours no more.
func (r *reconciler) reports(p plan) []write {
	use := p.usage()
	return slices.Concat(
		judged(r, p, p.objects.Pools, func(o *v1beta1.IPAddressPool) *[]metav1.Condition {
			o.Status.IPv4, o.Status.IPv6 = use[o.Name][ipam.IPv4], use[o.Name][ipam.IPv6]
			return &o.Status.Conditions
		}),
		judged(r, p, p.objects.Peers, func(o *v1beta1.BGPPeer) *[]metav1.Condition {
			o.Status.Sessions = p.sessionsOf(o.Name)
			return &o.Status.Conditions
		}),
		judged(r, p, p.objects.L2, func(o *v1beta1.L2Advertisement) *[]metav1.Condition { return &o.Status.Conditions }),
		judged(r, p, p.objects.BGP, func(o *v1beta1.BGPAdvertisement) *[]metav1.Condition { return &o.Status.Conditions }),
		judged(r, p, p.objects.Profiles, func(o *v1beta1.BFDProfile) *[]metav1.Condition { return &o.Status.Conditions }),
		judged(r, p, p.objects.Communities, func(o *v1beta1.Community) *[]metav1.Condition { return &o.Status.Conditions }),
		r.orphans(p), r.former(p),
	)
}

// judged returns the writes that bring the objects of one kind up to date. The
// function status fills in what is not a condition, and returns the conditions.
func judged[T any, P interface {
	*T
	client.Object
	DeepCopy() *T
}](r *reconciler, p plan, objects []T, status func(P) *[]metav1.Condition) []write {
	kind := reflect.TypeFor[T]().Name()
	var out []write
	for i := range objects {
		before := P(&objects[i])
		after := P(before.DeepCopy())
		p.judge(kind, after, status(after))
		if equality.Semantic.DeepEqual(before, after) {
			continue
		}
		out = append(out, write{
			what: fmt.Sprintf("write the status of %s %q", kind, after.GetName()),
			do: func(ctx context.Context) error {
				return r.client.Status().Patch(ctx, after, client.MergeFrom(before))
			},
		})
	}
	return out
}

// judge sets the conditions that follow from the verdict on the object.
func (p plan) judge(kind string, obj client.Object, conditions *[]metav1.Condition) {
	v := p.config.Verdicts[intent.Ref{Kind: kind, Name: obj.GetName()}]
	ready := metav1.Condition{Type: v1beta1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAccepted, ObservedGeneration: obj.GetGeneration()}
	if v.Reason != "" {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, v.Reason, v.Message
	}
	meta.SetStatusCondition(conditions, ready)
	if len(v.NoEffect) == 0 {
		meta.RemoveStatusCondition(conditions, v1beta1.ConditionInEffect)
		return
	}
	meta.SetStatusCondition(conditions, metav1.Condition{
		Type: v1beta1.ConditionInEffect, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonNoEffectYet, ObservedGeneration: obj.GetGeneration(),
		Message: "accepted, but without any effect in this version: " + strings.Join(v.NoEffect, ", "),
	})
}

// usage counts the addresses of each pool.
func (p plan) usage() map[string]map[ipam.Family]*v1beta1.PoolUsage {
	taken := map[string]map[netip.Addr]bool{}
	for _, g := range p.grants {
		for i, a := range g.Addrs {
			if taken[g.Pools[i]] == nil {
				taken[g.Pools[i]] = map[netip.Addr]bool{}
			}
			taken[g.Pools[i]][a] = true // once, however many Services share it
		}
	}
	out := map[string]map[ipam.Family]*v1beta1.PoolUsage{}
	for i := range p.pools {
		pool := &p.pools[i]
		count := map[ipam.Family]int64{}
		for a := range taken[pool.Name] {
			count[ipam.FamilyOf(a)]++
		}
		out[pool.Name] = map[ipam.Family]*v1beta1.PoolUsage{}
		for _, f := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
			if capacity, n := pool.Capacity(f), big.NewInt(count[f]); capacity.Sign() > 0 {
				out[pool.Name][f] = &v1beta1.PoolUsage{
					Capacity: capacity.String(), Assigned: n.String(), Available: new(big.Int).Sub(capacity, n).String(),
				}
			}
		}
	}
	return out
}

// sessionsOf counts the sessions to a peer.
func (p plan) sessionsOf(peer string) *v1beta1.SessionCount {
	var n v1beta1.SessionCount
	for _, s := range p.sessions {
		if s.Status.Peer == peer {
			n.Total++
			if s.Status.State == "Established" {
				n.Established++
			}
		}
	}
	return &n
}

// orphans returns the deletions of claims of addresses that no Service has.
func (r *reconciler) orphans(p plan) []write {
	held := map[netip.Addr]bool{}
	for _, a := range p.foreign {
		held[a] = true // perhaps of a second Steelyard, of another class
	}
	for _, g := range p.grants {
		for _, a := range g.Addrs {
			held[a] = true
		}
	}
	var out []write
	for i := range p.claims {
		c := &p.claims[i]
		if a, err := netip.ParseAddr(string(c.Spec.Address)); err == nil && held[a] || c.DeletionTimestamp != nil {
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
