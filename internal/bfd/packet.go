package bfd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Status is the state of one side of a session (RFC 5880 §4.1, Sta). The zero
// value is AdminDown.
type Status uint8

// The states of RFC 5880 §6.2.
const (
	AdminDown Status = iota
	Down
	Init
	Up
)

func (s Status) String() string {
	if names := [...]string{"AdminDown", "Down", "Init", "Up"}; int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("Status(%d)", uint8(s))
}

// Diagnostic is the reason for the last change of a side's state (RFC 5880
// §4.1, Diag). The zero value is NoDiagnostic.
type Diagnostic uint8

// The diagnostics of RFC 5880 §4.1.
const (
	NoDiagnostic Diagnostic = iota
	DetectionTimeExpired
	EchoFailed
	NeighborSignaledDown
	ForwardingPlaneReset
	PathDown
	ConcatenatedPathDown
	AdministrativelyDown
	ReverseConcatenatedPathDown
)

func (d Diagnostic) String() string {
	names := [...]string{
		"no diagnostic", "detection time expired", "echo function failed", "neighbor signaled session down",
		"forwarding plane reset", "path down", "concatenated path down", "administratively down",
		"reverse concatenated path down",
	}
	if int(d) < len(names) {
		return names[d]
	}
	return fmt.Sprintf("diagnostic %d", uint8(d))
}

// Packet is a control packet (RFC 5880 §4.1) without its authentication
// section. Intervals are whole microseconds, at most MaxInterval.
type Packet struct {
	Diagnostic      Diagnostic
	Status          Status
	Poll            bool // P: the receiver must answer at once with F
	Final           bool // F: the answer to a P
	Independent     bool // C: the sender's BFD does not share fate with its control plane
	Demand          bool // D: the sender asks for no periodic packets while both sides are Up
	Multiplier      uint8
	MyDiscr         uint32        // the sender's discriminator, never 0
	YourDiscr       uint32        // the receiver's, 0 while unknown to the sender
	DesiredMinTx    time.Duration // the shortest interval at which the sender would like to send
	RequiredMinRx   time.Duration // the shortest interval at which it can receive; 0: it wants no periodic packets
	RequiredMinEcho time.Duration // 0: it does not support echo packets
}

// MaxInterval is the longest interval that a packet can carry: 2³²-1 µs.
const MaxInterval = (1<<32 - 1) * time.Microsecond

// The lengths of a packet's sections, in octets.
const (
	headerLength = 24
	sha1Length   = 28
	maxLength    = 255
)

const (
	flagPoll        = 1 << 5
	flagFinal       = 1 << 4
	flagIndependent = 1 << 3
	flagAuth        = 1 << 2
	flagDemand      = 1 << 1
	flagMultipoint  = 1 << 0
)

// The reasons to discard a packet before its session is looked up (RFC 5880 §6.8.6).
// Parse returns them.
var (
	ErrShort      = errors.New("packet is shorter than its length field or a header")
	ErrVersion    = errors.New("version is not 1")
	ErrMultiplier = errors.New("detect multiplier is 0")
	ErrMultipoint = errors.New("multipoint bit is set")
	ErrMyDiscr    = errors.New("my discriminator is 0")
	ErrYourDiscr  = errors.New("your discriminator is 0 in state Init or Up")
)

// Append appends p's 24 octets to b. An interval beyond MaxInterval is sent as
// MaxInterval.
func (p Packet) Append(b []byte) []byte {
	flags := byte(p.Status) << 6
	for _, f := range [...]struct {
		set bool
		bit byte
	}{{p.Poll, flagPoll}, {p.Final, flagFinal}, {p.Independent, flagIndependent}, {p.Demand, flagDemand}} {
		if f.set {
			flags |= f.bit
		}
	}
	b = append(b, 1<<5|byte(p.Diagnostic)&0x1f, flags, p.Multiplier, headerLength)
	b = binary.BigEndian.AppendUint32(b, p.MyDiscr)
	b = binary.BigEndian.AppendUint32(b, p.YourDiscr)
	b = binary.BigEndian.AppendUint32(b, micros(p.DesiredMinTx))
	b = binary.BigEndian.AppendUint32(b, micros(p.RequiredMinRx))
	return binary.BigEndian.AppendUint32(b, micros(p.RequiredMinEcho))
}

func micros(d time.Duration) uint32 {
	return uint32(min(max(d, 0), MaxInterval) / time.Microsecond)
}

// Parse reads a UDP payload and makes those checks of RFC 5880 §6.8.6 that need no
// session. auth is the authentication section, nil if there is none; it aliases b. The error is one of this package's Err values.
func Parse(b []byte) (p Packet, auth []byte, err error) {
	if len(b) < headerLength {
		return Packet{}, nil, ErrShort
	}
	flags, length := b[1], int(b[3])
	authenticated := flags&flagAuth != 0
	shortest := headerLength
	if authenticated {
		shortest += 2 // the type and length of the section
	}
	p = Packet{
		Diagnostic:      Diagnostic(b[0] & 0x1f),
		Status:          Status(flags >> 6),
		Poll:            flags&flagPoll != 0,
		Final:           flags&flagFinal != 0,
		Independent:     flags&flagIndependent != 0,
		Demand:          flags&flagDemand != 0,
		Multiplier:      b[2],
		MyDiscr:         binary.BigEndian.Uint32(b[4:]),
		YourDiscr:       binary.BigEndian.Uint32(b[8:]),
		DesiredMinTx:    time.Duration(binary.BigEndian.Uint32(b[12:])) * time.Microsecond,
		RequiredMinRx:   time.Duration(binary.BigEndian.Uint32(b[16:])) * time.Microsecond,
		RequiredMinEcho: time.Duration(binary.BigEndian.Uint32(b[20:])) * time.Microsecond,
	}
	switch {
	case b[0]>>5 != 1:
		return Packet{}, nil, ErrVersion
	case length < shortest || length > len(b):
		return Packet{}, nil, ErrShort
	case p.Multiplier == 0:
		return Packet{}, nil, ErrMultiplier
	case flags&flagMultipoint != 0:
		return Packet{}, nil, ErrMultipoint
	case p.MyDiscr == 0:
		return Packet{}, nil, ErrMyDiscr
	case p.YourDiscr == 0 && p.Status != Down && p.Status != AdminDown:
		return Packet{}, nil, ErrYourDiscr
	}
	if authenticated {
		auth = b[headerLength:length]
	}
	return p, auth, nil
}
