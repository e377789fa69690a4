package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// recorder records the events of a session.
type recorder struct {
	mu       sync.Mutex
	reported []string
}

func (e *recorder) note(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reported = append(e.reported, fmt.Sprintf(format, args...))
}

func (e *recorder) all() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.reported)
}

func (e *recorder) StateChanged(s SessionState, asn uint32) { e.note("%s %d", s, asn) }
func (e *recorder) ConnectFailed(reason string)             { e.note("unreached: %s", reason) }
func (e *recorder) Failed(reason string, cause Cause)       { e.note("failed: %s (%s)", reason, cause) }
func (e *recorder) Sent(announced, withdrawn int)           { e.note("sent %d, %d", announced, withdrawn) }
func (e *recorder) Crashed(reason string)                   { e.note("crashed: %s", reason) }

// talk runs body with the router's end of a session, in time that is not real. What
// the session sends is read all the time.
func talk(t *testing.T, change func(*announce.Peer), body func(t *testing.T, router *far)) {
	synctest.Test(t, func(t *testing.T) {
		p := announce.Peer{Name: "p", Addr: netip.MustParseAddr("192.0.2.1"), LocalASN: 64512, PeerASN: 64601, HoldTime: 9 * time.Second}
		if change != nil {
			change(&p)
		}
		here, there := net.Pipe()
		e := &recorder{}
		s := New(slog.New(slog.DiscardHandler), p, netip.MustParseAddr("192.0.2.2"), e)
		router := &far{Conn: there, Session: s, recorder: e, start: time.Now()}
		ended := make(chan struct{})
		go router.read(ended)
		s.opened.Store(true)
		go s.guard("session", func() {
			defer close(s.ended)
			defer here.Close()
			s.serve(here)
		})
		body(t, router)
		s.Stop(PeerDeconfigured)
		there.Close()
		<-ended
	})
}

// far is the router's end.
type far struct {
	net.Conn
	*Session
	*recorder
	start time.Time
	mu    sync.Mutex
	heard []string
}

func (f *far) read(ended chan struct{}) {
	defer close(ended)
	for {
		head := make([]byte, headerLength)
		if _, err := io.ReadFull(f.Conn, head); err != nil {
			return
		}
		body := make([]byte, int(head[16])<<8+int(head[17])-headerLength)
		if _, err := io.ReadFull(f.Conn, body); err != nil {
			return
		}
		text := kindName(head[18])
		if head[18] == notificationMessage {
			text = "NOTIFICATION " + notification{body[0], body[1]}.String()
		}
		f.mu.Lock()
		f.heard = append(f.heard, fmt.Sprintf("%.0fs %s", time.Since(f.start).Seconds(), text))
		f.mu.Unlock()
	}
}

func (f *far) send(t *testing.T, messages ...[]byte) {
	t.Helper()
	for _, b := range messages {
		if _, err := f.Write(b); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("send: %v", err)
		}
	}
	synctest.Wait()
}

func (f *far) hears() []string {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.heard)
}

var four = []byte{1, 0, 1, 0, 1}

func TestASessionComesUp(t *testing.T) {
	talk(t, func(p *announce.Peer) { p.Graceful = true }, func(t *testing.T, r *far) {
		r.Advertise(AdjRIBOut{Routes: []announce.Route{{Prefix: netip.MustParsePrefix("198.51.100.1/32")}}, NextHops: NextHops{V4: netip.MustParseAddr("192.0.2.2")}})
		r.send(t, rawOpen(64601, 30, four), raw(keepaliveMessage))
		want := []string{"OpenSent 0", "OpenConfirm 64601", "Established 64601", "sent 1, 0"}
		if d := cmp.Diff(want, r.all()); d != "" {
			t.Error(d)
		}
		// The End-of-RIB comes after all routes (RFC 4724 section 2).
		if d := cmp.Diff([]string{"0s an OPEN", "0s a KEEPALIVE", "0s an UPDATE", "0s an UPDATE"}, r.hears()); d != "" {
			t.Error(d)
		}
		if got := r.Capabilities(); got.HoldTime != 9*time.Second || !got.IPv4 {
			t.Errorf("%+v", got)
		}
		r.send(t, raw(refreshMessage, 0, 1, 0, 1))
		if got := len(r.hears()); got != 5 {
			t.Errorf("asked for its routes again the router heard %v (RFC 2918)", r.hears())
		}
		for range 10 { // keepalives both ways hold it up
			time.Sleep(3 * time.Second)
			r.send(t, raw(keepaliveMessage))
		}
		if got := r.all(); got[len(got)-1] != "sent 1, 0" {
			t.Errorf("after 30 s: %v", got)
		}
		kept := 0
		for _, h := range r.hears() {
			if strings.HasSuffix(h, "KEEPALIVE") {
				kept++
			}
		}
		if kept < 10 || kept > 15 { // every 3 s, up to a quarter earlier
			t.Errorf("%d keepalives in 30 s", kept)
		}
	})
}

func TestSentIsWhatThePeerHasReceived(t *testing.T) {
	talk(t, nil, func(t *testing.T, r *far) {
		prefix := netip.MustParsePrefix
		at := netip.MustParseAddr("192.0.2.2")
		plain := announce.Route{Prefix: prefix("198.51.100.1/32")}
		rich := announce.Route{Prefix: prefix("198.51.100.2/32"), LocalPref: 77, MED: 5, HasMED: true, Prepend: 1, Bandwidth: 100, Communities: []uint32{7}, Large: []announce.LargeCommunity{{Global: 1}}}
		leaving := rich
		leaving.Prefix, leaving.Leaving = prefix("198.51.100.3/32"), true
		other := announce.Route{Prefix: prefix("2001:db8::1/128")} // of a family that the session does not carry
		has := func(want ...announce.Sent) {
			t.Helper()
			synctest.Wait()
			if d := cmp.Diff(want, r.Session.Sent(), cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
				t.Errorf("sent (-want +got):\n%s", d)
			}
		}
		r.Advertise(AdjRIBOut{Routes: []announce.Route{plain, rich, other}, NextHops: NextHops{V4: at, V6: netip.IPv6Unspecified()}})
		has()
		r.send(t, rawOpen(64601, 30, four), raw(keepaliveMessage))
		one := announce.Sent{Prefix: plain.Prefix, NextHop: at, ASPath: []uint32{64512}, LocalPref: 100}
		two := announce.Sent{Prefix: rich.Prefix, NextHop: at, ASPath: []uint32{64512, 64512}, LocalPref: 77, MED: 5, HasMED: true, Bandwidth: 100, Communities: []uint32{7}, Large: rich.Large}
		has(one, two)
		r.send(t, raw(refreshMessage, 0, 1, 0, 1)) // all again changes nothing
		has(one, two)
		r.Advertise(AdjRIBOut{Routes: []announce.Route{rich, leaving}, NextHops: NextHops{V4: at}})
		three := two
		three.Prefix, three.LocalPref, three.Communities = leaving.Prefix, 0, []uint32{7, gracefulShutdown}
		has(two, three)
		r.Advertise(AdjRIBOut{})
		has()
	})
}

// What a router does wrong, by state (RFC 4271 sections 6 and 8.2.2, RFC 6608).
func TestSessionsEnd(t *testing.T) {
	up := [][]byte{rawOpen(64601, 9, four), raw(keepaliveMessage)}
	for _, c := range []struct {
		name    string
		sends   [][]byte
		wait    time.Duration
		reports string // the listener, before Idle
		hears   string // the router, at last
	}{
		{"another AS number", [][]byte{rawOpen(64602, 9, four)}, 0, `failed: sent NOTIFICATION "bad peer AS": the router's AS number is 64602, not 64601 (NotificationSent)`, "0s NOTIFICATION bad peer AS"},
		{"a KEEPALIVE before its OPEN", [][]byte{raw(keepaliveMessage)}, 0, `failed: sent NOTIFICATION "unexpected message in the state OpenSent": it sent a KEEPALIVE in the state OpenSent (NotificationSent)`, "0s NOTIFICATION unexpected message in the state OpenSent"},
		{"two OPENs", [][]byte{rawOpen(64601, 9, four), rawOpen(64601, 9, four)}, 0, `failed: sent NOTIFICATION "unexpected message in the state OpenConfirm": it sent an OPEN in the state OpenConfirm (NotificationSent)`, "0s NOTIFICATION unexpected message in the state OpenConfirm"},
		{"19 bytes before any OPEN that are no message", [][]byte{raw(9)}, 0, `failed: sent NOTIFICATION "bad message type" to the router (NotificationSent)`, "0s NOTIFICATION bad message type"},
		{"a NOTIFICATION before its OPEN", [][]byte{raw(notificationMessage, 2, 2)}, 0, `failed: the router sent NOTIFICATION "bad peer AS": it does not expect our AS number 64512 (its own should be 64601) (NotificationReceived)`, "0s an OPEN"},
		{"no OPEN", nil, openTimeout + lateTimeout, "failed: hold timer expired: 192.0.2.1 took the connection but sent no OPEN (HoldTimerExpired)", "60s NOTIFICATION hold timer expired"},
		{"silence", up, 9*time.Second + lateTimeout, "failed: hold timer expired: the router was silent for the whole hold time (HoldTimerExpired)", "9s NOTIFICATION hold timer expired"},
		{"an UPDATE that would end a parser", append(slices.Clone(up), raw(updateMessage, 0, 0, 0, 4, 0xc0, 40, 1, 0xff), raw(notificationMessage, 6, 4)), 0, `failed: the router sent NOTIFICATION "administrative reset" (NotificationReceived)`, "0s a KEEPALIVE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			talk(t, nil, func(t *testing.T, r *far) {
				r.send(t, c.sends...)
				time.Sleep(c.wait)
				synctest.Wait()
				reported := r.all()
				if len(reported) < 2 || reported[len(reported)-2] != c.reports || !strings.HasPrefix(reported[len(reported)-1], "Idle") {
					t.Errorf("told %q, want %q", reported, c.reports)
				}
				if heard := r.hears(); heard[len(heard)-1] != c.hears {
					t.Errorf("the router heard %q, want %q", heard, c.hears)
				}
			})
		})
	}
}

// An UPDATE counts as a sign of life, and as nothing else.
func TestUpdatesAreThrownAway(t *testing.T) {
	talk(t, nil, func(t *testing.T, r *far) {
		r.send(t, rawOpen(64601, 9, four), raw(keepaliveMessage))
		for range 20 {
			time.Sleep(2 * time.Second)
			r.send(t, raw(updateMessage, bytes.Repeat([]byte{0xff}, 100)...))
		}
		if got := r.all(); got[len(got)-1] != "Established 64601" || r.Updates() != 20 {
			t.Errorf("%v, %d updates", got, r.Updates())
		}
	})
}

// Whatever fails in a session ends that session alone.
func TestAPanicEndsTheSessionAlone(t *testing.T) {
	e := &recorder{}
	s := New(slog.New(slog.DiscardHandler), announce.Peer{}, netip.Addr{}, e)
	s.guard("reader", func() { panic("boom") })
	if d := cmp.Diff([]string{"crashed: the BGP reader failed and is restarted: boom"}, e.all()); d != "" || s.ctx.Err() == nil {
		t.Error(d)
	}
}

func TestStopSaysGoodbyeAndIsHeardNoMore(t *testing.T) {
	talk(t, nil, func(t *testing.T, r *far) {
		r.send(t, rawOpen(64601, 9, four), raw(keepaliveMessage))
		before := len(r.all())
		r.Stop(PeerDeconfigured)
		if heard := r.hears(); heard[len(heard)-1] != "0s NOTIFICATION peer deconfigured" || len(r.all()) != before {
			t.Errorf("heard %q, told %q", heard, r.all())
		}
	})
}

// A router that keeps asking for all routes receives them once a second: its few bytes
// must not cost this node a table each time.
func TestRefreshesInAFloodAreAnsweredTogether(t *testing.T) {
	talk(t, nil, func(t *testing.T, r *far) {
		r.Advertise(AdjRIBOut{Routes: []announce.Route{{Prefix: netip.MustParsePrefix("198.51.100.1/32")}}, NextHops: NextHops{V4: netip.MustParseAddr("192.0.2.2")}})
		r.send(t, rawOpen(64601, 9, four), raw(keepaliveMessage))
		count := func() (n int) {
			for _, line := range r.hears() {
				if strings.HasSuffix(line, kindName(updateMessage)) {
					n++
				}
			}
			return n
		}
		before := count()
		for range 100 {
			r.send(t, raw(refreshMessage, 0, 1, 0, 1))
		}
		if got := count() - before; got != 1 {
			t.Errorf("%d UPDATEs at once for 100 requests, want 1", got)
		}
		time.Sleep(time.Second)
		if got := count() - before; got != 2 {
			t.Errorf("%d UPDATEs after a pause, want 2: the last request came after the first answer", got)
		}
		time.Sleep(5 * time.Second)
		if got := count() - before; got != 2 {
			t.Errorf("%d UPDATEs long after, want 2", got)
		}
	})
}
