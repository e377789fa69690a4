package speak

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"net/netip"
	"os"
	"time"

	api "github.com/osrg/gobgp/v3/api"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

const (
	bgpPort            = 179              // RFC 4271 section 8.2.1
	defaultHoldTime    = 90 * time.Second // RFC 4271 section 10
	defaultConnectTime = 2 * time.Second  // gobgp's own is 120 s: too long to be without routes
	minHoldTime        = 3 * time.Second  // RFC 4271 section 4.2
	maxPassword        = 80               // bytes, TCP_MD5SIG_MAXKEYLEN

	// restartTime is how long a router is to keep our routes for a speaker that
	// restarts (RFC 4724 section 3).
	restartTime = 120 * time.Second
	// eorPatience is how long our routes wait for the router's End-of-RIB
	// (RFC 4724 section 4.1). Nothing of ours depends on what it sends.
	eorPatience = time.Second
	// maxReceived is how many routes of one family a router may send before its
	// session is ended. All are refused, but gobgp remembers them, at 2 kB each.
	maxReceived = 10000
)

// Check says what makes a peer impossible, where the server would be silent
// about it or say it badly.
func Check(p announce.Peer) error {
	switch {
	case !p.Addr.IsValid():
		return errors.New("the peer has no address")
	case p.LocalASN == 0:
		return errors.New("the local AS number is 0, which RFC 7607 forbids")
	case p.HoldTime != 0 && p.HoldTime < minHoldTime:
		return fmt.Errorf("the hold time is %s; the least is %s", p.HoldTime, minHoldTime)
	case p.HoldTime > math.MaxUint16*time.Second:
		return fmt.Errorf("the hold time is %s; the most is %s", p.HoldTime, math.MaxUint16*time.Second)
	case len(p.Password) > maxPassword:
		return fmt.Errorf("the password has %d bytes; TCP MD5 signatures take %d at most", len(p.Password), maxPassword)
	case p.Password != "" && p.Addr.Zone() != "":
		return errors.New("a password (TCP MD5) does not work with a link-local address")
	case p.SourceAddr.IsValid() && p.SourceAddr.Is4() != p.Addr.Is4():
		return fmt.Errorf("the source address %s and the peer's address %s are of different families", p.SourceAddr, p.Addr)
	case p.RouterID.IsValid() && !p.RouterID.Is4():
		return fmt.Errorf("the router ID %s is not an IPv4 address", p.RouterID)
	case p.MultiHopTTL != 0 && p.MinTTL != 0:
		return errors.New("a multi-hop TTL and a minimum TTL exclude each other")
	}
	return nil
}

// ASNAllowed reports whether the AS number of the peer's OPEN (0: none yet)
// obeys the peer's rule. Every other case the server checks by itself.
func ASNAllowed(p announce.Peer, asn uint32) bool {
	return p.PeerASN != 0 || p.ASN != announce.ExternalASN || asn != p.LocalASN
}

// peerASN is the AS number to ask of the peer; 0 takes any.
func peerASN(p announce.Peer) uint32 {
	if p.PeerASN == 0 && p.ASN == announce.InternalASN {
		return p.LocalASN
	}
	return p.PeerASN
}

// prependASN is the AS number to prepend where a route asks for it; 0: none.
// An internal peer gets no AS number prepended (RFC 4271 section 5.1.2), and
// would take its own for a loop.
func prependASN(p announce.Peer) uint32 {
	if peerASN(p) == p.LocalASN {
		return 0
	}
	return p.LocalASN
}

// RouterID picks the router ID of the session with p (RFC 4271 section 4.2): its
// own, else the fallback, else its IPv4 source address, else 32 bits hashed
// (FNV-1a) from the name of the host, which Kubernetes keeps unique in a
// cluster (RFC 6286 asks for no more).
func RouterID(p announce.Peer, fallback netip.Addr) netip.Addr {
	for _, a := range []netip.Addr{p.RouterID, fallback, p.SourceAddr} {
		if a = a.Unmap(); a.Is4() && !a.IsUnspecified() {
			return a
		}
	}
	name, _ := os.Hostname() // without one, the hash of nothing still is a valid ID
	h := fnv.New32a()
	h.Write([]byte(name))
	sum := h.Sum32() | 1 // never 0.0.0.0 (RFC 6286 section 2.1)
	return netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
}

// peerConfig is the peer in the server's terms.
func peerConfig(p announce.Peer) *api.Peer {
	source := p.SourceAddr
	if !source.IsValid() {
		// Named although it is the default: with a link-local peer the
		// server would else advertise an unspecified next hop.
		source = netip.IPv6Unspecified()
		if p.Addr.Is4() {
			source = netip.IPv4Unspecified()
		}
	}
	c := &api.Peer{
		Conf: &api.PeerConf{NeighborAddress: p.Addr.String(), PeerAsn: peerASN(p), AuthPassword: p.Password},
		Timers: &api.Timers{Config: &api.TimersConfig{
			// gobgp waits once to twice as long.
			ConnectRetry:      max(1, seconds(p.ConnectTime, defaultConnectTime)/2),
			HoldTime:          seconds(p.HoldTime, defaultHoldTime),
			KeepaliveInterval: seconds(p.KeepaliveTime, 0), // 0: a third of the hold time
		}},
		Transport: &api.Transport{LocalAddress: source.String(), RemotePort: uint32(p.Port), BindInterface: p.Device},
	}
	if p.MultiHopTTL != 0 {
		c.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: uint32(p.MultiHopTTL)}
	}
	if p.MinTTL != 0 {
		c.TtlSecurity = &api.TtlSecurity{Enabled: true, TtlMin: uint32(p.MinTTL)}
	}
	if p.Graceful {
		c.GracefulRestart = &api.GracefulRestart{
			Enabled:      true,
			RestartTime:  uint32(restartTime / time.Second),
			DeferralTime: uint32(eorPatience / time.Second),
			// Said in every OPEN, since gobgp ties to it the bit that says that
			// forwarding has gone on (RFC 4724 section 3), which is always so.
			LocalRestarting: true,
		}
	}
	for _, f := range families(p) {
		a := &api.AfiSafi{
			Config:       &api.AfiSafiConfig{Family: f, Enabled: true},
			PrefixLimits: &api.PrefixLimit{Family: f, MaxPrefixes: maxReceived},
		}
		if p.Graceful {
			a.MpGracefulRestart = &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: true}}
		}
		c.AfiSafis = append(c.AfiSafis, a)
	}
	return c
}

// ConnectTime is the longest pause between attempts to connect to p.
func ConnectTime(p announce.Peer) time.Duration { return cmp.Or(p.ConnectTime, defaultConnectTime) }

// families lists the address families of the session (RFC 4760), its own first.
func families(p announce.Peer) []*api.Family {
	own, other := family(p.Addr), ipv4()
	if p.Addr.Is4() {
		other = ipv6()
	}
	if p.DualStack {
		return []*api.Family{own, other}
	}
	return []*api.Family{own}
}

func family(a netip.Addr) *api.Family {
	if a.Is4() {
		return ipv4()
	}
	return ipv6()
}

func ipv4() *api.Family { return &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST} }
func ipv6() *api.Family { return &api.Family{Afi: api.Family_AFI_IP6, Safi: api.Family_SAFI_UNICAST} }

// seconds rounds d up to whole seconds, which is what BGP counts in.
func seconds(d, unset time.Duration) uint64 {
	if d == 0 {
		d = unset
	}
	return uint64((d + time.Second - 1) / time.Second)
}
