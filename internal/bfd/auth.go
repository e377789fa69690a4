package bfd

import (
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"errors"
)

// Key is a key of Meticulous Keyed SHA1 authentication (RFC 5880 §6.7.4): each
// packet carries a hash over itself and the secret, and a sequence number that
// grows with each packet, so that none can be replayed.
type Key struct {
	ID     uint8
	Secret string // 1 to 20 octets
}

// The reasons for which a session's authentication discards a packet.
var (
	ErrAuthMissing  = errors.New("packet is not authenticated and the session is")
	ErrAuthUnwanted = errors.New("packet is authenticated and the session is not")
	ErrAuthType     = errors.New("authentication is not Meticulous Keyed SHA1")
	ErrAuthKey      = errors.New("authentication names an unknown key")
	ErrAuthHash     = errors.New("authentication hash does not match")
	ErrAuthSequence = errors.New("authentication sequence number is outside the window: a replay, or the peer restarted")
)

const meticulousSHA1 = 5

// The authentication section (RFC 5880 §4.4), offsets from the packet's start.
const (
	offKeyID    = headerLength + 2
	offSequence = headerLength + 4
	offHash     = headerLength + 8
)

// sign appends to the header b the authentication section for key and sequence.
func sign(b []byte, key Key, sequence uint32) []byte {
	b[1] |= flagAuth
	b[3] = headerLength + sha1Length
	b = append(b, meticulousSHA1, sha1Length, key.ID, 0)
	b = binary.BigEndian.AppendUint32(b, sequence)
	hash := digest(b, key)
	return append(b, hash[:]...)
}

// digest hashes the packet up to the hash, and the secret, padded with zeros,
// in the hash's place.
func digest(upToHash []byte, key Key) [sha1.Size]byte {
	var b [headerLength + sha1Length]byte
	copy(b[:], upToHash[:offHash])
	copy(b[offHash:], key.Secret)
	return sha1.Sum(b[:])
}

// verify checks the section auth of a packet b against keys and returns its
// sequence number. The caller checks that number.
func verify(b, auth []byte, keys []Key) (sequence uint32, err error) {
	if auth[0] != meticulousSHA1 || len(auth) != sha1Length || auth[1] != sha1Length {
		return 0, ErrAuthType
	}
	for _, key := range keys {
		if key.ID != b[offKeyID] {
			continue
		}
		want := digest(b, key)
		if subtle.ConstantTimeCompare(want[:], b[offHash:offHash+sha1.Size]) == 0 {
			return 0, ErrAuthHash
		}
		return binary.BigEndian.Uint32(b[offSequence:]), nil
	}
	return 0, ErrAuthKey
}
