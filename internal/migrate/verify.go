package migrate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// verify checks the result: it validates our objects, assigns addresses with them,
// and reports what would be lost.
func (d *draft) verify() {
	d.write()
	refused := d.refused()
	o := d.config
	o.Secrets = d.allSecrets()
	config := intent.Parse(o)
	for ref, v := range config.Validations {
		if refused[ref] {
			continue
		}
		faults := v.Faults()
		for _, f := range faults {
			d.note(Note{Severity: Blocking, Object: ref.Kind + " " + ref.Name, Reason: fmt.Sprintf("Steelyard would say %s: %s", f.Reason, f.Message)})
		}
		if len(faults) == 0 && len(v.NoEffect) > 0 {
			d.note(Note{Severity: Blocking, Object: ref.Kind + " " + ref.Name, Reason: "it has fields that do nothing in this version: " + strings.Join(v.NoEffect, ", ")})
		}
	}
	services := d.edited()
	subjects := map[ipam.Key]intent.Consumer{}
	requests := make([]*ipam.Request, len(services))
	for i, svc := range services {
		r := intent.AnnotationPrefixes(nil).Request(svc)
		requests[i] = &r
		subjects[r.Service] = intent.Consumer{Namespace: svc.Namespace, NamespaceLabels: d.labels(svc.Namespace), Labels: svc.Labels}
	}
	pools := config.Pools.Bind(func(k ipam.Key, pool int) bool { return config.Pools.Serves(pool, subjects[k]) })
	for i, g := range ipam.Assign(pools, requests, nil) {
		d.checkService(config, services[i], requests[i].Has, g)
	}
}

// write marshals each object. It leaves out what cannot be written such that every
// reader parses the same.
func (d *draft) write() {
	for _, o := range d.objects() {
		var err error
		if o.text, err = document(o); err != nil {
			d.note(Note{Severity: Blocking, Object: o.From, Reason: fmt.Sprintf("what is made of it can't be written as YAML; it is left out: %v", err)})
			continue
		}
		d.plan.Objects = append(d.plan.Objects, o)
	}
}

// refused reports the objects that the API server would reject, and its reasons.
func (d *draft) refused() map[intent.Ref]bool {
	out := map[intent.Ref]bool{}
	for _, o := range d.plan.Objects {
		obj := &unstructured.Unstructured{Object: o.Manifest}
		ref := intent.Ref{Kind: obj.GetKind(), Name: obj.GetName()}
		var reason []string
		if d.source.Rules.Knows(obj.GroupVersionKind()) {
			errs, dropped := d.source.Rules.Check(obj)
			for _, e := range errs {
				reason = append(reason, e.Error())
			}
			for _, field := range dropped {
				reason = append(reason, "there is no field "+field)
			}
		} else { // a Secret
			reason = append(validation.NameIsDNSSubdomain(obj.GetName(), false), validation.ValidateNamespaceName(obj.GetNamespace(), false)...)
		}
		for _, text := range reason {
			out[ref] = true
			d.note(Note{Severity: Blocking, Object: ref.Kind + " " + ref.Name, Reason: "the API server refuses it: " + text})
		}
	}
	return out
}

// checkService reports which of its addresses svc would lose.
func (d *draft) checkService(config intent.Config, svc *corev1.Service, held []netip.Addr, g ipam.Grant) {
	for _, a := range held {
		if slices.Contains(g.Addrs, a) {
			continue
		}
		reason := g.Moved
		if reason == "" {
			reason = strings.TrimSpace(string(g.Reason) + ": " + g.Message)
		}
		if len(g.Addrs) > 0 {
			reason += fmt.Sprintf("; it would have %s", g.Addrs)
		}
		d.note(Note{Severity: Blocking, Object: serviceName(svc), Value: a.String(), Reason: "it would lose this address: " + strings.Trim(reason, ": ;")})
	}
	silent := config.Unadvertised(svc, g.Addrs, g.Pools)
	if silent = slices.DeleteFunc(silent, func(a netip.Addr) bool { return !slices.Contains(held, a) }); len(silent) > 0 {
		d.note(Note{Severity: Blocking, Object: serviceName(svc), Value: fmt.Sprint(silent),
			Reason: "no advertisement is for this address: no node would announce it; make an L2Advertisement or a BGPAdvertisement for its pool"})
	}
}

// edited returns the Services after the edits.
func (d *draft) edited() []*corev1.Service {
	edits := map[ipam.Key]Edit{}
	for _, e := range d.plan.Edits {
		edits[e.Service] = e
	}
	var out []*corev1.Service
	for i := range d.source.Services {
		svc := d.source.Services[i].DeepCopy()
		e := edits[intent.KeyOf(svc)]
		for k, v := range e.Annotations {
			if svc.Annotations == nil {
				svc.Annotations = map[string]string{}
			}
			svc.Annotations[k] = v
		}
		if e.ClearIP {
			svc.Spec.LoadBalancerIP = ""
		}
		out = append(out, svc)
	}
	return out
}

// labels returns the labels of a Namespace. The API server gives each the label of
// its name.
func (d *draft) labels(namespace string) map[string]string {
	if l, ok := d.source.Namespaces[namespace]; ok {
		return l
	}
	return map[string]string{"kubernetes.io/metadata.name": namespace}
}

// annotations returns the annotations that an Edit can have, in the order in which
// they are best read.
func annotations() []string {
	return []string{v1beta1.AnnotationLoadBalancerIPs, v1beta1.AnnotationAddressPool, v1beta1.AnnotationAllowSharedIP}
}
