package speak

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/osrg/gobgp/v3/pkg/packet/bgp"

	gobgplog "github.com/osrg/gobgp/v3/pkg/log"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

func TestWords(t *testing.T) {
	dial := func(err error) map[string]any {
		return map[string]any{"Error": &net.OpError{Op: "dial", Net: "tcp", Err: err}}
	}
	down := func(from, reason string) map[string]any {
		return map[string]any{"old": from, "new": "BGP_FSM_IDLE", "reason": reason}
	}
	for _, c := range []struct {
		name, msg string
		fields    map[string]any
		want      string
		unreached bool
	}{
		{"a refused connection names address and port", "failed to connect", dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), "connection refused: nothing on 192.0.2.1 accepts BGP from this node on port 179", true},
		{"silence may mean a password", "failed to connect", dial(os.ErrDeadlineExceeded), "no answer from 192.0.2.1 port 179: unreachable, or it wants a password (TCP MD5)", true},
		{"no neighbour may be a router behind another", "failed to connect", dial(syscall.EHOSTUNREACH), "192.0.2.1 is unreachable: nothing on the network has this address, or it is more than one hop away", true},
		{"a missing source address is named", "failed to connect", dial(syscall.EADDRNOTAVAIL), "source address 192.0.2.2", true},
		{"another error is told as it is", "failed to connect", dial(errors.New("odd")), "odd", true},
		{"our own refusal names both AS numbers", "sent notification", map[string]any{"Data": bgp.NewMessageError(2, 2, nil, "as number mismatch expected 1, received 2")}, `"bad peer AS": the router's AS number is 2, not 1`, false},
		{"the router's refusal names our AS number and its own", "received notification", map[string]any{"Code": uint8(2), "Subcode": uint8(2)}, `"bad peer AS": it does not expect our AS number 64512 (its own should be 64601)`, false},
		{"a shutdown is told with the administrator's words (RFC 9003)", "received notification", map[string]any{"Code": uint8(6), "Subcode": uint8(2), "Communicated-Reason": "back at 8"}, `"administrative shutdown", saying "back at 8"`, false},
		{"a notification we send while up is named", "sent notification", map[string]any{"Code": uint8(3), "Subcode": uint8(1)}, `"UPDATE message error, subcode 1"`, false},
		{"a silent router lets the hold timer expire", "hold timer expired", nil, "hold timer expired", false},
		{"and our word about that to the router says less", "sent notification", map[string]any{"Code": uint8(4), "Subcode": uint8(0)}, "", false},
		{"no OPEN is told apart from a silent session", "sent notification", map[string]any{"Data": bgp.NewMessageError(4, 0, nil, "hold timer expired")}, "sent no OPEN", false},
		{"a lost session", "state changed", down("BGP_FSM_ESTABLISHED", "read-failed"), "without a NOTIFICATION", false},
		{"a connection closed too early", "state changed", down("BGP_FSM_OPENSENT", "read-failed"), "before the session was up", true},
		{"a refused OPEN names our AS number", "state changed", down("BGP_FSM_OPENCONFIRM", "invalid-msg"), "than our 64512", false},
		{"a failed write is told", "state changed", down("BGP_FSM_ESTABLISHED", "write-failed"), "sending to the router failed", false},
		{"no route is told apart from silence", "failed to connect", dial(syscall.ENETUNREACH), "no route to 192.0.2.1", true},
		{"a missing device is named", "failed to connect", dial(syscall.ENODEV), `no interface "blue"`, true},
		{"a flood of routes is told with its limit", "sent notification", map[string]any{"Code": uint8(6), "Subcode": uint8(1)}, "more than 10000 routes", false},
		{"a reason that another line tells is left to that", "state changed", down("BGP_FSM_ESTABLISHED", "notification-received"), "", false},
		{"going up is no error", "state changed", map[string]any{"old": "BGP_FSM_IDLE", "new": "BGP_FSM_ACTIVE", "reason": "read-failed"}, "", false},
		{"other lines are no error", "Add a peer configuration", nil, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := announce.Peer{Addr: netip.MustParseAddr("192.0.2.1"), SourceAddr: netip.MustParseAddr("192.0.2.2"), LocalASN: 64512, PeerASN: 64601, Device: "blue"}
			got := words(p, c.msg, c.fields)
			if !strings.Contains(got.why, c.want) || c.want == "" && got.why != "" || got.unreached != c.unreached {
				t.Errorf("got %+v, want %q", got, c.want)
			}
			if strings.HasSuffix(c.name, "password") {
				p.Password = "x"
				if got := words(p, c.msg, c.fields); !strings.Contains(got.why, "another one") {
					t.Errorf("with a password: %+v", got)
				}
			}
		})
	}
}

func TestTheCauseOfALoss(t *testing.T) {
	for _, c := range []struct {
		msg    string
		fields map[string]any
		want   Cause
	}{
		{"received notification", map[string]any{"Code": uint8(6), "Subcode": uint8(2)}, NotificationReceived},
		{"sent notification", map[string]any{"Code": uint8(3), "Subcode": uint8(1)}, NotificationSent},
		{"sent notification", map[string]any{"Code": uint8(4), "Subcode": uint8(0)}, ""}, // the line before has told it
		{"hold timer expired", nil, HoldTimerExpired},
		{"state changed", map[string]any{"old": "BGP_FSM_ESTABLISHED", "new": "BGP_FSM_IDLE", "reason": "read-failed"}, ConnectionLost},
		{"state changed", map[string]any{"old": "BGP_FSM_ESTABLISHED", "new": "BGP_FSM_IDLE", "reason": "write-failed"}, ConnectionLost},
		{"state changed", map[string]any{"old": "BGP_FSM_OPENSENT", "new": "BGP_FSM_IDLE", "reason": "read-failed"}, ""},
		{"failed to connect", map[string]any{"Error": errors.New("odd")}, ""},
	} {
		if got := words(announce.Peer{}, c.msg, c.fields).cause; got != c.want {
			t.Errorf("%s %v: cause %q, want %q", c.msg, c.fields, got, c.want)
		}
		if c.want != "" && !slices.Contains(Causes(), c.want) {
			t.Errorf("Causes lacks %q", c.want)
		}
	}
}

func TestNotificationNames(t *testing.T) {
	for n, want := range map[notification]string{
		{1, 0}: "message header error", {2, 6}: "unacceptable hold time", {2, 5}: "OPEN message error, subcode 5",
		{4, 0}: "hold timer expired", {6, 3}: "peer deconfigured", {6, 10}: "BFD down", {6, 0}: "cease",
		{6, 77}: "cease, subcode 77", {9, 1}: "code 9, subcode 1",
	} {
		if got := n.String(); got != want {
			t.Errorf("%d/%d is %q, want %q", n.code, n.subcode, got, want)
		}
	}
}

// told is a Listener that notes what it hears.
type told struct{ lines []string }

func (l *told) Reached(s SessionState, asn uint32) {
	l.lines = append(l.lines, fmt.Sprint(s, " ", asn))
}
func (l *told) Unreached(why string)       { l.lines = append(l.lines, "unreached") }
func (l *told) Failed(why string, _ Cause) { l.lines = append(l.lines, "failed") }
func (l *told) Crashed(why string)         { l.lines = append(l.lines, "crashed: "+why) }

func TestLogger(t *testing.T) {
	var out strings.Builder
	l := &logger{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	var heard told
	h := l.hear(announce.Peer{}, &heard)

	l.Warn("hold timer expired", nil)
	l.Debug("state changed", gobgplog.Fields{"new": "BGP_FSM_IDLE", "old": "BGP_FSM_OPENSENT", "reason": "read-failed"}) // told already
	l.Debug("failed to connect", gobgplog.Fields{"Error": syscall.ECONNREFUSED})
	l.Warn("No matching path for withdraw found, may be path was not installed into table", nil)
	if out.Len() != 0 {
		t.Errorf("logged what the listener logs, or the storm: %s", out.String())
	}
	l.Warn("something else", gobgplog.Fields{"Key": "192.0.2.1"})
	if !strings.Contains(out.String(), `level=WARN msg="gobgp: something else" key=192.0.2.1`) {
		t.Errorf("logged %q", out.String())
	}

	if got := l.GetLevel(); got != gobgplog.DebugLevel {
		t.Errorf("level %d while the session is down: failed attempts to connect are not told", got)
	}
	h.up.Store(true)
	if got := l.GetLevel(); got != gobgplog.InfoLevel {
		t.Errorf("level %d while the session is up", got)
	}

	l.Panic("code logic bug", nil)
	l.Fatal("unknown msg type", nil)
	if crashed := l.deafen(); !crashed {
		t.Error("the crash is forgotten: the server would be used again")
	}
	l.Warn("hold timer expired", nil)
	want := []string{"failed", "unreached", "crashed: the BGP server failed and is restarted: code logic bug",
		"crashed: the BGP server failed and is restarted: unknown msg type"}
	if d := cmp.Diff(want, heard.lines); d != "" {
		t.Error(d)
	}
}
