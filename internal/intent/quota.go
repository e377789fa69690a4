package intent

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// Quota is an AddressQuota that is valid.
type Quota struct {
	Name         string
	limits       []ipam.Quota // without Name, what is reserved, and where their Text ends
	namespaces   map[string]bool
	selects      announce.Selector // nil: none
	perNamespace bool
}

// applies reports whether the quota limits a namespace.
func (q *Quota) applies(namespace string, labels map[string]string) bool {
	if len(q.namespaces) == 0 && q.selects == nil {
		return true
	}
	return q.namespaces[namespace] || q.selects != nil && q.selects(labels)
}

// quotas checks each AddressQuota by itself.
func (p *parser) quotas(in []v1beta1.AddressQuota, pools *catalog) []Quota {
	var out []Quota
	for _, obj := range byAge(in) {
		ref := Ref{"AddressQuota", obj.Name}
		p.accept(ref)
		if q, valid := p.quota(ref, obj, pools); valid {
			out = append(out, q)
		}
	}
	return out
}

func (p *parser) quota(ref Ref, obj *v1beta1.AddressQuota, pools *catalog) (_ Quota, valid bool) {
	out := Quota{Name: obj.Name, namespaces: map[string]bool{}, perNamespace: obj.Spec.Counting == v1beta1.CountPerNamespace}
	for _, name := range obj.Spec.Namespaces {
		out.namespaces[name] = true
	}
	valid = true
	invalid := func(err error) {
		if err != nil {
			p.fault(ref, v1beta1.ReasonInvalid, "%v; nothing is limited by it", err)
			valid = false
		}
	}
	if obj.Spec.NamespaceSelector != nil {
		var err error
		out.selects, err = selector("spec.namespaceSelector", []metav1.LabelSelector{*obj.Spec.NamespaceSelector})
		invalid(err)
	}
	for i, h := range obj.Spec.Hard {
		field := fmt.Sprintf("spec.hard[%d]", i)
		byLabel, err := selector(field+".ipAddressPoolSelectors", h.IPAddressPoolSelectors)
		invalid(err)
		q := ipam.Quota{Name: obj.Name, Limit: int(h.Addresses), Family: map[string]ipam.Family{"IPv4": ipam.IPv4, "IPv6": ipam.IPv6}[h.Family]}
		var missing []string
		q.Pools, missing = pools.resolve(h.IPAddressPools, byLabel)
		for _, name := range missing { // it may be gone, and still have Services
			q.Pools[name] = true
		}
		if len(missing) > 0 {
			p.unresolved(ref, v1beta1.ReasonNotFound, "%s.ipAddressPools: there is no IPAddressPool %s; the others that it names count", field, printable.Quotes(missing))
		}
		q.Text = limitText(q, h.Family)
		out.limits = append(out.limits, q)
	}
	return out, valid
}

// limitText says what a limit allows.
func limitText(q ipam.Quota, family string) string {
	out := fmt.Sprintf("%d addresses", q.Limit)
	if q.Limit == 1 {
		out = "1 address"
	}
	if family != "" {
		out = strings.Replace(out, " ", " "+family+" ", 1)
	}
	if q.Pools == nil {
		return out
	}
	names := slices.Sorted(maps.Keys(q.Pools))
	if len(names) == 0 {
		return out + " of no IPAddressPool"
	}
	return out + " of IPAddressPool " + printable.List(names)
}

// Quotas are what quotas come to in the namespaces that are there. Nil has none.
type Quotas struct {
	of       map[string][]*ipam.Quota // by namespace
	bound    []boundQuota
	reserved map[*ipam.Quota]map[string]int // what is reserved and counts, by namespace
}

// boundQuota is a quota and its limits in force: for each of its namespaces, or once.
type boundQuota struct {
	*Quota
	limits []*ipam.Quota
}

// Of returns what limits a namespace.
func (x *Quotas) Of(namespace string) []*ipam.Quota {
	if x == nil {
		return nil
	}
	return x.of[namespace]
}

// BindQuotas returns the quotas of namespaces, which are labels by name, and of what is reserved there.
func (c *Config) BindQuotas(namespaces map[string]map[string]string, reserved *Reserved) *Quotas {
	if len(c.Quotas) == 0 { // usually
		return nil
	}
	out := &Quotas{of: map[string][]*ipam.Quota{}, reserved: map[*ipam.Quota]map[string]int{}}
	names, n := slices.Sorted(maps.Keys(namespaces)), 0
	for i := range c.Quotas {
		q := &c.Quotas[i]
		b := boundQuota{Quota: q}
		if !q.perNamespace {
			b.add(q, "")
		}
		for _, ns := range names {
			if !q.applies(ns, namespaces[ns]) {
				continue
			}
			if q.perNamespace {
				b.add(q, ns)
			}
			out.of[ns] = append(out.of[ns], b.limits[len(b.limits)-len(q.limits):]...)
		}
		for _, limit := range b.limits {
			limit.Index, n = n, n+1
		}
		out.bound = append(out.bound, b)
	}
	c.countReserved(out, reserved)
	return out
}

// countReserved has what is reserved count for the quotas.
func (c *Config) countReserved(x *Quotas, reserved *Reserved) {
	if reserved == nil {
		return
	}
	for a, r := range reserved.by {
		pool := c.places.held.of(a)
		if pool == nil || !c.Pools[pool.by].Holds(a) {
			continue
		}
		for _, ns := range r.namespaces() {
			for _, q := range x.of[ns] {
				if q.Counts(c.Pools[pool.by].Name, ipam.FamilyOf(a)) {
					x.reserve(q, ns)
				}
			}
		}
	}
}

// reserve has an address that is reserved in a namespace count for q.
func (x *Quotas) reserve(q *ipam.Quota, namespace string) {
	if q.Reserved++; x.reserved[q] == nil {
		x.reserved[q] = map[string]int{}
	}
	x.reserved[q][namespace]++
}

// add has the limits of q be in force once more: for a namespace, or for all.
func (b *boundQuota) add(q *Quota, namespace string) {
	for _, limit := range q.limits {
		x := limit
		if namespace != "" {
			x.Text += " in namespace " + namespace
		} else if len(q.namespaces) > 0 && q.selects == nil {
			x.Text += " in namespace " + printable.List(slices.Sorted(maps.Keys(q.namespaces)))
		} else {
			x.Text += " in its namespaces together"
		}
		b.limits = append(b.limits, &x)
	}
}

// QuotaUse is what counts for an AddressQuota.
type QuotaUse struct {
	Used       []int // for each limit; of a quota that counts each namespace for itself the most
	Hard       []int
	Namespaces map[string][]int // by namespace; none without addresses
	Texts      []string         // what each limit allows
}

// Uses tells what counts for each AddressQuota, by its name, given what Services were granted.
func (x *Quotas) Uses(o *ipam.Occupied, requests []*ipam.Request, grants []ipam.Grant) map[string]QuotaUse {
	if x == nil {
		return nil
	}
	out := make(map[string]QuotaUse, len(x.bound))
	used := ipam.Used(o, requests, grants)
	for _, b := range x.bound {
		n := len(b.Quota.limits)
		use := QuotaUse{Used: make([]int, n), Hard: make([]int, n), Texts: make([]string, n), Namespaces: map[string][]int{}}
		for i, limit := range b.Quota.limits {
			use.Hard[i], use.Texts[i] = limit.Limit, limit.Text
		}
		for i, q := range b.limits {
			total := 0
			for _, by := range []map[string]int{used[q], x.reserved[q]} {
				for ns, count := range by {
					total += count
					use.in(ns)[i%n] += count
				}
			}
			use.Used[i%n] = max(use.Used[i%n], total)
		}
		out[b.Name] = use
	}
	return out
}

// in returns what a namespace uses.
func (u *QuotaUse) in(namespace string) []int {
	if u.Namespaces[namespace] == nil {
		u.Namespaces[namespace] = make([]int, len(u.Hard))
	}
	return u.Namespaces[namespace]
}

// Status is what counts, as the status of the AddressQuota has it.
func (u QuotaUse) Status() (out v1beta1.AddressQuotaStatus) {
	var words []string
	for i, text := range u.Texts {
		_, of, _ := strings.Cut(text, " ")
		words = append(words, fmt.Sprintf("%d/%d %s", u.Used[i], u.Hard[i], of))
	}
	out.Usage = printable.Message(strings.Join(words, "; "))
	out.Hard, out.Used = numbers(u.Hard), numbers(u.Used)
	for _, ns := range slices.Sorted(maps.Keys(u.Namespaces)) {
		if len(out.Namespaces) < v1beta1.MaxQuotaNamespaces {
			out.Namespaces = append(out.Namespaces, v1beta1.NamespaceUsage{Namespace: ns, Used: numbers(u.Namespaces[ns])})
		}
	}
	return out
}

func numbers(in []int) []int32 {
	out := make([]int32, len(in))
	for i, n := range in {
		out[i] = int32(min(n, math.MaxInt32))
	}
	return out
}
