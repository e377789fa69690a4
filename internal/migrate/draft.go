package migrate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// draft is a plan while it is built.
type draft struct {
	product   Product
	converter converter
	source    Source
	config    intent.Objects        // our objects
	from      map[intent.Ref]string // what each was converted from
	taken     map[*unstructured.Unstructured]bool
	poolOf    map[string]string      // our pool for each of theirs, by their name
	secrets   map[string]theirSecret // by the name that ours will have
	// passwords in their objects, by the name that the Secret will have.
	passwords map[string]string
	homes     map[string]bool // the namespaces of their objects
	facts     map[string]bool // what the steps depend on
	plan      Plan
}

func newDraft(p Product, t converter, s Source) *draft {
	copied := make([]unstructured.Unstructured, len(s.Objects))
	for i := range s.Objects {
		copied[i] = *s.Objects[i].DeepCopy() // since reading removes fields
	}
	slices.SortStableFunc(copied, func(a, b unstructured.Unstructured) int { return strings.Compare(nameOf(&a), nameOf(&b)) })
	s.Objects = copied
	return &draft{
		product: p, converter: t, source: s,
		from: map[intent.Ref]string{}, taken: map[*unstructured.Unstructured]bool{}, poolOf: map[string]string{},
		secrets: map[string]theirSecret{}, passwords: map[string]string{}, homes: map[string]bool{}, facts: map[string]bool{},
	}
}

// note adds a note. Its text may be foreign: runes that cannot be seen are escaped,
// and long texts are cut.
func (d *draft) note(n Note) {
	n.Object, n.Field, n.Value, n.Reason = printable.Message(n.Object), printable.Message(n.Field), printable.Word(n.Value), printable.Message(n.Reason)
	d.plan.Notes = append(d.plan.Notes, n)
}

// entry is one of their objects, to be read.
type entry struct {
	obj  *unstructured.Unstructured
	all  fields
	spec fields
}

// name returns the name of the object in notes.
func (e entry) name() string { return nameOf(e.obj) }

// each calls f with every object of a kind in one of the versions, and reports the
// fields that f did not read.
func (d *draft) each(kind string, versions []string, f func(entry)) {
	for i := range d.source.Objects {
		o := &d.source.Objects[i]
		if o.GetKind() != kind || !slices.Contains(versions, o.GetAPIVersion()) {
			continue
		}
		d.taken[o] = true
		d.homes[o.GetNamespace()] = true
		all := fields{o.Object, "", nameOf(o), d.note}
		e := entry{obj: o.DeepCopy(), all: all, spec: all.sub("spec")}
		for _, name := range []string{"apiVersion", "kind", "metadata", "status"} {
			all.take(name)
		}
		f(e)
		all.rest()
	}
}

// meta returns the metadata of a new object: the name of the old one, unless another
// object has it, and the labels that people chose.
func (d *draft) meta(kind, name string, e entry) metav1.ObjectMeta {
	m := d.made(kind, name, e.name())
	for k, v := range e.obj.GetLabels() {
		if k == "app.kubernetes.io/managed-by" || k == "helm.sh/chart" {
			continue
		}
		if m.Labels == nil {
			m.Labels = map[string]string{}
		}
		m.Labels[k] = v
	}
	return m
}

// made returns the metadata of a new object, with a unique name, and records what it
// is converted from.
func (d *draft) made(kind, name, from string) metav1.ObjectMeta {
	unique := name
	for n := 2; d.from[intent.Ref{Kind: kind, Name: unique}] != ""; n++ {
		unique = fmt.Sprintf("%s-%d", name, n)
	}
	d.from[intent.Ref{Kind: kind, Name: unique}] = from
	return metav1.ObjectMeta{Name: unique}
}

func (d *draft) pool(m metav1.ObjectMeta, spec v1beta1.IPAddressPoolSpec) {
	if len(spec.Addresses) == 0 {
		ref := intent.Ref{Kind: "IPAddressPool", Name: m.Name}
		d.note(Note{Severity: NoEqual, Object: d.from[ref], Reason: "no address of it can be carried over, so there is no pool for it"})
		delete(d.from, ref)
		return
	}
	d.config.Pools = append(d.config.Pools, v1beta1.IPAddressPool{ObjectMeta: m, Spec: spec})
}

// ranges parses a list of addresses as the products write them: CIDRs, also with host
// bits, ranges, and single addresses. It returns them in our form.
func (d *draft) ranges(f fields, name string, in []string) []v1beta1.AddressRange {
	var out []v1beta1.AddressRange
	for _, text := range in {
		r, err := canonical(text)
		switch {
		case err != nil:
			f.noteField(NoEqual, name, text, "%v", err)
		case !slices.Contains(out, r):
			out = append(out, r)
		}
	}
	return out
}

// canonical returns a CIDR, a range or an address in our form.
func canonical(text string) (v1beta1.AddressRange, error) {
	text = strings.TrimSpace(text)
	bad := fmt.Errorf("%q is neither a CIDR nor a range nor an address", text)
	if p, err := netip.ParsePrefix(text); err == nil {
		return v1beta1.AddressRange(p.Masked().String()), nil
	}
	first, last, isRange := strings.Cut(text, "-")
	a, err := parseAddr(first)
	if err != nil {
		return "", bad
	}
	if !isRange {
		return v1beta1.AddressRange(a.Unmap().String()), nil
	}
	b, err := parseAddr(last)
	if err != nil || a.Is4() != b.Is4() {
		return "", bad
	}
	return v1beta1.AddressRange(a.String() + "-" + b.String()), nil
}

// parseAddr parses an address without a zone: a zone could be any text, and means
// something on one node only.
func parseAddr(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.TrimSpace(text))
	if err == nil && a.Zone() != "" {
		err = fmt.Errorf("%q has a zone", text)
	}
	return a, err
}

// ends returns the first and the last address of each CIDR that has more than two.
func ends(in []v1beta1.AddressRange) []v1beta1.AddressRange {
	var out []v1beta1.AddressRange
	for _, r := range in {
		first, last, ok := endsOf(string(r))
		if ok {
			out = append(out, v1beta1.AddressRange(first), v1beta1.AddressRange(last))
		}
	}
	return out
}

// endsOf returns the first and the last address of a CIDR that has more than two.
func endsOf(text string) (first, last string, ok bool) {
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().BitLen()-p.Bits() < 2 {
		return "", "", false
	}
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return p.Masked().Addr().String(), a.String(), true
}

// objects returns our objects, in the order in which they are best read.
func (d *draft) objects() []Object {
	var out []Object
	add := func(kind string, o metav1.Object) {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			panic(fmt.Sprintf("write %s %s: %v", kind, o.GetName(), err)) // the types are our own
		}
		delete(content, "status")
		content["apiVersion"], content["kind"] = v1beta1.GroupVersion().String(), kind
		out = append(out, Object{From: printable.Message(d.from[intent.Ref{Kind: kind, Name: o.GetName()}]), Manifest: content})
	}
	for i := range d.config.Pools {
		add("IPAddressPool", &d.config.Pools[i])
	}
	for i := range d.config.L2 {
		add("L2Advertisement", &d.config.L2[i])
	}
	for i := range d.config.Communities {
		add("Community", &d.config.Communities[i])
	}
	for i := range d.config.Profiles {
		add("BFDProfile", &d.config.Profiles[i])
	}
	out = append(out, d.secretObjects()...)
	for i := range d.config.Peers {
		add("BGPPeer", &d.config.Peers[i])
	}
	for i := range d.config.BGP {
		add("BGPAdvertisement", &d.config.BGP[i])
	}
	return out
}
