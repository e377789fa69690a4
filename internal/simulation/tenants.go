package simulation

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// What people and tenants own: pools, advertisements, Namespaces and Services, where
// the world has controllers.

type (
	poolValue      struct{ *v1beta1.IPAddressPool }
	adValue        struct{ *v1beta1.L2Advertisement }
	namespaceValue struct{ *corev1.Namespace }
)

// settle makes what people have made before the history begins.
func (w *world) settle() {
	w.grants = newGrants()
	for _, name := range []string{"a", "b"} {
		w.putNamespace(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"name": name}}})
	}
	w.putAd(w.advertisement())
	sizes := [][2]int{{4, 2}, {2, 1}, {1, 1}, {6, 4}}[w.rnd.IntN(4)]
	w.putPool(w.pool("p1", sizes[0], w.graceTime()))
	w.putPool(w.pool("p2", sizes[1], w.graceTime()))
	for i := range w.Services {
		w.createService(i)
	}
	for i := range w.Controllers {
		r := newReplica(i)
		w.replicas = append(w.replicas, r)
		w.after(w.within(0, 300*time.Millisecond), func() { w.launch(r) })
	}
}

// graceTime is that of the first pools.
func (w *world) graceTime() string { return []string{"0s", "0s", "4s", "10m"}[w.rnd.IntN(4)] }

// advertisement announces all pools, and prefers a node as the history says.
func (w *world) advertisement() *v1beta1.L2Advertisement {
	out := &v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Name: "all"}}
	if w.Prefers > 0 {
		out.Spec.PreferredNodeSelectors = []v1beta1.PreferredNodes{{
			Weight: 1, Preference: metav1.LabelSelector{MatchLabels: map[string]string{"place": strconv.Itoa(w.Prefers)}},
		}}
	}
	return out
}

// pool returns a pool of so many addresses of each subnet.
func (w *world) pool(name string, size int, grace string) *v1beta1.IPAddressPool {
	out := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: name}}
	out.Spec.Addresses = w.ranges(name, size)
	out.Spec.GraceTime = v1beta1.Duration(grace)
	if w.externally(name) {
		out.Spec.Source = w.externalSource()
	}
	return out
}

// ranges returns the addresses of a pool: p1 begins at 201, p2 at 211.
func (w *world) ranges(name string, size int) []v1beta1.AddressRange {
	n, err := strconv.Atoi(strings.Trim(name, "px"))
	if err != nil {
		panic(err) // the names are ours
	}
	first := 191 + 10*n
	var out []v1beta1.AddressRange
	for subnet := range w.Subnets {
		out = append(out, v1beta1.AddressRange(fmt.Sprintf("10.0.%d.%d-10.0.%d.%d", subnet, first, subnet, first+size-1)))
	}
	return out
}

// createService makes the Service of that place, unless it is there. It asks for
// nothing but an address.
func (w *world) createService(place int) {
	svc := &corev1.Service{}
	svc.Namespace, svc.Name = string("ab"[place%2]), fmt.Sprint("s", place+1)
	if w.api.get(services, keyName(svc)) != nil {
		return
	}
	svc.Spec.Type = corev1.ServiceTypeLoadBalancer
	svc.Spec.Ports = []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: int32(80 + place)}}
	svc.UID = types.UID(fmt.Sprint("s", w.api.version))
	svc.CreationTimestamp = metav1.NewTime(w.now.Truncate(time.Second))
	w.putService(svc, nil)
}

// service returns a copy of a Service, by its place; nil: it is not there.
func (w *world) service(place int) *corev1.Service {
	o := w.api.get(services, fmt.Sprintf("%c/s%d", "ab"[place%2], place+1))
	if o == nil {
		return nil
	}
	return o.value.(serviceValue).DeepCopy()
}

// identify gives an object what the API server gives it.
func (w *world) identify(o metav1.Object) {
	if o.GetUID() == "" {
		o.SetUID(types.UID(fmt.Sprint("u", w.api.version)))
		o.SetCreationTimestamp(metav1.NewTime(w.now.Truncate(time.Second)))
		o.SetGeneration(1)
	}
	o.SetResourceVersion(strconv.Itoa(w.api.version + 1))
}

func (w *world) putPool(p *v1beta1.IPAddressPool) *v1beta1.IPAddressPool {
	w.identify(p)
	w.write(pools, p.Name, poolValue{p})
	w.grants.repool(w)
	return p
}

func (w *world) dropPool(name string) {
	w.remove(pools, name)
	w.grants.repool(w)
}

func (w *world) putAd(ad *v1beta1.L2Advertisement) {
	w.identify(ad)
	w.write(ads, ad.Name, adValue{ad})
}

func (w *world) putNamespace(n *corev1.Namespace) {
	w.identify(n)
	w.write(namespaces, n.Name, namespaceValue{n})
}

// configured returns the configuration that a cache shows. Equal specifications come
// to the same parsed value: most edits are of statuses.
func (w *world) configured(t *table, old bool) intent.Configured {
	var out intent.Configured
	key := fmt.Sprint(old)
	for _, o := range t[pools] {
		p := *o.value.(poolValue).IPAddressPool
		if old {
			p.Spec.GraceTime, p.Status.Kept = "0s", nil
		}
		out.Objects.Pools = append(out.Objects.Pools, p)
		key += fmt.Sprint(" ", p.UID, " ", p.Generation)
	}
	for _, o := range t[ads] {
		ad := *o.value.(adValue).L2Advertisement
		out.Objects.L2 = append(out.Objects.L2, ad)
		key += fmt.Sprint(" ", ad.UID, " ", ad.Generation)
	}
	config := w.parsed[key]
	if config == nil {
		c := intent.Parse(out.Objects)
		config = &c
		if w.parsed == nil {
			w.parsed = map[string]*intent.Config{}
		}
		w.parsed[key] = config
	}
	out.Config = config
	return out
}

// selected returns what a program's list or watch selects of a kind: of the Services
// those of type LoadBalancer.
func (c *client) selected(k kind) []*object {
	return slices.DeleteFunc(slices.Clone(c.api.table[k]), func(o *object) bool { return !c.selects(o) || k == services && !shown(o) })
}

// shown reports whether a watch selects a version; others have gone for it.
func shown(o *object) bool {
	v, is := o.value.(serviceValue)
	return o.value != nil && (!is || v.Spec.Type == corev1.ServiceTypeLoadBalancer)
}
