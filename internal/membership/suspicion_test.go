package membership

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A member that was cut off has taken all others for dead. When it is back they don't
// believe that of one another.
func TestWhatOneThatWasCutOffBelievedIsNotBelieved(t *testing.T) {
	for _, n := range []int{3, 7} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			in(t, n, func(w *world) {
				names := namesOf(w)
				set := func(parted bool) {
					for _, name := range names[1:] {
						w.part("n1", name, parted)
					}
				}
				for i := range time.Duration(5) {
					set(true)
					w.agree(2*soon, " n1 Dead", "n1")
					w.agree(2*soon, " "+strings.Join(names[1:], " Dead ")+" Dead", names[1:]...)
					time.Sleep(i * 200 * time.Millisecond) // to where neighbors stand in their telling one another
					set(false)
					for start := time.Now(); time.Since(start) < 4*time.Second; time.Sleep(5 * time.Millisecond) {
						synctest.Wait()
						for _, name := range names[1:] {
							if shown := w.shown(name); shown != "" && shown != " n1 Dead" {
								t.Fatalf("%v after the partition healed %s shows %q", time.Since(start), name, shown)
							}
						}
					}
					w.agree(0, "")
				}
			})
		})
	}
}

// A speaker that sees a member, and has not been told of its incarnation yet, answers for the one
// that it is asked about.
func TestAnAnswerAboutAMemberThatHasSaidNothing(t *testing.T) {
	start := time.Unix(1000, 0)
	a := NewState("a", 1)
	a.SetMembers(start, []Member{{Name: "a"}, {Name: "b"}, {Name: "c"}}, time.Second)
	a.Session(start, "c", Session{Up: true, Ups: 1, Heard: true})
	a.Ready()
	a.Step(start, Message{From: "b", Suspect: &update{Member: "c", Incarnation: 7}})
	for _, p := range a.Ready().Send {
		if p.Message.Alive != nil && slices.Equal(p.To, []string{"b"}) {
			if want := (update{Member: "c", Incarnation: 7}); *p.Message.Alive != want {
				t.Errorf("it says that it sees %+v, want %+v", *p.Message.Alive, want)
			}
			return
		}
	}
	t.Error("it does not answer")
}

// A member that this speaker sees, and others say is dead, may refute first.
func TestASuspicion(t *testing.T) {
	start := time.Unix(1000, 0)
	dead := update{Member: "c", Incarnation: 7, Standing: Dead}
	alive := func(incarnation uint64) Message {
		return Message{From: "c", Updates: []update{{Member: "c", Incarnation: incarnation}}}
	}
	for _, c := range []struct {
		name   string
		then   func(*State)
		before Standing // when the time to refute is not over
		after  Standing
	}{
		{"it is silent", func(*State) {}, Alive, Dead},
		{"it refutes", func(s *State) { s.Step(start.Add(time.Millisecond), alive(8)) }, Alive, Alive},
		{"it is not seen any more", func(s *State) { s.Session(start.Add(time.Millisecond), "c", Session{Ups: 1}) }, Dead, Dead},
		{"it leaves", func(s *State) { s.SetMembers(start, []Member{{Name: "a"}, {Name: "b"}}, time.Second) }, Alive, Alive},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := NewState("a", 1)
			a.SetMembers(start, []Member{{Name: "a"}, {Name: "b"}, {Name: "c"}}, time.Second)
			a.Step(start, alive(7))
			a.Session(start, "c", Session{Up: true, Ups: 1, Heard: true})
			a.Ready()
			a.Step(start, Message{From: "b", Updates: []update{dead}})
			if got := a.standing("c"); got != Alive {
				t.Errorf("at first: %s", got)
			}
			want := []Packet{{[]string{"c"}, Message{From: "a", Updates: []update{dead}}}}
			if diff := cmp.Diff(want, a.Ready().Send, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("told: want -, have +:\n%s", diff)
			}
			c.then(a)
			a.Tick(start.Add(suspicionTimeout - 1))
			if got := a.standing("c"); got != c.before {
				t.Errorf("before the end: %s, want %s", got, c.before)
			}
			if next := a.Next(); len(a.suspicions) > 0 && next.After(start.Add(suspicionTimeout)) {
				t.Errorf("wakes up %v late", next.Sub(start.Add(suspicionTimeout)))
			}
			a.Tick(start.Add(suspicionTimeout))
			if got := a.standing("c"); got != c.after || len(a.suspicions) != 0 {
				t.Errorf("at the end: %s, want %s; suspicions %v", got, c.after, a.suspicions)
			}
		})
	}
}

// Whatever comes, a few Ticks leave nothing due: a Group would turn in circles.
func TestTicksLeaveNothingDue(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	for seed := range uint64(200) {
		dice := rand.New(rand.NewPCG(seed, 0))
		now := time.Unix(1000, 0)
		s := NewState("a", 1)
		var members []Member
		for _, name := range names {
			members = append(members, Member{Name: name, Silent: dice.IntN(4) == 0})
		}
		s.SetMembers(now, members, time.Second)
		for step := range 300 {
			name := names[1+dice.IntN(len(names)-1)]
			about := &update{Member: names[dice.IntN(len(names))], Incarnation: dice.Uint64N(4), Standing: Standing(dice.IntN(3)), Hold: time.Duration(dice.IntN(3)) * time.Second}
			switch dice.IntN(6) {
			case 5:
				s.SetLink(now, dice.IntN(4) > 0)
			case 0:
				s.Session(now, name, Session{Up: dice.IntN(2) == 0, Ups: dice.Uint64N(4), Heard: dice.IntN(2) == 0, Refused: dice.IntN(3) == 0})
			case 1:
				s.Step(now, Message{From: name, Updates: []update{*about}})
			case 2:
				s.Step(now, Message{From: name, Suspect: about})
			case 3:
				s.Step(now, Message{From: name, Alive: about})
			case 4:
				for _, target := range s.Ready().Probe {
					s.Answer(now, target, Reply(dice.IntN(3)))
				}
			}
			now = now.Add(time.Duration(dice.IntN(300)) * time.Millisecond)
			for range 3 { // what one does may make another due
				s.Tick(now)
			}
			if next := s.Next(); !next.After(now) {
				t.Fatalf("seed %d, step %d: %+v is due still", seed, step, s.deadlines[0])
			}
		}
	}
}

// A member that is said to be dead refutes while it is in touch with most of those that live: also
// in the smaller half of a network, and also if it finds the others dead only later.
func TestWhoIsInTouchRefutes(t *testing.T) {
	all := []string{"a", "b", "c", "d", "e", "f"}
	for _, c := range []struct {
		name       string
		lost, dead []string
		want       bool
	}{
		{"with all", nil, nil, true},
		{"with half of them", all[:3], nil, true},
		{"with two of six", all[:4], nil, false},
		{"with two of six, of whom one is dead", all[:4], all[:1], false},
		{"with two of six, and the others are dead", all[:4], all[:4], true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWatching(all...)
			for _, name := range c.lost {
				w.Session(w.now, name, Session{Ups: 1, Heard: true})
			}
			w.Step(w.now, Message{From: "f", Updates: []update{{Member: "self", Incarnation: 1, Standing: Dead}}})
			for _, name := range c.dead {
				w.Step(w.now, Message{From: "f", Updates: []update{{Member: name, Incarnation: 1, Standing: Dead}}})
			}
			refutes := slices.ContainsFunc(w.Ready().Send, func(p Packet) bool {
				return p.To == nil && slices.Equal(p.Message.Updates, []update{{Member: "self", Incarnation: 2}})
			})
			if refutes != c.want {
				t.Errorf("refutes: %t", refutes)
			}
		})
	}
}
