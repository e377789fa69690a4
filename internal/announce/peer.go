package announce

import (
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Peer holds the parameters of one BGP session (RFC 4271). Name identifies it.
type Peer struct {
	Name          string     // of the BGPPeer object; unique
	Addr          netip.Addr // where the router listens; invalid: it is found on Interface
	Interface     string     // the link to find the router on (unnumbered); "": Addr is given
	Port          uint16     // 0: 179
	LocalASN      uint32     // the AS number of this side
	PeerASN       uint32     // 0: decided by ASN
	ASN           ASNRule    // used when PeerASN is 0
	SourceAddr    netip.Addr // local address of the session; invalid: Source
	Source        Source     // where to look for SourceAddr; the zero Source: the kernel chooses
	Gateway       Gateway    // the router is that of a default route; the zero Gateway: Addr or Interface
	Device        string     // the interface to bind the session to, such as a VRF's; "": none
	RouterID      netip.Addr // IPv4; invalid: the node's address, if that is one
	NextHopV4     netip.Addr // of routes of IPv4, also an IPv6 one; invalid: this node's own
	NextHopV6     netip.Addr // of routes of IPv6; invalid: this node's own
	NodeV4        netip.Addr // the Node's internal address of IPv4, the best of its own next hops; invalid: none
	NodeV6        netip.Addr // the same of IPv6
	HoldTime      time.Duration
	KeepaliveTime time.Duration
	ConnectTime   time.Duration // longest pause between attempts; 0: the adapter's default
	Password      string        // TCP MD5 signature (RFC 2385); "": none
	MultiHopTTL   uint8         // 0: directly connected
	MinTTL        uint8         // lowest TTL accepted (GTSM, RFC 5082); 0: off
	DualStack     bool          // advertise routes of both families in this session
	Graceful      bool          // ask the router to keep the routes during a restart (RFC 4724)
	RestartTime   time.Duration // how long it should; 0: the adapter's default
	BFD           BFD           // how to monitor the router; a change does not affect the BGP session
	Problem       string        // why this node can hold no session, whatever the router does; "": it can
	Revision      string        // changes with the configuration that the peer is made of, and says nothing else
}

// Source is which of the node's own addresses a session has: the first, of the router's
// family, that is on Link, if that is set, and in Prefix, if that is valid.
type Source struct {
	Link   string
	Prefix netip.Prefix
}

// Gateway is which default route's gateway a router is: of that family, and of that link
// unless it is empty.
type Gateway struct {
	Link   string
	Family ipam.Family
}

// Is6 reports whether it is of IPv6.
func (g Gateway) Is6() bool { return g.Family == ipam.IPv6 }

// BFD holds the parameters of a BFD session (RFC 5880). The zero BFD: none.
type BFD struct {
	Receive    time.Duration // shortest time between packets that are accepted
	Transmit   time.Duration // shortest time between packets that are sent
	Multiplier uint8         // packets that may be missed; 0: no BFD
	Passive    bool          // wait for the router's first packet
	Hops       Hops
	MinTTL     uint8    // lowest TTL accepted over several hops
	Keys       []BFDKey // the first signs, packets of the router may be signed with any; none: no authentication
}

// BFDKey is a key of SHA1 authentication (RFC 5880 section 6.7.4).
type BFDKey struct {
	ID         uint8
	Secret     string // 1 to 20 bytes
	Meticulous bool   // each packet has another sequence number
}

// Hops is how far away a router is for BFD.
type Hops string

// The values of Hops.
const (
	SingleHop Hops = "single" // RFC 5881
	MultiHop  Hops = "multi"  // RFC 5883
	HopsByNet Hops = "by net" // single if its address is in a subnet of this node, else multi
)

// ASNRule is which AS numbers a peer without a configured one may have.
type ASNRule string

// The rules for a peer whose AS number is not configured.
const (
	ExternalASN ASNRule = "external" // any other than the local one
	InternalASN ASNRule = "internal" // the local one
)

// Need is what a change of a peer needs before it is in force. The greatest of several counts.
type Need int

// The needs. A change that is in force at once has none.
const (
	NextSession Need = iota // the next session, whenever that begins: it concerns timers
	Restart                 // a new session with what is the same neighbor to the router
	Reset                   // a new session with what may be another neighbor
)

// Change is a change of a field of a BGPPeer.
type Change struct {
	Field string
	Need  Need
}

// Changes returns the changes from p to q that are not in force at once.
func (p Peer) Changes(q Peer) []Change {
	var out []Change
	for _, f := range []struct {
		name    string
		need    Need
		differs bool
	}{
		{"peerAddress", Reset, p.Addr != q.Addr || p.Problem != q.Problem},
		{"peerAddressFrom", Reset, p.Gateway != q.Gateway},
		{"interface", Reset, p.Interface != q.Interface},
		{"peerPort", Reset, p.Port != q.Port},
		{"myASN or localASN", Reset, p.LocalASN != q.LocalASN},
		{"peerASN or dynamicASN", Reset, p.PeerASN != q.PeerASN || p.ASN != q.ASN},
		{"sourceAddress", Reset, p.SourceAddr != q.SourceAddr},
		{"sourceInterface or sourcePrefix", Reset, p.Source != q.Source},
		{"vrf", Reset, p.Device != q.Device},
		{"routerID", Reset, p.RouterID != q.RouterID},
		{"holdTime", NextSession, p.HoldTime != q.HoldTime},
		{"keepaliveTime", NextSession, p.KeepaliveTime != q.KeepaliveTime},
		{"password", Restart, p.Password != q.Password},
		{"ebgpMultiHop", Restart, p.MultiHopTTL != q.MultiHopTTL},
		{"ttlSecurity", Restart, p.MinTTL != q.MinTTL},
		{"dualStackAddressFamily", Restart, p.DualStack != q.DualStack},
		{"enableGracefulRestart", Reset, p.Graceful != q.Graceful},
		{"restartTime", NextSession, p.RestartTime != q.RestartTime && p.Graceful},
	} {
		if f.differs {
			out = append(out, Change{f.name, f.need})
		}
	}
	return out
}

// FieldsOf returns the fields of changes.
func FieldsOf(changes []Change) []string {
	var out []string
	for _, c := range changes {
		out = append(out, c.Field)
	}
	return out
}

// Carries reports whether the session is to carry routes of family f. The router may still
// refuse them.
func (p Peer) Carries(f ipam.Family) bool {
	return p.DualStack || p.Addr.IsValid() && ipam.FamilyOf(p.Addr) == f || p.Gateway.Family == f
}

// sessionKey is the remote end of a session. A node holds one session for each.
type sessionKey struct {
	addr         netip.Addr
	port         uint16
	link, device string
	gateway      Gateway
}

func (p Peer) sessionKey() sessionKey {
	return sessionKey{p.Addr, p.Port, p.Interface, p.Device, p.Gateway}
}
