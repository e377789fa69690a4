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

// fakeLink is a link on which hosts have addresses, in virtual time.
type fakeLink struct {
	*Prober
	mu    sync.Mutex
	has   map[netip.Addr][6]byte
	reply membership.Reply // for an address that no host has
	asked []int            // the number of addresses in each batch
	takes time.Duration    // the time until an address counts as free
}

// onFakeLink runs body with a Prober that asks on a fakeLink.
func onFakeLink(t *testing.T, body func(*testing.T, *fakeLink)) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeLink{has: map[netip.Addr][6]byte{}, reply: membership.Unanswered, takes: 240 * time.Millisecond}
		s.Prober = NewProber(s.answers)
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

func (s *fakeLink) answers(_ context.Context, addrs []netip.Addr, _ []string) map[netip.Addr]Answer {
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

// batches returns the number of addresses in each batch.
func (s *fakeLink) batches() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func (s *fakeLink) changed() bool {
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
	t.Run("it asks, signals, and asks again", func(t *testing.T) {
		onFakeLink(t, func(t *testing.T, s *fakeLink) {
			start := time.Now()
			s.Set(on(start, "eth0"))
			time.Sleep(s.takes)
			if !s.changed() {
				t.Error("Changed was not signaled")
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
				t.Errorf("after Set(nil): results %v, asked %d times", s.Results(), len(s.batches()))
			}
		})
	})
	t.Run("without Notify it does not signal", func(t *testing.T) {
		onFakeLink(t, func(t *testing.T, s *fakeLink) {
			s.Set(map[netip.Addr]failover.ProbeRequest{a: {Links: []string{"eth0"}}})
			time.Sleep(s.takes)
			if s.changed() || len(s.Results()) != 1 {
				t.Errorf("Changed was signaled, or results are missing: %v", s.Results())
			}
		})
	})
	t.Run("it asks again at once if a result is too old, or from other links", func(t *testing.T) {
		onFakeLink(t, func(t *testing.T, s *fakeLink) {
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

// Many addresses are asked for in one batch, and the less often the more there are.
func TestManyAddressesAreProbedTogether(t *testing.T) {
	onFakeLink(t, func(t *testing.T, s *fakeLink) {
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
