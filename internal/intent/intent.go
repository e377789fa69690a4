// Package intent turns API objects into checked values, and reports what is wrong with
// each object. Objects are parsed here once; other packages do not validate again.
//
// One bad object has a Validation of its own and is skipped. It does not affect the
// others. The package does not decide who gets an address or announces it, and neither
// reads from nor writes to the API server.
package intent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// Objects are all configuration objects of the cluster. Order does not matter.
type Objects struct {
	Pools       []v1beta1.IPAddressPool
	L2          []v1beta1.L2Advertisement
	BGP         []v1beta1.BGPAdvertisement
	Peers       []v1beta1.BGPPeer
	Profiles    []v1beta1.BFDProfile
	Communities []v1beta1.Community
	// Reservations matter to the controller alone: speakers do not read them.
	Reservations []v1beta1.AddressReservation
	Quotas       []v1beta1.AddressQuota    // likewise
	Secrets      map[string]*corev1.Secret // of Steelyard's own namespace, by name
}

// Config is the configuration, checked.
type Config struct {
	Pools       Pools
	L2          []announce.L2Advertisement
	BGP         []announce.BGPAdvertisement
	Neighbors   []announce.Neighbor
	Validations map[Ref]Validation // one for each object
	// Reservations are those that are valid, the oldest first.
	Reservations []Reservation
	Quotas       []Quota // likewise
	reservationIndex
	places   places
	named    map[string]int // the pools' places, by their names
	renumber bool           // Services of some pool move: to another pool, or under another prefix
	unusable []announce.UnusablePeer
	external map[ipam.Key][]netip.Addr // of spec.externalIPs, what is announced
	// aggregates: a BGPAdvertisement announces shorter prefixes than single addresses.
	aggregates bool
	// Withdraws: some advertisement withdraws addresses of Services without endpoints.
	Withdraws bool
	// CountsEndpoints: the link bandwidth of some routes is that of a node's endpoints.
	CountsEndpoints bool
}

// Ref names an object of this API group.
type Ref struct{ Kind, Name string }

// Validation is the result for one object. The zero value means accepted.
type Validation struct {
	Accepted Finding  // of the condition Accepted
	Refs     Finding  // of the condition ResolvedRefs
	NoEffect []string // fields that are set and do nothing in this version
}

// Finding is the reason and message of one condition.
type Finding struct {
	Reason  string // "": the condition is True; else one of its reasons in v1beta1
	Message string // the fields at fault and the remedy; without a Reason what else there is to know
}

// Faults returns what is wrong with the object.
func (v Validation) Faults() []Finding {
	var out []Finding
	for _, f := range []Finding{v.Accepted, v.Refs} {
		if f.Reason != "" {
			out = append(out, f)
		}
	}
	return out
}

// Parse checks everything and keeps what is good.
func Parse(o Objects) Config {
	p := parser{validations: map[Ref]Validation{}, found: map[foundIn]int{}}
	pools := p.pools(o.Pools)
	sourced(pools, o)
	reservations := p.reservations(o.Reservations, pools)
	known := newCatalog(pools)
	quotas := p.quotas(o.Quotas, known)
	aliases := p.communities(o.Communities)
	profiles := p.profiles(o.Profiles, o.Secrets)
	neighbors := p.peers(o, profiles)
	l2, bgp := p.l2(o.L2, known), p.bgp(o, known, aliases)
	config := Config{
		Pools: pools,
		L2:    l2,
		BGP:   bgp,
		aggregates: slices.ContainsFunc(bgp, func(ad announce.BGPAdvertisement) bool {
			return ad.Length4 < 32 || ad.Length6 < 128
		}),
		Withdraws: slices.ContainsFunc(l2, func(ad announce.L2Advertisement) bool { return ad.Withdraws }) ||
			slices.ContainsFunc(bgp, func(ad announce.BGPAdvertisement) bool { return ad.Withdraws }),
		CountsEndpoints:  slices.ContainsFunc(bgp, func(ad announce.BGPAdvertisement) bool { return ad.Bandwidth.PerEndpoint != 0 }),
		Neighbors:        neighbors,
		Reservations:     reservations,
		Quotas:           quotas,
		reservationIndex: indexOf(reservations),
		unusable:         p.unusable,
		Validations:      p.validations,
		places:           placed(pools),
		named:            known.places,
		renumber:         slices.ContainsFunc(pools, func(p Pool) bool { return p.Renumbering != "" || p.prefixes.hosts != nil }),
	}
	return config.Announcing(announcedExternals(o.Pools))
}

// maxFindings is how many findings a condition names; of more it says that there are others.
const maxFindings = 5

// parser collects the validations.
type parser struct {
	validations map[Ref]Validation
	found       map[foundIn]int
	unusable    []announce.UnusablePeer
}

// foundIn is a condition of an object.
type foundIn struct {
	Ref
	condition string
}

// fault reports that ref, or a part of it, is not accepted. The first such fault gives the
// reason, and the message names the others as well.
func (p *parser) fault(ref Ref, reason, format string, args ...any) {
	v := p.validations[ref]
	p.add(foundIn{ref, v1beta1.ConditionAccepted}, &v.Accepted, reason, format, args)
	p.validations[ref] = v
}

// unresolved reports that ref names what is not there, or can't be used. The first such
// fault gives the reason, and the message names the others as well.
func (p *parser) unresolved(ref Ref, reason, format string, args ...any) {
	v := p.validations[ref]
	p.add(foundIn{ref, v1beta1.ConditionResolvedRefs}, &v.Refs, reason, format, args)
	p.validations[ref] = v
}

// add adds a fault to what was found before.
func (p *parser) add(in foundIn, f *Finding, reason, format string, args []any) {
	p.found[in]++
	switch n := p.found[in]; {
	case n == 1:
		*f = Finding{reason, printable.Message(fmt.Sprintf(format, args...))}
	case n <= maxFindings:
		f.Message = printable.Message(f.Message + "; " + fmt.Sprintf(format, args...))
	case n == maxFindings+1:
		f.Message = printable.Message(f.Message + "; and others")
	}
}

// accept makes sure that ref has a validation.
func (p *parser) accept(ref Ref, noEffect ...string) {
	v := p.validations[ref]
	v.NoEffect = noEffect
	p.validations[ref] = v
}

// byAge returns pointers to the objects, the oldest first, then by name: of two
// that exclude each other the older is right.
func byAge[T any, P interface {
	*T
	metav1.Object
}](objects []T) []P {
	out := make([]P, len(objects))
	for i := range objects {
		out[i] = &objects[i]
	}
	slices.SortFunc(out, func(a, b P) int {
		at, bt := a.GetCreationTimestamp(), b.GetCreationTimestamp()
		return cmp.Or(at.Compare(bt.Time), cmp.Compare(a.GetName(), b.GetName()))
	})
	return out
}

// selector turns label selectors into one that any of them satisfies; none
// select all.
func selector(field string, in []metav1.LabelSelector) (announce.Selector, error) {
	if len(in) == 0 {
		return nil, nil
	}
	var any []labels.Selector
	for i := range in {
		s, err := metav1.LabelSelectorAsSelector(&in[i])
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", field, i, err)
		}
		any = append(any, s)
	}
	return func(l map[string]string) bool {
		return slices.ContainsFunc(any, func(s labels.Selector) bool { return s.Matches(labels.Set(l)) })
	}, nil
}

// naming is the objects of one kind as others refer to them: by name or by labels.
type naming struct {
	places map[string]int
	labels []map[string]string
}

func (n *naming) enter(name string, labels map[string]string) {
	n.places[name] = len(n.labels)
	n.labels = append(n.labels, labels)
}

// resolve returns the names of the objects that are listed or selected, nil for
// all, and the listed names that are not there.
func (n *naming) resolve(names []string, sel announce.Selector) (chosen map[string]bool, missing []string) {
	if len(names) == 0 && sel == nil {
		return nil, nil
	}
	chosen = map[string]bool{}
	if sel != nil {
		for name, i := range n.places {
			if sel(n.labels[i]) {
				chosen[name] = true
			}
		}
	}
	for _, name := range names {
		if _, there := n.places[name]; there {
			chosen[name] = true
		} else {
			missing = append(missing, name)
		}
	}
	return chosen, missing
}
