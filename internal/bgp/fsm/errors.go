package fsm

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// Cause is why a session that was up was lost. Its text is API: metrics have it as a
// label.
type Cause string

// The causes of a loss.
const (
	PathLost             Cause = "PathLost" // detected by BFD
	HoldTimerExpired     Cause = "HoldTimerExpired"
	NotificationReceived Cause = "NotificationReceived"
	NotificationSent     Cause = "NotificationSent"
	PrefixLimit          Cause = "PrefixLimit"    // the router takes no more routes (RFC 4486)
	ConnectionLost       Cause = "ConnectionLost" // without a NOTIFICATION
	Unknown              Cause = "Unknown"
)

// Causes returns all causes.
func Causes() []Cause {
	return []Cause{PathLost, HoldTimerExpired, NotificationReceived, NotificationSent, PrefixLimit, ConnectionLost, Unknown}
}

// describe explains why the session ends, and returns the cause of the loss if it was
// up. unreached: the router has sent nothing.
func (c *connection) describe(reason error) (text string, cause Cause, unreached bool) {
	var bad *fault
	var said received
	var write writeError
	switch {
	case errors.Is(reason, errHold) && c.state == OpenSent:
		return fmt.Sprintf("hold timer expired: %s took the connection but sent no OPEN", c.peer.Addr), HoldTimerExpired, false
	case errors.Is(reason, errHold):
		return "hold timer expired: the router was silent for the whole hold time", HoldTimerExpired, false
	case errors.As(reason, &bad):
		text = fmt.Sprintf("sent NOTIFICATION %q to the router", bad.notification)
		if bad.text != "" {
			text = fmt.Sprintf("sent NOTIFICATION %q: %s", bad.notification, bad.text)
		}
		return text, NotificationSent, false
	case errors.As(reason, &said) && said.notification == prefixLimit:
		return describeNotification(c.peer, said.notification, "") + said.said, PrefixLimit, false
	case errors.As(reason, &said):
		return describeNotification(c.peer, said.notification, said.said), NotificationReceived, false
	case errors.As(reason, &write):
		return "sending to the router failed: it reads nothing, or the connection broke", ConnectionLost, false
	case c.state == Established:
		return "the router closed the connection without a NOTIFICATION", ConnectionLost, false
	case errors.Is(reason, io.EOF), errors.Is(reason, io.ErrUnexpectedEOF), errors.Is(reason, syscall.ECONNRESET):
		return "the router closed the connection before the session was up: " +
			"it may not know this node as a peer, or still be waiting after an error", "", true
	}
	return reason.Error(), Unknown, false
}

// describeDialError explains why there is no connection.
func describeDialError(p announce.Peer, err error) string {
	port := p.Port
	if port == 0 {
		port = bgpPort
	}
	var timeout net.Error
	silent := errors.As(err, &timeout) && timeout.Timeout()
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("connection refused: nothing on %s accepts BGP from this node on port %d", p.Addr, port)
	case silent && p.Password != "":
		return fmt.Sprintf("no answer from %s port %d: unreachable, or its password (TCP MD5) is another one or none", p.Addr, port)
	case silent:
		return fmt.Sprintf("no answer from %s port %d: unreachable, or it wants a password (TCP MD5)", p.Addr, port)
	case errors.Is(err, syscall.EHOSTUNREACH) && p.MultiHopTTL == 0 && p.MinTTL == 0 && peerASN(p) != p.LocalASN:
		return fmt.Sprintf("%s is unreachable: nothing on the network has this address, or it is more than one hop away, which needs ebgpMultiHop", p.Addr)
	case errors.Is(err, syscall.EHOSTUNREACH):
		return fmt.Sprintf("%s is unreachable", p.Addr)
	case errors.Is(err, syscall.ENETUNREACH):
		return fmt.Sprintf("no route to %s on this node", p.Addr)
	case errors.Is(err, syscall.ENODEV):
		return fmt.Sprintf("there is no interface %q on this node", cmp.Or(p.Device, p.Addr.Zone()))
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Sprintf("the source address %s is not on this node", p.SourceAddr)
	}
	return fmt.Sprintf("cannot connect: %v", err)
}

func describeNotification(p announce.Peer, n notification, reason string) string {
	text := fmt.Sprintf("the router sent NOTIFICATION %q", n)
	if n == badPeerAS {
		text += fmt.Sprintf(": it does not expect our AS number %d", p.LocalASN)
		if asn := peerASN(p); asn != 0 {
			text += fmt.Sprintf(" (its own should be %d)", asn)
		}
	}
	if reason != "" {
		text += ", saying " + printable.Quote(reason)
	}
	return text
}

// notification is the error code and subcode of a NOTIFICATION (RFC 4271 section
// 4.5).
type notification struct{ code, subcode uint8 }

// Codes and subcodes of errors: RFC 4271 section 4.5; of Cease: RFC 4486.
const (
	headerError      = 1
	openError        = 2
	updateError      = 3
	holdTimerExpired = 4
	stateError       = 5
	cease            = 6
	refreshError     = 7 // RFC 7313

	notSynchronized = 1 // of headerError
	badLength       = 2
	badType         = 3

	badVersion    = 1 // of openError
	badIdentifier = 3
	badParameter  = 4
	badHoldTime   = 6
)

// Cease is why this side ends a session: the subcode of a Cease NOTIFICATION.
type Cease uint8

// The subcodes of RFC 4486 and RFC 9384. Hard Reset (RFC 8538) is for speakers that
// offer to keep routes after a NOTIFICATION; this side does not.
const (
	AdministrativeShutdown   Cease = 2  // this speaker stops
	PeerDeconfigured         Cease = 3  // the session is no longer wanted
	AdministrativeReset      Cease = 4  // it failed on this side, and starts again
	OtherConfigurationChange Cease = 6  // it starts again for a changed peer
	BFDDown                  Cease = 10 // BFD found the path broken
)

// Error makes a Cease the cause of a context's end.
func (g Cease) Error() string { return notification{cease, uint8(g)}.String() }

// data returns the text that the NOTIFICATION carries for people (RFC 9003).
func (g Cease) data() []byte {
	if g != AdministrativeShutdown {
		return nil
	}
	const text = "Steelyard's speaker ends"
	return append([]byte{byte(len(text))}, text...)
}

var (
	badPeerAS   = notification{openError, 2}
	prefixLimit = notification{cease, 1}
	hardReset   = notification{cease, 9} // RFC 8538: its data is the NOTIFICATION that it stands for
)

func (n notification) String() string {
	kinds := []string{"", "message header error", "OPEN message error", "UPDATE message error",
		"hold timer expired", "state machine error", "cease", "ROUTE-REFRESH message error", "send hold timer expired"} // RFC 9687
	names := map[uint8][]string{
		headerError: {"", "connection not synchronized", "bad message length", "bad message type"},
		// RFC 4271 section 6.2, RFC 5492, RFC 9234
		openError: {"", "unsupported version number", "bad peer AS", "bad BGP identifier",
			"unsupported optional parameter", "", "unacceptable hold time", "unsupported capability", "", "", "",
			"role mismatch"},
		// RFC 4271 section 6.3
		updateError: {"", "malformed attribute list", "unrecognized well-known attribute", "missing well-known attribute",
			"attribute flags error", "attribute length error", "invalid ORIGIN attribute", "AS routing loop", "invalid NEXT_HOP attribute",
			"optional attribute error", "invalid network field", "malformed AS_PATH"},
		stateError:   {"", "unexpected message in the state OpenSent", "unexpected message in the state OpenConfirm", "unexpected message in the state Established"}, // RFC 6608
		refreshError: {"", "invalid length of a ROUTE-REFRESH message"},                                                                                              // RFC 7313
		// RFC 4486, RFC 8538, RFC 9384
		cease: {"", "maximum number of prefixes reached", "administrative shutdown",
			"peer deconfigured", "administrative reset", "connection rejected", "other configuration change",
			"connection collision resolution", "out of resources", "hard reset", "BFD down"},
	}
	if list := names[n.code]; int(n.subcode) < len(list) && list[n.subcode] != "" {
		return list[n.subcode]
	}
	if int(n.code) < len(kinds) && kinds[n.code] != "" {
		if n.subcode == 0 {
			return kinds[n.code]
		}
		return fmt.Sprintf("%s, subcode %d", kinds[n.code], n.subcode)
	}
	return fmt.Sprintf("code %d, subcode %d", n.code, n.subcode)
}
