package fsm

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

const (
	bgpPort            = 179              // RFC 4271 section 8.2.1
	defaultHoldTime    = 90 * time.Second // RFC 4271 section 10
	defaultConnectTime = 2 * time.Second  // RFC 4271 section 10 suggests 120 s: too long to be without routes
	minHoldTime        = 3 * time.Second  // RFC 4271 section 4.2
	maxPassword        = 80               // bytes, TCP_MD5SIG_MAXKEYLEN

	// defaultRestartTime is how long a router should keep the routes of a speaker that
	// restarts (RFC 4724 section 3).
	defaultRestartTime = 120 * time.Second
	maxRestartTime     = 4095 * time.Second // 12 bits
)

// Check returns why no session with p is possible; nil: one is.
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

// peerASN returns the AS number that the peer must have; 0: any.
func peerASN(p announce.Peer) uint32 {
	if p.PeerASN == 0 && p.ASN == announce.InternalASN {
		return p.LocalASN
	}
	return p.PeerASN
}

// internal reports whether the peer is in this side's AS, as far as that is known
// before its OPEN.
func internal(p announce.Peer) bool { return peerASN(p) == p.LocalASN }

// refusal returns why this side rejects an OPEN (RFC 4271 section 6.2); nil: it does
// not.
func refusal(p announce.Peer, routerID netip.Addr, o open) *fault {
	ours := binary.BigEndian.Uint32(routerID.AsSlice())
	switch {
	case o.asn == 0: // RFC 7607
		return &fault{notification: badPeerAS, text: "the router's AS number is 0"}
	case peerASN(p) != 0 && o.asn != peerASN(p):
		return &fault{notification: badPeerAS, text: fmt.Sprintf("the router's AS number is %d, not %d", o.asn, peerASN(p))}
	case peerASN(p) == 0 && p.ASN == announce.ExternalASN && o.asn == p.LocalASN:
		return &fault{notification: badPeerAS, text: fmt.Sprintf("the router's AS number is %d, which is ours; this peer must be external", o.asn)}
	case o.id == 0, o.asn == p.LocalASN && o.id == ours: // RFC 6286 section 2.2
		return &fault{notification: notification{openError, badIdentifier}}
	case o.HoldTime == 0:
		return &fault{notification: notification{openError, badHoldTime}, text: holdTimeZero}
	case o.HoldTime < minHoldTime:
		return &fault{notification: notification{openError, badHoldTime}, text: fmt.Sprintf("its hold time is %s; the least is %s", o.HoldTime, minHoldTime)}
	}
	return nil
}

const holdTimeZero = "the router wants a hold time of 0, that is no keepalives, which would hide failures: set at least 3s there"

// RouterID returns the router ID of a node's session with p (RFC 4271 section 4.2):
// the configured one, else the IPv4 source address, else 32 bits hashed (FNV-1a) from
// the node's name, which is unique in the cluster (RFC 6286 asks for no more). The
// result is always an address that a host could have, since some routers reject
// others.
func RouterID(p announce.Peer, node string) netip.Addr {
	for _, a := range []netip.Addr{p.RouterID, p.SourceAddr} {
		if a = a.Unmap(); a.Is4() && !a.IsUnspecified() {
			return a
		}
	}
	h := fnv.New32a()
	h.Write([]byte(node))
	sum := h.Sum32()
	first := 1 + byte(sum>>24)%223 // 1 to 223: neither 0.0.0.0/8 nor multicast nor reserved
	if first == 127 {
		first = 223
	}
	return netip.AddrFrom4([4]byte{first, byte(sum >> 16), byte(sum >> 8), byte(sum)})
}

// ConnectTime returns the longest pause between attempts to connect to p.
func ConnectTime(p announce.Peer) time.Duration { return cmp.Or(p.ConnectTime, defaultConnectTime) }

// holdTime returns the hold time to offer, in whole seconds as BGP counts.
func holdTime(p announce.Peer) time.Duration {
	return (cmp.Or(p.HoldTime, defaultHoldTime) + time.Second - 1).Truncate(time.Second)
}
