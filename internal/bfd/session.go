package bfd

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"
)

// The ports of RFC 5881 §4 and RFC 5883 §5.
const (
	SingleHopPort = 3784
	MultihopPort  = 4784
)

// The defaults of a session's fields.
const (
	DefaultInterval   = 300 * time.Millisecond
	DefaultMultiplier = 3
)

// slowInterval is the shortest interval at which a side that is not Up wants to
// send (RFC 5880 §6.8.3).
const slowInterval = time.Second

// Hops is how far away a session's peer may be.
type Hops uint8

const (
	// SingleHop is RFC 5881: the peer is on the same link, which packets prove
	// by arriving with TTL or Hop Limit 255.
	SingleHop Hops = iota
	// Multihop is RFC 5883: there may be routers on the path.
	Multihop
)

// Path is what a session monitors. It identifies the session: no two sessions of an
// engine have the same.
type Path struct {
	Peer   netip.Addr // with its zone if it is link-local
	Local  netip.Addr // the zero Addr: the one the kernel chooses
	Device string     // the interface, or VRF device, that the sockets are bound to; "": none
	Hops   Hops
	Port   uint16 // the port that both sides listen on; 0: the standard port for Hops
}

// ListenPort is the port that both sides listen on.
func (p Path) ListenPort() uint16 {
	switch {
	case p.Port != 0:
		return p.Port
	case p.Hops == Multihop:
		return MultihopPort
	default:
		return SingleHopPort
	}
}

// ends is p reduced to what a packet shows: packets of sessions with equal ends cannot
// be distinguished.
func (p Path) ends() Path {
	p.Port, p.Hops = p.ListenPort(), SingleHop
	return p
}

// Session is the configuration of one session. All but its Path can be changed while it
// is Up; a Poll Sequence (RFC 5880 §6.8.3) agrees a change of timers with the peer.
type Session struct {
	Path

	Transmit   time.Duration // the shortest interval at which to send; 0: DefaultInterval
	Receive    time.Duration // the shortest interval at which to receive; 0: DefaultInterval
	Multiplier uint8         // after this many missed packets the peer takes the session Down; 0: DefaultMultiplier
	MinTTL     uint8         // of packets over several hops; 0: any. A single hop needs 255.
	Passive    bool          // send nothing until the peer has (RFC 5880 §6.1)
	Disabled   bool          // stay AdminDown, and signal that to the peer
	Keys       []Key         // none: no authentication. The first signs; received packets may be signed with any.
}

func (s Session) withDefaults() Session {
	if s.Transmit == 0 {
		s.Transmit = DefaultInterval
	}
	if s.Receive == 0 {
		s.Receive = DefaultInterval
	}
	if s.Multiplier == 0 {
		s.Multiplier = DefaultMultiplier
	}
	return s
}

// validate returns why s is invalid, in one sentence.
func (s Session) validate() error {
	switch {
	case !s.Peer.IsValid():
		return errors.New("the session has no peer address")
	case s.Peer.Is4In6() || s.Local.Is4In6():
		return errors.New("an IPv4 address is written as IPv6")
	case s.Peer.Is6() && s.Peer.IsLinkLocalUnicast() && s.Peer.Zone() == "" && s.Device == "":
		return fmt.Errorf("the link-local address %s needs a zone or a device", s.Peer)
	case s.Local.IsValid() && s.Local.Is4() != s.Peer.Is4():
		return fmt.Errorf("%s and %s are of different families", s.Local, s.Peer)
	case s.Transmit < 0 || s.Transmit > MaxInterval || s.Receive < 0 || s.Receive > MaxInterval:
		return fmt.Errorf("an interval is not between 0 and %s", MaxInterval)
	}
	return validateKeys(s.Keys)
}

// validateKeys returns why keys are invalid (RFC 5880 §4.4): two have the same ID, or a
// secret is empty or too long.
func validateKeys(keys []Key) error {
	seen := map[uint8]bool{}
	for _, k := range keys {
		if k.Secret == "" || len(k.Secret) > 20 {
			return fmt.Errorf("the secret of key %d has %d octets; 1 to 20 are allowed", k.ID, len(k.Secret))
		}
		if seen[k.ID] {
			return fmt.Errorf("two keys have the ID %d", k.ID)
		}
		seen[k.ID] = true
	}
	return nil
}

// equal reports whether s and o are the same configuration.
func (s Session) equal(o Session) bool {
	same := slices.Equal(s.Keys, o.Keys)
	s.Keys, o.Keys = nil, nil
	return same && reflect.DeepEqual(s, o)
}

// Timers are the timers in a side's packets.
type Timers struct {
	DesiredMinTx  time.Duration
	RequiredMinRx time.Duration
	Multiplier    uint8
}

// Outage is one loss of a session that was Up.
type Outage struct {
	At               time.Time
	Diagnostic       Diagnostic // ours: how we detected it
	RemoteStatus     Status     // the peer's, in its last packet; AdminDown: an administrator wants it so, the path may work (RFC 5882 §4.2)
	RemoteDiagnostic Diagnostic // likewise
}

// State is the state of a session.
type State struct {
	Session          Session // as it was set
	Status           Status
	Diagnostic       Diagnostic
	Since            time.Time // of Status; the zero Time before the first
	Discriminator    uint32
	RemoteStatus     Status // in the last packet; Down if there was none
	RemoteDiagnostic Diagnostic
	RemoteDiscr      uint32        // 0: unknown
	RemoteTimers     Timers        // in the last packet
	Transmit         time.Duration // the agreed interval, before jitter; 0: the peer wants no packets
	Detection        time.Duration // the agreed time without packets after which the session is Down; 0: unknown
	Ups              uint64        // how often it has come Up
	LastOutage       Outage        // the zero Outage: there was none
	Sent, Received   uint64        // packets
	Discarded        uint64        // packets of this session that were refused
	LastDiscard      string        // why the last of them was refused; "": none was
	Refused          bool          // no packet has been accepted since
	TTL              uint8         // or Hop Limit, of the last packet if it was refused for that; 0: it was not
	Problem          string        // why the session cannot work (sockets, addresses); "": nothing known
}
