package intent

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// contradictions reports advertisements that are bound to announce prefixes of
// another one with other attributes. Which value is sent package announce
// decides: that of the smaller name. Where labels bring two together on some
// nodes or for some Services only, those nodes say so.
func (p *parser) contradictions(ads []announce.BGPAdvertisement, specs map[string]v1beta1.BGPAdvertisementSpec, pools []Pool) {
	byName := slices.Clone(ads)
	slices.SortFunc(byName, func(a, b announce.BGPAdvertisement) int { return cmp.Compare(a.Name, b.Name) })
	for i, ad := range byName {
		for _, before := range byName[:i] {
			fields := before.Attributes.Contradicts(ad.Attributes)
			if len(fields) == 0 || !meet(before, ad, pools) || !agree(specs[before.Name].Selection, specs[ad.Name].Selection) {
				continue
			}
			p.fault(Ref{"BGPAdvertisement", ad.Name}, v1beta1.ReasonConflicts,
				"spec.%s: BGPAdvertisement %q announces the same prefixes with another value, which is the one that is sent; "+
					"set the same in both, or let them select different pools or peers", strings.Join(fields, ", spec."), before.Name)
		}
	}
}

// meet reports whether a and b announce a prefix of one pool to one peer.
func meet(a, b announce.BGPAdvertisement, pools []Pool) bool {
	someone := a.Peers == nil || b.Peers == nil
	for name := range a.Peers {
		someone = someone || b.Peers[name]
	}
	return someone && slices.ContainsFunc(pools, func(p Pool) bool {
		return a.Pools[p.Name] && b.Pools[p.Name] && slices.ContainsFunc(p.Whole, func(r ipam.Range) bool {
			if r.First.Is4() {
				return a.Length4 == b.Length4
			}
			return a.Length6 == b.Length6
		})
	})
}

// agree reports whether all that one of a and b selects of nodes and Services
// the other selects too.
func agree(a, b v1beta1.Selection) bool {
	same := func(a, b []metav1.LabelSelector) bool {
		return len(a) == 0 || len(b) == 0 || reflect.DeepEqual(a, b)
	}
	return same(a.NodeSelectors, b.NodeSelectors) && same(a.ServiceSelectors, b.ServiceSelectors)
}
