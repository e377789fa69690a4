package main

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/layer2"
)

var contested = netip.MustParseAddr("192.0.2.1")

func TestRivalsOf(t *testing.T) {
	first, later := time.Unix(1000, 0), time.Unix(1001, 0)
	heard := []layer2.Rival{
		{Addr: contested, MAC: [6]byte{2, 1}, First: later, Last: later},
		{Addr: contested, MAC: [6]byte{2, 2}, First: first, Last: later},
		{Addr: contested, MAC: [6]byte{2, 3}, First: later, Last: later},
		{Addr: netip.MustParseAddr("192.0.2.2"), MAC: [6]byte{2, 9}, First: first, Last: first}, // its Speaker is gone
		{Addr: netip.MustParseAddr("192.0.2.3"), MAC: [6]byte{2, 8}, First: first, Last: first}, // a MAC that this node had
	}
	nodes := map[[6]byte]string{{2, 1}: "a", {2, 2}: "b", {2, 3}: "c", {2, 8}: "self"}
	want := map[netip.Addr]rival{contested: {"b", [6]byte{2, 2}, first, later}}
	if diff := cmp.Diff(want, rivalsOf("self", heard, nodes), cmp.AllowUnexported(rival{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
}

// Who counts as the holder of an address, for a node that has it or had it.
func TestHolder(t *testing.T) {
	start := time.Unix(1000, 0)
	low, high := "a", "b" // by rank
	if announce.Rank(low, contested) > announce.Rank(high, contested) {
		low, high = high, low
	}
	for _, c := range []struct {
		name      string
		self      string
		connected bool
		taken     string // from whom
		named     string
		rival     string
		heard     time.Duration // for how long
		want      string
	}{
		{"whom the L2Claim names", low, true, "", high, "", 0, high},
		{"who has taken it over, and could not say so", low, false, high, high, "", 0, low},
		{"but for a former holder that never stopped", low, false, high, high, high, 0, high},
		{"a third one does not make that void", low, false, "c", "c", high, 0, low},
		{"who can ask the API server, whatever others say", low, true, "", low, high, time.Hour, low},
		{"who can't ask, at first", low, false, "", low, high, 0, low},
		{"not for long, if the other ranks higher", low, false, "", low, high, cedingSoon, high},
		{"longer, if it ranks higher itself", high, false, "", high, low, cedingSoon, high},
		{"but not for ever", high, false, "", high, low, cedingLate, low},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &heartbeat{node: c.self, interval: time.Second}
			if c.connected {
				now := time.Now()
				h.lastEcho.Store(&now)
			}
			r := &reconciler{options: options{node: c.self}, beat: h, taken: map[netip.Addr]takeover{}}
			if c.taken != "" {
				r.taken[contested] = takeover{from: c.taken}
			}
			v := rival{node: c.rival, first: start, last: start.Add(c.heard)}
			if got := r.holder(contested, c.named, v); got != c.want {
				t.Errorf("the holder is %s, want %s", got, c.want)
			}
		})
	}
}

// tellRounds tells the round of an address whenever it changes, when a rival was
// heard at these times, and every pass is made when it is due.
func tellRounds(r *rounds, start time.Time, heard []time.Duration) []string {
	keeps := []announce.Claim{{Addr: contested}}
	var out []string
	rivals := map[netip.Addr]rival{}
	pass := func(at time.Duration) {
		before := r.of(contested)
		r.insist(start.Add(at), keeps, rivals)
		if now := r.of(contested); now != before {
			out = append(out, fmt.Sprintf("%v: %d", at, now))
		}
	}
	for i, at := range heard {
		v := rivals[contested]
		if v.first.IsZero() {
			v = rival{node: "b", first: start.Add(at), last: start.Add(at)}
		}
		v.last = start.Add(at)
		rivals[contested] = v
		pass(at)
		for next, ok := r.again(rivals, map[netip.Addr]bool{contested: true}, true); ok && next.Before(v.last.Add(layer2.RivalMemory)); next, ok = r.again(rivals, map[netip.Addr]bool{contested: true}, true) {
			if i+1 < len(heard) && !next.Before(start.Add(heard[i+1])) {
				break
			}
			pass(next.Sub(start))
		}
	}
	return out
}

func TestARivalIsContradicted(t *testing.T) {
	start := time.Unix(1000, 0)
	const ms = time.Millisecond
	for _, c := range []struct {
		name  string
		heard []time.Duration
		want  []string
	}{
		{"not at once, for it may be about to fall silent; and once, if it does then", []time.Duration{0, 100 * ms}, []string{"250ms: 1"}},
		{"again when it goes on, but not all the time", []time.Duration{0, 100 * ms, 300 * ms, 500 * ms, 2000 * ms}, []string{"250ms: 1", "1.25s: 2", "2.25s: 3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, tellRounds(new(rounds), start, c.heard)); diff != "" {
				t.Errorf("want -, have +:\n%s", diff)
			}
		})
	}
}

func TestAllIsAnnouncedAnewWhenANodeIsBack(t *testing.T) {
	start := time.Unix(1000, 0)
	var r rounds
	live := map[string]bool{"self": true, "b": true}
	var before map[string]bool
	step := func(name string, at time.Duration, now map[string]bool, connected bool, want uint64) {
		t.Helper()
		r.reunion(start.Add(at), before, now, connected)
		before = now
		if got := r.of(contested); got != want {
			t.Errorf("%s: round %d, want %d", name, got, want)
		}
	}
	next := func(connected bool, want time.Duration) {
		t.Helper()
		if at, ok := r.again(nil, nil, connected); !ok || !at.Equal(start.Add(want)) {
			t.Errorf("next at %v, %t; want %v", at.Sub(start), ok, want)
		}
	}
	lost := map[string]bool{"self": true, "b": false}
	step("at the start", 0, live, true, 0)
	step("a node is lost", time.Second, lost, true, 0)
	step("it is back", 2*time.Second, live, true, 0)
	next(true, 2*time.Second+settling)
	step("what is on its way has settled", 2*time.Second+settling, live, true, 1)
	step("a node is added", 3*time.Second, map[string]bool{"self": true, "b": true, "c": true}, true, 1)
	step("it is lost again", 4*time.Second, lost, true, 1)
	step("and back, too soon", 5*time.Second, live, true, 1)
	next(true, 2*time.Second+settling+reuniting)
	step("later", 2*time.Second+settling+reuniting, live, true, 2)
	if _, ok := r.again(nil, nil, true); ok {
		t.Error("there is something left to do")
	}
	step("it is lost a third time", time.Hour, lost, true, 2)
	step("who can't ask the API server lets others speak first", time.Hour+time.Second, live, false, 2)
	next(false, time.Hour+time.Second+cedingLate)
	next(true, time.Hour+time.Second+settling)
	step("and then announces, too", time.Hour+time.Second+cedingLate, live, false, 3)
}

func TestWhoIsHeardIsThere(t *testing.T) {
	mac := [6]byte{2, 1}
	nodes := []announce.Node{
		{Name: "a", Links: []announce.Link{{Name: "eth0", MAC: mac}, {Name: "eth1", MAC: [6]byte{2, 7}}}},
		{Name: "b", Links: []announce.Link{{Name: "eth0", MAC: [6]byte{2, 2}}}},
	}
	told := slices.Clone(nodes[0].Links)
	heard(map[netip.Addr]rival{contested: {node: "a", mac: mac}}, nodes)
	if a := nodes[0]; !a.Live || !a.Links[0].Up || a.Links[1].Up {
		t.Errorf("who was heard on eth0: %+v", a)
	}
	if b := nodes[1]; b.Live || b.Links[0].Up {
		t.Errorf("who was not: %+v", b)
	}
	if told[0].Up {
		t.Error("what the Speaker told was written over")
	}
}

// Who was named in the place of this node, while that could not hear of it, was
// there.
func TestOverruled(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		name      string
		connected bool
		holder    string // before
		named     string
		want      bool
	}{
		{"another node is named", false, "self", "b", true},
		{"another one in the place of a third", false, "c", "b", true},
		{"it is, and this node heard of it at once: an administrator may have named one that is gone", true, "self", "b", false},
		{"this node is named", false, "c", "self", false},
		{"the same one is named", false, "b", "b", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := &decision{connected: c.connected, holders: map[netip.Addr]string{contested: c.holder}}
			told := map[netip.Addr]rival{}
			overruled("self", before, map[netip.Addr]string{contested: c.named}, told, now)
			have := map[netip.Addr]rival{}
			remember(have, told, now.Add(layer2.RivalMemory-1))
			if _, ok := have[contested]; ok != c.want || ok && have[contested].node != c.named {
				t.Errorf("rivals: %v", have)
			}
			have = map[netip.Addr]rival{}
			if remember(have, told, now.Add(layer2.RivalMemory)); len(have)+len(told) != 0 {
				t.Errorf("later: %v, %v", have, told)
			}
		})
	}
	overruled("self", nil, nil, nil, now) // the first pass
}

// What is given up to a rival is not answered for any longer: it answers.
func TestNothingLingersForARival(t *testing.T) {
	r := &reconciler{options: options{node: "a"}, handing: map[netip.Addr]handing{}, links: layer2.New(nil, layer2.Options{})}
	before := &decision{}
	before.Claims = []announce.Claim{{Addr: contested}}
	d := &decision{live: map[string]bool{"b": true}, rivals: map[netip.Addr]rival{contested: {node: "b"}}}
	d.Verdicts = map[ipam.Key]announce.Verdict{{}: {Layer2: []announce.Ownership{{Addr: contested, Owner: "b"}}}}
	r.linger(before, d, nil)
	if len(r.handing) != 0 {
		t.Errorf("lingers: %v", r.handing)
	}
	d.rivals = nil
	r.linger(before, d, nil)
	if len(r.handing) != 1 {
		t.Error("does not linger for an heir that was not heard: this test proves nothing")
	}
}
