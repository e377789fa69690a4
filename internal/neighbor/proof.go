package neighbor

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net"
	"net/netip"
	"time"
)

// ARP and NDP have no authentication. So a speaker's announcement carries a proof that
// only a holder of the key can make: that this host has this address at this time. The
// proof is in the padding of an ARP frame, or in an NDP option that hosts ignore (RFC
// 4861 section 4.6).

const (
	timeLen  = 6 // milliseconds since 1970
	hashLen  = 12
	proofLen = timeLen + hashLen

	// optionProof is a type for experiments (RFC 4727 section 5.1.3), and
	// optionProofUnits how long such an option is, in units of eight octets.
	optionProof      = 253
	optionProofUnits = 3
)

// MaxSkew is how much the clocks of two speakers may differ, or a frame be late.
const MaxSkew = time.Minute

// Prove returns the proof, of 18 octets, that the host with that MAC has an address.
func Prove(key []byte, mac net.HardwareAddr, addr netip.Addr, at time.Time) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(at.UnixMilli()))
	return append(b[8-timeLen:8:8], proofHash(key, mac, addr, b[8-timeLen:])...)
}

// proofHash is HMAC-SHA256, cut to 96 bits.
func proofHash(key []byte, mac net.HardwareAddr, addr netip.Addr, at []byte) []byte {
	h := hmac.New(sha256.New, key)
	ip := addr.As16()
	for _, b := range [][]byte{[]byte("announcement"), mac, ip[:], at} {
		_, _ = h.Write(b) // never fails
	}
	return h.Sum(nil)[:hashLen]
}

// Proven reports whether a message carries a valid proof that its sender has the address
// in Holds, and when the proof was made: with one of the keys, within MaxSkew of now.
// The frame's own source must be the sender.
func (m Message) Proven(keys [][]byte, now time.Time) (at time.Time, ok bool) {
	if len(m.Proof) != proofLen || string(m.Source) != string(m.Sender) {
		return time.Time{}, false
	}
	var b [8]byte
	copy(b[8-timeLen:], m.Proof)
	at = time.UnixMilli(int64(binary.BigEndian.Uint64(b[:])))
	if now.Sub(at).Abs() > MaxSkew {
		return time.Time{}, false
	}
	for _, key := range keys {
		if hmac.Equal(proofHash(key, m.Sender, m.Holds, m.Proof[:timeLen]), m.Proof[timeLen:]) {
			return at, true
		}
	}
	return time.Time{}, false
}
