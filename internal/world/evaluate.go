package world

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Thought is what follows from a world for the addresses of Services: what a
// controller would give them.
type Thought struct {
	*World
	Checked  intent.Config
	Pools    ipam.Pools
	Served   []*corev1.Service // ours, by age
	Requests []*ipam.Request   // of Served
	Kept     []ipam.Kept       // addresses that wait for Services that were deleted
	Grants   []ipam.Grant      // of Served

	place map[ipam.Key]int // in Served
}

// Think works out what a controller gives each Service of w that is ours.
func (w *World) Think() *Thought {
	t := &Thought{World: w, Checked: intent.Parse(w.objects()), place: map[ipam.Key]int{}}
	for i := range w.Services {
		if svc := &w.Services[i]; intent.Ours(svc, w.Class) {
			r := w.Dialect.Request(svc)
			r.GonePools = w.gone(t.Checked, svc)
			t.Served, t.Requests = append(t.Served, svc), append(t.Requests, &r)
		}
	}
	order := make([]int, len(t.Served))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return ipam.Older(t.Requests[i], t.Requests[j]) })
	t.Served, t.Requests = arranged(t.Served, order), arranged(t.Requests, order)
	subjects := make([]intent.Subject, len(t.Served))
	for i, svc := range t.Served {
		t.place[t.Requests[i].Service] = i
		subjects[i] = w.Subject(svc)
	}
	t.Pools = t.Checked.Pools.Bind(func(k ipam.Key, pool int) bool {
		i, ours := t.place[k]
		return ours && t.Checked.Pools.Serves(pool, subjects[i])
	})
	if !w.Eventually {
		t.Kept = intent.Kept(w.Config.Pools, w.Now)
	}
	t.Grants = ipam.Assign(t.Pools, t.Requests, t.Kept)
	return t
}

// gone returns what svc has of pools that are not there any more, and keeps for a time.
func (w *World) gone(c intent.Config, svc *corev1.Service) map[netip.Addr]string {
	out := map[netip.Addr]string{}
	for _, o := range c.Gone(intent.Origins(svc)) {
		if !w.Eventually && (o.Until.IsZero() || o.Until.After(w.Now)) {
			out[o.Addr] = o.Pool
		}
	}
	return out
}

// arranged returns all in that order.
func arranged[T any](all []T, order []int) []T {
	out := make([]T, len(all))
	for to, from := range order {
		out[to] = all[from]
	}
	return out
}

// Subject is svc as the selectors of pools see it.
func (w *World) Subject(svc *corev1.Service) intent.Subject {
	s := intent.Subject{Namespace: svc.Namespace, Labels: svc.Labels}
	for i := range w.Namespaces {
		if w.Namespaces[i].Name == svc.Namespace {
			s.NamespaceLabels = w.Namespaces[i].Labels
		}
	}
	return s
}

// objects are the configuration, with Secrets that nobody needs to know.
func (w *World) objects() intent.Objects {
	o := w.Config
	if o.Secrets == nil {
		o.Secrets = w.assumed()
	}
	return o
}

// Service returns the Service of that name, of whatever type; nil: there is none.
func (w *World) Service(k ipam.Key) *corev1.Service {
	for i := range w.Services {
		if svc := &w.Services[i]; intent.KeyOf(svc) == k {
			return svc
		}
	}
	return nil
}

// Place returns where in Served a Service is, and whether it is there.
func (t *Thought) Place(k ipam.Key) (int, bool) {
	i, ok := t.place[k]
	return i, ok
}

// Grant returns what a Service is given; the zero Grant if it is not ours.
func (t *Thought) Grant(k ipam.Key) ipam.Grant {
	if i, ok := t.place[k]; ok {
		return t.Grants[i]
	}
	return ipam.Grant{}
}

// Usage counts, for each pool by its place in Pools, the addresses that are given.
func (t *Thought) Usage() []map[ipam.Family]int64 {
	out := make([]map[ipam.Family]int64, len(t.Pools))
	places := map[string]int{}
	for i := range t.Pools {
		out[i], places[t.Pools[i].Name] = map[ipam.Family]int64{}, i
	}
	seen := map[netip.Addr]bool{} // shared addresses are given to several
	for _, g := range t.Grants {
		for i, a := range g.Addrs {
			if pool, ok := places[g.Pools[i]]; ok && !seen[a] {
				seen[a] = true
				out[pool][ipam.FamilyOf(a)]++
			}
		}
	}
	return out
}
