package world

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announced"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Evaluation is what a Snapshot means for the addresses of Services: what the
// controller should assign to each.
type Evaluation struct {
	*Snapshot
	Checked   intent.Config
	Pools     ipam.Pools
	Served    []*corev1.Service // those of our class, oldest first
	Requests  []*ipam.Request   // of Served
	Occupied  *ipam.Occupied    // addresses of the pools that others than ours have
	Kept      []ipam.Kept       // addresses kept for Services that were deleted
	Grants    []ipam.Grant      // of Served
	Externals []intent.External // addresses in spec.externalIPs, of pools that announce such

	index map[ipam.Key]int              // position in Served
	reach map[ipam.Key]announced.Result // nil: not worked out yet
}

// Evaluate parses the configuration and assigns addresses to all Services of our
// class, as the controller would with no write in flight.
func (w *Snapshot) Evaluate() *Evaluation {
	t := &Evaluation{Snapshot: w, Checked: intent.Parse(w.objects()), index: map[ipam.Key]int{}}
	w.quoteSecrets(t.Checked.Validations)
	endpoints, where := w.endpoints(), intent.PlacementOf(w.Nodes)
	for i := range w.Services {
		if svc := &w.Services[i]; intent.Ours(svc, w.Class) {
			r := w.AnnotationPrefixes.Request(svc)
			r.GonePools = w.removedPools(t.Checked, svc)
			if w.AnnotationPrefixes.SharesLocally(svc) {
				intent.Locate(&r, svc, endpoints[r.Service], where)
			}
			t.Served, t.Requests = append(t.Served, svc), append(t.Requests, &r)
		}
	}
	order := make([]int, len(t.Served))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return ipam.CompareAge(t.Requests[i], t.Requests[j]) })
	t.Served, t.Requests = permuted(t.Served, order), permuted(t.Requests, order)
	subjects := make([]intent.Consumer, len(t.Served))
	for i, svc := range t.Served {
		t.index[t.Requests[i].Service] = i
		subjects[i] = w.Subject(svc)
	}
	t.Pools = t.Checked.Pools.Bind(func(k ipam.Key, pool int) bool {
		i, ours := t.index[k]
		return ours && t.Checked.Pools.Serves(pool, subjects[i])
	})
	all := make([]*corev1.Service, len(w.Services))
	for i := range w.Services {
		all[i] = &w.Services[i]
	}
	if !w.IgnoreKept {
		t.Kept = intent.Kept(w.Config.Pools, w.Now)
	}
	conflicts := t.conflicts()
	others := intent.Others{Nodes: w.Nodes, Speakers: w.Speakers, ClusterIPs: w.ClusterIPs, Conflicts: conflicts.Occupying(w.Now)}
	reserved := t.Checked.Reserved(w.Now, nil, t.choosing(others, all))
	others.Reserved = reserved
	t.Occupied = t.Checked.Occupied(others, all, w.Class)
	labels := make(map[string]map[string]string, len(w.Namespaces))
	for i := range w.Namespaces {
		labels[w.Namespaces[i].Name] = w.Namespaces[i].Labels
	}
	quotas := t.Checked.BindQuotas(labels, reserved)
	for i, r := range t.Requests {
		r.Reserved, r.Quotas = reserved.Of(t.Checked.ReservationsFor(t.Served[i])), quotas.Of(r.Service.Namespace)
		t.Requests[i] = t.Checked.Renumber(r, t.Served[i])
	}
	for i := range t.Pools {
		t.Pools[i].Occupied = t.Occupied
	}
	t.Grants = ipam.Assign(t.Pools, t.Requests, t.Kept)
	t.quoteIPAMs()
	t.Externals = t.externals(all)
	t.Checked = t.Checked.Announcing(t.Externals)
	return t
}

// choosing is what is known when the addresses are chosen of reservations that name a size of a pool.
func (t *Evaluation) choosing(others intent.Others, all []*corev1.Service) intent.Choosing {
	if !t.Checked.Sizes() { // usually
		return intent.Choosing{}
	}
	var none *intent.Reserved
	out := intent.Choosing{Before: none.Chosen(t.Config.Reservations), Users: map[netip.Addr][]*corev1.Service{}, Kept: map[netip.Addr]bool{}, Occupied: t.Checked.Occupied(others, all, t.Class)}
	for _, svc := range t.Served {
		for _, a := range intent.Holds(svc) {
			out.Users[a] = append(out.Users[a], svc)
		}
	}
	for _, k := range t.Kept {
		out.Kept[k.Addr] = true
	}
	return out
}

// quoteIPAMs has Services that wait for an IPAM, which a Snapshot can't ask, say what the controller
// says of it.
func (t *Evaluation) quoteIPAMs() {
	for i := range t.Grants {
		c := health.Condition(t.Served[i].Status.Conditions, v1beta1.ConditionAllocated)
		if g := &t.Grants[i]; g.Reason == ipam.WaitingForIPAM && c.Status == metav1.ConditionFalse {
			g.Reason, g.Message = ipam.Reason(c.Reason), c.Message
		}
	}
}

// conflicts returns at which addresses foreign hosts answer, and has Services leave those that
// they leave.
func (t *Evaluation) conflicts() intent.Conflicts {
	claims := make([]*v1beta1.L2Claim, len(t.Claims))
	for i := range t.Claims {
		claims[i] = &t.Claims[i]
	}
	out := t.Checked.Conflicts(intent.RememberedConflicts(t.Config.Pools), claims, t.Now)
	leaving := t.Checked.Leaving(out, func(yield func(intent.Holding) bool) {
		for i, svc := range t.Served {
			if !yield(intent.Holding{Service: svc, Request: t.Requests[i]}) {
				return
			}
		}
	})
	for _, r := range t.Requests {
		r.Leaves = intent.Leaves(r, leaving)
	}
	return out
}

// removedPools returns the addresses of svc whose pool no longer exists and whose
// grace period has not ended, each with the name of that pool.
func (w *Snapshot) removedPools(c intent.Config, svc *corev1.Service) map[netip.Addr]string {
	out := map[netip.Addr]string{}
	for _, o := range c.Gone(intent.Origins(svc)) {
		if !w.IgnoreKept && (o.Until.IsZero() || o.Until.After(w.Now)) {
			out[o.Addr] = o.Pool
		}
	}
	return out
}

// permuted returns the elements of all in that order.
func permuted[T any](all []T, order []int) []T {
	out := make([]T, len(all))
	for to, from := range order {
		out[to] = all[from]
	}
	return out
}

// Subject returns what the selectors of pools look at.
func (w *Snapshot) Subject(svc *corev1.Service) intent.Consumer {
	s := intent.Consumer{Namespace: svc.Namespace, Labels: svc.Labels}
	for i := range w.Namespaces {
		if w.Namespaces[i].Name == svc.Namespace {
			s.NamespaceLabels = w.Namespaces[i].Labels
		}
	}
	return s
}

// objects returns the configuration, with placeholders for the Secrets.
func (w *Snapshot) objects() intent.Objects {
	o := w.Config
	if o.Secrets == nil {
		o.Secrets = w.placeholderSecrets()
	}
	return o
}

// Service returns the Service with that key, of any type, or nil.
func (w *Snapshot) Service(k ipam.Key) *corev1.Service {
	for i := range w.Services {
		if svc := &w.Services[i]; intent.KeyOf(svc) == k {
			return svc
		}
	}
	return nil
}

// Index returns the position of a Service in Served; false: Served does not have it.
func (t *Evaluation) Index(k ipam.Key) (int, bool) {
	i, ok := t.index[k]
	return i, ok
}

// Grant returns what the controller should assign to a Service. It is zero for a
// Service that is not in Served.
func (t *Evaluation) Grant(k ipam.Key) ipam.Grant {
	if i, ok := t.index[k]; ok {
		return t.Grants[i]
	}
	return ipam.Grant{}
}

// Usage counts the assigned addresses of each pool, by its position in Pools.
func (t *Evaluation) Usage() []map[ipam.Family]int64 {
	out := make([]map[ipam.Family]int64, len(t.Pools))
	places := map[string]int{}
	for i := range t.Pools {
		out[i], places[t.Pools[i].Name] = map[ipam.Family]int64{}, i
	}
	seen := map[netip.Addr]bool{} // several Services may share an address
	for _, g := range t.Grants {
		for i, a := range g.Addrs {
			if pool, ok := places[g.Pools[i]]; ok && !seen[a] && !t.Checked.OfFormerPrefix(a) {
				seen[a] = true
				out[pool][ipam.FamilyOf(a)]++
			}
		}
	}
	return out
}

// externals decides which addresses in spec.externalIPs of all Services are announced.
func (t *Evaluation) externals(all []*corev1.Service) []intent.External {
	holders := map[netip.Addr]ipam.Key{}
	for _, svc := range all {
		for _, a := range intent.Holds(svc) {
			holders[a] = intent.KeyOf(svc)
		}
	}
	for i, g := range t.Grants {
		for _, a := range g.Addrs {
			holders[a] = t.Requests[i].Service
		}
	}
	serves := func(pool int, svc *corev1.Service) bool { return t.Checked.Pools.Serves(pool, t.Subject(svc)) }
	return t.Checked.ExternalIPs(all, serves, t.Occupied, holders)
}

// ExternalsOf returns what is decided about the addresses in spec.externalIPs of the Service k.
func (t *Evaluation) ExternalsOf(k ipam.Key) []intent.External {
	return slices.DeleteFunc(slices.Clone(t.Externals), func(x intent.External) bool { return x.Service != k })
}
