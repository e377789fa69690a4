package membership

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// watching is a member that has seen others Up, and what the tests do with it.
type watching struct {
	*State
	now time.Time
}

func newWatching(others ...string) *watching {
	w := &watching{NewState("self", 1), time.Unix(1000, 0)}
	members := []Member{{Name: "self"}}
	for _, n := range others {
		members = append(members, Member{Name: n})
	}
	w.SetMembers(w.now, members, 400*time.Millisecond)
	for _, n := range others {
		w.Step(w.now, Message{From: n, Updates: []update{{Member: n, Incarnation: 1}}})
		w.Session(w.now, n, Session{Up: true, Ups: 1, Heard: true})
	}
	w.runs(2 * time.Second)
	return w
}

// runs lets time go by as Next wants it.
func (w *watching) runs(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(10 * time.Millisecond) {
		if !w.now.Before(w.Next()) {
			w.Tick(w.now)
		}
	}
}

func (w *watching) loses(name string) { w.Session(w.now, name, Session{Ups: 1}) }

func TestWhatALostSessionSays(t *testing.T) {
	seesA := Message{From: "b", Alive: &update{Member: "a", Incarnation: 1}}
	stops := Message{From: "b", Updates: []update{{Member: "b", Incarnation: 1, Standing: Restarting, Hold: Hold}}}
	for _, c := range []struct {
		name string
		then func(*watching)
		want Standing
	}{
		{"its peer is dead", func(w *watching) {
			w.loses("a")
			w.runs(time.Second)
		}, Dead},
		{"nothing, when this speaker stood still", func(w *watching) {
			w.now = w.now.Add(5 * time.Second)
			w.loses("a")
			w.runs(time.Second)
		}, Alive},
		{"but if it does not come Up again, its peer is dead all the same", func(w *watching) {
			w.now = w.now.Add(5 * time.Second)
			w.loses("a")
			w.runs(doubt + time.Second)
		}, Dead},
		{"no other member was reachable then, and the other one is asked when it is", func(w *watching) {
			w.loses("b")
			w.loses("a")
			w.runs(150 * time.Millisecond)
			w.Session(w.now, "b", Session{Up: true, Ups: 2, Heard: true})
			w.runs(healDelay + time.Second)
		}, Dead},
		{"but not before sessions have had time to come Up again", func(w *watching) {
			w.loses("b")
			w.loses("a")
			w.runs(150 * time.Millisecond)
			w.Session(w.now, "b", Session{Up: true, Ups: 2, Heard: true})
			w.runs(healDelay - time.Second)
		}, Alive},
		{"it is asked, and sees a", func(w *watching) {
			w.loses("b")
			w.loses("a")
			w.runs(150 * time.Millisecond)
			w.Session(w.now, "b", Session{Up: true, Ups: 2, Heard: true})
			w.Step(w.now, seesA)
			w.runs(healDelay + time.Second)
		}, Alive},
		{"another one sees a, and stops before it could notice a loss", func(w *watching) {
			w.loses("a")
			w.Step(w.now, seesA)
			w.Step(w.now, stops)
			w.runs(time.Second)
		}, Dead},
		{"another one sees a, which stopped before the loss", func(w *watching) {
			w.Step(w.now, stops)
			w.loses("a")
			w.Step(w.now, seesA)
			w.runs(time.Second)
		}, Dead},
		{"another one saw a after the loss, and stops later", func(w *watching) {
			w.loses("a")
			w.Step(w.now, seesA)
			w.runs(2 * Answers)
			w.Step(w.now, stops)
			w.runs(time.Second)
		}, Alive},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWatching("a", "b")
			c.then(w)
			if got := w.View().Standing["a"]; got != c.want {
				t.Errorf("a is %s", got)
			}
		})
	}
}

// A speaker that is alive, and with which no session is Up, may have dropped this one: it is called.
func TestWhoIsCalled(t *testing.T) {
	w := newWatching("a", "b", "c")
	w.Step(w.now, Message{From: "c", Updates: []update{{Member: "c", Incarnation: 1, Standing: Dead}}})
	called := func() string {
		w.Ready()
		w.runs(gossipInterval)
		var out []string
		for _, p := range w.Ready().Send {
			if p.Message.Ping {
				out = append(out, p.To...)
			}
		}
		return strings.Join(out, " ")
	}
	if got := called(); got != "" {
		t.Errorf("all sessions are Up, and it calls %s", got)
	}
	w.loses("a")
	w.loses("c")
	w.Step(w.now, Message{From: "b", Alive: &update{Member: "a", Incarnation: 1}})
	if got := called(); got != "a" {
		t.Errorf("it has lost a, which b sees, and calls %q", got)
	}
}

// A speaker that starts hears from a neighbor at once who restarts. It has met those, and not who was
// dead before.
func TestWhatASpeakerThatStartsIsTold(t *testing.T) {
	old := newWatching("a", "b", "c", "d")
	for name, standing := range map[string]Standing{"b": Restarting, "c": Dead} {
		old.Step(old.now, Message{From: name, Updates: []update{{Member: name, Incarnation: 1, Standing: standing, Hold: Hold}}})
	}
	old.Ready()
	old.Step(old.now, Message{From: "a", Ping: true, Updates: []update{{Member: "a", Incarnation: 2}}})
	sent := old.Ready().Send
	if len(sent) == 0 {
		t.Fatal("a gets no reply")
	}
	a := NewState("a", 2)
	a.SetMembers(old.now, []Member{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}, {Name: "self"}}, 400*time.Millisecond)
	a.Step(old.now, sent[0].Message)
	v := a.View()
	if want := map[string]Standing{"a": Alive, "b": Restarting, "c": Dead, "d": Unknown, "self": Alive}; !maps.Equal(v.Standing, want) {
		t.Errorf("a knows %v", v.Standing)
	}
	for _, name := range []string{"b", "d"} {
		a.Step(old.now, Message{From: "self", Updates: []update{{Member: name, Incarnation: 1, Standing: Dead}}})
	}
	if v := a.View(); !maps.Equal(v.NeverMet, map[string]bool{"c": true, "d": true}) {
		t.Errorf("a never met %v", v.NeverMet)
	}
	a.Step(old.now, Message{From: "c", Updates: []update{{Member: "c", Incarnation: 2}}})
	a.Step(old.now, Message{From: "self", Updates: []update{{Member: "c", Incarnation: 2, Standing: Dead}}})
	if v := a.View(); v.NeverMet["c"] || v.Standing["c"] != Dead {
		t.Errorf("c was back, and is %s; never met: %v", v.Standing["c"], v.NeverMet)
	}
}

// What a restart makes due at once says nothing of a stall: what is lost then is lost.
func TestARestartIsNoStall(t *testing.T) {
	w := newWatching("a", "b")
	w.Step(w.now, Message{From: "b", Updates: []update{{Member: "b", Incarnation: 1, Standing: Restarting, Hold: Hold}}})
	w.loses("b")
	w.runs(20 * time.Millisecond)
	w.Ready()
	w.loses("a")
	w.runs(time.Second)
	if probes := w.Ready().Probe; !slices.Contains(probes, "") {
		t.Errorf("it does not ask whether it is cut off: %v", probes)
	}
}

// A speaker that has lost all its neighbors, of many members, is not cut off if another one replies.
func TestWhoHearsAnotherMemberIsNotCutOff(t *testing.T) {
	for _, from := range []string{"", "another", "asked"} {
		w := newWatching("a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r")
		for name := range w.observed {
			w.loses(name)
		}
		var asked []string
		for _, p := range w.Ready().Send {
			if p.Message.Ping {
				asked = p.To
			}
		}
		if len(asked) != othersPinged || w.observed[asked[0]] != nil {
			t.Fatalf("it asks %v", asked)
		}
		w.runs(50 * time.Millisecond)
		other := slices.IndexFunc(w.members, func(name string) bool {
			return name != w.self && w.observed[name] == nil && w.asked[name].IsZero()
		})
		switch from {
		case "asked":
			w.Step(w.now, Message{From: asked[0], Updates: []update{{Member: asked[0], Incarnation: 1}}})
		case "another": // it hears, but perhaps what it sends gets nowhere
			w.Step(w.now, Message{From: w.members[other], Updates: []update{{Member: w.members[other], Incarnation: 1}}})
		}
		w.runs(100 * time.Millisecond)
		w.Answer(w.now, "", Unanswered)
		if got := w.View().Isolated; got != (from != "asked") {
			t.Errorf("heard: %q, isolated: %t", from, got)
		}
	}
}

// A speaker restarts, and only one of its watchers can hear its node.
func TestWhoHearsANodeVouchesForIt(t *testing.T) {
	for _, c := range []struct {
		name  string
		reply Reply
		want  bool
	}{{"its node answers", Answered, true}, {"its node does not", Unanswered, false}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWatching("a", "b")
			w.Step(w.now, Message{From: "a", Updates: []update{{Member: "a", Incarnation: 1, Standing: Restarting, Hold: Hold}}})
			w.loses("a")
			w.runs(150 * time.Millisecond)
			w.Answer(w.now, "a", c.reply)
			w.Ready()
			w.Step(w.now, Message{From: "b", Suspect: &update{Member: "a", Incarnation: 1}})
			vouched := false
			for _, p := range w.Ready().Send {
				vouched = vouched || p.Message.Alive != nil && p.Message.Alive.Member == "a"
			}
			if vouched != c.want {
				t.Errorf("vouched: %t", vouched)
			}
		})
	}
}

// When to probe whether any host answers, although no session was lost just now.
func TestAloneFrom(t *testing.T) {
	at := time.Unix(2000, 0)
	for _, c := range []struct {
		name string
		then func(*watching)
		want time.Duration // after at; 0: never
	}{
		{"a member is reachable", func(*watching) {}, 0},
		{"none is, of those that were", func(w *watching) { w.down(at, true, false) }, healDelay},
		{"none is, and others saw one that was lost", func(w *watching) {
			w.down(at, true, false)
			w.observed["a"].decided = true
		}, Answers},
		{"one of them says that it does not hear this speaker", func(w *watching) { w.down(at, true, true) }, Answers},
		{"none ever was", func(w *watching) { w.down(at, false, false) }, healDelay},
		{"none ever was, and no Lease is renewed", func(w *watching) {
			w.down(at, false, false)
			w.silent = map[string]bool{"a": true, "b": true}
		}, 0},
		{"all are dead, and Kubernetes hears one", func(w *watching) {
			w.down(at, true, false)
			w.known["a"].Standing, w.known["b"].Standing = Dead, Dead
			w.silent = map[string]bool{"a": true}
		}, healDelay},
		{"none ever was, and others came and went", func(w *watching) {
			w.down(at, false, false)
			w.SetMembers(at.Add(2*time.Second), []Member{{Name: "self"}, {Name: "a"}, {Name: "c"}}, 400*time.Millisecond)
		}, healDelay},
		{"one is dead, and the other never was", func(w *watching) {
			w.down(at, true, false)
			w.known["a"].Standing, w.observed["b"].worked = Dead, false
		}, healDelay},
		{"all are dead", func(w *watching) {
			w.down(at, true, false)
			w.known["a"].Standing, w.known["b"].Standing = Dead, Dead
			w.silent = map[string]bool{"a": true, "b": true}
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWatching("a", "b")
			c.then(w)
			from, ok := w.aloneFrom()
			if got := from.Sub(at); ok != (c.want > 0) || ok && got != c.want {
				t.Errorf("after %s, %t", got, ok)
			}
		})
	}
}

// A member that says of itself that it is dead goes on saying so, as long as it is heard.
func TestAnAdmissionThatIsNotRepeatedEnds(t *testing.T) {
	w := newWatching("a", "b")
	for _, n := range []string{"a", "b"} {
		w.loses(n)
		w.Step(w.now, Message{From: n, Updates: []update{{Member: n, Incarnation: 1, Standing: Dead}}})
	}
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{{admission - time.Second, false}, {2 * time.Second, true}} {
		w.runs(c.after)
		w.Answer(w.now, "", Unanswered)
		if got := w.View().Isolated; got != c.want {
			t.Errorf("after %s more: isolated: %t", c.after, got)
		}
	}
}

// down has no session be Up.
func (w *watching) down(since time.Time, worked, refused bool) {
	for _, o := range w.observed {
		*o = observation{down: since, worked: worked}
	}
	w.alone = since
	w.observed["a"].refused = refused
}
