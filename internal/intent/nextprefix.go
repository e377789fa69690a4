package intent

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// PrefixFacts is what the prefixes of pools are read from.
type PrefixFacts struct {
	ConfigMaps []corev1.ConfigMap           // of Steelyard's own namespace
	Nodes      map[string]map[string]string // labels by name
	Speakers   []v1beta1.Speaker
}

// NextPrefix returns the prefixes of a pool at that time, and what there is to say: without a reason about the current
// prefix, else why its source has none that can be used, and what goes on then. The result is what the status of the
// pool is to have, which is what it has if nothing changes.
func (c *Config) NextPrefix(o *v1beta1.IPAddressPool, facts PrefixFacts, now time.Time) (*v1beta1.PrefixStatus, Finding) {
	status := o.Status.Prefix.DeepCopy()
	if status != nil {
		status.Previous = slices.DeleteFunc(status.Previous, func(p v1beta1.PreviousPrefix) bool { return !now.Before(p.Until.Time) })
		if len(status.Previous) == 0 {
			status.Previous = nil
		}
	}
	before := readPrefixes(status).current
	prefix, from, f := facts.read(o.Spec.Source.Prefix, before)
	if f.Reason == "" {
		f = c.refusedPrefix(o, prefix, from)
	}
	switch {
	case f.Reason != "" && before.IsValid():
		f.Message += fmt.Sprintf("; until then the pool goes on with %s", before)
	case f.Reason != "":
		f.Message += "; until then the pool has no addresses"
	case prefix != before:
		status = succeed(status, prefix, overlapOf(o.Spec.Source.Prefix), now)
		fallthrough
	default:
		f.Message = fmt.Sprintf("%s, of %s", prefix, from)
		for _, p := range status.Previous {
			f.Message += fmt.Sprintf("; addresses of %s stay until %s", p.Prefix, p.Until.UTC().Format(time.RFC3339))
		}
	}
	f.Message = printable.Message(f.Message)
	return status, f
}

// succeed returns the prefixes once another one is the current one. Those before are kept for overlap.
func succeed(s *v1beta1.PrefixStatus, current netip.Prefix, overlap time.Duration, now time.Time) *v1beta1.PrefixStatus {
	out := &v1beta1.PrefixStatus{Current: current.String(), Since: metav1.NewTime(now.Truncate(time.Second))}
	if s == nil {
		return out
	}
	if overlap > 0 {
		out.Previous = append(out.Previous, v1beta1.PreviousPrefix{Prefix: s.Current, Until: metav1.NewTime(now.Add(overlap).Truncate(time.Second))})
	}
	for _, p := range s.Previous {
		if p.Prefix != out.Current && len(out.Previous) < v1beta1.MaxPreviousPrefixes {
			out.Previous = append(out.Previous, p)
		}
	}
	return out
}

// PrefixesEnd returns when the next previous prefix of some pool ends; zero: none does.
func PrefixesEnd(pools []v1beta1.IPAddressPool) (next time.Time) {
	for i := range pools {
		if s := pools[i].Status.Prefix; s != nil {
			for _, p := range s.Previous {
				if next.IsZero() || p.Until.Time.Before(next) {
					next = p.Until.Time
				}
			}
		}
	}
	return next
}

// read returns the prefix that a source has, and the words for where; or why it has none. Before is the prefix that the
// pool has.
func (x PrefixFacts) read(s *v1beta1.PrefixSource, before netip.Prefix) (_ netip.Prefix, from string, _ Finding) {
	if s.ConfigMap != nil {
		return x.ofConfigMap(s.ConfigMap)
	}
	if s.Link != nil {
		return x.ofLink(s.Link, before)
	}
	return netip.Prefix{}, "", Finding{v1beta1.ReasonInvalid, "spec.source.prefix: set configMap or link"}
}

func (x PrefixFacts) ofConfigMap(s *v1beta1.PrefixConfigMap) (_ netip.Prefix, from string, _ Finding) {
	const field = "spec.source.prefix.configMap"
	key := cmp.Or(s.Key, v1beta1.DefaultPrefixKey)
	i := slices.IndexFunc(x.ConfigMaps, func(m corev1.ConfigMap) bool { return m.Name == s.Name })
	if i < 0 {
		return netip.Prefix{}, "", Finding{v1beta1.ReasonNotFound, fmt.Sprintf("%s: there is no ConfigMap %s in Steelyard's namespace", field, printable.Quote(s.Name))}
	}
	text, there := x.ConfigMaps[i].Data[key]
	if !there {
		return netip.Prefix{}, "", Finding{v1beta1.ReasonNotFound, fmt.Sprintf("%s: ConfigMap %q has no key %s", field, s.Name, printable.Quote(key))}
	}
	p, err := parsePrefix(text)
	if err != nil {
		return netip.Prefix{}, "", Finding{v1beta1.ReasonInvalid, fmt.Sprintf("%s: key %q of ConfigMap %q: %v", field, key, s.Name, err)}
	}
	return p, fmt.Sprintf("key %q of ConfigMap %q", key, s.Name), Finding{}
}

// parsePrefix reads an IPv6 prefix under which hosts of a network can be.
func parsePrefix(text string) (netip.Prefix, error) {
	text = strings.TrimSpace(text)
	p, err := netip.ParsePrefix(text)
	if a, bad := netip.ParseAddr(text); err != nil && bad == nil && a.Is6() && a.Zone() == "" {
		return netip.Prefix{}, fmt.Errorf("%s has no length: write %s/64, if it is that", a, a)
	}
	switch {
	case err != nil, p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%s is no IPv6 prefix, such as 2001:db8:1::/56", printable.Quote(text))
	case p.Addr().Is4():
		return netip.Prefix{}, fmt.Errorf("%s is a prefix of IPv4; it must be one of IPv6, such as 2001:db8:1::/56", p)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%s has host bits set: write %s", p, p.Masked())
	}
	if what, both := specialIn(ipam.RangeOf(p)); what != "" {
		return netip.Prefix{}, fmt.Errorf("%s has %s-%s, which are %s, where no Service can be reached", p, both.First, both.Last, what)
	}
	return p, nil
}

// ofLink returns the subnet that most nodes have on a link. Nodes whose speakers do not run say nothing.
func (x PrefixFacts) ofLink(s *v1beta1.PrefixLink, before netip.Prefix) (_ netip.Prefix, from string, _ Finding) {
	const field = "spec.source.prefix.link"
	selects, err := selector(field+".nodeSelectors", s.NodeSelectors)
	if err != nil {
		return netip.Prefix{}, "", Finding{v1beta1.ReasonInvalid, err.Error()}
	}
	within, err := netip.ParsePrefix(cmp.Or(s.Within, v1beta1.DefaultWithin))
	if err != nil {
		return netip.Prefix{}, "", Finding{v1beta1.ReasonInvalid, fmt.Sprintf("%s.within: %s is no IPv6 prefix, such as 2001:db8::/32", field, printable.Quote(s.Within))}
	}
	count, nodes := map[netip.Prefix]int{}, 0
	for i := range x.Speakers {
		if !x.counts(&x.Speakers[i], selects) {
			continue
		}
		nodes++
		for _, p := range subnetsOn(&x.Speakers[i], s.Interface) {
			if within.Overlaps(p) && within.Bits() <= p.Bits() {
				count[p]++
			}
		}
	}
	link := printable.Quote(s.Interface)
	switch {
	case nodes == 0:
		return netip.Prefix{}, "", Finding{v1beta1.ReasonNoNodeSelected, field + ": no node is selected whose speaker runs"}
	case len(count) == 0:
		return netip.Prefix{}, "", Finding{v1beta1.ReasonNotFound, fmt.Sprintf("%s: no node has a subnet in %s on its link %s that is not deprecated, of %d that are selected", field, within, link, nodes)}
	}
	var best netip.Prefix
	for p, n := range count {
		preferred := cmp.Or(cmp.Compare(n, count[best]), ipam.CompareBool(p == before, best == before), best.Compare(p))
		if !best.IsValid() || preferred > 0 {
			best = p
		}
	}
	return best, fmt.Sprintf("link %s on %d of %d nodes", link, count[best], nodes), Finding{}
}

// counts reports whether a speaker runs, on a node that is selected.
func (x PrefixFacts) counts(s *v1beta1.Speaker, selects announce.Selector) bool {
	labels, there := x.Nodes[s.Name]
	return there && (selects == nil || selects(labels)) && meta.IsStatusConditionTrue(s.Status.Conditions, v1beta1.ConditionReady)
}

// subnetsOn returns the IPv6 subnets of a node's link that are not deprecated, each once.
func subnetsOn(s *v1beta1.Speaker, link string) (out []netip.Prefix) {
	for _, l := range s.Status.Links {
		for _, text := range l.Prefixes {
			p, err := netip.ParsePrefix(text)
			if l.Name == link && err == nil && p.Addr().Is6() && !slices.Contains(l.Deprecated, text) && !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// refusedPrefix tells why the addresses of a pool can't lie under a prefix; without a reason: they can.
func (c *Config) refusedPrefix(o *v1beta1.IPAddressPool, p netip.Prefix, from string) Finding {
	hosts, _ := ranges("spec.addresses", o.Spec.Addresses, func(ipam.Range) error { return nil })
	for i, r := range hosts {
		if err := tooLong(p, r); err != nil {
			return Finding{v1beta1.ReasonInvalid, fmt.Sprintf("%s of %s is too long for spec.addresses[%d]: %v", p, from, i, err)}
		}
	}
	mine := ipam.Merge(lay(p, hosts), nil)
	for i := range c.Pools {
		other := &c.Pools[i]
		if both, overlap := ipam.Overlap(mine, other.Ranges); overlap && other.Name != o.Name {
			return Finding{v1beta1.ReasonOverlaps, fmt.Sprintf("%s of %s: %s-%s also lies in IPAddressPool %q, which keeps it; take it out of one of the two", p, from, both.First, both.Last, other.Name)}
		}
	}
	return Finding{}
}

// tooLong says why a prefix leaves no room for host parts, or nil.
func tooLong(p netip.Prefix, hosts ipam.Range) error {
	if !hosts.First.Is6() || fits(p, hosts) {
		return nil
	}
	return fmt.Errorf("the host part %s needs %d bits, so that a prefix may have %d at most", hosts.Last, hostBits(hosts.Last), hosts.Last.BitLen()-hostBits(hosts.Last))
}

// hostPart returns the check of a host part that is to lie under the current prefix of a pool, which may be unknown.
func hostPart(current netip.Prefix) func(ipam.Range) error {
	return func(r ipam.Range) error {
		if r.First.Is4() {
			return errors.New("with spec.source.prefix it must be an IPv6 host part, such as ::1:0/112")
		}
		if !current.IsValid() {
			return nil
		}
		if err := tooLong(current, r); err != nil {
			return fmt.Errorf("%s, the pool's prefix, is too long: %w", current, err)
		}
		return nil
	}
}
