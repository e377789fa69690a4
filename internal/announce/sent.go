package announce

import "net/netip"

// Sent is a route as a router was sent it (RFC 4271 section 5).
type Sent struct {
	Prefix       netip.Prefix
	NextHop      netip.Addr
	ASPath       []uint32 // nil: empty, as to an internal peer
	LocalPref    uint32   // meaningful if HasLocalPref
	HasLocalPref bool     // an internal peer alone is sent LOCAL_PREF
	MED          uint32   // meaningful if HasMED
	HasMED       bool
	Bandwidth    uint32 // in Mbit/s; 0: not sent
	Communities  []uint32
	Large        []LargeCommunity
}
