package world

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// Clone returns a copy of w that can be changed without changing w.
func (w *Snapshot) Clone() *Snapshot {
	out := *w
	c := &out.Config
	c.Pools, c.L2, c.BGP = slices.Clone(c.Pools), slices.Clone(c.L2), slices.Clone(c.BGP)
	c.Peers, c.Profiles, c.Communities = slices.Clone(c.Peers), slices.Clone(c.Profiles), slices.Clone(c.Communities)
	c.Reservations, c.Quotas = slices.Clone(c.Reservations), slices.Clone(c.Quotas)
	out.Services, out.Namespaces, out.Nodes, out.Endpoints = slices.Clone(w.Services), slices.Clone(w.Namespaces), slices.Clone(w.Nodes), slices.Clone(w.Endpoints)
	out.Claims = slices.Clone(w.Claims)
	return &out
}

// Apply changes w as "kubectl apply" would change the cluster. It ignores the status
// of obj. It returns false for a kind that does not matter here.
func (w *Snapshot) Apply(obj *unstructured.Unstructured) (matters bool, err error) {
	edit := edit{obj: obj, now: metav1.NewTime(w.Now)}
	return w.edit(obj, edit.apply)
}

// Delete removes an object from w; a Namespace with its Services and endpoints. It
// returns false for a kind that does not matter here, and an error if there is no
// such object.
func (w *Snapshot) Delete(obj *unstructured.Unstructured) (matters bool, err error) {
	edit := edit{obj: obj}
	matters, err = w.edit(obj, edit.remove)
	if err == nil && obj.GetKind() == "Namespace" && matters {
		gone := func(namespace string) bool { return namespace == obj.GetName() }
		w.Services = slices.DeleteFunc(w.Services, func(s corev1.Service) bool { return gone(s.Namespace) })
		w.Endpoints = slices.DeleteFunc(w.Endpoints, func(s discoveryv1.EndpointSlice) bool { return gone(s.Namespace) })
	}
	return matters, err
}

// edit calls do with the list of the object's kind.
func (w *Snapshot) edit(obj *unstructured.Unstructured, do func(list any) error) (matters bool, err error) {
	lists := map[string]any{
		v1beta1.GroupVersion().String() + " IPAddressPool":      &w.Config.Pools,
		v1beta1.GroupVersion().String() + " L2Advertisement":    &w.Config.L2,
		v1beta1.GroupVersion().String() + " BGPAdvertisement":   &w.Config.BGP,
		v1beta1.GroupVersion().String() + " BGPPeer":            &w.Config.Peers,
		v1beta1.GroupVersion().String() + " BFDProfile":         &w.Config.Profiles,
		v1beta1.GroupVersion().String() + " Community":          &w.Config.Communities,
		v1beta1.GroupVersion().String() + " AddressReservation": &w.Config.Reservations,
		v1beta1.GroupVersion().String() + " AddressQuota":       &w.Config.Quotas,
		v1beta1.GroupVersion().String() + " L2Claim":            &w.Claims,
		"v1 Service":                        &w.Services,
		"v1 Namespace":                      &w.Namespaces,
		"v1 Node":                           &w.Nodes,
		"discovery.k8s.io/v1 EndpointSlice": &w.Endpoints,
	}
	list, ok := lists[obj.GetAPIVersion()+" "+obj.GetKind()]
	if !ok {
		return false, nil
	}
	if err := do(list); err != nil {
		return true, fmt.Errorf("%s %s: %w", obj.GetKind(), nameOf(obj), err)
	}
	if obj.GetKind() == "Service" {
		w.defaultServices()
	}
	return true, nil
}

func nameOf(obj *unstructured.Unstructured) string {
	if obj.GetNamespace() == "" {
		return obj.GetName()
	}
	return obj.GetNamespace() + "/" + obj.GetName()
}

// edit is a change to one object of a list.
type edit struct {
	obj *unstructured.Unstructured
	now metav1.Time
}

// find returns the position of the object in a list of its kind; -1: it is not there.
func (e edit) find(list reflect.Value) int {
	for i := range list.Len() {
		o := list.Index(i).Addr().Interface().(metav1.Object)
		if o.GetName() == e.obj.GetName() && o.GetNamespace() == e.obj.GetNamespace() {
			return i
		}
	}
	return -1
}

func (e edit) remove(pointer any) error {
	list := reflect.ValueOf(pointer).Elem()
	i := e.find(list)
	if i < 0 {
		return fmt.Errorf("it is not there")
	}
	list.Set(reflect.AppendSlice(list.Slice(0, i), list.Slice(i+1, list.Len())))
	return nil
}

func (e edit) apply(pointer any) error {
	list := reflect.ValueOf(pointer).Elem()
	wanted := e.obj.DeepCopy()
	unstructured.RemoveNestedField(wanted.Object, "status")
	modified, err := withLastApplied(wanted)
	if err != nil {
		return err
	}
	i := e.find(list)
	if i < 0 {
		fresh := reflect.New(list.Type().Elem())
		if err := json.Unmarshal(modified, fresh.Interface()); err != nil {
			return err
		}
		fresh.Interface().(metav1.Object).SetCreationTimestamp(e.now)
		list.Set(reflect.Append(list, fresh.Elem()))
		return nil
	}
	merged, err := merge(list.Index(i).Addr().Interface().(metav1.Object), modified)
	if err != nil {
		return err
	}
	out := reflect.New(list.Type().Elem())
	if err := json.Unmarshal(merged, out.Interface()); err != nil {
		return err
	}
	after := out.Interface().(metav1.Object)
	if !sameSpec(list.Index(i), out.Elem()) {
		after.SetGeneration(after.GetGeneration() + 1)
	}
	list.Index(i).Set(out.Elem())
	return nil
}

// withLastApplied returns an object as kubectl sends it: with the annotation that
// holds what was applied.
func withLastApplied(obj *unstructured.Unstructured) ([]byte, error) {
	annotations := obj.GetAnnotations()
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	obj.SetAnnotations(annotations)
	applied, err := obj.MarshalJSON()
	if err != nil {
		return nil, err
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[corev1.LastAppliedConfigAnnotation] = string(applied)
	obj.SetAnnotations(annotations)
	return obj.MarshalJSON()
}

// sameSpec reports whether two objects have equal specifications.
func sameSpec(a, b reflect.Value) bool {
	x, y := a.FieldByName("Spec"), b.FieldByName("Spec")
	return !x.IsValid() || reflect.DeepEqual(x.Interface(), y.Interface())
}

// merge applies a three-way merge as kubectl does: of the object, of what is wanted,
// and of what was applied last.
func merge(have metav1.Object, modified []byte) ([]byte, error) {
	current, err := json.Marshal(have)
	if err != nil {
		return nil, err
	}
	var original []byte
	if last := have.GetAnnotations()[corev1.LastAppliedConfigAnnotation]; last != "" {
		original = []byte(last)
	}
	if reflect.TypeOf(have).Elem().PkgPath() == reflect.TypeFor[v1beta1.IPAddressPool]().PkgPath() {
		patch, err := jsonmergepatch.CreateThreeWayJSONMergePatch(original, modified, current)
		if err != nil {
			return nil, err
		}
		return jsonpatch.MergePatch(current, patch)
	}
	schema, err := strategicpatch.NewPatchMetaFromStruct(have)
	if err != nil {
		return nil, err
	}
	patch, err := strategicpatch.CreateThreeWayMergePatch(original, modified, current, schema, true)
	if err != nil {
		return nil, err
	}
	return strategicpatch.StrategicMergePatchUsingLookupPatchMeta(current, patch, schema)
}

// defaultServices sets the defaults of Services that an API server would set.
func (w *Snapshot) defaultServices() {
	first, both := w.families()
	for i := range w.Services {
		s := &w.Services[i].Spec
		if s.Type == "" {
			s.Type = corev1.ServiceTypeClusterIP
		}
		for j := range s.Ports {
			if s.Ports[j].Protocol == "" {
				s.Ports[j].Protocol = corev1.ProtocolTCP
			}
		}
		if len(s.IPFamilies) == 0 {
			s.IPFamilies = []corev1.IPFamily{first}
		}
		dual := s.IPFamilyPolicy != nil && *s.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack
		if dual && len(s.IPFamilies) == 1 && (both || *s.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack) {
			other := corev1.IPv6Protocol
			if s.IPFamilies[0] == other {
				other = corev1.IPv4Protocol
			}
			s.IPFamilies = append(slices.Clone(s.IPFamilies), other)
		}
	}
}

// families guesses the default family of Services, and whether the cluster is
// dual-stack, from the nodes' Pod networks.
func (w *Snapshot) families() (first corev1.IPFamily, both bool) {
	first = corev1.IPv4Protocol
	for i := range w.Nodes {
		for j, cidr := range w.Nodes[i].Spec.PodCIDRs {
			six := slices.Contains([]byte(cidr), ':')
			if j == 0 && six {
				first = corev1.IPv6Protocol
			}
			both = both || j > 0
		}
	}
	return first, both
}
