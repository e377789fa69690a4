package fsm

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// The lengths of RFC 4271 section 4.1.
const (
	headerLength = 19
	maxLength    = 4096
)

// The types of messages (RFC 4271 section 4.1, RFC 2918 section 3).
const (
	openMessage         = 1
	updateMessage       = 2
	notificationMessage = 3
	keepaliveMessage    = 4
	refreshMessage      = 5
)

// minLength is the least length of each type (RFC 4271 section 6.1, RFC 2918).
var minLength = map[uint8]int{openMessage: 29, updateMessage: 23, notificationMessage: 21, keepaliveMessage: headerLength, refreshMessage: 23}

// fault is why a message of the router is malformed or not allowed, as the
// NOTIFICATION to answer with.
type fault struct {
	notification
	data []byte
	text string // details, as a sentence; may be empty
}

func (f *fault) Error() string {
	if f.text == "" {
		return f.String()
	}
	return f.text
}

// reader reads messages and discards UPDATEs.
type reader struct {
	in     *bufio.Reader
	update func()    // called for each UPDATE
	heard  func()    // called for each whole message
	window time.Time // when the current window began
	read   int       // bytes read in the window
}

// The rate at which UPDATEs are read. What a router floods this node with beyond it
// waits in the router's own memory.
const (
	windowLength = 20 * time.Millisecond
	windowBytes  = 1 << 20 // 50 MB/s: a full table in a second
)

func newReader(in io.Reader, heard, update func()) *reader {
	return &reader{in: bufio.NewReaderSize(in, 1<<16), heard: heard, update: update}
}

// next returns the next message other than UPDATE, or why there is none: a *fault, or
// the connection's error. The body is valid until the next call.
func (r *reader) next() (kind uint8, body []byte, err error) {
	for {
		kind, n, err := r.header()
		if err != nil {
			return 0, nil, err
		}
		r.pace(headerLength + n)
		if kind == updateMessage {
			if _, err := r.in.Discard(n); err != nil {
				return 0, nil, err
			}
			r.update()
			r.heard()
			continue
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(r.in, body); err != nil {
			return 0, nil, err
		}
		r.heard()
		return kind, body, nil
	}
}

// header reads a header, and returns the type of the message and the length of its
// body.
func (r *reader) header() (kind uint8, n int, err error) {
	var b [headerLength]byte
	if _, err := io.ReadFull(r.in, b[:]); err != nil {
		return 0, 0, err
	}
	for _, x := range b[:16] {
		if x != 0xff {
			return 0, 0, &fault{notification: notification{headerError, notSynchronized}}
		}
	}
	length, kind := int(binary.BigEndian.Uint16(b[16:])), b[18]
	least, known := minLength[kind]
	switch {
	case length < headerLength || length > maxLength || known && length < least, kind == keepaliveMessage && length != headerLength:
		return 0, 0, &fault{notification: notification{headerError, badLength}, data: b[16:18]}
	case !known:
		return 0, 0, &fault{notification: notification{headerError, badType}, data: b[18:]}
	}
	return kind, length - headerLength, nil
}

// pace waits for the next window once this one has had its share.
func (r *reader) pace(n int) {
	if r.read += n; r.read < windowBytes {
		return
	}
	if left := windowLength - time.Since(r.window); left > 0 {
		time.Sleep(left)
	}
	r.window, r.read = time.Now(), 0
}

// Capabilities are what a peer offers in its OPEN (RFC 4271 section 4.2). The zero
// Capabilities: no OPEN came.
type Capabilities struct {
	Heard    bool
	HoldTime time.Duration // the smaller one of both sides
	IPv4     bool          // it takes IPv4 routes
	IPv6     bool          // it accepts IPv6 routes
	Extended bool          // it accepts IPv4 routes with IPv6 next hops (RFC 8950)
	FourByte bool          // it supports AS numbers of four bytes (RFC 6793)
	Refresh  bool          // it may ask for all routes again (RFC 2918)
	Restart  bool          // it keeps the routes of a peer that restarts (RFC 4724)
}

// open is a router's OPEN.
type open struct {
	Capabilities
	asn uint32
	id  uint32
}

// The codes of capabilities (RFC 5492) that this side uses.
const (
	multiprotocol   = 1  // RFC 4760
	routeRefresh    = 2  // RFC 2918
	extendedNextHop = 5  // RFC 8950
	gracefulRestart = 64 // RFC 4724
	fourByteASN     = 65 // RFC 6793
)

const (
	afiIPv4, afiIPv6 = 1, 2
	safiUnicast      = 1
)

// parseOpen parses the body of an OPEN (RFC 4271 section 4.2).
func parseOpen(b []byte) (open, *fault) {
	if b[0] != 4 {
		return open{}, &fault{notification: notification{openError, badVersion}, data: []byte{0, 4}}
	}
	o := open{asn: uint32(binary.BigEndian.Uint16(b[1:])), id: binary.BigEndian.Uint32(b[5:])}
	o.Heard, o.HoldTime = true, time.Duration(binary.BigEndian.Uint16(b[3:]))*time.Second
	params, wide, ok := parameters(b[9:])
	families := false
	for ok && len(params) > 0 {
		var kind uint8
		var value []byte
		if kind, value, params, ok = field(params, wide); !ok {
			break
		}
		if kind != 2 { // RFC 5492: capabilities; no other parameter is in use
			return open{}, &fault{notification: notification{openError, badParameter}}
		}
		for len(value) > 0 && ok {
			var code uint8
			var capability []byte
			if code, capability, value, ok = field(value, false); ok {
				families = o.capability(code, capability) || families
			}
		}
	}
	if !ok {
		return open{}, &fault{notification: notification{openError, 0}, text: "the optional parameters of its OPEN are longer or shorter than they say"}
	}
	if !families { // RFC 4760 section 8: then the session is for IPv4 unicast
		o.IPv4 = true
	}
	return o, nil
}

// parameters returns the optional parameters of an OPEN, and whether their lengths
// have two bytes (RFC 9072).
func parameters(b []byte) (params []byte, wide, ok bool) {
	length, rest := int(b[0]), b[1:]
	if length == 255 && len(rest) >= 3 && rest[0] == 255 {
		length, rest, wide = int(binary.BigEndian.Uint16(rest[1:])), rest[3:], true
	}
	return rest, wide, length == len(rest)
}

// field cuts a type, a length and a value off b.
func field(b []byte, wide bool) (kind uint8, value, rest []byte, ok bool) {
	head := 2
	if wide {
		head = 3
	}
	if len(b) < head {
		return 0, nil, nil, false
	}
	n := int(b[1])
	if wide {
		n = int(binary.BigEndian.Uint16(b[1:]))
	}
	if len(b) < head+n {
		return 0, nil, nil, false
	}
	return b[0], b[head : head+n], b[head+n:], true
}

// capability records a capability, and reports whether it names a family. An unknown
// one, or one of a wrong length, is ignored (RFC 5492 section 3).
func (o *open) capability(code uint8, v []byte) (family bool) {
	switch code {
	case multiprotocol:
		return o.family(v)
	case routeRefresh:
		o.Refresh = true
	case gracefulRestart:
		o.Restart = true
	case extendedNextHop:
		for ; len(v) >= 6; v = v[6:] {
			afi, safi, hop := binary.BigEndian.Uint16(v), binary.BigEndian.Uint16(v[2:]), binary.BigEndian.Uint16(v[4:])
			o.Extended = o.Extended || afi == afiIPv4 && safi == safiUnicast && hop == afiIPv6
		}
	case fourByteASN:
		if len(v) == 4 {
			o.asn, o.FourByte = binary.BigEndian.Uint32(v), true
		}
	}
	return false
}

// family records a family that the peer takes.
func (o *open) family(v []byte) bool {
	if len(v) != 4 {
		return false
	}
	afi := binary.BigEndian.Uint16(v)
	o.IPv4 = o.IPv4 || afi == afiIPv4 && v[3] == safiUnicast
	o.IPv6 = o.IPv6 || afi == afiIPv6 && v[3] == safiUnicast
	return true
}

// parseNotification parses the body of a NOTIFICATION, and what the router sends with it: a
// text for people (RFC 9003), which may be anything, or its limit of prefixes. A hard reset is
// the NOTIFICATION that it has inside (RFC 8538 section 3).
func parseNotification(b []byte) (n notification, said string) {
	n = notification{b[0], b[1]}
	data := b[2:]
	if n == hardReset && len(data) >= 2 && (notification{data[0], data[1]}) != hardReset {
		return parseNotification(data)
	}
	switch {
	case n == prefixLimit:
		return n, limitText(data)
	case n.code != cease || Cease(n.subcode) != AdministrativeShutdown && Cease(n.subcode) != AdministrativeReset || len(data) == 0:
		return n, ""
	}
	if size := int(data[0]); size > 0 && size < len(data) {
		return n, string(data[1 : 1+size])
	}
	return n, ""
}

// limitText puts in words which limit a router has (RFC 4486 section 4); "": it does not say.
func limitText(data []byte) string {
	if len(data) < 7 || data[2] != safiUnicast {
		return ""
	}
	switch limit := binary.BigEndian.Uint32(data[3:]); binary.BigEndian.Uint16(data) {
	case afiIPv4:
		return fmt.Sprintf(": %d of IPv4", limit)
	case afiIPv6:
		return fmt.Sprintf(": %d of IPv6", limit)
	}
	return ""
}

// kindName returns the name of a type of message, with its article.
func kindName(kind uint8) string {
	names := map[uint8]string{openMessage: "an OPEN", updateMessage: "an UPDATE", notificationMessage: "a NOTIFICATION", keepaliveMessage: "a KEEPALIVE", refreshMessage: "a ROUTE-REFRESH"}
	if name, ok := names[kind]; ok {
		return name
	}
	return fmt.Sprintf("a message of type %d", kind)
}
