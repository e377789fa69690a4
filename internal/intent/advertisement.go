package intent

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

func (p *parser) l2(in []v1beta1.L2Advertisement, pools *catalog) []announce.L2Advertisement {
	var out []announce.L2Advertisement
	for _, obj := range byAge(in) {
		ref := Ref{"L2Advertisement", obj.Name}
		p.accept(ref)
		ad := announce.L2Advertisement{Name: obj.Name, IgnoresConflicts: obj.Spec.ConflictPolicy == v1beta1.ConflictIgnore}
		var faults [3]error
		ad.Links.Only, faults[0] = globs("spec.interfaces", obj.Spec.Interfaces)
		ad.Links.Except, faults[1] = globs("spec.excludeInterfaces", obj.Spec.ExcludeInterfaces)
		ad.Prefer, faults[2] = preferences(obj.Spec.PreferredNodeSelectors)
		usable := true
		for _, err := range faults {
			if err != nil {
				p.fault(ref, v1beta1.ReasonInvalid, "%v; nothing is announced by it", err)
				usable = false
			}
		}
		var ok bool
		ad.Selection, ok = p.selection(ref, obj.Spec.Selection, pools)
		ad.Withdraws = obj.Spec.WithdrawWithoutEndpoints
		if ok && usable {
			out = append(out, ad)
		}
	}
	return out
}

func globs(field string, in []v1beta1.InterfacePattern) ([]string, error) {
	var out []string
	for i, g := range in {
		if _, err := path.Match(string(g), ""); err != nil {
			return nil, fmt.Errorf("%s[%d]: %s is not a valid pattern: * any characters, ? one, [a-z] one of these", field, i, printable.Quote(string(g)))
		}
		out = append(out, string(g))
	}
	return out, nil
}

func preferences(in []v1beta1.PreferredNodes) ([]announce.Preference, error) {
	var out []announce.Preference
	for i, n := range in {
		s, err := selector(fmt.Sprintf("spec.preferredNodeSelectors[%d].preference", i), []metav1.LabelSelector{n.Preference})
		if err != nil {
			return nil, err
		}
		out = append(out, announce.Preference{Weight: int(n.Weight), Nodes: s})
	}
	return out, nil
}

func (p *parser) bgp(o Objects, pools *catalog, aliases map[string]string) []announce.BGPAdvertisement {
	peers := naming{places: make(map[string]int, len(o.Peers))}
	for i := range o.Peers {
		peers.enter(o.Peers[i].Name, o.Peers[i].Labels)
	}
	var out []announce.BGPAdvertisement
	specs := map[string]v1beta1.BGPAdvertisementSpec{}
	for _, obj := range byAge(o.BGP) {
		ref := Ref{"BGPAdvertisement", obj.Name}
		p.accept(ref)
		byLabel, err := selector("spec.peerSelectors", obj.Spec.PeerSelectors)
		if err != nil {
			p.fault(ref, v1beta1.ReasonInvalid, "%v; nothing is announced by it", err)
		}
		usable := err == nil
		ad := announce.BGPAdvertisement{Name: obj.Name, Length4: length(obj.Spec.AggregationLength, 32), Length6: length(obj.Spec.AggregationLengthV6, 128)}
		if ad.Attributes, err = attributes(obj.Spec, aliases); err != nil {
			// To announce without a community such as no-export could do harm.
			p.unresolved(ref, v1beta1.ReasonNotFound, "%v; nothing is announced by it", err)
			usable = false
		}
		if b := obj.Spec.LinkBandwidth; b != nil {
			ad.Attributes.Bandwidth = uint32(b.Fixed)
			ad.Bandwidth = announce.Bandwidth{NodeLabel: string(b.NodeLabel), PerEndpoint: uint32(b.PerEndpoint)}
		}
		var ok bool
		ad.Selection, ok = p.selection(ref, obj.Spec.Selection, pools)
		ad.Withdraws = obj.Spec.WithdrawWithoutEndpoints
		usable = usable && ok
		var missing []string
		ad.Peers, missing = peers.resolve(obj.Spec.Peers, byLabel)
		if len(missing) > 0 {
			p.unresolved(ref, v1beta1.ReasonNotFound, "spec.peers: there is no BGPPeer %s; the others are announced to", printable.Quotes(missing))
		}
		if err := pools.unaligned(ad.Pools, ad.Length4, ad.Length6); err != nil {
			p.fault(ref, v1beta1.ReasonInvalid, "%v", err)
		}
		if usable {
			out = append(out, ad)
			specs[ad.Name] = obj.Spec
		}
	}
	p.contradictions(out, specs, pools)
	return out
}

func length(n *int32, whole int) int {
	if n == nil {
		return whole
	}
	return int(*n)
}

// attributes turns the path attributes of an advertisement into those of a
// route without prefix.
func attributes(spec v1beta1.BGPAdvertisementSpec, aliases map[string]string) (announce.Route, error) {
	r := announce.Route{LocalPref: uint32(spec.LocalPref), Prepend: int(spec.ASPathPrepend)}
	if spec.MED != nil {
		r.MED, r.HasMED = uint32(*spec.MED), true
	}
	for i, name := range spec.Communities {
		value := string(name)
		if alias, ok := aliases[value]; ok {
			value = alias
		}
		c, large, err := parseCommunity(value)
		switch {
		case err != nil:
			return r, fmt.Errorf("spec.communities[%d]: %w", i, err)
		case large != nil:
			r.Large = append(r.Large, *large)
		default:
			r.Communities = append(r.Communities, c)
		}
	}
	slices.Sort(r.Communities)
	slices.SortFunc(r.Large, announce.LargeCommunity.Compare)
	r.Communities, r.Large = slices.Compact(r.Communities), slices.Compact(r.Large)
	return r, nil
}

// wellKnown returns the value of a community of the IANA registry "BGP
// Well-known Communities".
func wellKnown(name string) (uint32, bool) {
	c, ok := map[string]uint32{
		"graceful-shutdown":   0xffff0000, // RFC 8326
		"accept-own":          0xffff0001, // RFC 7611
		"blackhole":           0xffff029a, // RFC 7999
		"no-export":           0xffffff01, // RFC 1997
		"no-advertise":        0xffffff02, // RFC 1997
		"no-export-subconfed": 0xffffff03, // RFC 1997
		"no-peer":             0xffffff04, // RFC 3765
	}[name]
	return c, ok
}

// parseCommunity reads a:b, large:a:b:c or a well-known name.
func parseCommunity(s string) (uint32, *announce.LargeCommunity, error) {
	if c, ok := wellKnown(s); ok {
		return c, nil, nil
	}
	if !strings.Contains(s, ":") {
		return 0, nil, fmt.Errorf("%s is neither a well-known community nor the name of one in a Community object", printable.Quote(s))
	}
	bits := 16
	rest, isLarge := strings.CutPrefix(s, "large:")
	if isLarge {
		bits = 32
	}
	var n []uint32
	for part := range strings.SplitSeq(rest, ":") {
		x, err := strconv.ParseUint(part, 10, bits)
		if err != nil {
			return 0, nil, fmt.Errorf("%s: %s is not a number of %d bits", printable.Quote(s), printable.Quote(part), bits)
		}
		n = append(n, uint32(x))
	}
	switch {
	case isLarge && len(n) == 3:
		return 0, &announce.LargeCommunity{Global: n[0], Data1: n[1], Data2: n[2]}, nil
	case !isLarge && len(n) == 2:
		return n[0]<<16 | n[1], nil, nil
	}
	return 0, nil, fmt.Errorf("%s is neither a:b nor large:a:b:c", printable.Quote(s))
}

// communities returns the values of all aliases. Of two equal names the older
// object's counts.
func (p *parser) communities(in []v1beta1.Community) map[string]string {
	out := map[string]string{}
	for _, obj := range byAge(in) {
		ref := Ref{"Community", obj.Name}
		p.accept(ref)
		for i, c := range obj.Spec.Communities {
			_, _, err := parseCommunity(string(c.Value))
			_, reserved := wellKnown(c.Name)
			_, taken := out[c.Name]
			switch {
			case err != nil:
				p.fault(ref, v1beta1.ReasonInvalid, "spec.communities[%d].value: %v", i, err)
			case reserved:
				p.fault(ref, v1beta1.ReasonInvalid, "spec.communities[%d].name: %q is a well-known community and can't be defined", i, c.Name)
			case taken:
				p.fault(ref, v1beta1.ReasonInvalid, "spec.communities[%d].name: an older Community object defines %s; choose another name", i, printable.Quote(c.Name))
			default:
				out[c.Name] = string(c.Value)
			}
		}
	}
	return out
}

// CountText puts in words what an advertisement comes to.
func CountText(c v1beta1.AdvertisementCount) string {
	plural := func(n int32, one, more string) string {
		if n == 1 {
			return "1 " + one
		}
		return fmt.Sprintf("%d %s", n, more)
	}
	if c.Addresses == 0 {
		return "no address is announced because of it"
	}
	return plural(c.Addresses, "address is", "addresses are") + " announced because of it, by " + plural(c.Nodes, "node", "nodes")
}
