package intent

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

const (
	// firstLook is how long a pool does not choose an address that a foreign host has. Each time
	// that the host is found again it is as long again as it is known, up to lastLook.
	firstLook = time.Hour
	lastLook  = 24 * time.Hour
	// proxyFrom is of how many addresses of one host on it is none that has them, but one that
	// answers for all, such as a router with proxy ARP (RFC 1027): to choose others is no remedy.
	proxyFrom = 17
)

// Conflict is an address of a pool that a foreign host has, as a speaker found out before any
// node announced it.
type Conflict struct {
	Addr         netip.Addr
	Host         string    // its MAC
	Link, Node   string    // where the speaker of the node has seen it
	Since, Until time.Time // first seen; not chosen until then
	open         bool      // an L2Claim says so now
}

// Conflicts are those that are known, by address.
type Conflicts map[netip.Addr]Conflict

// ConflictText says that a host has an address, as it stands in the condition of an L2Claim.
func ConflictText(mac, link, node string, a netip.Addr) string {
	return fmt.Sprintf("host %s on link %s of node %s has %s", mac, link, node, a)
}

// conflictText reads what ConflictText has written.
var conflictText = regexp.MustCompile(`^host ([0-9a-f:]+) on link (\S+) of node (\S+) has `)

// conflictOf returns what a claim says of a foreign host that keeps its address from being announced.
func conflictOf(c *v1beta1.L2Claim) (out Conflict, is bool) {
	announced := meta.FindStatusCondition(c.Status.Conditions, v1beta1.ConditionAnnounced)
	if announced == nil || announced.Status != metav1.ConditionFalse || announced.Reason != v1beta1.ReasonAddressConflict {
		return out, false
	}
	m := conflictText.FindStringSubmatch(announced.Message)
	a, err := parseAddr(string(c.Spec.Address))
	if m == nil || err != nil {
		return out, false
	}
	return Conflict{Addr: a, Host: m[1], Link: m[2], Node: m[3], open: true}, true
}

// SameConflict reports whether two versions of an L2Claim tell the same of a foreign host; of one
// that is not there, nothing.
func SameConflict(before, after any) bool {
	of := func(o any) (x Conflict) {
		if c, is := o.(*v1beta1.L2Claim); is && c != nil {
			x, _ = conflictOf(c)
		}
		return x
	}
	return of(before) == of(after)
}

// RememberedConflicts returns what the statuses of pools remember.
func RememberedConflicts(pools []v1beta1.IPAddressPool) Conflicts {
	out := Conflicts{}
	for i := range pools {
		for _, x := range pools[i].Status.Conflicts {
			if a, err := parseAddr(x.Address); err == nil { // only the controller writes them
				out[a] = Conflict{Addr: a, Host: x.MAC, Link: x.Link, Node: x.Node, Since: x.Since.Time, Until: x.Until.Time}
			}
		}
	}
	return out
}

// Conflicts returns what is known at that time: what was known before, and what claims say.
func (c Config) Conflicts(known Conflicts, claims []*v1beta1.L2Claim, now time.Time) Conflicts {
	if len(known) == 0 && !slices.ContainsFunc(claims, func(x *v1beta1.L2Claim) bool { _, is := conflictOf(x); return is }) {
		return nil // usually
	}
	all := c.heard(known, claims, now)
	pools := map[string][]Conflict{}
	for a, x := range all {
		if pool := c.PoolOf(a); !c.ignoresConflicts(pool) && now.Sub(x.Until) < lastLook { // without a pool it waits for one that holds it
			pools[pool] = append(pools[pool], x)
		}
	}
	out := Conflicts{}
	for _, of := range pools {
		slices.SortFunc(of, func(x, y Conflict) int { return cmp.Or(x.Since.Compare(y.Since), x.Addr.Compare(y.Addr)) })
		for _, x := range of[:min(len(of), v1beta1.MaxConflicts)] {
			out[x.Addr] = x
		}
	}
	return out
}

// heard returns what was known, and what claims say, however much that is.
func (c Config) heard(known Conflicts, claims []*v1beta1.L2Claim, now time.Time) Conflicts {
	all := make(Conflicts, len(known))
	for a, x := range known {
		x.open = false
		all[a] = x
	}
	for _, claim := range claims {
		x, is := conflictOf(claim)
		if !is {
			if a, err := parseAddr(string(claim.Spec.Address)); err == nil && meta.IsStatusConditionTrue(claim.Status.Conditions, v1beta1.ConditionAnnounced) {
				delete(all, a)
			}
			continue
		}
		if before, known := all[x.Addr]; known || c.PoolOf(x.Addr) != "" {
			all[x.Addr] = x.after(before, now)
		}
	}
	return all
}

// after returns x, which a claim says now, given what was known of the address before.
func (x Conflict) after(before Conflict, now time.Time) Conflict {
	now = now.Truncate(time.Second) // as a status has it
	x.Since, x.Until = before.Since, before.Until
	if x.Since.IsZero() {
		x.Since = now
	}
	if !now.Before(x.Until) {
		x.Until = now.Add(min(max(now.Sub(x.Since), firstLook), lastLook))
	}
	return x
}

// ignoresConflicts reports whether an L2Advertisement of addresses of that pool ignores foreign
// hosts that answer for them.
func (c Config) ignoresConflicts(pool string) bool {
	return slices.ContainsFunc(c.L2, func(ad announce.L2Advertisement) bool {
		return ad.IgnoresConflicts && pool != "" && (ad.Pools == nil || ad.Pools[pool])
	})
}

// proxies are the hosts that answer for so many addresses that they have none of them.
func (k Conflicts) proxies() map[string]bool {
	n, out := map[string]int{}, map[string]bool{}
	for _, x := range k {
		if n[x.Host]++; n[x.Host] >= proxyFrom {
			out[x.Host] = true
		}
	}
	return out
}

// Occupying returns those whose addresses pools do not choose at that time.
func (k Conflicts) Occupying(now time.Time) []Conflict {
	var out []Conflict
	proxies := k.proxies()
	for _, x := range k {
		if !proxies[x.Host] && (x.open || now.Before(x.Until)) {
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(x, y Conflict) int { return x.Addr.Compare(y.Addr) })
	return out
}

// NextLook returns when the first address can be chosen again; zero: none is remembered.
func (k Conflicts) NextLook(now time.Time) (first time.Time) {
	for _, x := range k {
		if x.Until.After(now) && (first.IsZero() || x.Until.Before(first)) {
			first = x.Until
		}
	}
	return first
}

// Holding is a Service, and what it has and asks for.
type Holding struct {
	Service *corev1.Service
	Request *ipam.Request
}

// Leaving returns the addresses that the Services which have them give up for others: a foreign
// host has them, no node has announced them, and no Service asks for them.
func (c Config) Leaving(k Conflicts, all func(func(Holding) bool)) map[netip.Addr]bool {
	var out map[netip.Addr]bool
	proxies := k.proxies()
	for a, x := range k {
		if x.open && !proxies[x.Host] {
			if out == nil {
				out = map[netip.Addr]bool{}
			}
			out[a] = true
		}
	}
	if out == nil {
		return nil // usually
	}
	for h := range all {
		for _, a := range h.Request.Has {
			if out[a] && (slices.Contains(h.Request.Want, a) || c.reached(h.Service, a)) {
				delete(out, a)
			}
		}
	}
	return out
}

// reached reports whether clients may reach svc at a although a foreign host has it.
func (c Config) reached(svc *corev1.Service, a netip.Addr) bool {
	pool := c.PoolOf(a)
	return meta.IsStatusConditionTrue(svc.Status.Conditions, v1beta1.ConditionServiceAnnounced) ||
		slices.ContainsFunc(c.BGP, func(ad announce.BGPAdvertisement) bool { return ad.Covers(pool, svc.Labels) })
}

// Leaves returns those of leaving that r has.
func Leaves(r *ipam.Request, leaving map[netip.Addr]bool) (out []netip.Addr) {
	for _, a := range r.Has {
		if leaving[a] {
			out = append(out, a)
		}
	}
	return out
}

// Status spells what is known of a pool's addresses as it stands in its status.
func (k Conflicts) Status(holds func(netip.Addr) bool) []v1beta1.AddressConflict {
	var out []v1beta1.AddressConflict
	for _, a := range slices.SortedFunc(maps.Keys(k), netip.Addr.Compare) {
		if x := k[a]; holds(a) {
			out = append(out, v1beta1.AddressConflict{
				Address: a.String(), MAC: x.Host, Link: x.Link, Node: x.Node, Since: metav1.NewTime(x.Since), Until: metav1.NewTime(x.Until),
			})
		}
	}
	return out
}
