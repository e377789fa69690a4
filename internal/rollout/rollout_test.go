package rollout

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return start.Add(d) }

func TestMayReset(t *testing.T) {
	long := at(-time.Hour)
	for _, c := range []struct {
		name  string
		other Session
		at    time.Duration
		want  bool
	}{
		{"at once: more edits may follow", Session{Node: "z"}, 400 * time.Millisecond, false},
		{"then the first node", Session{Node: "z", Up: true, Revision: "1", Waits: true, Since: long}, time.Second, true},
		{"the next one while the first waits", Session{Node: "a", Up: true, Revision: "1", Waits: true, Since: long}, time.Second, false},
		{"the next one while the first does not know of the edit", Session{Node: "a", Up: true, Revision: "1", Since: long}, time.Second, false},
		{"the next one while a value on the first's Node has changed", Session{Node: "a", Up: true, Revision: "2", Waits: true, Since: long}, time.Second, false},
		{"the next one while the first's comes up", Session{Node: "a", Revision: "2", Since: at(900 * time.Millisecond)}, time.Second, false},
		{"the next one when the first's is up", Session{Node: "a", Up: true, Revision: "2", Since: at(time.Second)}, time.Second, true},
		{"the first does not wait for one that never was up", Session{Node: "a", Revision: "2", Since: long}, time.Second, true},
		{"nor for one whose speaker is gone", Session{Node: "a", Up: true, Gone: true, Revision: "1", Since: long}, time.Second, true},
		{"none waits for a later node that waits", Session{Node: "z", Up: true, Waits: true, Revision: "2", Since: long}, time.Second, true},
		{"but for a later node that comes up, of an edit before", Session{Node: "z", Revision: "1", Since: at(0)}, time.Second, false},
		{"its own session does not count", Session{Node: "m", Revision: "1", Since: at(0)}, time.Second, true},
	} {
		var r Rollout
		f := Facts{Now: start, Self: "m", Revision: "2", Sessions: []Session{c.other}}
		if r.MayReset(f) {
			t.Errorf("%s: it resets its session when it has just read the edit", c.name)
		}
		f.Now = at(c.at)
		if got := r.MayReset(f); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

func TestANodeWaits10SecondsForEachOther(t *testing.T) {
	var r Rollout
	f := Facts{Self: "m", Revision: "2"}
	for _, name := range []string{"a", "b"} {
		f.Sessions = append(f.Sessions, Session{Node: name, Up: true, Revision: "1"})
	}
	waited := time.Duration(0)
	for f.Now = start; !r.MayReset(f); f.Now = f.Now.Add(100 * time.Millisecond) {
		if waited += 100 * time.Millisecond; waited > time.Minute {
			t.Fatal("it waits for ever")
		}
	}
	if waited < 20*time.Second || waited > 21*time.Second {
		t.Errorf("it waited %s for two others", waited)
	}
	f.Revision = "3"
	if r.MayReset(f) {
		t.Error("the next edit does not wait")
	}
}

// node is one in a cluster that is edited, as it is and as others read it.
type node struct {
	Session
	failing bool // its session does not come up again
	behind  int  // by how many steps it reads others' sessions late
	read    int  // and edits
	comesUp time.Time
	wants   string // the revision that it has read
	rollout Rollout
	resets  int
	history []Session // by step
}

// TestAnEditNeverDarkensACluster lives through edits of clusters: with some nodes' speakers
// gone, or sessions that do not come back, and everything read with delays.
func TestAnEditNeverDarkensACluster(t *testing.T) {
	const step, delay = 100 * time.Millisecond, 2 // steps; with both delays it is less than settle
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 1))
		nodes := make([]*node, 1+rng.IntN(45))
		broken := 0
		for i := range nodes {
			nodes[i] = &node{Session: Session{Node: fmt.Sprintf("node%02d", i), Up: true, Revision: "1", Since: at(-time.Hour)}, wants: "1"}
			nodes[i].Gone, nodes[i].failing = rng.IntN(20) == 0, rng.IntN(20) == 0
			nodes[i].behind, nodes[i].read = 1+rng.IntN(delay), rng.IntN(delay)
			if nodes[i].Gone || nodes[i].failing {
				broken++
			}
		}
		width := max(1, (len(nodes)+share-1)/share)
		edits := []int{0, rng.IntN(100)} // the second one may come amid the first
		now := start
		for i := range int((time.Duration(broken+1)*Longest + time.Duration(2*len(nodes))*2*time.Second) / step) {
			now = start.Add(time.Duration(i) * step)
			coming, done := 0, true
			for _, n := range nodes {
				done = done && (n.Gone || n.Up && n.Revision == "3" || n.failing && n.resets > 0)
				if n.live(i, edits, rng, nodes, now); !n.Up && !n.failing {
					coming++
				}
			}
			if coming > width {
				t.Fatalf("seed %d: after %s %d of %d nodes have no session", seed, now.Sub(start), coming, len(nodes))
			}
			if done {
				break
			}
			for _, n := range nodes {
				n.history = append(n.history, n.Session)
				n.history = n.history[max(0, len(n.history)-delay):]
			}
		}
		for _, n := range nodes {
			if !n.Gone && (n.Revision != "3" || n.resets > 2) {
				t.Fatalf("seed %d: %s ends with revision %s, after %d resets, at %s", seed, n.Node, n.Revision, n.resets, now.Sub(start))
			}
		}
	}
}

// live is one step of a node.
func (n *node) live(i int, edits []int, rng *rand.Rand, nodes []*node, now time.Time) {
	if n.Gone {
		return
	}
	for k, at := range edits {
		if i >= at+n.read {
			n.wants = max(n.wants, fmt.Sprint(k+2))
		}
	}
	switch {
	case !n.Up && n.failing:
		n.Revision = n.wants // dialed again for the peer as it is
	case !n.Up && !now.Before(n.comesUp):
		n.Up, n.Since, n.Revision, n.Waits = true, now, n.wants, false
	case n.Up && n.Revision != n.wants:
		n.Waits = true
		f := Facts{Now: now, Self: n.Node, Revision: n.wants}
		for _, o := range nodes {
			seen := o.Session
			if len(o.history) >= n.behind {
				seen = o.history[len(o.history)-n.behind]
			}
			f.Sessions = append(f.Sessions, seen)
		}
		if n.rollout.MayReset(f) {
			n.Up, n.Since, n.Revision, n.Waits, n.resets = false, now, n.wants, false, n.resets+1
			n.comesUp = now.Add(time.Duration(200+rng.IntN(1500)) * time.Millisecond)
		}
	}
}
