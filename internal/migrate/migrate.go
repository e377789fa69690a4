// Package migrate converts the configuration of another load balancer to our own
// objects: pools, advertisements, peers, and annotations of Services. It reports
// every field that it cannot convert.
//
// It is pure: it reads no cluster and writes none. It does not assume that every
// address in use is kept, but checks it: it has package ipam assign addresses with
// the result, and reports each Service that would lose one.
package migrate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/steelyard-lb/steelyard/internal/ipam"
	rules "github.com/steelyard-lb/steelyard/internal/schema"
)

// Product is the load balancer to migrate from.
type Product string

// The products that can be converted.
const (
	MetalLB Product = "metallb"
	PureLB  Product = "purelb"
	OpenELB Product = "openelb"
	Cilium  Product = "cilium"
	KubeVIP Product = "kube-vip"
)

// Products returns all products that can be converted.
func Products() []Product { return []Product{MetalLB, PureLB, OpenELB, Cilium, KubeVIP} }

// Source is what was read. Order does not matter.
type Source struct {
	Objects    []unstructured.Unstructured  // of the product; other objects are reported
	Services   []corev1.Service             // of the whole cluster; those of other types are ignored
	Namespaces map[string]map[string]string // labels of Namespaces by name; a missing Namespace has only the label of its name
	Namespace  string                       // Steelyard's own namespace
	Class      *string                      // spec.loadBalancerClass of the Services to take over; nil: the most frequent one
	Pin        bool                         // make each Service request the addresses that it has
	Theirs     string                       // the product's own namespace; empty: its usual one, or the only one that has objects
	Rules      *rules.Checker               // the API server's validation; required
}

// Plan is the result of a conversion.
type Plan struct {
	Objects []Object `json:"objects"`
	Edits   []Edit   `json:"edits"` // of Services, by name
	Notes   []Note   `json:"notes"` // the most severe first
	Steps   []string `json:"steps"` // to switch and keep the addresses, in order
	Class   string   `json:"class"` // the value for Steelyard's flag --load-balancer-class
	Held    int      `json:"held"`  // addresses in use
}

// Object is one of our objects, ready to apply.
type Object struct {
	From     string         `json:"from"` // what it was converted from, as kind namespace/name
	Manifest map[string]any `json:"manifest"`
	text     string         // Manifest as YAML
}

// Edit is a change of a Service.
type Edit struct {
	Service     ipam.Key          `json:"service"`
	Annotations map[string]string `json:"annotations"`
	// ClearIP: spec.loadBalancerIP must be removed, since it contradicts an
	// annotation or requests what Steelyard does not offer.
	ClearIP bool `json:"clearIP"`
}

// Severity is how much a Note matters.
type Severity int

// The severities.
const (
	Blocking Severity = iota // an address in use would be lost, or not announced
	NoEqual                  // Steelyard has no equivalent
	Changed                  // it is converted, and means something else
	Unneeded                 // nothing needs to be converted: Steelyard always does it, or it is a status
)

func (g Severity) String() string {
	return [...]string{"breaks", "no equal", "changed", "not needed"}[g]
}

// Note is a difference between the configuration and its conversion.
type Note struct {
	Severity Severity `json:"severity"`
	Object   string   `json:"object"`          // kind namespace/name
	Field    string   `json:"field,omitempty"` // with its path; empty: the whole object
	Value    string   `json:"value,omitempty"` // its value, shortened; empty for secrets
	Reason   string   `json:"why"`
}

// MarshalText returns the name of g.
func (g Severity) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

func (n Note) String() string {
	what := n.Object
	if n.Field != "" {
		what += " " + n.Field
	}
	if n.Value != "" {
		what += " = " + n.Value
	}
	return what + ": " + n.Reason
}

// converter is what is known of one product.
type converter struct {
	kinds   []schema.GroupVersionResource // to read; the first version that the cluster serves
	classes []string                      // of Services that are certainly the product's
	homes   []string                      // its usual namespaces
	// anyNamespace: users who are no administrators create these kinds, in any
	// namespace.
	anyNamespace bool
	// concerns reports which of the read objects matter; nil: all.
	concerns func(*unstructured.Unstructured) bool
	// foreign kinds have nothing to convert; the text says what they are.
	foreign map[string]string
	// convert adds the objects to the draft.
	convert func(*draft)
	// asks returns what a Service requests from the product.
	asks  func(*draft, *corev1.Service) request
	steps func(*draft) []string
}

func converters() map[Product]converter {
	return map[Product]converter{MetalLB: metalLB(), PureLB: pureLB(), OpenELB: openELB(), Cilium: cilium(), KubeVIP: kubeVIP()}
}

// Resources returns what to read for a product, beside Services and Namespaces. Of
// several versions of a resource the first one that the cluster serves is enough.
func (p Product) Resources() []schema.GroupVersionResource { return converters()[p].kinds }

// ProductOf returns the product that a kind belongs to, which Convert converts; empty:
// none, as for the kinds of Kubernetes.
func ProductOf(gvk schema.GroupVersionKind) Product {
	resource, _ := meta.UnsafeGuessKindToResource(gvk)
	for _, p := range Products() {
		if slices.ContainsFunc(p.Resources(), func(r schema.GroupVersionResource) bool {
			return strings.Contains(r.Group, ".") && r.GroupResource() == resource.GroupResource()
		}) {
			return p
		}
	}
	return ""
}

// Convert converts s. It fails if the product or its namespace is not known.
func Convert(p Product, s Source) (Plan, error) {
	t, ok := converters()[p]
	if !ok {
		return Plan{}, fmt.Errorf("%q is not known; known are %v", p, Products())
	}
	d := newDraft(p, t, s)
	if err := d.scope(); err != nil {
		return Plan{}, err
	}
	t.convert(d)
	d.others()
	d.services()
	d.hold()
	d.share()
	d.verify()
	d.plan.Steps = t.steps(d)
	return d.finish(), nil
}

// finish sorts the notes. What there is none of is empty, and not null where it is encoded.
func (d *draft) finish() Plan {
	d.plan.Objects, d.plan.Edits = append([]Object{}, d.plan.Objects...), append([]Edit{}, d.plan.Edits...)
	d.plan.Notes, d.plan.Steps = append([]Note{}, d.plan.Notes...), append([]string{}, d.plan.Steps...)
	slices.SortStableFunc(d.plan.Notes, func(a, b Note) int {
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Reason, b.Reason))
	})
	d.plan.Notes = slices.Compact(d.plan.Notes)
	return d.plan
}

// nameOf returns the name of an object in notes.
func nameOf(o *unstructured.Unstructured) string {
	if o.GetNamespace() == "" {
		return o.GetKind() + " " + o.GetName()
	}
	return o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
}

// others reports the objects that no converter has read.
func (d *draft) others() {
	for i := range d.source.Objects {
		o := &d.source.Objects[i]
		if d.taken[o] {
			continue
		}
		if reason, known := d.converter.foreign[o.GetKind()]; known {
			severity := NoEqual
			if strings.HasPrefix(reason, "it is a report") {
				severity = Unneeded
			}
			d.note(Note{Severity: severity, Object: nameOf(o), Reason: reason})
			continue
		}
		d.note(Note{Severity: NoEqual, Object: nameOf(o), Reason: fmt.Sprintf("apiVersion %s: nothing is known of this kind, or of this version; it is left out", o.GetAPIVersion())})
	}
}
