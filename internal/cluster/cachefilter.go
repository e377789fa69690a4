package cluster

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// SpeakerFields returns what takes out of an object, on its way to the cache, what a
// speaker does not read. What a speaker patches stays whole.
func SpeakerFields() func(client.Object) { return new(interner).stripFields }

// ControllerFields returns what takes out of an object, on its way to the cache, what the
// controller does not read.
func ControllerFields() func(client.Object) {
	w := new(interner)
	return func(obj client.Object) {
		switch obj.(type) {
		case *discoveryv1.EndpointSlice, *corev1.Node, *v1beta1.L2Claim:
			w.stripFields(obj)
		}
	}
}

// interner lets equal strings of many objects share memory: names of nodes and
// namespaces, MACs, reasons. The zero interner is ready for use.
type interner struct {
	mu    sync.Mutex
	known map[string]string
	ports map[string][]corev1.ServicePort
}

// maxAnnotation bounds the annotations of Nodes that are kept: BGPPeers read addresses and AS
// numbers there.
const maxAnnotation = 64

// maxInterned bounds how many strings are known: beyond, they are interned again.
const maxInterned = 1 << 12

func (w *interner) intern(s string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if same, ok := w.known[s]; ok {
		return same
	}
	if w.known == nil || len(w.known) >= maxInterned {
		w.known = map[string]string{}
	}
	w.known[s] = s
	return s
}

// stripFields takes out of an object what a speaker does not read, and has the rest
// share memory.
func (w *interner) stripFields(obj client.Object) {
	obj.SetNamespace(w.intern(obj.GetNamespace()))
	switch o := obj.(type) {
	case *corev1.Service:
		o.Spec = corev1.ServiceSpec{
			Type: o.Spec.Type, LoadBalancerClass: o.Spec.LoadBalancerClass,
			ExternalTrafficPolicy: o.Spec.ExternalTrafficPolicy, HealthCheckNodePort: o.Spec.HealthCheckNodePort, Ports: w.comparedPorts(o),
			ClusterIP: o.Spec.ClusterIP, ExternalIPs: o.Spec.ExternalIPs,
		}
		o.Status.Conditions = originsOnly(o)
		stripMetadata(o)
	case *v1beta1.IPAddressPool:
		o.Status.Kept, o.Status.History = nil, nil
	case *discoveryv1.EndpointSlice:
		w.stripEndpoints(o)
	case *corev1.Node:
		o.Status = corev1.NodeStatus{Conditions: o.Status.Conditions, Addresses: o.Status.Addresses}
		maps.DeleteFunc(o.Annotations, func(_, value string) bool { return len(value) > maxAnnotation })
	case *v1beta1.L2Claim:
		w.internClaim(o)
	}
}

// originsOnly returns the condition that says of which pools the addresses of svc are,
// without the rest of its words: a pool that is gone goes on being announced.
func originsOnly(svc *corev1.Service) []metav1.Condition {
	origins := intent.Origins(svc)
	if len(origins) == 0 {
		return nil
	}
	return []metav1.Condition{{Type: v1beta1.ConditionAllocated, Status: metav1.ConditionTrue, Message: intent.OriginsText(origins)}}
}

// stripMetadata drops what is of interest to those who made the object.
func stripMetadata(obj client.Object) {
	obj.SetManagedFields(nil)
	obj.SetAnnotations(nil)
	obj.SetOwnerReferences(nil)
	obj.SetFinalizers(nil)
	obj.SetGenerateName("")
}

// comparedPorts returns of the ports of svc what EndpointSlices are compared with, and where
// it can be dialed. Services with the same ports share one list.
func (w *interner) comparedPorts(svc *corev1.Service) []corev1.ServicePort {
	out := make([]corev1.ServicePort, len(svc.Spec.Ports))
	for i, p := range svc.Spec.Ports {
		out[i] = corev1.ServicePort{Name: w.intern(p.Name), Protocol: corev1.Protocol(w.intern(string(p.Protocol))), Port: p.Port}
	}
	key := fmt.Sprint(out)
	w.mu.Lock()
	defer w.mu.Unlock()
	if same, ok := w.ports[key]; ok {
		return same
	}
	if w.ports == nil || len(w.ports) >= maxInterned {
		w.ports = map[string][]corev1.ServicePort{}
	}
	w.ports[key] = out
	return out
}

// stripPorts leaves of the ports of an EndpointSlice what those of Services are compared with.
func (w *interner) stripPorts(ports []discoveryv1.EndpointPort) {
	some := new(int32)
	for i, p := range ports {
		ports[i] = discoveryv1.EndpointPort{}
		if p.Name != nil {
			name := w.intern(*p.Name)
			ports[i].Name = &name
		}
		if p.Protocol != nil {
			protocol := corev1.Protocol(w.intern(string(*p.Protocol)))
			ports[i].Protocol = &protocol
		}
		if p.Port != nil {
			ports[i].Port = some
		}
	}
}

// stripEndpoints leaves of all endpoints on a node that are in one state a single
// one: how many there are, and which, is kube-proxy's concern.
func (w *interner) stripEndpoints(o *discoveryv1.EndpointSlice) {
	service := o.Labels[discoveryv1.LabelServiceName]
	*o = discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name, ResourceVersion: o.ResourceVersion},
		AddressType: o.AddressType, Ports: o.Ports, Endpoints: o.Endpoints,
	}
	w.stripPorts(o.Ports)
	if service != "" {
		o.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	}
	type state struct {
		node, address  string // address: only of one that names no node, which is found by it
		ready, serving bool
	}
	yes, no := true, false
	pointer := func(b bool) *bool {
		if b {
			return &yes
		}
		return &no
	}
	count := map[state]int{}
	var order []state
	kept := map[state]discoveryv1.Endpoint{}
	for _, e := range o.Endpoints {
		s := state{ready: e.Conditions.Ready == nil || *e.Conditions.Ready, serving: e.Conditions.Serving != nil && *e.Conditions.Serving}
		one := discoveryv1.Endpoint{Conditions: discoveryv1.EndpointConditions{Ready: pointer(s.ready), Serving: pointer(s.serving)}}
		if e.NodeName != nil {
			s.node = w.intern(*e.NodeName)
			one.NodeName = &s.node
		} else {
			one.Addresses = e.Addresses[:min(1, len(e.Addresses))]
			s.address = strings.Join(one.Addresses, "")
		}
		if count[s]++; count[s] == 1 {
			kept[s], order = one, append(order, s)
		}
	}
	out := make([]discoveryv1.Endpoint, 0, len(order))
	for _, s := range order {
		e := kept[s]
		if count[s] > 1 {
			e.DeprecatedTopology = map[string]string{intent.CountKey: w.intern(strconv.Itoa(count[s]))}
		}
		out = append(out, e)
	}
	o.Endpoints = out
}

func (w *interner) internClaim(o *v1beta1.L2Claim) {
	o.TypeMeta = metav1.TypeMeta{}
	o.Spec.Node, o.Status.Node = w.intern(o.Spec.Node), w.intern(o.Status.Node)
	if string(o.Spec.Address) == o.Name {
		o.Spec.Address = v1beta1.IPAddress(o.Name)
	}
	for i := range o.Status.Links {
		l := &o.Status.Links[i]
		l.Name, l.MAC = w.intern(l.Name), w.intern(l.MAC)
	}
	for i := range o.Status.FormerOwners {
		f := &o.Status.FormerOwners[i]
		f.Node, f.Reason = w.intern(f.Node), w.intern(f.Reason)
	}
	for i := range o.Status.Conditions {
		c := &o.Status.Conditions[i]
		c.Type, c.Reason, c.Message = w.intern(c.Type), w.intern(c.Reason), w.intern(c.Message)
		c.Status = metav1.ConditionStatus(w.intern(string(c.Status)))
	}
}
