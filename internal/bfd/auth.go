package bfd

import (
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
)

// Key is a key of SHA1 authentication (RFC 5880 §6.7.4): each packet carries a hash over
// itself and the secret, and a sequence number.
type Key struct {
	ID     uint8
	Secret string // 1 to 20 octets
	Type   AuthType
}

// AuthType is a type of authentication. The zero value is MeticulousSHA1.
type AuthType uint8

const (
	// MeticulousSHA1 is Meticulous Keyed SHA1: the sequence number grows with each packet,
	// so that none can be replayed.
	MeticulousSHA1 AuthType = iota
	// KeyedSHA1 is Keyed SHA1: the peer need not increase the number with each packet. We do.
	KeyedSHA1
)

// wire is the type's number in a packet (§4.1).
func (t AuthType) wire() uint8 {
	if t == KeyedSHA1 {
		return keyedSHA1
	}
	return meticulousSHA1
}

// The reasons for which a session's authentication discards a packet.
var (
	ErrAuthMissing  = errors.New("packet is not authenticated and the session is")
	ErrAuthUnwanted = errors.New("packet is authenticated and the session is not")
	ErrAuthType     = errors.New("authentication is of another type (Keyed SHA1, Meticulous Keyed SHA1)")
	ErrAuthKey      = errors.New("authentication names an unknown key")
	ErrAuthHash     = errors.New("authentication hash does not match: the secret is another one")
	ErrAuthSequence = errors.New("authentication sequence number is outside the window: a replay, or the peer restarted")
)

// keyError is one of these errors of packets with one key. Equal ones are ==.
type keyError struct {
	error
	id uint8
}

func (e keyError) Error() string { return fmt.Sprintf("%v (key ID %d)", e.error, e.id) }
func (e keyError) Unwrap() error { return e.error }

// The authentication types in a packet (RFC 5880 §4.1).
const keyedSHA1, meticulousSHA1 = 4, 5

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
	b = append(b, key.Type.wire(), sha1Length, key.ID, 0)
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
	if len(auth) != sha1Length || auth[1] != sha1Length {
		return 0, ErrAuthType
	}
	id := b[offKeyID]
	for _, key := range keys {
		if key.ID != id {
			continue
		}
		if auth[0] != key.Type.wire() {
			return 0, keyError{ErrAuthType, id}
		}
		want := digest(b, key)
		if subtle.ConstantTimeCompare(want[:], b[offHash:offHash+sha1.Size]) == 0 {
			return 0, keyError{ErrAuthHash, id}
		}
		return binary.BigEndian.Uint32(b[offSequence:]), nil
	}
	return 0, keyError{ErrAuthKey, id}
}
