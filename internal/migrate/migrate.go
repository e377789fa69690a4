// Package migrate turns what another load balancer was told into our own
// objects: pools, advertisements, peers, and annotations of Services. Whatever
// it can't carry over it names, field by field.
//
// It is pure: it reads no cluster and writes none. That every address in use is
// kept it does not assume but try: it has package ipam assign with what came
// out, and names each Service that would lose an address.
package migrate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/steelyard-lb/steelyard/internal/ipam"
	rules "github.com/steelyard-lb/steelyard/internal/schema"
)

// Peer is a load balancer to come from.
type Peer string

// The peers that are known.
const (
	MetalLB Peer = "metallb"
	PureLB  Peer = "purelb"
	OpenELB Peer = "openelb"
	Cilium  Peer = "cilium"
	KubeVIP Peer = "kube-vip"
)

// Peers returns all peers that are known.
func Peers() []Peer { return []Peer{MetalLB, PureLB, OpenELB, Cilium, KubeVIP} }

// Source is what was read. Order does not matter.
type Source struct {
	Objects    []unstructured.Unstructured  // of the peer; others are named
	Services   []corev1.Service             // of the whole cluster; those that are no load balancer's are ignored
	Namespaces map[string]map[string]string // labels of Namespaces, by name; what is not there has none but its name
	Home       string                       // Steelyard's own namespace
	Class      *string                      // spec.loadBalancerClass of the Services to take over; nil: what most of them have
	Pin        bool                         // have each Service ask for the addresses that it holds
	Theirs     string                       // the peer's own namespace; empty: its usual one, or the only one that has objects
	Rules      *rules.Checker               // what the API server refuses; it must be there
}

// Plan is what comes of it.
type Plan struct {
	Objects []Object `json:"objects"`
	Edits   []Edit   `json:"edits"` // of Services, by name
	Notes   []Note   `json:"notes"` // the gravest first
	Steps   []string `json:"steps"` // to switch with the addresses kept, in order
	Class   string   `json:"class"` // what Steelyard's flag --load-balancer-class must be
	Held    int      `json:"held"`  // addresses in use
}

// Object is one of our own, ready to apply.
type Object struct {
	From     string         `json:"from"` // what it was made from, as kind namespace/name
	Manifest map[string]any `json:"manifest"`
	text     string         // Manifest as YAML
}

// Edit is what a Service must be given.
type Edit struct {
	Service     ipam.Key          `json:"service"`
	Annotations map[string]string `json:"annotations"`
	// ClearIP: spec.loadBalancerIP must go, since it contradicts an annotation or
	// asks for what we have not.
	ClearIP bool `json:"clearIP"`
}

// Gravity is how much a Note matters.
type Gravity int

// The gravities.
const (
	Breaks   Gravity = iota // an address in use would be lost, or not be announced
	NoEqual                 // we have nothing like it
	Changed                 // it is carried over, and means something else
	Unneeded                // there is nothing to carry over: we always do it, or it is a report
)

func (g Gravity) String() string {
	return [...]string{"breaks", "no equal", "changed", "not needed"}[g]
}

// Note is something that is not as it was.
type Note struct {
	Gravity Gravity `json:"gravity"`
	Object  string  `json:"object"`          // kind namespace/name
	Field   string  `json:"field,omitempty"` // with the path; empty: the whole object
	Value   string  `json:"value,omitempty"` // what it was set to, in brief; empty for secrets
	Why     string  `json:"why"`
}

// MarshalText writes the word for g.
func (g Gravity) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

func (n Note) String() string {
	what := n.Object
	if n.Field != "" {
		what += " " + n.Field
	}
	if n.Value != "" {
		what += " = " + n.Value
	}
	return what + ": " + n.Why
}

// trade is what is known of one peer.
type trade struct {
	kinds   []schema.GroupVersionResource // to read; of several versions of one the first that is served
	classes []string                      // of Services that can only be the peer's
	homes   []string                      // its usual namespaces
	// anybody: these kinds are made in any namespace, by people who administer nothing.
	anybody bool
	// concerns reports which of the objects that are read matter; nil: all.
	concerns func(*unstructured.Unstructured) bool
	// foreign kinds hold nothing that could be carried over; the text says what they are.
	foreign map[string]string
	// convert enters what the objects say.
	convert func(*draft)
	// asks tells what a Service asks the peer for.
	asks  func(*draft, *corev1.Service) wish
	steps func(*draft) []string
}

func trades() map[Peer]trade {
	return map[Peer]trade{MetalLB: metalLB(), PureLB: pureLB(), OpenELB: openELB(), Cilium: cilium(), KubeVIP: kubeVIP()}
}

// Resources returns what to read for a peer, beside Services and Namespaces. Of
// several versions of a resource the first that is served will do.
func (p Peer) Resources() []schema.GroupVersionResource { return trades()[p].kinds }

// Convert does it. It fails if the peer is not known, or its namespace is not.
func Convert(p Peer, s Source) (Plan, error) {
	t, ok := trades()[p]
	if !ok {
		return Plan{}, fmt.Errorf("%q is not known; known are %v", p, Peers())
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

// finish puts everything in an order of its own.
func (d *draft) finish() Plan {
	slices.SortStableFunc(d.plan.Notes, func(a, b Note) int {
		return cmp.Or(cmp.Compare(a.Gravity, b.Gravity), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Why, b.Why))
	})
	d.plan.Notes = slices.Compact(d.plan.Notes)
	return d.plan
}

// nameOf names an object for people.
func nameOf(o *unstructured.Unstructured) string {
	if o.GetNamespace() == "" {
		return o.GetKind() + " " + o.GetName()
	}
	return o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
}

// others names the objects that nobody took.
func (d *draft) others() {
	for i := range d.source.Objects {
		o := &d.source.Objects[i]
		if d.taken[o] {
			continue
		}
		if why, known := d.trade.foreign[o.GetKind()]; known {
			gravity := NoEqual
			if strings.HasPrefix(why, "it is a report") {
				gravity = Unneeded
			}
			d.note(Note{Gravity: gravity, Object: nameOf(o), Why: why})
			continue
		}
		d.note(Note{Gravity: NoEqual, Object: nameOf(o), Why: fmt.Sprintf("apiVersion %s: nothing is known of this kind, or of this version; it is left out", o.GetAPIVersion())})
	}
}
