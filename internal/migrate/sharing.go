package migrate

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// share allows Services of several namespaces to share addresses in the pools where
// they do so now. The other pools allow sharing within a namespace only.
func (d *draft) share() {
	users := map[netip.Addr][]string{} // namespaces
	for i := range d.source.Services {
		svc := &d.source.Services[i]
		for _, a := range intent.Holds(svc) {
			if !slices.Contains(users[a], svc.Namespace) {
				users[a] = append(users[a], svc.Namespace)
			}
		}
	}
	c := intent.Parse(intent.Objects{Pools: d.config.Pools})
	shared := map[string][]string{} // addresses, by pool
	for a, namespaces := range users {
		if pool := c.PoolOf(a); len(namespaces) > 1 && pool != "" {
			slices.Sort(namespaces)
			shared[pool] = append(shared[pool], fmt.Sprintf("%s (%s)", a, printable.List(namespaces)))
		}
	}
	for i := range d.config.Pools {
		p := &d.config.Pools[i]
		if list := shared[p.Name]; len(list) > 0 {
			slices.Sort(list)
			p.Spec.Sharing = v1beta1.SharingCluster
			d.note(Note{Severity: Changed, Object: "IPAddressPool " + p.Name, Field: "spec.sharing", Value: string(v1beta1.SharingCluster),
				Reason: "Services of several namespaces share addresses of it, so any Service with the sharing key may join; take this out where they should not: " + printable.List(list)})
		}
	}
}
