package planner

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Summary is what others than the Services tell of a plan: statuses and metrics.
type Summary struct {
	Services  int
	Usage     map[string][]Usage     // by pool
	Kept      map[string][]ipam.Kept // by pool
	Holders   map[netip.Addr]bool    // addresses that Services have
	Pending   map[ipam.Reason]int    // Services without an address
	Contested int                    // Services whose status somebody else overwrites
}

// Summary sums up the plan, which holds until the next pass.
func (p Plan) Summary() *Summary {
	return &Summary{Services: len(p.Services), Usage: p.usage(), Kept: p.keptIn(), Holders: p.holders(), Pending: p.waiting(), Contested: p.contested()}
}

// Object is an object of the API.
type Object interface {
	metav1.Object
	runtime.Object
}

// StatusChange is a configuration object whose status is to be written.
type StatusChange struct {
	Kind          string
	Before, After Object
}

// Statuses returns the configuration objects whose status is not what follows from
// the configuration, the speakers' sessions and the plan.
func Statuses(c intent.Configured, sessions []v1beta1.BGPSession, plan *Summary) []StatusChange {
	accepted := make(map[string][]ipam.Range, len(c.Config.Pools))
	for _, p := range c.Config.Pools {
		accepted[p.Name] = p.Accepted
	}
	peers, verdicts := byPeer(sessions), maps.Clone(c.Config.Verdicts)
	for name, of := range peers {
		ref := intent.Ref{Kind: "BGPPeer", Name: name}
		if reason, message := overlap(of); reason != "" && verdicts[ref].Reason == "" {
			verdicts[ref] = intent.Verdict{Reason: reason, Message: message, NoEffect: verdicts[ref].NoEffect}
		}
	}
	return slices.Concat(
		changed(verdicts, c.Objects.Pools, func(o *v1beta1.IPAddressPool) *[]metav1.Condition {
			o.Status.Accepted = intent.Accepted(accepted[o.Name])
			o.Status.Kept = intent.KeptStatus(plan.Kept[o.Name])
			o.Status.IPv4, o.Status.IPv6 = nil, nil
			for _, u := range plan.Usage[o.Name] {
				if u.Family == ipam.IPv4 {
					o.Status.IPv4 = u.Status()
				} else {
					o.Status.IPv6 = u.Status()
				}
			}
			return &o.Status.Conditions
		}),
		changed(verdicts, c.Objects.Peers, func(o *v1beta1.BGPPeer) *[]metav1.Condition {
			o.Status.Sessions = countSessions(peers[o.Name])
			return &o.Status.Conditions
		}),
		changed(verdicts, c.Objects.L2, func(o *v1beta1.L2Advertisement) *[]metav1.Condition { return &o.Status.Conditions }),
		changed(verdicts, c.Objects.BGP, func(o *v1beta1.BGPAdvertisement) *[]metav1.Condition { return &o.Status.Conditions }),
		changed(verdicts, c.Objects.Profiles, func(o *v1beta1.BFDProfile) *[]metav1.Condition { return &o.Status.Conditions }),
		changed(verdicts, c.Objects.Communities, func(o *v1beta1.Community) *[]metav1.Condition { return &o.Status.Conditions }),
	)
}

// changed returns the objects of one kind whose status differs. The function status
// fills in what is not a condition, and returns the conditions.
func changed[T any, P interface {
	*T
	Object
	DeepCopy() *T
}](verdicts map[intent.Ref]intent.Verdict, objects []T, status func(P) *[]metav1.Condition) []StatusChange {
	kind := reflect.TypeFor[T]().Name()
	var out []StatusChange
	for i := range objects {
		before := P(&objects[i])
		after := P(before.DeepCopy())
		setConditions(status(after), verdicts[intent.Ref{Kind: kind, Name: after.GetName()}], after.GetGeneration())
		if !equality.Semantic.DeepEqual(before, after) {
			out = append(out, StatusChange{kind, before, after})
		}
	}
	return out
}

// setConditions sets the conditions that follow from the verdict on an object.
func setConditions(conditions *[]metav1.Condition, v intent.Verdict, generation int64) {
	ready := metav1.Condition{Type: v1beta1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAccepted, Message: v.Message, ObservedGeneration: generation}
	if v.Reason != "" {
		ready.Status, ready.Reason = metav1.ConditionFalse, v.Reason
	}
	intent.SetCondition(conditions, ready)
	if len(v.NoEffect) == 0 {
		meta.RemoveStatusCondition(conditions, v1beta1.ConditionInEffect)
		return
	}
	intent.SetCondition(conditions, metav1.Condition{
		Type: v1beta1.ConditionInEffect, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonNoEffectYet, ObservedGeneration: generation,
		Message: "accepted, but without any effect in this version: " + strings.Join(v.NoEffect, ", "),
	})
}

// countSessions counts the sessions to a peer.
func countSessions(sessions []v1beta1.BGPSession) *v1beta1.SessionCount {
	var n v1beta1.SessionCount
	for _, x := range sessions {
		n.Total++
		if x.Status.State == health.Established {
			n.Established++
		}
	}
	return &n
}

// Orphans returns the claims of addresses that no Service has, by the plan or by what
// it shows: others' Services too, for they may be a second Steelyard's, of another class.
func (s *Summary) Orphans(claims []v1beta1.L2Claim, shown map[netip.Addr]bool) []*v1beta1.L2Claim {
	var out []*v1beta1.L2Claim
	for i := range claims {
		c := &claims[i]
		a, err := netip.ParseAddr(string(c.Spec.Address))
		if held := err == nil && (s.Holders[a] || shown[a]); !held && c.DeletionTimestamp == nil {
			out = append(out, c)
		}
	}
	return out
}
