package main

import (
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/layer2"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

// A node takes over an address, and can say so only later: meanwhile the former
// owner may have gone on in another half of the network.
func TestABlindTakeover(t *testing.T) {
	a := netip.MustParseAddr("192.0.2.1")
	for _, c := range []struct {
		name  string
		away  bool   // the API server, at some time before the next word of it
		has   string // who answers for it, too, then
		reply membership.Reply
		tells bool
		rival string
	}{
		{"with the API server at hand it is told at once", false, "", membership.Silence, true, ""},
		{"when nobody else has it, it is told", true, "", membership.Silence, true, ""},
		{"also when nobody can be asked", true, "", membership.CantTell, true, ""},
		{"the former owner has it still: it is left to that one", true, "x", membership.Silence, false, "x"},
		{"a third one has it, too: they will settle it", true, "y", membership.Silence, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			onStreet(t, func(t *testing.T, s *street) {
				s.reply = c.reply
				h := &heartbeat{node: "self", interval: time.Hour}
				r := &reconciler{
					options: options{node: "self"}, beat: h, vacancies: s.vacancies, links: layer2.New(slog.New(slog.DiscardHandler), layer2.Options{}),
					taken: map[netip.Addr]takeover{}, overruled: map[netip.Addr]rival{},
				}
				connect := func(yes bool) {
					h.lastEcho.Store(nil)
					if now := time.Now(); yes {
						h.lastEcho.Store(&now)
					}
				}
				before := &decision{}
				pass := func() (*decision, map[netip.Addr]rival) {
					rivals := map[netip.Addr]rival{}
					r.contradicted(time.Now(), rivals)
					d := &decision{
						holders: map[netip.Addr]string{a: "x"}, live: map[string]bool{"self": true, "y": true}, macs: macsOf("self", "x", "y"),
						claimed: map[netip.Addr]bool{}, unsure: map[netip.Addr]bool{},
					}
					d.Claims = []announce.Claim{{Addr: a}}
					r.take(before, d, membership.View{Standing: map[string]membership.Standing{"x": membership.Gone}}, false)
					before = d
					synctest.Wait()
					return d, rivals
				}
				connect(!c.away)
				if d, _ := pass(); len(d.Claims) != 1 || d.unsure[a] != c.away {
					t.Fatalf("taken: %v, unsure: %v", d.Claims, d.unsure)
				}
				connect(true)
				s.move(a, c.has)
				if d, rivals := pass(); d.unsure[a] != c.away || len(rivals) > 0 {
					t.Errorf("not asked yet; unsure: %v, rivals: %v", d.unsure, rivals)
				}
				time.Sleep(s.takes)
				synctest.Wait()
				d, rivals := pass()
				if d.unsure[a] == c.tells || rivals[a].node != c.rival {
					t.Errorf("unsure: %v, rivals: %v", d.unsure, rivals)
				}
				want := r.node
				if c.rival != "" {
					want = c.rival
				}
				if got := r.holder(a, "x", rivals[a]); got != want {
					t.Errorf("it counts as the address of %s, want %s", got, want)
				}
				if _, remembered := r.overruled[a]; remembered != (c.rival != "") {
					t.Errorf("remembered: %v", r.overruled)
				}
			})
		})
	}
}
