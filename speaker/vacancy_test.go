package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/layer2"
	"github.com/steelyard-lb/steelyard/internal/membership"
	"github.com/steelyard-lb/steelyard/internal/membership/network"
)

// street is a wire on which nodes have addresses, in time that is not real.
type street struct {
	*vacancies
	mu    sync.Mutex
	has   map[netip.Addr][6]byte
	reply membership.Reply // of what nobody has
	asked []int            // how many addresses at a time
	takes time.Duration    // to find that nobody has an address
}

func macOf(node string) [6]byte { return [6]byte{2, 0, 0, 0, 0, node[0]} }

func macsOf(nodes ...string) map[[6]byte]string {
	out := map[[6]byte]string{}
	for _, n := range nodes {
		out[macOf(n)] = n
	}
	return out
}

// onStreet runs body with vacancies that ask on a street.
func onStreet(t *testing.T, body func(*testing.T, *street)) {
	synctest.Test(t, func(t *testing.T) {
		s := &street{has: map[netip.Addr][6]byte{}, reply: membership.Silence, takes: 240 * time.Millisecond}
		s.vacancies = newVacancies(s.ask)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.run(ctx) }()
		body(t, s)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func (s *street) ask(_ context.Context, addrs []netip.Addr, _ []string) map[netip.Addr]network.Answer {
	s.mu.Lock()
	s.asked = append(s.asked, len(addrs))
	s.mu.Unlock()
	out := map[netip.Addr]network.Answer{}
	for _, a := range addrs {
		if mac, ok := s.at(a); ok {
			out[a] = network.Answer{Reply: membership.Sign, MAC: mac, At: time.Now()}
		}
	}
	if len(out) == len(addrs) {
		return out
	}
	time.Sleep(s.takes)
	for _, a := range addrs {
		if _, ok := out[a]; !ok {
			out[a] = network.Answer{Reply: s.reply}
		}
	}
	return out
}

func (s *street) at(a netip.Addr) ([6]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mac, ok := s.has[a]
	return mac, ok
}

// batches returns how many addresses were asked for at a time.
func (s *street) batches() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func (s *street) move(a netip.Addr, node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.has, a)
	if node != "" {
		s.has[a] = macOf(node)
	}
}

// see makes a pass, for which these nodes are gone and all that are known live or gone.
func (s *street) see(gone ...string) {
	view := membership.View{Standing: map[string]membership.Standing{}}
	live := map[string]bool{"self": true, "x": true, "y": true}
	for _, n := range gone {
		view.Standing[n], live[n] = membership.Gone, false
	}
	s.look(time.Now(), view, live, macsOf("self", "x", "y"))
}

func (s *street) expect(t *testing.T, what string, a netip.Addr, want bool) {
	t.Helper()
	synctest.Wait()
	if got := s.free(time.Now(), a, []string{"eth0"}); got != want {
		t.Errorf("%s: free %t, want %t", what, got, want)
	}
}

func onEth0(take bool) wish { return wish{links: []string{"eth0"}, take: take} }

func TestVacancies(t *testing.T) {
	a := netip.MustParseAddr("192.0.2.1")
	wanted := map[netip.Addr]wish{a: onEth0(true)}
	told := func(v *street) bool {
		select {
		case <-v.changed:
			return true
		default:
			return false
		}
	}
	t.Run("what nobody has is free, for a while", func(t *testing.T) {
		onStreet(t, func(t *testing.T, s *street) {
			s.see()
			s.expect(t, "unknown", a, false)
			s.set(wanted)
			s.expect(t, "while it is asked", a, false)
			time.Sleep(s.takes)
			s.expect(t, "nobody has it", a, true)
			if !told(s) {
				t.Error("nobody was told")
			}
			if s.free(time.Now(), a, []string{"eth0", "eth1"}) {
				t.Error("free on a link that was not asked on")
			}
			s.set(nil)
			s.expect(t, "nobody asks any more", a, false)
			time.Sleep(time.Minute)
			if n := len(s.batches()); n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	})
	t.Run("what is not known is not free, and asked for again", func(t *testing.T) {
		onStreet(t, func(t *testing.T, s *street) {
			s.see()
			s.reply = membership.CantTell
			s.set(wanted)
			time.Sleep(s.takes)
			s.expect(t, "nobody could be asked", a, false)
			s.mu.Lock()
			s.reply = membership.Silence
			s.mu.Unlock()
			time.Sleep(askAgain + s.takes)
			s.expect(t, "nobody has it", a, true)
		})
	})
	t.Run("what a node has is free as soon as it is gone", func(t *testing.T) {
		onStreet(t, func(t *testing.T, s *street) {
			s.see()
			s.move(a, "x")
			s.set(wanted)
			time.Sleep(5*askAgain + askAgain/2)
			s.expect(t, "x has it", a, false)
			s.move(a, "")
			s.see("y")
			s.expect(t, "another is gone", a, false)
			if told(s) {
				t.Error("told of an address that somebody has")
			}
			s.see("x", "y")
			s.expect(t, "x is gone", a, true)
		})
	})
	t.Run("but not who answers while it is held for gone", func(t *testing.T) {
		onStreet(t, func(t *testing.T, s *street) {
			s.move(a, "x")
			s.see("x")
			s.set(wanted)
			for range 10 {
				time.Sleep(askAgain / 2)
				s.see("x")
				s.expect(t, "it answers", a, false)
			}
		})
	})
	t.Run("nor who answered just before", func(t *testing.T) {
		onStreet(t, func(t *testing.T, s *street) {
			s.see()
			s.move(a, "x")
			s.set(wanted)
			time.Sleep(dying / 2)
			s.see("x")
			s.expect(t, "its watchers missed it already", a, false)
		})
	})
	t.Run("what a node had that was gone in between is asked for again", func(t *testing.T) {
		onStreet(t, func(t *testing.T, s *street) {
			s.see()
			s.move(a, "x")
			s.set(wanted)
			time.Sleep(askAgain / 2)
			s.see("x")
			s.move(a, "y")
			s.see()
			s.see("x")
			s.expect(t, "y may have taken it meanwhile", a, false)
			s.set(wanted)
			s.expect(t, "y has it", a, false)
			time.Sleep(askAgain / 4)
			s.see("x", "y")
			s.expect(t, "y is gone", a, true)
		})
	})
	t.Run("what a stranger has is not free", func(t *testing.T) {
		onStreet(t, func(t *testing.T, s *street) {
			s.move(a, "z")
			s.set(wanted)
			time.Sleep(askAgain / 2)
			s.see("z")
			s.expect(t, "no node has that MAC", a, false)
		})
	})
	t.Run("what was found before this node was cut off is void", func(t *testing.T) {
		onStreet(t, func(t *testing.T, s *street) {
			s.see()
			s.set(wanted)
			time.Sleep(s.takes / 2)
			s.forget()
			time.Sleep(s.takes / 2)
			s.expect(t, "it was being asked for", a, false)
			s.set(wanted)
			time.Sleep(s.takes)
			s.expect(t, "it was asked for after", a, true)
			s.forget()
			s.expect(t, "it was asked for before", a, false)
		})
	})
}

// However many there are, they are asked for together; and again the more rarely.
func TestVacanciesOfMany(t *testing.T) {
	onStreet(t, func(t *testing.T, s *street) {
		const n = 5000
		wanted := map[netip.Addr]wish{}
		a := netip.MustParseAddr("192.0.2.1")
		for range n {
			wanted[a] = onEth0(true)
			s.has[a] = macOf("x")
			a = a.Next()
		}
		for range 20 { // as many passes as there may be
			s.set(wanted)
		}
		time.Sleep(n*pace + askAgain/2)
		if diff := cmp.Diff([]int{n, n}, s.batches()); diff != "" {
			t.Errorf("want -, have +:\n%s", diff)
		}
	})
}

// What a pass takes, and what it asks for.
func TestTake(t *testing.T) {
	mine, theirs := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	const gone = membership.Gone
	pass := func(s *street, r *reconciler, view membership.View) []announce.Claim {
		d := &decision{holders: map[netip.Addr]string{mine: "self", theirs: "y"}, live: map[string]bool{"self": true, "x": view.Standing["x"] != gone, "y": true}, macs: macsOf("self", "x", "y"), claimed: map[netip.Addr]bool{}, unsure: map[netip.Addr]bool{}}
		d.Claims = []announce.Claim{{Addr: mine}}
		d.Verdicts = map[ipam.Key]announce.Verdict{{}: {Layer2: []announce.Ownership{
			{Addr: mine, Owner: "self", Reason: announce.Announced}, {Addr: theirs, Owner: "y", Reason: announce.NotOwner},
		}}}
		r.take(&decision{}, d, view, false)
		synctest.Wait()
		return d.Claims
	}
	asks := func(s *street) []string {
		s.vacancies.mu.Lock()
		defer s.vacancies.mu.Unlock()
		var out []string
		for _, a := range slices.SortedFunc(maps.Keys(s.wishes), netip.Addr.Compare) {
			out = append(out, fmt.Sprint(a, " ", s.wishes[a].take))
		}
		return out
	}
	for _, c := range []struct {
		name   string
		missed bool
		ago    time.Duration // since it began to ask the API server anew
		asks   []string
	}{
		{"without the API server it asks for what it would take", false, time.Hour, []string{"192.0.2.1 true"}},
		{"and if it has missed who took what, for what it might have to take", true, time.Hour, []string{"192.0.2.1 true", "192.0.2.2 false"}},
		{"but not before the API server had time to answer", true, 0, []string{"192.0.2.1 true"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			onStreet(t, func(t *testing.T, s *street) {
				h := &heartbeat{node: "self", interval: time.Second}
				h.ready.Store(true)
				r := &reconciler{options: options{node: "self"}, beat: h, missed: c.missed, restarted: time.Now().Add(-c.ago), vacancies: s.vacancies, taken: map[netip.Addr]takeover{}, links: layer2.New(slog.New(slog.DiscardHandler), layer2.Options{})}
				s.move(mine, "x")
				if got := pass(s, r, membership.View{}); len(got) > 0 {
					t.Error("it takes what it does not know to be free")
				}
				if diff := cmp.Diff(c.asks, asks(s)); diff != "" {
					t.Errorf("asks: want -, have +:\n%s", diff)
				}
				time.Sleep(askAgain / 2)
				if got := pass(s, r, membership.View{}); len(got) > 0 {
					t.Error("it takes what x has")
				}
				if got := pass(s, r, membership.View{Standing: map[string]membership.Standing{"x": gone}}); len(got) != 1 {
					t.Error("it does not take what x had")
				}
				if got := pass(s, r, membership.View{Isolated: true, Standing: map[string]membership.Standing{"x": gone}}); len(got) > 0 || len(asks(s)) > 0 {
					t.Errorf("cut off it takes %v and asks for %v", got, asks(s))
				}
				if got := pass(s, r, membership.View{Standing: map[string]membership.Standing{"x": gone}}); len(got) > 0 {
					t.Error("what it found before it was cut off counts")
				}
			})
		})
	}
}
