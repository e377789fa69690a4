package intent

import (
	"fmt"
	"math/big"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// Services move from one pool to another in phases, which stand in the spec of the old pool. What follows
// from a phase for a Service is a function of what it has: the old address keeps it in the plan, and the host
// part of that says which address is the new one. So nothing else remembers how far a Service is.

// replacements ties each pool that is being replaced to its successor. The objects are those of the pools.
func (p *parser) replacements(objects []*v1beta1.IPAddressPool, pools []Pool) {
	places := map[string]int{}
	for i := range pools {
		places[pools[i].Name] = i
	}
	for i, obj := range objects {
		if obj.Spec.ReplacedBy == "" {
			continue
		}
		ref := Ref{"IPAddressPool", obj.Name}
		j, there := places[obj.Spec.ReplacedBy]
		switch {
		case !there:
			p.remark(ref, "spec.replacedBy: there is no IPAddressPool %s: no Service moves", printable.Quote(obj.Spec.ReplacedBy))
		case started(objects[j]):
			p.remark(ref, "spec.replacedBy: IPAddressPool %q is being replaced itself: no Service moves", obj.Spec.ReplacedBy)
		default:
			pools[i].SuccessorName = obj.Spec.ReplacedBy
			if started(obj) {
				pools[i].replace(obj.Spec.Renumbering.Phase, &pools[j])
			}
		}
	}
}

// started reports whether Services of a pool move to another one.
func started(o *v1beta1.IPAddressPool) bool {
	return o.Spec.ReplacedBy != "" && o.Spec.Renumbering != nil &&
		slices.Contains([]v1beta1.RenumberingPhase{v1beta1.RenumberingStarted, v1beta1.RenumberingSwitched, v1beta1.RenumberingFinished}, o.Spec.Renumbering.Phase)
}

// replace has p be replaced by another pool.
func (p *Pool) replace(phase v1beta1.RenumberingPhase, by *Pool) {
	p.Renumbering, p.Closed, p.Order = phase, true, 1
	if phase == v1beta1.RenumberingStarted {
		p.Order = -1
	}
	by.Replaces = append(by.Replaces, p.Name)
}

// remark adds to what the condition Accepted of ref tells, and leaves it True.
func (p *parser) remark(ref Ref, format string, args ...any) {
	if v := p.validations[ref]; v.Accepted.Reason == "" {
		text := fmt.Sprintf(format, args...)
		if v.Accepted.Message != "" {
			text = v.Accepted.Message + "; " + text
		}
		v.Accepted.Message = printable.Message(text)
		p.validations[ref] = v
	}
}

// Renumbers reports whether Services of some pool move: to another pool, or under another prefix.
func (c *Config) Renumbers() bool { return c.renumber }

// Renumber returns the request of svc as it is while pools of its addresses are being replaced, or lie under another
// prefix than before: r if none does. What svc asks for by address, or is reserved for it, stays where it is.
func (c *Config) Renumber(r *ipam.Request, svc *corev1.Service) *ipam.Request {
	if !c.renumber { // usually
		return r
	}
	out, moved := c.askUnderPrefix(r, svc), false
	for _, a := range r.Has {
		from := c.poolOf(a)
		if from == nil || Stays(out, a) || !from.moves(a, svc) {
			continue
		}
		if !moved {
			cp := *out
			moved, out, cp.Leaves, cp.Successors = true, &cp, slices.Clip(r.Leaves), map[ipam.Family][]string{}
		}
		to := from.Name
		if from.Renumbering != "" {
			to = from.SuccessorName
		}
		if f := ipam.FamilyOf(a); !slices.Contains(out.Successors[f], to) {
			out.Successors[f] = append(out.Successors[f], to)
		}
		if next := c.next(from, a); next.IsValid() {
			out.Prefers = append(out.Prefers, next)
		}
		switch {
		case slices.Contains(r.Leaves, a): // a foreign host has it
		case from.Renumbering == v1beta1.RenumberingFinished, switches(svc):
			out.Leaves = append(out.Leaves, a)
		default:
			out.Beside = append(out.Beside, a)
		}
	}
	return out
}

// moves reports whether svc, which has a of p, gets another address in its place now.
func (p *Pool) moves(a netip.Addr, svc *corev1.Service) bool {
	return p.HeldBefore(a) || p.Renumbering != "" && !SwitchesLater(svc, p.Renumbering)
}

// next returns the address with the host part of a, which is of p and moves; invalid: there is none.
func (c *Config) next(p *Pool, a netip.Addr) netip.Addr {
	if !p.HeldBefore(a) {
		return c.Successor(a)
	}
	now := p.prefixes.now(a)
	switch {
	case !now.IsValid() || !p.Holds(now):
		return netip.Addr{}
	case p.Renumbering != "":
		return c.Successor(now)
	}
	return now
}

// switches reports whether svc must not show two addresses.
func switches(svc *corev1.Service) bool {
	return svc.Annotations[v1beta1.AnnotationRenumbering] == v1beta1.RenumberingSwitch
}

// Stays reports whether r keeps a, which it has, whatever replaces the pool of a.
func Stays(r *ipam.Request, a netip.Addr) bool {
	return slices.Contains(r.Want, a) || slices.Contains(r.Reserved, a)
}

// SwitchesLater reports whether svc goes on having the old addresses alone in a phase.
func SwitchesLater(svc *corev1.Service, phase v1beta1.RenumberingPhase) bool {
	return phase == v1beta1.RenumberingStarted && switches(svc)
}

// Successor returns the address with the host part of a in the pool that replaces, or is to replace, that of a:
// in the range at the same place of spec.addresses, counted by family, if both are as large. Invalid: there is none.
func (c *Config) Successor(a netip.Addr) netip.Addr {
	from := c.poolOf(a)
	if from == nil || from.SuccessorName == "" {
		return netip.Addr{}
	}
	to := &c.Pools[c.named[from.SuccessorName]]
	olds, successors := ofFamily(from.listed, ipam.FamilyOf(a)), ofFamily(to.listed, ipam.FamilyOf(a))
	i := slices.IndexFunc(olds, func(r ipam.Range) bool { return r.Contains(a) })
	if i < 0 || i >= len(successors) || distance(olds[i].First, olds[i].Last).Cmp(distance(successors[i].First, successors[i].Last)) != 0 {
		return netip.Addr{}
	}
	out := plus(successors[i].First, distance(olds[i].First, a))
	if !to.Holds(out) {
		return netip.Addr{}
	}
	return out
}

func ofFamily(ranges []ipam.Range, f ipam.Family) []ipam.Range {
	return slices.DeleteFunc(slices.Clone(ranges), func(r ipam.Range) bool { return ipam.FamilyOf(r.First) != f })
}

// distance is how far b is behind a, which is of its family.
func distance(a, b netip.Addr) *big.Int {
	return new(big.Int).Sub(new(big.Int).SetBytes(b.AsSlice()), new(big.Int).SetBytes(a.AsSlice()))
}

// plus is the address so far behind a; invalid: there is none.
func plus(a netip.Addr, n *big.Int) netip.Addr {
	sum := new(big.Int).Add(new(big.Int).SetBytes(a.AsSlice()), n)
	if sum.BitLen() > a.BitLen() {
		return netip.Addr{}
	}
	out, _ := netip.AddrFromSlice(sum.FillBytes(make([]byte, a.BitLen()/8)))
	return out
}
