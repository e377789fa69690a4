package intent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// A user who may edit a Service may write any address into spec.externalIPs, and kube-proxy takes
// its traffic on every node (CVE-2020-8554). So what of that is announced is not the speakers'
// to decide: the controller does, by the pool, and writes it into the pool's status, which
// tenants can't write.

// AnnouncesExternals reports whether some pool announces spec.externalIPs.
func (c Config) AnnouncesExternals() bool {
	return slices.ContainsFunc(c.Pools, func(p Pool) bool { return p.External })
}

// External is an address in spec.externalIPs of a Service, of a pool that announces such.
type External struct {
	Addr    netip.Addr
	Service ipam.Key
	Pool    string
	Refused string // why no node announces it; "": nodes may
}

// ExternalIPs decides which addresses in spec.externalIPs are announced, of services of all
// types and classes. The function serves tells whether a pool, given by its index, serves one;
// holders names the Service that has an address as a load balancer, by what is written and what
// is to be.
func (c Config) ExternalIPs(services []*corev1.Service, serves func(pool int, svc *corev1.Service) bool, by *ipam.Occupied, holders map[netip.Addr]ipam.Key) []External {
	var out []External
	first := map[netip.Addr]ipam.Key{} // the oldest Service of each address
	services = slices.DeleteFunc(slices.Clone(services), func(svc *corev1.Service) bool { return len(svc.Spec.ExternalIPs) == 0 })
	slices.SortFunc(services, func(a, b *corev1.Service) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), KeyOf(a).Compare(KeyOf(b)))
	})
	for _, svc := range services {
		for _, a := range externalIPs(svc) {
			pool := c.poolOf(a)
			if pool == nil || !pool.External || slices.Contains(Holds(svc), a) {
				continue
			}
			x := External{Addr: a, Service: KeyOf(svc), Pool: pool.Name}
			occupant, occupied := by.Of(a)
			older, has := first[a]
			holder, held := holders[a]
			switch {
			case !serves(c.named[pool.Name], svc):
				x.Refused = "the pool does not serve this Service (spec.serviceAllocation)"
			case pool.Frozen && !slices.Contains(c.external[x.Service], a):
				x.Refused = "the pool is not accepted"
			case occupied && !occupant.External:
				x.Refused = "it is " + occupant.Name
			case held:
				x.Refused = fmt.Sprintf("Service %s has it", holder)
			case has && older.Namespace != svc.Namespace:
				x.Refused = fmt.Sprintf("the older Service %s, of another namespace, has it in spec.externalIPs", older)
			case !has:
				first[a] = x.Service
			}
			out = append(out, x)
		}
	}
	slices.SortStableFunc(out, func(x, y External) int { return ipam.CompareBool(x.Refused != "", y.Refused != "") })
	count := map[string]int{}
	return slices.DeleteFunc(out, func(x External) bool {
		count[x.Pool]++
		return count[x.Pool] > v1beta1.MaxExternalIPs
	})
}

// externalIPs reads spec.externalIPs, each address once.
func externalIPs(svc *corev1.Service) []netip.Addr {
	var out []netip.Addr
	for _, text := range svc.Spec.ExternalIPs {
		if a, err := parseAddr(text); err == nil && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// ExternalStatus is the part of all that a pool's status tells.
func ExternalStatus(all []External, pool string) []v1beta1.ExternalIP {
	var out []v1beta1.ExternalIP
	for _, x := range all {
		if x.Pool == pool {
			out = append(out, v1beta1.ExternalIP{Address: x.Addr.String(), Service: x.Service.String(), Refused: printable.Message(x.Refused)})
		}
	}
	return out
}

// announcedExternals reads what the pools' statuses say is announced.
func announcedExternals(pools []v1beta1.IPAddressPool) []External {
	var out []External
	for i := range pools {
		for _, x := range pools[i].Status.ExternalIPs {
			namespace, name, _ := strings.Cut(x.Service, "/")
			if a, err := parseAddr(x.Address); err == nil && x.Refused == "" && pools[i].Spec.AnnounceExternalIPs {
				out = append(out, External{Addr: a, Service: ipam.Key{Namespace: namespace, Name: name}, Pool: pools[i].Name})
			}
		}
	}
	return out
}

// Announcing returns c with what the pools' statuses are to say about spec.externalIPs.
func (c Config) Announcing(all []External) Config {
	c.external = map[ipam.Key][]netip.Addr{}
	for _, x := range all {
		if x.Refused == "" {
			c.external[x.Service] = append(c.external[x.Service], x.Addr)
		}
	}
	return c
}

// Externals returns the addresses in spec.externalIPs of svc that are announced: those that it
// still has there, in a pool that still says so.
func (c Config) Externals(svc *corev1.Service) []netip.Addr {
	if len(c.external) == 0 { // usually
		return nil
	}
	holds := Holds(svc)
	return slices.DeleteFunc(externalIPs(svc), func(a netip.Addr) bool {
		pool := c.poolOf(a)
		return pool == nil || !pool.External || !slices.Contains(c.external[KeyOf(svc)], a) || slices.Contains(holds, a)
	})
}
