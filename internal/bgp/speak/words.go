package speak

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// Cause is why a session that was up was lost. Its text is API: metrics print it.
type Cause string

// The causes of a loss.
const (
	PathLost             Cause = "PathLost" // as BFD says
	HoldTimerExpired     Cause = "HoldTimerExpired"
	NotificationReceived Cause = "NotificationReceived"
	NotificationSent     Cause = "NotificationSent"
	ConnectionLost       Cause = "ConnectionLost" // without a NOTIFICATION
	Unknown              Cause = "Unknown"
)

// Causes lists them all.
func Causes() []Cause {
	return []Cause{PathLost, HoldTimerExpired, NotificationReceived, NotificationSent, ConnectionLost, Unknown}
}

// news is an error of a session in plain words.
type news struct {
	why       string // "": no news, or another line tells it better
	unreached bool   // nothing was heard from the router
	cause     Cause  // of the loss, if the session was up; "": not known
}

// words tells the error that a log line of p's server is about. Messages and
// fields are those of gobgp v3.37.0.
func words(p announce.Peer, msg string, fields map[string]any) news {
	switch msg {
	case "failed to connect":
		err, _ := fields["Error"].(error)
		return news{why: dialWords(p, err), unreached: true}
	case "received notification":
		code, _ := fields["Code"].(uint8)
		subcode, _ := fields["Subcode"].(uint8)
		reason, _ := fields["Communicated-Reason"].(string) // RFC 9003
		return news{why: receivedWords(p, notification{code, subcode}, reason), cause: NotificationReceived}
	case "sent notification":
		if code, _ := fields["Code"].(uint8); code == bgp.BGP_ERROR_HOLD_TIMER_EXPIRED {
			return news{} // of a session that was up: told by the line before
		}
		return news{why: sentWords(p, fields), cause: NotificationSent}
	case "hold timer expired":
		return news{why: "hold timer expired: the router was silent for the whole hold time", cause: HoldTimerExpired}
	case "state changed":
		if fmt.Sprint(fields["new"]) == bgp.BGP_FSM_IDLE.String() {
			return downNews(p, fmt.Sprint(fields["old"]), fmt.Sprint(fields["reason"]))
		}
	case "cannot set TTL for peer", "failed to resolve local address":
		return news{why: fmt.Sprintf("%s: %v", msg, fields["Error"])}
	}
	return news{}
}

// dialWords tells why no connection came about.
func dialWords(p announce.Peer, err error) string {
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

// downNews tells of a session that ended without a NOTIFICATION that is known.
func downNews(p announce.Peer, state, reason string) news {
	switch {
	case reason == "read-failed" && state == bgp.BGP_FSM_ESTABLISHED.String():
		return news{why: "the router closed the connection without a NOTIFICATION", cause: ConnectionLost}
	case reason == "read-failed":
		return news{unreached: true, why: "the router closed the connection before the session was up: " +
			"it may not know this node as a peer, or still be waiting after an error"}
	case reason == "invalid-msg" && state != bgp.BGP_FSM_ESTABLISHED.String():
		// gobgp throws away a NOTIFICATION that comes before the session is
		// up, so a guess must do.
		return news{why: fmt.Sprintf("the router refused our OPEN; its log knows why. "+
			"Most often that is \"bad peer AS\": it expects another AS number than our %d", p.LocalASN)}
	case reason == "write-failed":
		return news{why: "sending to the router failed: it reads nothing, or the connection broke", cause: ConnectionLost}
	}
	return news{}
}

func receivedWords(p announce.Peer, n notification, reason string) string {
	text := fmt.Sprintf("the router sent NOTIFICATION %q", n)
	if n == badPeerAS {
		text += fmt.Sprintf(": it does not expect our AS number %d", p.LocalASN)
		if asn := peerASN(p); asn != 0 {
			text += fmt.Sprintf(" (its own should be %d)", asn)
		}
	}
	if reason != "" {
		text += fmt.Sprintf(", saying %q", reason)
	}
	return text
}

func sentWords(p announce.Peer, fields map[string]any) string {
	e, ok := fields["Data"].(*bgp.MessageError)
	if !ok {
		code, _ := fields["Code"].(uint8)
		subcode, _ := fields["Subcode"].(uint8)
		n := notification{code, subcode}
		if n == maxPrefixes {
			return fmt.Sprintf("sent NOTIFICATION %q: the router sends more than %d routes, and none is wanted here; let it send none", n, maxReceived)
		}
		return fmt.Sprintf("sent NOTIFICATION %q to the router", n)
	}
	n := notification{e.TypeCode, e.SubTypeCode}
	var expected, received uint32
	if _, err := fmt.Sscanf(e.Message, "as number mismatch expected %d, received %d", &expected, &received); err == nil {
		return fmt.Sprintf("sent NOTIFICATION %q: the router's AS number is %d, not %d", n, received, expected)
	}
	if n.code == bgp.BGP_ERROR_HOLD_TIMER_EXPIRED {
		return fmt.Sprintf("hold timer expired: %s took the connection but sent no OPEN", p.Addr)
	}
	return fmt.Sprintf("sent NOTIFICATION %q: %s", n, e.Message)
}

// notification is the error code and subcode of a NOTIFICATION (RFC 4271
// section 4.5).
type notification struct{ code, subcode uint8 }

var (
	badPeerAS   = notification{bgp.BGP_ERROR_OPEN_MESSAGE_ERROR, bgp.BGP_ERROR_SUB_BAD_PEER_AS}
	maxPrefixes = notification{bgp.BGP_ERROR_CEASE, bgp.BGP_ERROR_SUB_MAXIMUM_NUMBER_OF_PREFIXES_REACHED}
)

func (n notification) String() string {
	kinds := []string{"", "message header error", "OPEN message error", "UPDATE message error",
		"hold timer expired", "state machine error", "cease", "ROUTE-REFRESH message error"}
	names := map[uint8][]string{
		// RFC 4271 section 6.2, RFC 5492, RFC 9234
		bgp.BGP_ERROR_OPEN_MESSAGE_ERROR: {"", "unsupported version number", "bad peer AS", "bad BGP identifier",
			"unsupported optional parameter", "", "unacceptable hold time", "unsupported capability", "", "", "",
			"role mismatch"},
		// RFC 4486, RFC 8538, RFC 9384
		bgp.BGP_ERROR_CEASE: {"", "maximum number of prefixes reached", "administrative shutdown",
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
