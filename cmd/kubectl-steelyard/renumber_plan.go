package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/world"
)

// renumbering is what renumber answers: how Services move from one pool to another, and how far they are.
type renumbering struct {
	Pool  string                   `json:"pool"`
	To    string                   `json:"to"`
	Phase v1beta1.RenumberingPhase `json:"phase"`
	TTL   string                   `json:"ttl"`
	Moves []renumbered             `json:"moves"`
	Notes []string                 `json:"notes,omitempty"` // what no Service moves for
	Next  string                   `json:"next"`
}

// renumbered is what becomes of one address of a Service.
type renumbered struct {
	Service  string `json:"service"`
	Old      string `json:"old"`
	New      string `json:"new,omitempty"` // "": it gets none
	SameHost bool   `json:"sameHostPart"`
	Note     string `json:"note,omitempty"`
	stays    string // the reason for which it keeps the old address on purpose
}

func (renumbering) kind() string { return "Renumbering" }

func (r renumbering) clean() bool { return len(r.Notes) == 0 && len(r.missing()) == 0 }

// missing are the Services that should get new addresses, and can't.
func (r renumbering) missing() (out []string) {
	for _, m := range r.Moves {
		if m.New == "" && m.stays == "" && !slices.Contains(out, m.Service) {
			out = append(out, m.Service)
		}
	}
	return out
}

func (r renumbering) draw(p *printer) {
	p.line(plain(fmt.Sprintf("IPAddressPool %s is replaced by %s: %s, TTL %s", r.Pool, r.To, r.Phase, r.TTL)))
	for _, note := range r.Notes {
		p.line(warn("! "), plain(note))
	}
	if len(r.Moves) == 0 {
		p.line(plain("no Service has an address of " + r.Pool))
	} else {
		rows := [][]cell{header("SERVICE", "OLD", "NEW", "NOTE")}
		for _, m := range r.Moves {
			to := plain(m.New)
			if m.New == "" {
				to = warn("-")
			}
			rows = append(rows, []cell{plain(m.Service), plain(m.Old), to, plain(m.Note)})
		}
		p.table("  ", rows...)
	}
	p.line(plain(r.Next))
}

// replaced reads the pool that is to be replaced, and checks the one that replaces it: the one of that name,
// or, if that is "", the one that the pool names.
func (t *tool) replaced(ctx context.Context, c client.Client, name, to string) (*v1beta1.IPAddressPool, error) {
	pool := &v1beta1.IPAddressPool{}
	if err := c.Get(ctx, client.ObjectKey{Name: name}, pool); err != nil {
		return nil, fmt.Errorf("read IPAddressPool %q: %w", name, err)
	}
	started := phaseOf(pool) != v1beta1.RenumberingPlanned
	switch {
	case to == "" && pool.Spec.ReplacedBy == "":
		return nil, fmt.Errorf("IPAddressPool %s names no other one in spec.replacedBy: name it with --to", name)
	case to != "" && started && to != pool.Spec.ReplacedBy:
		return nil, fmt.Errorf("IPAddressPool %s is being replaced by %s already: abort that first (kubectl steelyard renumber abort %s)", name, pool.Spec.ReplacedBy, name)
	case to == name:
		return nil, fmt.Errorf("--to must name another pool than %s", name)
	case to != "":
		pool.Spec.ReplacedBy = to
	}
	if err := c.Get(ctx, client.ObjectKey{Name: pool.Spec.ReplacedBy}, &v1beta1.IPAddressPool{}); err != nil {
		return nil, fmt.Errorf("read IPAddressPool %q, which is to replace %s: %w", pool.Spec.ReplacedBy, name, err)
	}
	return pool, nil
}

func phaseOf(pool *v1beta1.IPAddressPool) v1beta1.RenumberingPhase {
	if r := pool.Spec.Renumbering; r != nil && r.Phase != "" && pool.Spec.ReplacedBy != "" {
		return r.Phase
	}
	return v1beta1.RenumberingPlanned
}

func ttlOf(pool *v1beta1.IPAddressPool) v1beta1.Duration {
	if r := pool.Spec.Renumbering; r != nil && r.TTL != "" {
		return r.TTL
	}
	return v1beta1.DefaultTTL
}

// planOf works out how the Services of pool move: it decides as the controller does once the renumbering has
// started, and for Services that switch later once it has finished.
func planOf(w *world.Snapshot, pool *v1beta1.IPAddressPool) renumbering {
	out := renumbering{Pool: pool.Name, To: pool.Spec.ReplacedBy, Phase: phaseOf(pool), TTL: string(ttlOf(pool)), Moves: []renumbered{}}
	phase := out.Phase
	if phase == v1beta1.RenumberingPlanned {
		phase = v1beta1.RenumberingStarted
	}
	during := evaluated(w, pool, phase)
	after := evaluated(showing(during, w), pool, v1beta1.RenumberingFinished)
	for i, svc := range during.Served {
		grant := during.Grants[i]
		if intent.SwitchesLater(svc, phase) {
			grant = after.Grants[i]
		}
		out.Moves = append(out.Moves, movesOf(during, i, grant, pool)...)
	}
	out.Notes = notes(during, out)
	out.Next = next(out)
	return out
}

// evaluated decides about the cluster as it would be in a phase.
func evaluated(w *world.Snapshot, pool *v1beta1.IPAddressPool, phase v1beta1.RenumberingPhase) *world.Evaluation {
	w = w.Clone()
	for i := range w.Config.Pools {
		if w.Config.Pools[i].Name == pool.Name {
			o := w.Config.Pools[i].DeepCopy()
			o.Spec.ReplacedBy, o.Spec.Renumbering = pool.Spec.ReplacedBy, &v1beta1.Renumbering{Phase: phase, TTL: ttlOf(pool)}
			w.Config.Pools[i] = *o
		}
	}
	return w.Evaluate()
}

// showing is the cluster in which Services show what they are granted.
func showing(t *world.Evaluation, w *world.Snapshot) *world.Snapshot {
	w = w.Clone()
	for i := range w.Services {
		if grant := t.Grant(intent.KeyOf(&w.Services[i])); len(grant.Addrs) > 0 {
			svc := w.Services[i].DeepCopy()
			svc.Status.LoadBalancer.Ingress = nil
			for _, a := range grant.Addrs {
				svc.Status.LoadBalancer.Ingress = append(svc.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a.String()})
			}
			w.Services[i] = *svc
		}
	}
	return w
}

// movesOf pairs the addresses that a Service has of pool with those that it is granted of the other one.
func movesOf(t *world.Evaluation, i int, grant ipam.Grant, pool *v1beta1.IPAddressPool) (out []renumbered) {
	svc, r := t.Served[i], t.Requests[i]
	var successors []netip.Addr
	for j, a := range grant.Addrs {
		if grant.Pools[j] == pool.Spec.ReplacedBy {
			successors = append(successors, a)
		}
	}
	var olds []netip.Addr
	for _, a := range intent.Holds(svc) {
		if t.Checked.PoolOf(a) == pool.Name {
			olds = append(olds, a)
		}
	}
	paired := make([]netip.Addr, len(olds))
	for _, sameHost := range []bool{true, false} {
		for j, old := range olds {
			at := slices.IndexFunc(successors, func(a netip.Addr) bool {
				return !sameHost && ipam.FamilyOf(a) == ipam.FamilyOf(old) || a == t.Checked.Successor(old)
			})
			if !paired[j].IsValid() && at >= 0 {
				paired[j], successors = successors[at], slices.Delete(slices.Clone(successors), at, at+1)
			}
		}
	}
	for j, old := range olds {
		m := renumbered{Service: r.Service.String(), Old: old.String(), stays: whyStays(r, old)}
		if paired[j].IsValid() {
			m.New, m.SameHost = paired[j].String(), paired[j] == t.Checked.Successor(old)
		}
		m.Note = noteOf(t, i, grant, m, pool)
		out = append(out, m)
	}
	return out
}

// whyStays says for what r keeps an old address, whatever replaces its pool; "": it does not.
func whyStays(r *ipam.Request, old netip.Addr) string {
	switch {
	case !intent.Stays(r, old):
		return ""
	case slices.Contains(r.Want, old):
		return "it asks for the old address by address, and keeps it: take that out first"
	}
	return "an AddressReservation has the old address for it, and it keeps it: take it out of that first"
}

// noteOf says what is special about a move.
func noteOf(t *world.Evaluation, i int, grant ipam.Grant, m renumbered, pool *v1beta1.IPAddressPool) string {
	svc := t.Served[i]
	var parts []string
	switch {
	case m.stays != "":
		return m.stays
	case m.New == "":
		parts = append(parts, "it gets no new address, and keeps the old one")
		if grant.Message != "" {
			parts = append(parts, grant.Message)
		}
	case m.SameHost:
		parts = append(parts, "same host part")
	}
	if svc.Annotations[v1beta1.AnnotationRenumbering] == v1beta1.RenumberingSwitch {
		parts = append(parts, "has the old address alone until the switch")
	}
	if t.Requests[i].Pool == pool.Name {
		parts = append(parts, "it asks for the old pool: change that before the pool is deleted")
	}
	return strings.Join(parts, "; ")
}

// notes are what stands in the way of the whole.
func notes(t *world.Evaluation, r renumbering) (out []string) {
	for _, name := range []string{r.Pool, r.To} {
		if f := t.Checked.Validations[intent.Ref{Kind: "IPAddressPool", Name: name}].Accepted; f.Reason != "" {
			out = append(out, fmt.Sprintf("IPAddressPool %s is not accepted: %s", name, f.Message))
		}
	}
	for i, svc := range t.Served {
		var successors []netip.Addr
		var pools []string
		for j, a := range t.Grants[i].Addrs {
			if t.Grants[i].Pools[j] == r.To {
				successors, pools = append(successors, a), append(pools, r.To)
			}
		}
		if silent := t.Checked.Unadvertised(svc, successors, pools); len(silent) > 0 {
			return append(out, fmt.Sprintf("no node would announce %s of Service %s/%s: no L2Advertisement or BGPAdvertisement covers it", intent.Join(silent), svc.Namespace, svc.Name))
		}
	}
	return out
}

// next says which step comes next.
func next(r renumbering) string {
	command := func(step string) string { return fmt.Sprintf("kubectl steelyard renumber %s %s", step, r.Pool) }
	switch r.Phase {
	case v1beta1.RenumberingStarted, v1beta1.RenumberingSwitched:
		return fmt.Sprintf("Next: %s, which waits for the TTL; or %s", command("finish"), command("abort"))
	case v1beta1.RenumberingFinished:
		return fmt.Sprintf("Next: delete IPAddressPool %s once no Service has an address of it", r.Pool)
	}
	return "Next: " + command("start")
}
