package migrate

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// request is what a Service requests from its load balancer.
type request struct {
	addresses string // comma-separated
	pool      string // their pool
	share     string // the sharing key
	clearIP   bool   // spec.loadBalancerIP must be removed
	// Annotations under these prefixes are the product's. Those that are not in
	// known are reported, with the reason in said if there is one.
	prefixes []string
	known    []string
	said     map[string]string
}

// requestOf returns what svc requests from a product, by those of its annotations that
// have an equal among ours.
func requestOf(svc *corev1.Service, of Product) request {
	theirs := func(ours string) string { return intent.Theirs(svc, string(of), ours) }
	return request{addresses: theirs(v1beta1.AnnotationLoadBalancerIPs), pool: theirs(v1beta1.AnnotationAddressPool), share: theirs(v1beta1.AnnotationAllowSharedIP)}
}

// serviceName returns the name of a Service in notes.
func serviceName(svc *corev1.Service) string {
	return "Service " + svc.Namespace + "/" + svc.Name
}

// servedServices returns the Services that Steelyard will serve, by name. It chooses
// the class, since a Steelyard serves one class only.
func (d *draft) servedServices() []*corev1.Service {
	var all []*corev1.Service
	byClass := map[string]int{}
	for i := range d.source.Services {
		svc := &d.source.Services[i]
		class := classOf(svc)
		foreign := class != "" && !slices.Contains(d.converter.classes, class) && (d.source.Class == nil || *d.source.Class != class)
		if svc.Spec.Type != corev1.ServiceTypeLoadBalancer || foreign {
			continue
		}
		all = append(all, svc)
		byClass[class]++
	}
	slices.SortFunc(all, func(a, b *corev1.Service) int { return intent.KeyOf(a).Compare(intent.KeyOf(b)) })
	best := ""
	for _, class := range slices.Sorted(maps.Keys(byClass)) {
		if byClass[class] > byClass[best] {
			best = class
		}
	}
	if d.source.Class != nil {
		best = *d.source.Class
	}
	d.plan.Class = best
	return slices.DeleteFunc(all, func(svc *corev1.Service) bool {
		class := classOf(svc)
		if class == best {
			return false
		}
		d.note(Note{Severity: Blocking, Object: serviceName(svc), Field: "spec.loadBalancerClass", Value: class,
			Reason: fmt.Sprintf("one Steelyard serves one class, and most Services here have %q; a class can't be changed: create this Service again, with the annotation %s to get its address back", best, v1beta1.AnnotationLoadBalancerIPs)})
		return true
	})
}

func classOf(svc *corev1.Service) string {
	if svc.Spec.LoadBalancerClass == nil {
		return ""
	}
	return *svc.Spec.LoadBalancerClass
}

// services converts what Services request.
func (d *draft) services() {
	byAddress := map[netip.Addr][]*corev1.Service{}
	edits := map[ipam.Key]*Edit{}
	all := d.servedServices()
	d.source.Services = nil
	for _, svc := range all {
		d.source.Services = append(d.source.Services, *svc)
		w := d.converter.asks(d, svc)
		d.unknownAnnotations(svc, w)
		e := &Edit{Service: intent.KeyOf(svc), Annotations: map[string]string{}}
		edits[e.Service] = e
		d.translate(svc, w, e)
		for _, a := range intent.Holds(svc) {
			byAddress[a] = append(byAddress[a], svc)
			d.plan.Held++
		}
	}
	for _, a := range slices.SortedFunc(maps.Keys(byAddress), netip.Addr.Compare) {
		d.shared(a, byAddress[a], edits)
	}
	for _, svc := range all {
		if e := edits[intent.KeyOf(svc)]; len(e.Annotations) > 0 || e.ClearIP {
			d.plan.Edits = append(d.plan.Edits, *e)
		}
	}
}

// unknownAnnotations reports the product's annotations that are not converted.
func (d *draft) unknownAnnotations(svc *corev1.Service, w request) {
	for _, name := range slices.Sorted(maps.Keys(svc.Annotations)) {
		for _, prefix := range w.prefixes {
			short, ok := strings.CutPrefix(name, prefix)
			if !ok || slices.Contains(w.known, short) {
				continue
			}
			reason := w.said[short]
			severity := NoEqual
			if text, ok := strings.CutPrefix(reason, "+"); ok {
				reason, severity = text, Unneeded
			}
			d.note(Note{Severity: severity, Object: serviceName(svc), Field: "annotation " + name, Value: brief(name, svc.Annotations[name]),
				Reason: cmp.Or(reason, "this annotation is not known here; it is left out")})
			break
		}
	}
}

// translate adds what svc requests to e. Annotations of ours that svc has already
// take precedence.
func (d *draft) translate(svc *corev1.Service, w request, e *Edit) {
	addresses := d.addresses(svc, w)
	if addresses == "" && d.source.Pin {
		addresses = joined(oneOfEach(intent.Holds(svc), nil))
	}
	ip := svc.Spec.LoadBalancerIP
	e.ClearIP = ip != "" && (w.clearIP || addresses != "" && addresses != ip)
	if addresses == ip && !e.ClearIP {
		addresses = "" // the field says the same here
	}
	for name, value := range map[string]string{
		v1beta1.AnnotationLoadBalancerIPs: addresses,
		v1beta1.AnnotationAllowSharedIP:   d.sharingKey(svc, w),
		v1beta1.AnnotationAddressPool:     d.poolFor(svc, w),
	} {
		if _, ok := svc.Annotations[name]; !ok && value != "" {
			e.Annotations[name] = value
		}
	}
}

// sharingKey returns the key by which svc shares addresses; empty: it shares none.
func (d *draft) sharingKey(svc *corev1.Service, w request) string {
	if len(w.share) > 253 || !printable.Is(w.share) {
		d.note(Note{Severity: Changed, Object: serviceName(svc), Value: brief("", w.share), Reason: "the key that it shares addresses by is too long, or can't be seen; it is left out, and Services that do share an address get another"})
		return ""
	}
	return w.share
}

// poolFor returns our pool that svc requests; empty: none.
func (d *draft) poolFor(svc *corev1.Service, w request) string {
	if w.pool == "" {
		return ""
	}
	pool := d.poolOf[w.pool]
	if pool == "" {
		d.note(Note{Severity: Changed, Object: serviceName(svc), Value: brief("", w.pool), Reason: "there is no such pool among ours; so the request for it is left out"})
		return ""
	}
	if outside := d.outside(pool, intent.Holds(svc)); len(outside) > 0 {
		d.note(Note{Severity: Changed, Object: serviceName(svc), Value: brief("", w.pool),
			Reason: fmt.Sprintf("it asks for this pool, which does not hold its address %s; so the request is left out, and the address kept", outside)})
		return ""
	}
	return pool
}

// outside returns the addresses that our pool does not have.
func (d *draft) outside(pool string, addrs []netip.Addr) []netip.Addr {
	c := intent.Parse(intent.Objects{Pools: d.config.Pools})
	i := slices.IndexFunc(c.Pools, func(p intent.Pool) bool { return p.Name == pool })
	if i < 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return c.Pools[i].Holds(a) || c.Pools[i].Overlaps(a) })
}

// addresses returns the addresses that a Service requests in our form: at most one of
// each family.
func (d *draft) addresses(svc *corev1.Service, w request) string {
	var asked []netip.Addr
	for text := range strings.SplitSeq(w.addresses, ",") {
		if strings.TrimSpace(text) == "" {
			continue
		}
		a, err := parseAddr(text)
		if err != nil || a.IsUnspecified() {
			d.note(Note{Severity: Changed, Object: serviceName(svc), Value: brief("", text), Reason: "it asks for this address, which is none; the request is left out"})
			continue
		}
		asked = append(asked, a.Unmap())
	}
	kept := oneOfEach(asked, intent.Holds(svc))
	for _, a := range asked {
		if !slices.Contains(kept, a) {
			d.note(Note{Severity: NoEqual, Object: serviceName(svc), Value: a.String(),
				Reason: "a Service has at most one address of each family here; make a second Service for this one"})
		}
	}
	return joined(kept)
}

// joined returns addresses as a comma-separated list.
func joined(addrs []netip.Addr) string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return strings.Join(out, ",")
}

// oneOfEach returns the first address of each family, preferably one that is held.
func oneOfEach(addrs, held []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, isHeld := range []bool{true, false} {
		for _, a := range addrs {
			if slices.Contains(held, a) == isHeld && !slices.ContainsFunc(out, func(b netip.Addr) bool { return a.Is4() == b.Is4() }) {
				out = append(out, a)
			}
		}
	}
	slices.SortFunc(out, func(a, b netip.Addr) int { return cmp.Compare(slices.Index(addrs, a), slices.Index(addrs, b)) })
	return out
}

// shared gives a sharing key to Services that have the same address and no key, since
// their load balancer did not need one.
func (d *draft) shared(a netip.Addr, users []*corev1.Service, edits map[ipam.Key]*Edit) {
	if len(users) < 2 {
		return
	}
	keys := map[string]bool{}
	for _, svc := range users {
		keys[cmp.Or(svc.Annotations[v1beta1.AnnotationAllowSharedIP], edits[intent.KeyOf(svc)].Annotations[v1beta1.AnnotationAllowSharedIP])] = true
	}
	if len(keys) == 1 && !keys[""] {
		return
	}
	key := "shared-" + strings.ReplaceAll(a.String(), ":", "-")
	for k := range keys {
		if k != "" && len(keys) == 2 && keys[""] {
			key = k // the others join those that have one
		}
	}
	for _, svc := range users {
		if svc.Annotations[v1beta1.AnnotationAllowSharedIP] == "" {
			edits[intent.KeyOf(svc)].Annotations[v1beta1.AnnotationAllowSharedIP] = key
		}
	}
}

// hold creates a pool of the addresses in use that no other pool has, so that no
// Service loses its address. New Services get none of them.
func (d *draft) hold() {
	c := intent.Parse(intent.Objects{Pools: d.config.Pools})
	var addrs []v1beta1.AddressRange
	for i := range d.source.Services {
		for _, a := range intent.Holds(&d.source.Services[i]) {
			if r := v1beta1.AddressRange(a.String()); c.PoolOf(a) == "" && !slices.Contains(addrs, r) {
				addrs = append(addrs, r)
			}
		}
	}
	if len(addrs) == 0 {
		return
	}
	slices.Sort(addrs)
	no := false
	m := d.made("IPAddressPool", "migrated-in-use", "the addresses in use that no pool of "+string(d.product)+" holds")
	name := m.Name
	d.config.Pools = append(d.config.Pools, v1beta1.IPAddressPool{
		ObjectMeta: m,
		Spec:       v1beta1.IPAddressPoolSpec{Addresses: addrs, AutoAssign: &no},
	})
	for _, ad := range d.config.L2 {
		if len(ad.Spec.IPAddressPools)+len(ad.Spec.IPAddressPoolSelectors) == 0 {
			return // all pools
		}
	}
	for _, ad := range d.config.BGP {
		if len(ad.Spec.IPAddressPools)+len(ad.Spec.IPAddressPoolSelectors) == 0 {
			return
		}
	}
	// It is announced like the others: by the first advertisement that names its
	// pools.
	if len(d.config.L2) > 0 {
		d.config.L2[0].Spec.IPAddressPools = append(d.config.L2[0].Spec.IPAddressPools, name)
	} else if len(d.config.BGP) > 0 {
		d.config.BGP[0].Spec.IPAddressPools = append(d.config.BGP[0].Spec.IPAddressPools, name)
	}
}
