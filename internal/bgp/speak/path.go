package speak

import (
	"fmt"
	"net/netip"
	"slices"

	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// The values of RFC 4271 section 4.3 that a path of ours has.
const (
	originIGP  = 0
	asSequence = 2
)

// gracefulShutdown is the community of RFC 8326 section 5.
const gracefulShutdown = 0xFFFF0000

// Path is a route with the next hop to send it with; an unspecified next hop
// stands for this node's address in the session. The zero Path is not valid.
type Path struct {
	Route   announce.Route
	NextHop netip.Addr
}

// Equal reports whether p and q would be sent as the same UPDATE.
func (p Path) Equal(q Path) bool { return p.NextHop == q.NextHop && p.Route.Equal(q.Route) }

// Change is one step from what is on offer to what should be: a path to add,
// which replaces one of the same prefix, or one to withdraw.
type Change struct {
	Path     Path
	Withdraw bool
}

// attributes are the path attributes to send p with. The server adds what
// depends on the session: the local AS number on external sessions (RFC 4271
// section 5.1.2), LOCAL_PREF 100 on internal ones if p has none (5.1.5), and
// it takes LOCAL_PREF out on external ones.
func attributes(p Path, prepend uint32) []proto.Message {
	r := p.Route
	list := []proto.Message{
		&api.OriginAttribute{Origin: originIGP},
		&api.NextHopAttribute{NextHop: p.NextHop.String()},
	}
	if r.Prepend > 0 && prepend != 0 {
		list = append(list, &api.AsPathAttribute{Segments: []*api.AsSegment{
			{Type: asSequence, Numbers: slices.Repeat([]uint32{prepend}, r.Prepend)},
		}})
	}
	if r.HasMED {
		list = append(list, &api.MultiExitDiscAttribute{Med: r.MED})
	}
	if r.Leaving { // RFC 8326 section 4.2
		r.LocalPref, r.Communities = 0, append(slices.Clone(r.Communities), gracefulShutdown)
	}
	if r.LocalPref != 0 || r.Leaving {
		list = append(list, &api.LocalPrefAttribute{LocalPref: r.LocalPref})
	}
	if len(r.Communities) > 0 {
		list = append(list, &api.CommunitiesAttribute{Communities: r.Communities})
	}
	if len(r.Large) > 0 {
		large := make([]*api.LargeCommunity, 0, len(r.Large))
		for _, c := range r.Large {
			large = append(large, &api.LargeCommunity{GlobalAdmin: c.Global, LocalData1: c.Data1, LocalData2: c.Data2})
		}
		list = append(list, &api.LargeCommunitiesAttribute{Communities: large})
	}
	return list
}

// message is p in the server's terms.
func message(p Path, prepend uint32) (*api.Path, error) {
	prefix := p.Route.Prefix
	nlri, err := anypb.New(&api.IPAddressPrefix{Prefix: prefix.Addr().String(), PrefixLen: uint32(prefix.Bits())})
	if err != nil {
		return nil, fmt.Errorf("encode prefix %s: %w", prefix, err)
	}
	m := &api.Path{Family: family(prefix.Addr()), Nlri: nlri}
	for _, a := range attributes(p, prepend) {
		packed, err := anypb.New(a)
		if err != nil {
			return nil, fmt.Errorf("encode attribute of %s: %w", prefix, err)
		}
		m.Pattrs = append(m.Pattrs, packed)
	}
	return m, nil
}
