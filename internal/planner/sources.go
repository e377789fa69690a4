package planner

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/source"
)

// offers returns what tells what IPAMs have said for a Service; nil: no pool has one.
func (s *State) offers(in Input) func(types.UID) []ipam.Offer {
	targets := in.Config.Pools.Sources()
	s.sources.Set(targets)
	if len(targets) == 0 {
		return nil
	}
	return func(uid types.UID) []ipam.Offer { return s.sources.Offers(string(uid)) }
}

// ask has p say what there is to ask of IPAMs now, and returns when there is more; 0: that depends
// on their answers.
func (s *State) ask(in Input, snap Snapshot, p *Plan) time.Duration {
	p.health = s.sources.Health()
	if len(p.health) == 0 { // usually
		return 0
	}
	alive := make(map[string]bool, len(p.Services))
	inUse := p.holders()
	kept := make(map[netip.Addr][]ipam.Key, len(p.pending))
	for _, k := range p.pending {
		kept[k.Addr] = append(kept[k.Addr], k.For)
	}
	for i, x := range p.Services {
		alive[string(x.Object.UID)] = true
		may := snap.Attempts[x.Object.UID].shows()
		for _, a := range may {
			inUse[a] = true
		}
		if len(p.Grants[i].Asks) > 0 && len(intent.Holds(x.Object))+len(may) > 0 { // its IPAM gets that back when it shows it no more
			s.attempts.Await()
		}
	}
	for _, svc := range in.Services { // others' as well
		for _, a := range intent.Holds(svc) {
			inUse[a] = true
		}
	}
	var again time.Duration
	p.Calls, again = s.sources.Pass(source.Input{
		Now: in.Now, Cluster: in.Cluster, Claims: s.claims(p),
		Alive: func(uid string) bool { return alive[uid] },
		InUse: func(a netip.Addr, svc ipam.Key) bool {
			return inUse[a] || slices.ContainsFunc(kept[a], func(k ipam.Key) bool { return k != svc })
		},
	})
	return again
}

// claims returns what Services have of pools whose IPAM chooses, and what they need.
func (s *State) claims(p *Plan) (out []source.Claim) {
	for i, x := range p.Services {
		g := p.Grants[i]
		add := func(c source.Claim) {
			c.UID, c.Service = string(x.Object.UID), x.request.Service
			out = append(out, c)
		}
		for j, a := range g.Addrs {
			asks := slices.ContainsFunc(g.Asks, func(k ipam.Ask) bool { return k.Pool == g.Pools[j] && k.Family == ipam.FamilyOf(a) })
			lost := asks && s.sources.Lost(g.Pools[j], source.Key{UID: string(x.Object.UID), Family: ipam.FamilyOf(a)}, a) // it asks for another one
			if s.sources.Known(g.Pools[j]) && !lost {
				add(source.Claim{Key: source.Key{Family: ipam.FamilyOf(a)}, Pool: g.Pools[j], Addr: a, Held: true})
			}
		}
		for _, k := range g.Asks {
			add(source.Claim{Key: source.Key{Family: k.Family}, Pool: k.Pool, Addr: k.Addr, Refused: k.Refused, Cause: k.Cause})
		}
	}
	return out
}

// disagreeing returns what is to be said of addresses in g that their IPAMs do not hold for svc; "": nothing.
func (s *Snapshot) disagreeing(svc *corev1.Service, g ipam.Grant) string {
	if s.Disagreement == nil {
		return ""
	}
	for i, a := range g.Addrs {
		if text := s.Disagreement(g.Pools[i], source.Key{UID: string(svc.UID), Family: ipam.FamilyOf(a)}, a); text != "" {
			return text
		}
	}
	return ""
}

// lost returns those addresses of svc that it is to leave, since their IPAMs refuse them.
func (t *Planner) lost(r *ipam.Request, svc *corev1.Service, s Snapshot) (out []netip.Addr) {
	if s.Lost == nil { // usually
		return nil
	}
	for _, a := range r.Has {
		if s.Lost(t.config.PoolOf(a), source.Key{UID: string(svc.UID), Family: ipam.FamilyOf(a)}, a) {
			out = append(out, a)
		}
	}
	return out
}

// Asked takes in what an IPAM has answered to a call of a plan, and reports whether a pass is due.
func (s *State) Asked(a source.Answer, now time.Time) (due bool) { return s.sources.Done(a, now) }

// AsksIPAM reports whether the IPAM of a pool may be asked.
func (s *State) AsksIPAM(pool string) bool { return s.sources.Known(pool) }

// IPAMChanged takes in that an IPAM reports a change: a pass is due.
func (s *State) IPAMChanged(endpoint string) { s.sources.Changed(endpoint) }

// setIPAMReady has a pool say how its IPAM does, if it has one.
func setIPAMReady(o *v1beta1.IPAddressPool, of map[string]source.Health) {
	if h, is := of[o.Name]; is && o.Spec.Source != nil && o.Spec.Source.External != nil {
		intent.SetCondition(&o.Status.Conditions, ipamReady(h))
	} else {
		meta.RemoveStatusCondition(&o.Status.Conditions, v1beta1.ConditionIPAMReady)
	}
}

// ipamReady returns the condition of a pool that tells how its IPAM does.
func ipamReady(h source.Health) metav1.Condition {
	c := metav1.Condition{Type: v1beta1.ConditionIPAMReady, Status: metav1.ConditionFalse, Reason: h.Reason, Message: h.Message}
	switch {
	case h.Pending:
		c.Status, c.Reason = metav1.ConditionUnknown, v1beta1.ReasonIPAMPending
	case h.Message == "":
		c.Status, c.Reason = metav1.ConditionTrue, v1beta1.ReasonIPAMReady
	case h.Reason == "":
		c.Reason = v1beta1.ReasonIPAMUnavailable
	}
	return c
}
