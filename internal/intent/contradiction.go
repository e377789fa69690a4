package intent

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
)

// contradictions reports advertisements that are bound to announce prefixes of
// another one with other attributes. Which value is sent package announce
// decides: that of the smaller name. Where labels bring two together on some
// nodes or for some Services only, those nodes say so.
func (p *parser) contradictions(ads []announce.BGPAdvertisement, specs map[string]v1beta1.BGPAdvertisementSpec, pools *catalog) {
	byName := slices.Clone(ads)
	slices.SortFunc(byName, func(a, b announce.BGPAdvertisement) int { return cmp.Compare(a.Name, b.Name) })
	before := map[values][]*announce.BGPAdvertisement{} // those that set the same, which most do, by name
	for i := range byName {
		ad := &byName[i]
		var first *announce.BGPAdvertisement
		for _, others := range before {
			if len(others[0].Attributes.Contradicts(ad.Attributes)) == 0 {
				continue
			}
			for _, other := range others {
				if first != nil && first.Name < other.Name {
					break
				}
				if meet(other, ad, pools) && agree(specs[other.Name].Selection, specs[ad.Name].Selection) {
					first = other
					break
				}
			}
		}
		if first != nil {
			p.fault(Ref{"BGPAdvertisement", ad.Name}, v1beta1.ReasonConflicts,
				"spec.%s: BGPAdvertisement %q announces the same prefixes with another value, which is the one that is sent; "+
					"set the same in both, or let them select different pools or peers",
				strings.Join(first.Attributes.Contradicts(ad.Attributes), ", spec."), first.Name)
		}
		v := valuesOf(ad.Attributes)
		before[v] = append(before[v], ad)
	}
}

// values are the attributes of a route that advertisements can contradict each
// other in.
type values struct {
	localPref, med uint32
	hasMED         bool
	prepend        int
	bandwidth      uint32
}

func valuesOf(r announce.Route) values {
	return values{r.LocalPref, r.MED, r.HasMED, r.Prepend, r.Bandwidth}
}

// meet reports whether a and b announce a prefix of one pool to one peer.
func meet(a, b *announce.BGPAdvertisement, pools *catalog) bool {
	if a.Peers != nil && b.Peers != nil && !intersect(a.Peers, b.Peers, func(string) bool { return true }) {
		return false
	}
	x, y := a.Pools, b.Pools
	if x == nil {
		x = y
	}
	if y == nil {
		y = x
	}
	alike := func(p *Pool) bool {
		all := p.Whole // IPv4 comes first
		return len(all) > 0 && (all[0].First.Is4() && a.Length4 == b.Length4 || all[len(all)-1].First.Is6() && a.Length6 == b.Length6)
	}
	if x == nil { // both are for all pools
		for i := range pools.pools {
			if alike(&pools.pools[i]) {
				return true
			}
		}
		return false
	}
	return intersect(x, y, func(name string) bool {
		i, there := pools.places[name]
		return there && alike(&pools.pools[i])
	})
}

// intersect reports whether a and b have a name in common that is ok.
func intersect(a, b map[string]bool, ok func(string) bool) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	for name := range a {
		if b[name] && ok(name) {
			return true
		}
	}
	return false
}

// agree reports whether all that one of a and b selects of nodes and Services
// the other selects too.
func agree(a, b v1beta1.Selection) bool {
	same := func(a, b []metav1.LabelSelector) bool {
		return len(a) == 0 || len(b) == 0 || reflect.DeepEqual(a, b)
	}
	return same(a.NodeSelectors, b.NodeSelectors) && same(a.ServiceSelectors, b.ServiceSelectors)
}
