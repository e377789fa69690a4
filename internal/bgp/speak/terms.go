package speak

import (
	"context"
	"time"

	api "github.com/osrg/gobgp/v3/api"
)

// Terms are what a peer has offered in its OPEN (RFC 4271 section 4.2). The zero
// Terms: no OPEN was heard.
type Terms struct {
	Heard    bool
	HoldTime time.Duration // the smaller of both sides'; 0: no keepalives
	IPv4     bool          // it takes IPv4 routes
	IPv6     bool          // it takes IPv6 routes
	Extended bool          // it takes IPv4 routes with IPv6 next hops (RFC 8950)
}

// Terms returns the terms of the peer's last OPEN.
func (b *Server) Terms() Terms {
	var t Terms
	// Its only error is a nil request.
	_ = b.gobgp.ListPeer(context.Background(), &api.ListPeerRequest{}, func(p *api.Peer) {
		t = termsOf(p)
	})
	return t
}

func termsOf(p *api.Peer) Terms {
	caps := p.GetState().GetRemoteCap()
	t := Terms{
		Heard:    len(caps) > 0, // gobgp enters IPv4 unicast if there are none
		HoldTime: time.Duration(p.GetTimers().GetState().GetNegotiatedHoldTime()) * time.Second,
	}
	for _, c := range caps {
		m, err := c.UnmarshalNew()
		if err != nil {
			continue // a capability that this version of gobgp can't tell
		}
		switch m := m.(type) {
		case *api.MultiProtocolCapability:
			t.IPv4 = t.IPv4 || is(m.Family, ipv4())
			t.IPv6 = t.IPv6 || is(m.Family, ipv6())
		case *api.ExtendedNexthopCapability:
			for _, x := range m.Tuples {
				t.Extended = t.Extended || is(x.NlriFamily, ipv4()) && x.NexthopFamily.GetAfi() == api.Family_AFI_IP6
			}
		}
	}
	return t
}

func is(f, g *api.Family) bool { return f.GetAfi() == g.GetAfi() && f.GetSafi() == g.GetSafi() }
