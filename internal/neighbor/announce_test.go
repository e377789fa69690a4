package neighbor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAnnounce(t *testing.T) {
	cases := []struct {
		name string
		got  [][]byte
		want []string // hex; blanks don't count
	}{
		{"RFC 5227 2.3 and 3: a request without a target MAC, and a reply whose target is its sender", announceARP(addr4, Station{MAC: testMAC}), []string{
			"ffffffffffff 02000000000a 0806 0001 0800 06 04 0001 02000000000a c0000264 000000000000 c0000264" + strings.Repeat("00", 18),
			"ffffffffffff 02000000000a 0806 0001 0800 06 04 0002 02000000000a c0000264 02000000000a c0000264" + strings.Repeat("00", 18),
		}},
		{"RFC 4861 7.2.6: an advertisement to all nodes with Override, without Solicited and Router", announceNDP(addr6, Station{MAC: testMAC}), []string{
			"333300000001 02000000000a 86dd 60000000 0020 3a ff 20010db8000000000000000000000100 ff020000000000000000000000000001" +
				"88 00 f723 20000000 20010db8000000000000000000000100 02 01 02000000000a",
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var got, want []string
			for _, f := range c.got {
				got = append(got, fmt.Sprintf("%x", f))
			}
			for _, w := range c.want {
				want = append(want, strings.ReplaceAll(w, " ", ""))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("frames (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSolicitedNode(t *testing.T) {
	got := SolicitedNode(netip.MustParseAddr("2001:db8::12:3456:789a"))
	if want := netip.MustParseAddr("ff02::1:ff56:789a"); got != want {
		t.Errorf("RFC 4291 2.7.1: group %v, want %v", got, want)
	}
}

// said is one announcement in a simulated run.
type said struct {
	At   time.Duration // since the start
	Addr netip.Addr
}

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func subjects(addrs ...netip.Addr) []Target {
	var out []Target
	for _, a := range addrs {
		out = append(out, Target{Addr: a})
	}
	return out
}

// simulate lets a schedule run from a time to another, always woken in time.
func simulate(s *Schedule, from, to time.Duration) []said {
	var all []said
	for now := from; ; {
		at, ok := s.Next()
		if !ok || at.Sub(start) >= to {
			return all
		}
		now = max(now, at.Sub(start))
		for _, sent := range s.Take(start.Add(now), batchNew) {
			all = append(all, said{now, sent.Addr})
		}
	}
}

func TestScheduleOfOneAddress(t *testing.T) {
	cases := []struct {
		name string
		gaps []time.Duration
		want []time.Duration
	}{
		{"IPv4: at once, five times more within 4 s, then every minute", ARP().Gaps,
			[]time.Duration{0, 100 * ms, 500 * ms, 1000 * ms, 2000 * ms, 4000 * ms, 64000 * ms, 124000 * ms}},
		{"RFC 4861 7.2.6: IPv6 three times, 1 s apart, then every minute", NDP().Gaps,
			[]time.Duration{0, 1000 * ms, 2000 * ms, 62000 * ms, 122000 * ms}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := NewSchedule(c.gaps, Refresh)
			s.Set(start, subjects(addr4))
			var got []time.Duration
			for _, e := range simulate(s, 0, 130*time.Second) {
				got = append(got, e.At)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("times (-want +got):\n%s", diff)
			}
		})
	}
}

func TestScheduleChanges(t *testing.T) {
	other := netip.MustParseAddr("192.0.2.101")
	s := NewSchedule([]time.Duration{100 * ms}, Refresh)
	step := func(name string, addrs []netip.Addr, to time.Duration, want []said) {
		t.Helper()
		from := to - 50*ms
		s.Set(start.Add(from), subjects(addrs...))
		if diff := cmp.Diff(want, simulate(s, from, to), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	step("a new address is announced at once", []netip.Addr{addr4}, 50*ms, []said{{0, addr4}})
	step("the same again says nothing", []netip.Addr{addr4}, 100*ms, nil)
	step("a second one doesn't disturb the first", []netip.Addr{addr4, other}, 150*ms, []said{{100 * ms, other}, {100 * ms, addr4}})
	step("withdrawn ones are silent", nil, 300*ms, nil)
	step("what comes back begins again, once", []netip.Addr{addr4}, 350*ms, []said{{300 * ms, addr4}})
	step("and goes on from there", []netip.Addr{addr4}, 450*ms, []said{{400 * ms, addr4}})
}

// Another round begins the turns of an address again, and of no other.
func TestScheduleRounds(t *testing.T) {
	other := netip.MustParseAddr("192.0.2.101")
	s := NewSchedule([]time.Duration{100 * ms}, Refresh)
	s.Set(start, subjects(addr4, other))
	simulate(s, 0, time.Second)
	again := []Target{{Addr: addr4, Generation: 1}, {Addr: other}}
	for range 2 { // the same again says nothing
		s.Set(start.Add(time.Second), again)
	}
	want := []said{{1000 * ms, addr4}, {1100 * ms, addr4}}
	if diff := cmp.Diff(want, simulate(s, time.Second, 3*time.Second), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
}

func TestScheduleWokenLateKeepsTheGap(t *testing.T) {
	s := NewSchedule(NDP().Gaps, Refresh)
	s.Set(start, subjects(addr6))
	late := start.Add(900 * ms)
	s.Take(late, batchNew)
	if at, _ := s.Next(); at.Sub(late) < time.Second {
		t.Errorf("RFC 4861 7.2.6: the next one is due %v after a late one, want 1 s", at.Sub(late))
	}
}

// TestScheduleIsPaced: with thousands of addresses no batch exceeds the limit, new ones
// go before refreshed ones, and none comes twice closer than its gap.
func TestScheduleIsPaced(t *testing.T) {
	var addrs []netip.Addr
	for a, i := netip.MustParseAddr("2001:db8::1"), 0; i < 5000; a, i = a.Next(), i+1 {
		addrs = append(addrs, a)
	}
	s := NewSchedule(NDP().Gaps, Refresh)
	s.Set(start, subjects(addrs[:4000]...))
	all := simulate(s, 0, 63*time.Second) // in the midst of the first refresh
	s.Set(start.Add(63*time.Second), subjects(addrs...))
	all = append(all, simulate(s, 63*time.Second, 100*time.Second)...)

	times := map[netip.Addr][]time.Duration{}
	batch, refreshed := map[time.Duration]int{}, map[time.Duration]int{}
	for _, e := range all {
		times[e.Addr] = append(times[e.Addr], e.At)
		batch[e.At]++
		if len(times[e.Addr]) > 3 {
			refreshed[e.At]++
		}
	}
	for at, n := range refreshed {
		if n > batchRefresh {
			t.Errorf("%d addresses refreshed in one batch at %v, at most %d allowed", n, at, batchRefresh)
		}
	}
	for at, n := range batch {
		if n > batchNew {
			t.Errorf("%d addresses in one batch at %v, at most %d allowed", n, at, batchNew)
		}
	}
	for i, addr := range addrs {
		want := 4
		if i >= 4000 {
			want = 3
			if at := times[addr][0]; at > 63*time.Second+100*ms {
				t.Errorf("new address %v was first announced at %v, behind refreshed ones", addr, at)
			}
		}
		if got := times[addr]; len(got) != want || !slices.IsSorted(got) {
			t.Errorf("%v was announced at %v, want %d times", addr, got, want)
		}
		for j := 1; j < len(times[addr]); j++ {
			if gap := times[addr][j] - times[addr][j-1]; gap < time.Second {
				t.Errorf("%v was announced twice within %v", addr, gap)
			}
		}
	}
}

// Addresses that came one after another are repeated together, each after its whole gap.
func TestScheduleRepeatsTogether(t *testing.T) {
	s := NewSchedule([]time.Duration{100 * ms}, Refresh)
	var addrs []netip.Addr
	var all []said
	for a, at := addr4, time.Duration(0); at < 100*ms; a, at = a.Next(), at+6*ms {
		addrs = append(addrs, a)
		s.Set(start.Add(at), subjects(addrs...))
		all = append(all, simulate(s, at, at+6*ms)...)
	}
	all = append(all, simulate(s, 102*ms, time.Second)...)
	first, times := map[netip.Addr]time.Duration{}, map[time.Duration]bool{}
	for _, e := range all {
		at, again := first[e.Addr]
		if !again {
			first[e.Addr] = e.At
			continue
		}
		times[e.At] = true
		if gap := e.At - at; gap < 100*ms || gap >= 100*ms+grid {
			t.Errorf("%v was repeated after %v, want 100 to %v", e.Addr, gap, 100*ms+grid)
		}
	}
	if len(first) != len(addrs) || len(all) != 2*len(addrs) {
		t.Errorf("%d announcements of %d addresses, want two of each of %d", len(all), len(first), len(addrs))
	}
	if len(times) > 11 {
		t.Errorf("the repeats went out at %d times, want at most one each 10 ms", len(times))
	}
}

// A trial's turns are counted, so that the third probe is known as such.
func TestScheduleCountsTurns(t *testing.T) {
	s := NewSchedule(ProbeGaps(), ProbeRefresh)
	s.Set(start, subjects(addr4))
	type sent struct {
		At     time.Duration
		Before int
	}
	var got []sent
	for now := time.Duration(0); now < 25*time.Second; {
		at, _ := s.Next()
		now = at.Sub(start)
		for _, b := range s.Take(at, batchNew) {
			got = append(got, sent{now, b.Sent})
		}
	}
	want := []sent{{0, 0}, {150 * ms, 1}, {300 * ms, 2}, {500 * ms, 3}, {10500 * ms, 4}, {20500 * ms, 5}, {30500 * ms, 6}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("turns (-want +got):\n%s", diff)
	}
}
