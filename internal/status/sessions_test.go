package status

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bfd"
	"github.com/steelyard-lb/steelyard/internal/bgp"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/printable"
	"github.com/steelyard-lb/steelyard/internal/wait"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A session's error may quote text from the router.
func TestARoutersTextIsTruncatedAndPrintable(t *testing.T) {
	var s v1beta1.BGPSession
	(New(Options{Node: "n"})).enter(&s, bgp.State{LastError: "the router said \x1b[2J\r" + strings.Repeat("\u2028", 5000)}, "")
	if text := s.Status.LastError; !printable.Is(text) || len(text) > printable.MaxMessage || !strings.HasPrefix(text, `the router said \x1b[2J\r\u2028`) {
		t.Errorf("%d bytes: %.200q", len(text), text)
	}
}

func TestNotes(t *testing.T) {
	now := time.Unix(1, 0)
	none := bgp.State{}
	down := bgp.State{Session: bgp.Active, Since: now}
	up := bgp.State{Session: bgp.Established, Since: now}
	with := func(s bgp.State, change func(*bgp.State)) bgp.State {
		change(&s)
		return s
	}
	failed := with(down, func(s *bgp.State) { s.Failure, s.LastError = bgp.Unreachable, "refused" })
	for _, c := range []struct {
		name         string
		before, then bgp.State
		want         []string
	}{
		{"a session that has just started has no event", none, down, nil},
		{"it comes up", down, up, []string{"SessionUp"}},
		{"it stays up", up, with(up, func(s *bgp.State) { s.Advertised = 3 }), nil},
		{"it is up when it is first seen", none, up, []string{"SessionUp"}},
		{"it does not come up", down, failed, []string{"SessionFailed"}},
		{"an attempt fails as the one before", failed, failed, nil},
		{"an attempt fails as the one before, with another text", failed, with(failed, func(s *bgp.State) { s.LastError = "no answer" }), nil},
		{"an attempt fails with another class of error", failed, with(failed, func(s *bgp.State) { s.Failure = bgp.Unsuitable }), []string{"SessionFailed"}},
		{"it is refused for another reason", with(failed, func(s *bgp.State) { s.Failure = "NotificationReceived" }),
			with(failed, func(s *bgp.State) { s.Failure, s.LastError = "NotificationReceived", "bad peer AS" }), []string{"SessionFailed"}},
		{"the error is overcome", failed, down, nil},
		{"it is up and something is missing", up, with(up, func(s *bgp.State) { s.LastError = "no IPv6" }), []string{"SessionFailed"}},
		{"it is lost", up, with(failed, func(s *bgp.State) { s.Drops = 1 }), []string{"SessionDown"}},
		{"it was lost and is back", up, with(up, func(s *bgp.State) { s.Drops, s.LastError = 1, "hold timer" }), []string{"SessionDown", "SessionUp"}},
		{"it restarts", up, with(down, func(s *bgp.State) { s.Resets = 1 }), []string{"SessionReset"}},
		{"it has restarted", up, with(up, func(s *bgp.State) { s.Resets = 1 }), []string{"SessionReset", "SessionUp"}},
		{"BFD can't come up", up, with(up, func(s *bgp.State) { s.BFD = &bfd.State{Problem: "no port"} }), []string{"BFDFailed"}},
		{"BFD still can't", with(up, func(s *bgp.State) { s.BFD = &bfd.State{Problem: "no port"} }), with(up, func(s *bgp.State) { s.BFD = &bfd.State{Problem: "no port", Sent: 3} }), nil},
		{"the router sends no BFD packets", up, with(up, func(s *bgp.State) { s.BFD = &bfd.State{Status: bfd.Down} }), nil},
		{"it is not held", none, bgp.State{Session: bgp.Idle, LastError: "older"}, []string{"SessionSkipped"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, n := range notes(c.before, c.then) {
				got = append(got, n.reason)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// 100 nodes with two dead routers record less than one event a second after the first minute,
// however their errors vary.
func TestDeadRoutersCauseFewEvents(t *testing.T) {
	classes := []bgp.Failure{bgp.Unreachable, "NotificationReceived", "HoldTimerExpired"}
	for _, c := range []struct {
		name  string
		state func(attempt int) bgp.State
		most  int // events of a node and router in four hours
	}{
		{"its text alternates", func(i int) bgp.State {
			return bgp.State{Failure: bgp.Unreachable, LastError: []string{"no answer", "unreachable"}[i%2]}
		}, 1},
		{"its class alternates", func(i int) bgp.State { return bgp.State{Failure: classes[i%3], LastError: "x"} }, 14},
		{"its text is always different", func(i int) bgp.State { return bgp.State{Failure: "NotificationReceived", LastError: fmt.Sprint(i)} }, 14},
		{"it comes up and is lost", func(i int) bgp.State { return bgp.State{Drops: i, Session: bgp.Established} }, 2 * 14},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				perMinute, start := map[time.Duration]int{}, time.Now()
				peers := []string{"tor1", "tor2"}
				api := fake.NewClientBuilder().WithInterceptorFuncs(interceptor.Funcs{
					Get: func(_ context.Context, _ client.WithWatch, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
						o.SetName(key.Name)
						return nil
					},
					Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
						mu.Lock()
						defer mu.Unlock()
						perMinute[time.Since(start)/time.Minute]++
						return nil
					},
				}).Build()
				var nodes sync.WaitGroup
				ctx, cancel := context.WithTimeout(t.Context(), 4*time.Hour)
				defer cancel()
				for i := range 100 {
					node := fmt.Sprint("node", i)
					events := cluster.NewEventRecorder(api, slog.New(slog.DiscardHandler), "steelyard-speaker", node)
					r := New(Options{Client: api, Node: node, Record: events.Record})
					nodes.Go(func() { _ = events.Run(ctx) })
					nodes.Go(func() {
						last := map[string]bgp.State{}
						for attempt := 0; ctx.Err() == nil; attempt++ {
							for _, peer := range peers {
								now := c.state(attempt)
								now.Peer, now.Since = peer, start
								for _, n := range notes(last[now.Peer], now) {
									r.sessionEvent(&v1beta1.BGPSession{ObjectMeta: metav1.ObjectMeta{Name: node + "." + now.Peer}}, n, now.Failure)
								}
								last[now.Peer] = now
							}
							wait.Sleep(ctx, 5*time.Second)
						}
					})
				}
				nodes.Wait()
				all := 0
				for minute, n := range perMinute {
					if all += n; minute > 0 && n >= 60 {
						t.Errorf("%d events in minute %d", n, minute)
					}
				}
				if all < 200 || all > 200*c.most {
					t.Errorf("%d events in four hours, want %d at most", all, 200*c.most)
				}
			})
		})
	}
}

func TestAttemptsChangeNothingInABGPSession(t *testing.T) {
	r := New(Options{Node: "n"})
	var s v1beta1.BGPSession
	r.enter(&s, bgp.State{Peer: "p", Session: bgp.Active, Since: time.Unix(1, 0), LastError: "refused"}, "")
	first := *s.DeepCopy()
	r.enter(&s, bgp.State{Peer: "p", Session: bgp.Idle, Since: time.Unix(5, 0), LastError: "refused"}, "")
	if d := cmp.Diff(first, s); d != "" {
		t.Error(d)
	}
	r.enter(&s, bgp.State{Peer: "p", Session: bgp.Established, Since: time.Unix(9, 0), Advertised: 2}, "")
	if s.Status.State != "Established" || s.Status.Since.Unix() != 9 || s.Status.Prefixes.Advertised != 2 || s.Status.LastError != "" {
		t.Errorf("up: %+v", s.Status)
	}
	r.enter(&s, bgp.State{Peer: "p", Session: bgp.Idle, Since: time.Unix(12, 0), LastError: "lost"}, "")
	if s.Status.State != "Idle" || s.Status.Since.Unix() != 12 || s.Status.LastError != "lost" {
		t.Errorf("down again: %+v", s.Status)
	}
	r.enter(&s, bgp.State{Peer: "p", Session: bgp.Idle}, "old")
	if s.Status.DuplicateOf != "old" {
		t.Errorf("an older peer has it: %+v", s.Status)
	}
}

func TestSupersededPeersHaveASession(t *testing.T) {
	got := withSuperseded([]bgp.State{{Peer: "old", Addr: netip.MustParseAddr("192.0.2.1")}}, []announce.Superseded{{Peer: "young", By: "old"}})
	if len(got) != 2 || got[1].Peer != "young" || got[1].Session != bgp.Idle || got[1].LastError == "" {
		t.Errorf("%+v", got)
	}
}

func TestBFDStatus(t *testing.T) {
	far := bfd.Session{Path: bfd.Path{Peer: netip.MustParseAddr("192.0.2.1"), Hops: bfd.Multihop}, MinTTL: 254}
	near := bfd.Session{Path: bfd.Path{Peer: netip.MustParseAddr("192.0.2.1")}}
	passive, signed := near, near
	passive.Passive, signed.Keys = true, []bfd.Key{{ID: 1, Secret: "sesame"}}
	for _, c := range []struct {
		name string
		by   *bfd.State
		want string
	}{
		{"no BFD is wanted", nil, ""},
		{"it is up", &bfd.State{Status: bfd.Up, Problem: "a", LastDiscard: "b", Refused: true}, "Up"},
		{"it can't work", &bfd.State{Status: bfd.Down, Problem: "no port", LastDiscard: "b"}, "Down: no port"},
		{"the router's packets are refused", &bfd.State{Status: bfd.Down, LastDiscard: "version", Refused: true, Discarded: 1}, "Down: the router's packets are refused: version"},
		{"a packet was refused once", &bfd.State{Status: bfd.Down, RemoteStatus: bfd.Down, Session: near, LastDiscard: "version", Discarded: 1, Received: 1}, "Down"},
		{"a TTL too low names the field and what to set", &bfd.State{Status: bfd.Down, Session: far, Refused: true, TTL: 63, Discarded: 1},
			"Down: the router's packets arrive with TTL 63, and the BFDProfile's minimumTtl takes none below 254; if the router is no farther away than it should be, it sends a TTL below 255, as BIRD does: set minimumTtl to 63"},
		{"the field was changed, and nothing has come since", &bfd.State{Status: bfd.Down, Session: far, Refused: true, TTL: 254, Discarded: 1}, "Down"},
		{"a router that is not on the link names the field", &bfd.State{Status: bfd.Down, Session: near, Refused: true, TTL: 254, Discarded: 1},
			"Down: the router's packets arrive with TTL 254, and the BFDProfile's hopMode single takes 255 alone: if the router is more than one hop away, set hopMode to multi, and likewise at the router"},
		{"the router sends nothing", &bfd.State{Status: bfd.Down, Session: near}, "Down: the router has sent no packet yet to port 3784 (hopMode single)"},
		{"a router several hops away sends nothing", &bfd.State{Status: bfd.Down, Session: far}, "Down: the router has sent no packet yet to port 4784 (hopMode multi)"},
		{"a router that wants signatures sends nothing", &bfd.State{Status: bfd.Down, Session: signed}, "Down: the router has sent no packet yet to port 3784 (hopMode single); " +
			"one that waits for the first packet refuses it unless it has the same authentication: type, key ID and secret"},
		{"both wait", &bfd.State{Status: bfd.Down, Session: passive}, "Down: the router has sent no packet yet to port 3784 (hopMode single), which must send first because of passiveMode"},
		{"the router's administrator has ended it", &bfd.State{Status: bfd.Down, Session: near, RemoteStatus: bfd.AdminDown, Received: 3}, "Down: it was ended at the router (AdminDown)"},
		{"it has not started", &bfd.State{Status: bfd.Down, RemoteStatus: bfd.Down}, "Down"},
		{"the path is broken", &bfd.State{Status: bfd.Down, RemoteStatus: bfd.Down, Session: near, Received: 9}, "Down"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := bfdStatus(c.by); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// In a burst each new address is one more route of each session of each node.
func TestTheNumberOfRoutesIsWrittenNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Node: "n"})
		var s v1beta1.BGPSession
		changes, last := 0, int32(0)
		state := bgp.State{Peer: "p", Session: bgp.Established, Since: time.Now()}
		for range 100 { // ten seconds
			state.Advertised++
			r.recount = false
			if r.enter(&s, state, ""); s.Status.Prefixes.Advertised != last {
				changes, last = changes+1, s.Status.Prefixes.Advertised
			} else if !r.recount {
				t.Errorf("it says %d of %d routes, and that stays", last, state.Advertised)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if changes < 5 || changes > 7 {
			t.Errorf("it changed %d times", changes)
		}
		time.Sleep(counting)
		if r.enter(&s, state, ""); s.Status.Prefixes.Advertised != 100 {
			t.Errorf("in the end it says %d", s.Status.Prefixes.Advertised)
		}
		state.Advertised = 0
		if r.enter(&s, state, ""); s.Status.Prefixes.Advertised != 0 {
			t.Errorf("without a route it says %d", s.Status.Prefixes.Advertised)
		}
	})
}
