package fsm

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// asTrans stands for an AS number that does not fit in two bytes (RFC 6793).
const asTrans = 23456

// gracefulShutdown is the community of RFC 8326 section 5.
const gracefulShutdown = 0xFFFF0000

// ourOpen returns the encoded OPEN for p.
func ourOpen(p announce.Peer, routerID netip.Addr) ([]byte, error) {
	caps := []bgp.ParameterCapabilityInterface{bgp.NewCapRouteRefresh()}
	var tuples []*bgp.CapGracefulRestartTuple
	for _, f := range families(p) {
		caps = append(caps, bgp.NewCapMultiProtocol(f))
		// Forwarding goes on while this speaker is away, since kube-proxy does it.
		tuples = append(tuples, bgp.NewCapGracefulRestartTuple(f, true))
	}
	if slices.Contains(families(p), bgp.RF_IPv4_UC) {
		caps = append(caps, bgp.NewCapExtendedNexthop([]*bgp.CapExtendedNexthopTuple{bgp.NewCapExtendedNexthopTuple(bgp.RF_IPv4_UC, bgp.AFI_IP6)}))
	}
	caps = append(caps, bgp.NewCapFourOctetASNumber(p.LocalASN))
	if p.Graceful { // RFC 4724 section 3
		caps = append(caps, bgp.NewCapGracefulRestart(true, false, uint16(min(cmp.Or(p.RestartTime, defaultRestartTime), maxRestartTime)/time.Second), tuples))
	}
	asn := uint16(asTrans)
	if p.LocalASN <= math.MaxUint16 {
		asn = uint16(p.LocalASN)
	}
	m, err := bgp.NewBGPOpenMessage(asn, uint16(holdTime(p)/time.Second), routerID, []bgp.OptionParameterInterface{bgp.NewOptionParameterCapability(caps)})
	if err != nil {
		return nil, fmt.Errorf("make an OPEN: %w", err)
	}
	return m.Serialize()
}

// encoder encodes the UPDATEs of one session.
type encoder struct {
	local        netip.Addr // this node's address in the session
	asn          uint32     // of this side
	internal     bool       // the peer is in the same AS
	capabilities Capabilities
}

// group is paths of one family that differ in their prefixes only.
type group struct {
	path     Path
	prefixes []netip.Prefix
}

// updates encodes changes in as few UPDATEs as possible: prefixes that share their
// attributes share an UPDATE, as far as they fit. Withdrawals come last.
func (e encoder) updates(changes []Change) ([][]byte, error) {
	var groups []*group
	var gone4, gone6 []netip.Prefix
	known := map[string]*group{}
	var last *group
	for _, c := range changes {
		prefix := c.Path.Route.Prefix
		switch {
		case c.Withdraw && prefix.Addr().Is4():
			gone4 = append(gone4, prefix)
		case c.Withdraw:
			gone6 = append(gone6, prefix)
		default:
			if last == nil || !last.path.sharesAttributes(c.Path) {
				key := c.Path.attributesKey()
				if last = known[key]; last == nil {
					last = &group{path: c.Path}
					known[key], groups = last, append(groups, last)
				}
			}
			last.prefixes = append(last.prefixes, prefix)
		}
	}
	var out [][]byte
	for _, g := range groups {
		some, err := e.announced(g)
		if err != nil {
			return nil, err
		}
		out = append(out, some...)
	}
	for _, gone := range [][]netip.Prefix{gone4, gone6} {
		some, err := e.withdrawn(gone)
		if err != nil {
			return nil, err
		}
		out = append(out, some...)
	}
	return out, nil
}

// announced encodes a group.
func (e encoder) announced(g *group) ([][]byte, error) {
	sends := e.sends(g.path)
	family, hop := familyOf(sends.Prefix), sends.NextHop
	attributes, err := e.attributes(sends)
	if err != nil {
		return nil, err
	}
	size := 0
	for _, a := range attributes {
		b, err := a.Serialize()
		if err != nil {
			return nil, fmt.Errorf("encode an attribute of %s: %w", g.path.Route.Prefix, err)
		}
		size += len(b)
	}
	classic := family == bgp.RF_IPv4_UC && hop.Is4()
	overhead := headerLength + 4 + size
	if !classic {
		overhead += 4 + 5 + 32 // of MP_REACH_NLRI, with a next hop of any length
	}
	var out [][]byte
	for prefixes := range chunks(g.prefixes, maxLength-overhead) {
		if len(prefixes) == 0 {
			return nil, fmt.Errorf("the attributes of %s take %d bytes, which leaves no room for it in an UPDATE", g.path.Route.Prefix, size)
		}
		nlri, err := nlriOf(prefixes)
		if err != nil {
			return nil, err
		}
		m := bgp.NewBGPUpdateMessage(nil, attributes, nlri)
		if !classic {
			reach, err := bgp.NewPathAttributeMpReachNLRI(family, nlri, hop)
			if err != nil {
				return nil, fmt.Errorf("encode %s: %w", g.path.Route.Prefix, err)
			}
			m = bgp.NewBGPUpdateMessage(nil, ordered(append(slices.Clone(attributes), reach)), nil)
		}
		b, err := m.Serialize()
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", g.path.Route.Prefix, err)
		}
		out = append(out, b)
	}
	return out, nil
}

// withdrawn encodes the withdrawal of prefixes of one family.
func (e encoder) withdrawn(gone []netip.Prefix) ([][]byte, error) {
	var out [][]byte
	for prefixes := range chunks(gone, maxLength-headerLength-16) {
		nlri, err := nlriOf(prefixes)
		if err != nil {
			return nil, err
		}
		m := bgp.NewBGPUpdateMessage(nlri, nil, nil)
		if family := familyOf(prefixes[0]); family != bgp.RF_IPv4_UC {
			unreach, err := bgp.NewPathAttributeMpUnreachNLRI(family, nlri)
			if err != nil {
				return nil, fmt.Errorf("encode the withdrawal of %s: %w", prefixes[0], err)
			}
			m = bgp.NewBGPUpdateMessage(nil, []bgp.PathAttributeInterface{unreach}, nil)
		}
		b, err := m.Serialize()
		if err != nil {
			return nil, fmt.Errorf("encode the withdrawal of %s: %w", prefixes[0], err)
		}
		out = append(out, b)
	}
	return out, nil
}

// sends returns what the peer is sent for a path.
func (e encoder) sends(p Path) announce.Sent {
	r := p.Route
	out := announce.Sent{
		Prefix: r.Prefix, NextHop: p.NextHop, MED: r.MED, HasMED: r.HasMED, Bandwidth: r.Bandwidth, Communities: r.Communities, Large: r.Large,
		LocalPref: cmp.Or(r.LocalPref, 100), HasLocalPref: e.internal, // RFC 4271 section 5.1.5: it is for internal peers only
	}
	if out.NextHop.IsUnspecified() {
		out.NextHop = e.local
	}
	if r.Leaving { // RFC 8326 section 4.2
		out.LocalPref, out.Communities = 0, append(slices.Clone(r.Communities), gracefulShutdown)
	}
	if !e.internal { // RFC 4271 section 5.1.2
		out.ASPath = slices.Repeat([]uint32{e.asn}, 1+r.Prepend)
	}
	return out
}

// attributes returns the path attributes of a route (RFC 4271 section 5), sorted by
// type, without MP_REACH_NLRI.
func (e encoder) attributes(r announce.Sent) ([]bgp.PathAttributeInterface, error) {
	out := append([]bgp.PathAttributeInterface{bgp.NewPathAttributeOrigin(bgp.BGP_ORIGIN_ATTR_TYPE_IGP)}, e.asPath(r.ASPath)...)
	if r.Prefix.Addr().Is4() && r.NextHop.Is4() {
		next, err := bgp.NewPathAttributeNextHop(r.NextHop)
		if err != nil {
			return nil, fmt.Errorf("encode the next hop %s: %w", r.NextHop, err)
		}
		out = append(out, next)
	}
	if r.HasMED {
		out = append(out, bgp.NewPathAttributeMultiExitDisc(r.MED))
	}
	if r.HasLocalPref {
		out = append(out, bgp.NewPathAttributeLocalPref(r.LocalPref))
	}
	if len(r.Communities) > 0 {
		out = append(out, bgp.NewPathAttributeCommunities(r.Communities))
	}
	if r.Bandwidth > 0 {
		as := uint16(asTrans)
		if e.asn <= math.MaxUint16 {
			as = uint16(e.asn)
		}
		const bytes = 1e6 / 8 // in a Mbit
		out = append(out, bgp.NewPathAttributeExtendedCommunities([]bgp.ExtendedCommunityInterface{bgp.NewLinkBandwidthExtended(as, bytes*float32(r.Bandwidth))}))
	}
	if len(r.Large) > 0 {
		large := make([]*bgp.LargeCommunity, 0, len(r.Large))
		for _, c := range r.Large {
			large = append(large, bgp.NewLargeCommunity(c.Global, c.Data1, c.Data2))
		}
		out = append(out, bgp.NewPathAttributeLargeCommunities(large))
	}
	return ordered(out), nil
}

// asPath returns the AS_PATH, which consists of this side's AS number. For a peer that
// supports AS numbers of two bytes only, AS4_PATH has the real ones (RFC 6793).
func (e encoder) asPath(path []uint32) []bgp.PathAttributeInterface {
	if len(path) == 0 {
		return []bgp.PathAttributeInterface{bgp.NewPathAttributeAsPath(nil)}
	}
	four := bgp.NewAs4PathParam(bgp.BGP_ASPATH_ATTR_TYPE_SEQ, path)
	if e.capabilities.FourByte {
		return []bgp.PathAttributeInterface{bgp.NewPathAttributeAsPath([]bgp.AsPathParamInterface{four})}
	}
	two := slices.Repeat([]uint16{asTrans}, len(path))
	if e.asn <= math.MaxUint16 {
		two = slices.Repeat([]uint16{uint16(e.asn)}, len(path))
	}
	out := []bgp.PathAttributeInterface{bgp.NewPathAttributeAsPath([]bgp.AsPathParamInterface{bgp.NewAsPathParam(bgp.BGP_ASPATH_ATTR_TYPE_SEQ, two)})}
	if e.asn > math.MaxUint16 {
		out = append(out, bgp.NewPathAttributeAs4Path([]*bgp.As4PathParam{four}))
	}
	return out
}

// ordered sorts attributes by type (RFC 4271 section 5).
func ordered(attributes []bgp.PathAttributeInterface) []bgp.PathAttributeInterface {
	slices.SortStableFunc(attributes, func(a, b bgp.PathAttributeInterface) int { return int(a.GetType()) - int(b.GetType()) })
	return attributes
}

// endOfRIB returns the End-of-RIB marker, which follows the first routes of a family
// (RFC 4724 section 2).
func endOfRIB(family bgp.Family) ([]byte, error) { return bgp.NewEndOfRib(family).Serialize() }

func nlriOf(prefixes []netip.Prefix) ([]bgp.PathNLRI, error) {
	out := make([]bgp.PathNLRI, len(prefixes))
	for i, p := range prefixes {
		n, err := bgp.NewIPAddrPrefix(p)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", p, err)
		}
		out[i] = bgp.PathNLRI{NLRI: n}
	}
	return out, nil
}

// chunks yields as many prefixes at a time as fit in that many bytes. It yields none
// if not even one fits.
func chunks(prefixes []netip.Prefix, room int) func(func([]netip.Prefix) bool) {
	return func(yield func([]netip.Prefix) bool) {
		for len(prefixes) > 0 {
			n, size := 0, 0
			for ; n < len(prefixes); n++ {
				if size += 1 + (prefixes[n].Bits()+7)/8; size > room {
					break
				}
			}
			if !yield(prefixes[:n]) || n == 0 {
				return
			}
			prefixes = prefixes[n:]
		}
	}
}

// families returns the address families of the session (RFC 4760), its own first.
func families(p announce.Peer) []bgp.Family {
	own, other := bgp.RF_IPv6_UC, bgp.RF_IPv4_UC
	if p.Addr.Is4() {
		own, other = other, own
	}
	if p.DualStack {
		return []bgp.Family{own, other}
	}
	return []bgp.Family{own}
}

func familyOf(p netip.Prefix) bgp.Family {
	if p.Addr().Is4() {
		return bgp.RF_IPv4_UC
	}
	return bgp.RF_IPv6_UC
}
