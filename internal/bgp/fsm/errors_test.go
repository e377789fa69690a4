package fsm

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

func somePeer() announce.Peer {
	return announce.Peer{Name: "p", Addr: netip.MustParseAddr("192.0.2.1"), SourceAddr: netip.MustParseAddr("192.0.2.2"), LocalASN: 64512, PeerASN: 64601, Device: "blue"}
}

func TestDialWords(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"a refused connection names address and port", os.NewSyscallError("connect", syscall.ECONNREFUSED), "connection refused: nothing on 192.0.2.1 accepts BGP from this node on port 179"},
		{"silence may mean a password", os.ErrDeadlineExceeded, "no answer from 192.0.2.1 port 179: unreachable, or it wants a password (TCP MD5)"},
		{"no neighbor may be a router behind another", syscall.EHOSTUNREACH, "192.0.2.1 is unreachable: nothing on the network has this address, or it is more than one hop away"},
		{"a missing source address is named", syscall.EADDRNOTAVAIL, "source address 192.0.2.2"},
		{"no route and silence differ", syscall.ENETUNREACH, "no route to 192.0.2.1"},
		{"a missing device is named", syscall.ENODEV, `no interface "blue"`},
		{"another error is reported as it is", errors.New("other"), "other"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := somePeer(), &net.OpError{Op: "dial", Net: "tcp", Err: c.err}
			if got := describeDialError(p, err); !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if strings.HasSuffix(c.name, "password") {
				p.Password = "x"
				if got := describeDialError(p, err); !strings.Contains(got, "another one") {
					t.Errorf("with a password: %q", got)
				}
			}
		})
	}
}

// Why a session ends, and what counts as the cause if it was up.
func TestWords(t *testing.T) {
	for _, c := range []struct {
		name      string
		state     SessionState
		err       error
		want      string
		cause     Cause
		unreached bool
	}{
		{"the router's refusal names our AS number and its own", OpenSent, received{badPeerAS, ""}, `"bad peer AS": it does not expect our AS number 64512 (its own should be 64601)`, NotificationReceived, false},
		{"a shutdown is reported with the administrator's words (RFC 9003)", Established, received{notification{cease, 2}, "back at 8"}, `"administrative shutdown", saying "back at 8"`, NotificationReceived, false},
		{"a session whose keepalives did not get through (RFC 9687)", Established, received{notification{8, 0}, ""}, `"send hold timer expired"`, NotificationReceived, false},
		{"a limit of prefixes has its number (RFC 4486)", Established, received{prefixLimit, ": 10 of IPv4"}, `"maximum number of prefixes reached": 10 of IPv4`, PrefixLimit, false},
		{"an UPDATE that the router can't use (RFC 4271 6.3)", Established, received{notification{updateError, 8}, ""}, `"invalid NEXT_HOP attribute"`, NotificationReceived, false},
		{"a message at the wrong time (RFC 6608)", OpenConfirm, received{notification{stateError, 2}, ""}, `"unexpected message in the state OpenConfirm"`, NotificationReceived, false},
		{"a refusal before the session is up", OpenSent, received{notification{cease, 5}, ""}, `"connection rejected"`, NotificationReceived, false},
		{"which may be anything", Established, received{notification{cease, 2}, "\x1b[31m\u202e" + strings.Repeat("x", 200)}, `saying "\x1b[31m\u202e` + strings.Repeat("x", 71) + `…" (208 bytes)`, NotificationReceived, false},
		{"a NOTIFICATION of ours is named", Established, &fault{notification: notification{headerError, badType}}, `sent NOTIFICATION "bad message type"`, NotificationSent, false},
		{"a silent router lets the hold timer expire", Established, errHold, "silent for the whole hold time", HoldTimerExpired, false},
		{"no OPEN and a silent session differ", OpenSent, errHold, "sent no OPEN", HoldTimerExpired, false},
		{"a lost session", Established, io.EOF, "without a NOTIFICATION", ConnectionLost, false},
		{"a connection closed too early", OpenSent, io.EOF, "before the session was up", "", true},
		{"or reset", OpenConfirm, &net.OpError{Op: "read", Err: syscall.ECONNRESET}, "before the session was up", "", true},
		{"a failed write", Established, writeError{os.ErrDeadlineExceeded}, "sending to the router failed", ConnectionLost, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			talk := connection{Session: &Session{peer: somePeer()}, state: c.state}
			text, cause, unreached := talk.describe(c.err)
			if !strings.Contains(text, c.want) || cause != c.cause || unreached != c.unreached {
				t.Errorf("got %q, %q, %t; want %q, %q, %t", text, cause, unreached, c.want, c.cause, c.unreached)
			}
		})
	}
}
