package simulation

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// editKinds returns what people and tenants do in a world with controllers: to
// Services and pools, given by their places.
func editKinds() map[string]faultKind {
	out := map[string]faultKind{
		"create": service(func(w *world, f Fault) { w.createService(f.Nodes[0]) }, nil),
		"delete": service((*world).deleteService, func(w *world, f Fault) { w.createService(f.Nodes[0]) }),
		"remove": service((*world).deleteService, nil),
		"replace": service(func(w *world, f Fault) {
			w.deleteService(f)
			w.createService(f.Nodes[0])
		}, nil),
		"plain": service(edit((*world).makePlain), edit((*world).makeBalanced)),
		"class": service(edit(func(_ *world, _ Fault, svc *corev1.Service) {
			class := "other/lb" // it can be set only when the type is, and then the addresses go
			svc.Spec.LoadBalancerClass, svc.Status.LoadBalancer = &class, corev1.LoadBalancerStatus{}
		}), edit(func(_ *world, _ Fault, svc *corev1.Service) { svc.Spec.LoadBalancerClass = nil })),
		"ask":      service(edit(annotate(v1beta1.AnnotationLoadBalancerIPs, func(f Fault) string { return fmt.Sprint("10.0.0.", 201+f.Number) })), nil),
		"ask-pool": service(edit(annotate(v1beta1.AnnotationAddressPool, func(f Fault) string { return fmt.Sprint("p", 1+f.Number%3) })), nil),
		"ask-none": service(edit(func(_ *world, _ Fault, svc *corev1.Service) {
			delete(svc.Annotations, v1beta1.AnnotationLoadBalancerIPs)
			delete(svc.Annotations, v1beta1.AnnotationAddressPool)
		}), nil),
		"key":  service(edit(annotate(v1beta1.AnnotationAllowSharedIP, func(f Fault) string { return []string{"", "k", "l"}[f.Number%3] })), nil),
		"port": service(edit(func(_ *world, f Fault, svc *corev1.Service) { svc.Spec.Ports[0].Port = int32(80 + f.Number) }), nil),
		"label": service(edit(func(w *world, _ Fault, svc *corev1.Service) {
			svc.Labels = map[string]string{"l": fmt.Sprint(w.api.version)}
		}), nil),
		"rewrite": service(func(w *world, f Fault) { w.overwrite(f, 1+f.Number%4) }, nil),
		"resize":  ofPool((*world).resize, nil),
		"grace": ofPool(func(w *world, f Fault) {
			w.editPool(f, func(p *v1beta1.IPAddressPool) {
				p.Spec.GraceTime = []v1beta1.Duration{"0s", "4s", "10m"}[f.Number%3]
			})
		}, nil),
		"drop-pool":   ofPool((*world).takePool, (*world).restorePool),
		"rename-pool": ofPool((*world).renamePool, nil),
		"remake-pool": ofPool((*world).remakePool, nil),
		"silence": {edits: true,
			begin: func(w *world, _ Fault, _ []*node) { w.remove(ads, "all") },
			end: func(w *world, _ Fault, _ []*node) {
				w.person(func() {
					if w.api.get(ads, "all") == nil {
						w.putAd(w.advertisement())
					}
				})
			}},
	}
	for name, k := range out {
		k.edits, k.spares, k.controllers = true, true, true
		out[name] = k
	}
	return out
}

// person has a person do something at the API server, when it is there.
func (w *world) person(do func()) {
	if w.api.away > 0 {
		w.after(500*time.Millisecond, func() { w.person(do) })
		return
	}
	do()
}

// service is an edit of a Service; then is what ends it.
func service(do, then func(*world, Fault)) faultKind { return editOf('s', do, then) }

func ofPool(do, then func(*world, Fault)) faultKind { return editOf('p', do, then) }

func editOf(on byte, do, then func(*world, Fault)) faultKind {
	k := faultKind{nodes: 1, on: on, number: 16, begin: func(w *world, f Fault, _ []*node) { do(w, f) }, end: nothing}
	if then != nil {
		k.lasts = true
		k.end = func(w *world, f Fault, _ []*node) { w.person(func() { then(w, f) }) }
	}
	return k
}

// edit changes a Service, if it is there.
func edit(change func(*world, Fault, *corev1.Service)) func(*world, Fault) {
	return func(w *world, f Fault) {
		if svc := w.service(f.Nodes[0]); svc != nil {
			change(w, f, svc)
			w.putService(svc, nil)
		}
	}
}

func annotate(key string, value func(Fault) string) func(*world, Fault, *corev1.Service) {
	return func(_ *world, f Fault, svc *corev1.Service) {
		if svc.Annotations == nil {
			svc.Annotations = map[string]string{}
		}
		if svc.Annotations[key] = value(f); svc.Annotations[key] == "" {
			delete(svc.Annotations, key)
		}
	}
}

func (w *world) deleteService(f Fault) {
	svc := w.service(f.Nodes[0])
	switch {
	case svc == nil:
	case len(svc.Finalizers) > 0:
		now := metav1.NewTime(w.now)
		svc.DeletionTimestamp = &now
		w.putService(svc, nil)
	default:
		w.dropService(keyName(svc))
	}
}

// makePlain makes a Service one of type ClusterIP. The API server clears its addresses.
func (w *world) makePlain(_ Fault, svc *corev1.Service) {
	svc.Spec.Type, svc.Status.LoadBalancer = corev1.ServiceTypeClusterIP, corev1.LoadBalancerStatus{}
}

func (w *world) makeBalanced(_ Fault, svc *corev1.Service) {
	svc.Spec.Type = corev1.ServiceTypeLoadBalancer
}

// overwrite has another client write the status of a Service, some times in a row.
func (w *world) overwrite(f Fault, times int) {
	svc := w.service(f.Nodes[0])
	if times == 0 || svc == nil || svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return
	}
	addr := []string{"203.0.113.9", "", fmt.Sprint("10.0.0.", 201+f.Number%4)}[f.Number%3]
	svc.Status.LoadBalancer.Ingress = nil
	if addr != "" {
		svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: addr}}
	}
	svc.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "another"}}
	w.putService(svc, nil)
	w.after(w.within(0, 800*time.Millisecond), func() { w.person(func() { w.overwrite(f, times-1) }) })
}

func poolName(f Fault) string { return fmt.Sprint("p", f.Nodes[0]+1) }

// editPool changes the specification of a pool, if it is there.
func (w *world) editPool(f Fault, change func(*v1beta1.IPAddressPool)) {
	o := w.api.get(pools, poolName(f))
	if o == nil {
		return
	}
	p := o.value.(poolValue).DeepCopy()
	change(p)
	p.Generation++
	w.putPool(p)
}

// resize gives a pool another number of addresses; one that is not there is made.
func (w *world) resize(f Fault) {
	size := 1 + f.Number%6
	if w.api.get(pools, poolName(f)) == nil {
		w.putPool(w.pool(poolName(f), size, "4s"))
		return
	}
	w.editPool(f, func(p *v1beta1.IPAddressPool) { p.Spec.Addresses = w.ranges(p.Name, size) })
}

// takePool deletes a pool, and restorePool creates it again.
func (w *world) takePool(f Fault) {
	if o := w.api.get(pools, poolName(f)); o != nil {
		w.taken[poolName(f)] = o.value.(poolValue).IPAddressPool
		w.dropPool(poolName(f))
	}
}

func (w *world) restorePool(f Fault) {
	name := poolName(f)
	p := w.taken[name]
	if delete(w.taken, name); p == nil || w.api.get(pools, name) != nil {
		return
	}
	w.putPool(copyOf(p, name))
}

// copyOf returns a new pool as a user makes it from another one.
func copyOf(p *v1beta1.IPAddressPool, name string) *v1beta1.IPAddressPool {
	return &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: *p.Spec.DeepCopy()}
}

// renamePool makes the same pool under another name, after or before it deletes the one
// that is there.
func (w *world) renamePool(f Fault) {
	name, other := poolName(f), poolName(f)+"x"
	if w.api.get(pools, name) == nil {
		name, other = other, name
	}
	o := w.api.get(pools, name)
	if o == nil {
		return
	}
	p := copyOf(o.value.(poolValue).IPAddressPool, other)
	if f.Number%2 == 0 {
		w.dropPool(name)
		w.after(w.within(0, time.Second), func() {
			w.person(func() {
				if w.api.get(pools, other) == nil {
					w.putPool(p)
				}
			})
		})
		return
	}
	if w.api.get(pools, other) == nil {
		w.putPool(p)
	}
	w.dropPool(name)
}

// remakePool replaces a pool by one of that name at once: as kubectl replace --force.
func (w *world) remakePool(f Fault) {
	o := w.api.get(pools, poolName(f))
	if o == nil {
		return
	}
	p := copyOf(o.value.(poolValue).IPAddressPool, poolName(f))
	p.Spec.Addresses = w.ranges(p.Name, 1+f.Number%6)
	w.dropPool(p.Name)
	w.putPool(p)
}
