package planner

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/history"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
	"github.com/steelyard-lb/steelyard/internal/source"
)

// Summary is what statuses of other objects and metrics report of a plan.
type Summary struct {
	Services  int
	Usage     map[string][]Usage                    // by pool
	OnRequest map[string]bool                       // by pool: only Services that ask for it get its addresses
	Kept      map[string][]ipam.Kept                // by pool
	Occupied  map[string]string                     // by pool: what others have of its addresses, as a sentence
	Uses      map[string]intent.ReservationUse      // by AddressReservation
	Quotas    map[string]intent.QuotaUse            // by AddressQuota
	Moves     map[string]*v1beta1.RenumberingStatus // by pool that is being replaced
	Sources   map[string]source.Health              // how the IPAMs of pools do, by pool
	Conflicts intent.Conflicts                      // addresses that foreign hosts have
	Holders   map[netip.Addr]bool                   // addresses that Services have
	Pending   map[ipam.Reason]int                   // Services without an address
	Contested int                                   // Services whose status another client overwrites
	Externals []intent.External                     // addresses in spec.externalIPs, of pools that announce such
	History   history.Trail                         // who got and lost addresses of pools
	// Unannounced counts the Services with addresses that are not known to be announced, by
	// reason; nil: that is not known.
	Unannounced map[string]int
	Unserved    int // Services that are announced, and whose clients are refused all the same
}

// Summary sums up the plan, which holds until the next pass.
func (p Plan) Summary() *Summary {
	out := &Summary{Services: len(p.Services), Usage: p.usage(), Occupied: p.unusable(), Kept: p.keptIn(), Conflicts: p.conflicts, Externals: p.externals, Uses: p.config.Uses(p.now, p.reserved, p.users()), Quotas: p.quotas.Uses(p.occupied, p.asked, p.Grants), Moves: p.moves, Sources: p.health, Holders: p.holders(), Pending: p.waiting(), Contested: p.contested(), History: maps.Clone(p.trail)}
	out.OnRequest = make(map[string]bool, len(p.pools))
	for i := range p.pools {
		out.OnRequest[p.pools[i].Name] = !p.pools[i].AutoAssign
	}
	if p.announced != nil {
		out.Unannounced, out.Unserved = p.announced.Not, p.announced.Unserved
	}
	return out
}

// Object is an object of the API.
type Object interface {
	metav1.Object
	runtime.Object
}

// StatusChange is an object whose status is to be written.
type StatusChange struct {
	Kind          string
	Before, After Object
	// Locked: only if the object is still Before. Another write counts, and is no failure.
	Locked bool
}

// Statuses returns the configuration objects whose status is not what follows from
// the configuration, the speakers' reports and the plan.
func Statuses(c intent.Configured, r Reports, plan *Summary) []StatusChange {
	accepted := make(map[string][]ipam.Range, len(c.Config.Pools))
	for _, p := range c.Config.Pools {
		accepted[p.Name] = p.Accepted
	}
	peers, validations := byPeer(r.Sessions), maps.Clone(c.Config.Validations)
	for name, of := range peers {
		ref := intent.Ref{Kind: "BGPPeer", Name: name}
		if v, found := validations[ref], overlap(of); found.Reason != "" && v.Accepted.Reason == "" {
			v.Accepted = found
			validations[ref] = v
		}
	}
	return slices.Concat(
		changed(validations, c.Objects.Pools, func(o *v1beta1.IPAddressPool) (*[]metav1.Condition, string) {
			if text := plan.Occupied[o.Name]; text != "" {
				note(validations, intent.Ref{Kind: "IPAddressPool", Name: o.Name}, text)
			}
			o.Status.Accepted = intent.Accepted(accepted[o.Name])
			o.Status.Kept, o.Status.History = intent.KeptStatus(plan.Kept[o.Name]), plan.History[o.Name]
			o.Status.Conflicts = plan.Conflicts.Status(func(a netip.Addr) bool { return c.Config.PoolOf(a) == o.Name })
			o.Status.ExternalIPs, o.Status.Renumbering = intent.ExternalStatus(plan.Externals, o.Name), plan.Moves[o.Name]
			setIPAMReady(o, plan.Sources)
			setPrefix(o, c.Config, r)
			setUsage(&o.Status, plan.Usage[o.Name])
			return &o.Status.Conditions, ""
		}),
		changed(validations, c.Objects.Peers, func(o *v1beta1.BGPPeer) (*[]metav1.Condition, string) {
			sessions, selected := peers[o.Name], c.Config.Selected(o.Name, r.Nodes)
			if o.Spec.RouterID != "" && selected > 1 {
				note(validations, intent.Ref{Kind: "BGPPeer", Name: o.Name}, sharedRouterID(selected))
			}
			o.Status.Sessions = countSessions(sessions)
			intent.SetCondition(&o.Status.Conditions, established(sessions, o.Status.Sessions, selected, len(r.Nodes)))
			return &o.Status.Conditions, ""
		}),
		changed(validations, c.Objects.L2, func(o *v1beta1.L2Advertisement) (*[]metav1.Condition, string) {
			return &o.Status.Conditions, r.count("L2Advertisement", o.Name, &o.Status)
		}),
		changed(validations, c.Objects.BGP, func(o *v1beta1.BGPAdvertisement) (*[]metav1.Condition, string) {
			return &o.Status.Conditions, r.count("BGPAdvertisement", o.Name, &o.Status)
		}),
		changed(validations, c.Objects.Profiles, func(o *v1beta1.BFDProfile) (*[]metav1.Condition, string) { return &o.Status.Conditions, "" }),
		changed(validations, c.Objects.Communities, func(o *v1beta1.Community) (*[]metav1.Condition, string) { return &o.Status.Conditions, "" }),
		changed(validations, c.Objects.Reservations, func(o *v1beta1.AddressReservation) (*[]metav1.Condition, string) {
			use, ref := plan.Uses[o.Name], intent.Ref{Kind: "AddressReservation", Name: o.Name}
			o.Status.Addresses, o.Status.Chosen = &v1beta1.ReservationCount{Reserved: use.Reserved, Used: use.Used}, nil
			for _, a := range use.Chosen {
				o.Status.Chosen = append(o.Status.Chosen, a.String())
			}
			if v := validations[ref]; v.Accepted.Reason == "" {
				v.Accepted = use.Accepted
				validations[ref] = v
			}
			return &o.Status.Conditions, ""
		}),
		quotas(c, validations, plan),
	)
}

// setUsage has the status of a pool show its usage.
func setUsage(s *v1beta1.IPAddressPoolStatus, usage []Usage) {
	s.IPv4, s.IPv6 = nil, nil
	for _, u := range usage {
		if u.Family == ipam.IPv4 {
			s.IPv4 = u.Status()
		} else {
			s.IPv6 = u.Status()
		}
	}
}

// quotas returns the quotas whose status differs.
func quotas(c intent.Configured, validations map[intent.Ref]intent.Validation, plan *Summary) []StatusChange {
	return changed(validations, c.Objects.Quotas, func(o *v1beta1.AddressQuota) (*[]metav1.Condition, string) {
		status := plan.Quotas[o.Name].Status()
		status.Conditions = o.Status.Conditions
		o.Status = status
		return &o.Status.Conditions, ""
	})
}

// sharedRouterID says what a router ID does that several nodes have (RFC 6286 section 2.1).
func sharedRouterID(nodes int) string {
	return fmt.Sprintf("%d nodes have the routerID of spec: it must be unique in an AS, and routers may hold a session with one of them alone; leave it out, or set routerIDFrom", nodes)
}

// count has the status of an advertisement show the count that is due, if one is, and returns what it
// shows as words.
func (r Reports) count(kind, name string, s *v1beta1.AdvertisementStatus) string {
	if due, is := r.Programmed[intent.Ref{Kind: kind, Name: name}]; is {
		s.Announced = &due
	}
	if s.Announced == nil {
		return ""
	}
	return intent.CountText(*s.Announced)
}

// note has the condition Accepted of an object say what else there is to know.
func note(validations map[intent.Ref]intent.Validation, ref intent.Ref, text string) {
	v := validations[ref]
	if v.Accepted.Message != "" {
		text = v.Accepted.Message + "; " + text
	}
	v.Accepted.Message = printable.Message(text)
	validations[ref] = v
}

// changed returns the objects of one kind whose status differs. The function status
// fills in what is not a condition, and returns the conditions, and what the condition Programmed is to
// say while it is True.
func changed[T any, P interface {
	*T
	Object
	DeepCopy() *T
}](validations map[intent.Ref]intent.Validation, objects []T, status func(P) (*[]metav1.Condition, string)) []StatusChange {
	kind := reflect.TypeFor[T]().Name()
	var out []StatusChange
	for i := range objects {
		before := P(&objects[i])
		after := P(before.DeepCopy())
		conditions, text := status(after)
		setConditions(conditions, kind, validations[intent.Ref{Kind: kind, Name: after.GetName()}], text, after.GetGeneration())
		if !equality.Semantic.DeepEqual(before, after) {
			out = append(out, StatusChange{Kind: kind, Before: before, After: after})
		}
	}
	return out
}

// setConditions sets the conditions that follow from the validation of an object, and takes off
// those that a former version set. Programmed says text while it is True.
func setConditions(conditions *[]metav1.Condition, kind string, v intent.Validation, text string, generation int64) {
	set := func(of string, f intent.Finding, good string) {
		c := metav1.Condition{Type: of, Status: metav1.ConditionTrue, Reason: good, Message: f.Message, ObservedGeneration: generation}
		if f.Reason != "" {
			c.Status, c.Reason = metav1.ConditionFalse, f.Reason
		}
		intent.SetCondition(conditions, c)
	}
	for _, former := range []string{"Ready", "InEffect"} {
		meta.RemoveStatusCondition(conditions, former)
	}
	set(v1beta1.ConditionAccepted, v.Accepted, v1beta1.ReasonAccepted)
	if refers(kind) {
		set(v1beta1.ConditionResolvedRefs, v.Refs, v1beta1.ReasonResolvedRefs)
	}
	cause := programmed(v, *conditions)
	if cause.Reason == "" {
		cause.Message = text
	}
	set(v1beta1.ConditionProgrammed, cause, v1beta1.ReasonProgrammed)
	// The column WHY shows the message of the first that is False: that of Programmed names all causes.
	order := []string{v1beta1.ConditionProgrammed, v1beta1.ConditionAccepted, v1beta1.ConditionResolvedRefs, v1beta1.ConditionEstablished, v1beta1.ConditionIPAMReady, v1beta1.ConditionPrefixKnown}
	slices.SortStableFunc(*conditions, func(a, b metav1.Condition) int {
		return cmp.Compare(slices.Index(order, a.Type), slices.Index(order, b.Type))
	})
}

// Turned are the events of a status that is written: one for each condition that turns, with
// its reason. That an object is good from the start is one event; what Programmed repeats of
// the other conditions is none.
func (c StatusChange) Turned() (out []Event) {
	out = c.prefixChanged()
	before, after := intent.ConditionsOf(c.Before), intent.ConditionsOf(c.After)
	for _, now := range after {
		was := health.Condition(before, now.Type)
		good := now.Status == metav1.ConditionTrue
		switch {
		case was.Status == now.Status && was.Reason == now.Reason || repeats(now, after):
		case good && was.Status == "" && now.Type != v1beta1.ConditionProgrammed:
		default:
			e := Event{corev1.EventTypeNormal, "Configure", now.Reason, now.Message}
			if !good {
				e.Type = corev1.EventTypeWarning
			}
			if e.Message == "" {
				e.Message = "the condition " + now.Type + " is " + string(now.Status)
			}
			out = append(out, e)
		}
	}
	return out
}

// repeats reports whether a condition says nothing of its own: another one of all says the same, or
// it only says that it is not known yet.
func repeats(c metav1.Condition, all []metav1.Condition) bool {
	switch c.Reason {
	case v1beta1.ReasonNotAccepted, v1beta1.ReasonRefsNotResolved, v1beta1.ReasonIPAMPending:
		return true
	}
	return c.Type == v1beta1.ConditionProgrammed && c.Status != metav1.ConditionTrue &&
		slices.ContainsFunc(all, func(x metav1.Condition) bool { return x.Type != c.Type && x.Reason == c.Reason })
}

// refers reports whether objects of a kind name others.
func refers(kind string) bool {
	return slices.Contains([]string{"L2Advertisement", "BGPAdvertisement", "BGPPeer", "BFDProfile", "AddressQuota"}, kind)
}

// programmed tells why not all is in force that an object asks for: the reason of the first
// cause, and each of them in words.
func programmed(v intent.Validation, conditions []metav1.Condition) (out intent.Finding) {
	add := func(reason, message string) {
		if out.Reason == "" {
			out = intent.Finding{Reason: reason, Message: message}
		} else {
			out.Message += "; " + message
		}
	}
	if v.Accepted.Reason != "" {
		add(v1beta1.ReasonNotAccepted, v.Accepted.Message)
	}
	if v.Refs.Reason != "" {
		add(v1beta1.ReasonRefsNotResolved, v.Refs.Message)
	}
	if len(v.NoEffect) > 0 {
		add(v1beta1.ReasonUnsupportedField, "accepted, but without any effect in this version: "+strings.Join(v.NoEffect, ", "))
	}
	if c := meta.FindStatusCondition(conditions, v1beta1.ConditionEstablished); c != nil && c.Status == metav1.ConditionFalse && c.Reason != v1beta1.ReasonSessionsDown {
		add(c.Reason, c.Message)
	}
	for _, of := range []string{v1beta1.ConditionIPAMReady, v1beta1.ConditionPrefixKnown} {
		if c := meta.FindStatusCondition(conditions, of); c != nil && c.Status == metav1.ConditionFalse {
			add(c.Reason, c.Message)
		}
	}
	return out
}

// Orphans returns the claims of addresses that no Service has, by the plan or by what
// it shows: others' Services too, for they may be a second Steelyard's, of another class.
func (s *Summary) Orphans(claims []v1beta1.L2Claim, shown map[netip.Addr]bool) []*v1beta1.L2Claim {
	var out []*v1beta1.L2Claim
	for i := range claims {
		c := &claims[i]
		a, err := netip.ParseAddr(string(c.Spec.Address))
		external := slices.ContainsFunc(s.Externals, func(x intent.External) bool { return x.Addr == a && x.Refused == "" })
		if held := err == nil && (s.Holders[a] || shown[a] || external); !held && c.DeletionTimestamp == nil {
			out = append(out, c)
		}
	}
	return out
}
