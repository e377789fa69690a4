package network

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

// street is a wire on which hosts have addresses, in time that is not real.
type street struct {
	*Prober
	mu    sync.Mutex
	has   map[netip.Addr][6]byte
	reply membership.Reply // of what nobody has
	asked []int            // how many addresses at a time
	takes time.Duration    // to find that nobody has an address
}

// onStreet runs body with a Prober that asks on a street.
func onStreet(t *testing.T, body func(*testing.T, *street)) {
	synctest.Test(t, func(t *testing.T) {
		s := &street{has: map[netip.Addr][6]byte{}, reply: membership.Unanswered, takes: 240 * time.Millisecond}
		s.Prober = NewProber(s.who)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		body(t, s)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func (s *street) who(_ context.Context, addrs []netip.Addr, _ []string) map[netip.Addr]Answer {
	s.mu.Lock()
	s.asked = append(s.asked, len(addrs))
	out := map[netip.Addr]Answer{}
	for _, a := range addrs {
		if mac, ok := s.has[a]; ok {
			out[a] = Answer{Reply: membership.Answered, MAC: mac, At: time.Now()}
		}
	}
	reply, takes := s.reply, s.takes
	s.mu.Unlock()
	if len(out) == len(addrs) {
		return out
	}
	time.Sleep(takes)
	for _, a := range addrs {
		if _, ok := out[a]; !ok {
			out[a] = Answer{Reply: reply}
		}
	}
	return out
}

// batches returns how many addresses were asked for at a time.
func (s *street) batches() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func (s *street) told() bool {
	synctest.Wait()
	select {
	case <-s.Changed():
		return true
	default:
		return false
	}
}

func TestProber(t *testing.T) {
	a := netip.MustParseAddr("192.0.2.1")
	on := func(after time.Time, links ...string) map[netip.Addr]failover.ProbeRequest {
		return map[netip.Addr]failover.ProbeRequest{a: {Links: links, After: after, Notify: true}}
	}
	t.Run("it asks, tells, and asks again", func(t *testing.T) {
		onStreet(t, func(t *testing.T, s *street) {
			start := time.Now()
			s.Set(on(start, "eth0"))
			time.Sleep(s.takes)
			if !s.told() {
				t.Error("nobody was told")
			}
			want := failover.Probe{Reply: membership.Unanswered, Asked: start, Done: start.Add(s.takes), Links: []string{"eth0"}}
			if diff := cmp.Diff(want, s.Results()[a]); diff != "" {
				t.Errorf("want -, have +:\n%s", diff)
			}
			s.mu.Lock()
			s.has[a] = [6]byte{2, 1}
			s.mu.Unlock()
			time.Sleep(probeInterval + probePace)
			if got := s.Results()[a]; got.Reply != membership.Answered || got.MAC != [6]byte{2, 1} || got.Answered.IsZero() {
				t.Errorf("then: %+v", got)
			}
			s.Set(nil)
			synctest.Wait()
			before := len(s.batches())
			time.Sleep(time.Minute)
			if len(s.Results()) > 0 || len(s.batches()) != before {
				t.Errorf("nobody wants to know: %v, asked %d times", s.Results(), len(s.batches()))
			}
		})
	})
	t.Run("who does not want to be told is not", func(t *testing.T) {
		onStreet(t, func(t *testing.T, s *street) {
			s.Set(map[netip.Addr]failover.ProbeRequest{a: {Links: []string{"eth0"}}})
			time.Sleep(s.takes)
			if s.told() || len(s.Results()) != 1 {
				t.Errorf("told; results %v", s.Results())
			}
		})
	})
	t.Run("what was asked too early, or elsewhere, is asked for again at once", func(t *testing.T) {
		onStreet(t, func(t *testing.T, s *street) {
			s.Set(on(time.Time{}, "eth0"))
			time.Sleep(s.takes / 2)
			after := time.Now()
			s.Set(on(after, "eth0")) // while it is being asked
			time.Sleep(s.takes / 2)
			synctest.Wait()
			if n := len(s.batches()); n != 2 || !s.Results()[a].Asked.Before(after) {
				t.Errorf("asked %d times, at last %v", n, s.Results()[a].Asked)
			}
			time.Sleep(s.takes)
			synctest.Wait()
			if s.Results()[a].Asked.Before(after) {
				t.Error("it was not asked again")
			}
			s.Set(on(after, "eth0", "eth1"))
			time.Sleep(s.takes)
			synctest.Wait()
			if diff := cmp.Diff([]string{"eth0", "eth1"}, s.Results()[a].Links); diff != "" {
				t.Errorf("want -, have +:\n%s", diff)
			}
		})
	})
}

// However many there are, they are asked for together; and again the more rarely.
func TestProberOfMany(t *testing.T) {
	onStreet(t, func(t *testing.T, s *street) {
		const n = 5000
		want := map[netip.Addr]failover.ProbeRequest{}
		a := netip.MustParseAddr("192.0.2.1")
		for range n {
			want[a] = failover.ProbeRequest{Links: []string{"eth0"}}
			s.has[a] = [6]byte{2, 1}
			a = a.Next()
		}
		for range 20 { // as many passes as there may be
			s.Set(want)
		}
		time.Sleep(n*probePace + probeInterval/2)
		if diff := cmp.Diff([]int{n, n}, s.batches()); diff != "" {
			t.Errorf("want -, have +:\n%s", diff)
		}
	})
}
