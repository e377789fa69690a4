package static

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/membership"
)

func TestAPIServersThatAreKilledOneByOne(t *testing.T) {
	w := newWorld(t, 3)
	w.harm("start", 4*time.Second, nil)
	first := w.at(w.owner)
	w.harm("kill the owner's", time.Second, func() { first.ready = false })
	second := w.at(w.owner)
	if second == first {
		w.fail("the address stays where nothing serves")
	}
	w.do("the first is back: nothing moves", 10*time.Second, func() { first.ready = true })
	w.wants(second.name)
	w.harm("kill", time.Second, func() { second.ready = false })
	third := w.at(w.owner)
	w.harm("kill", time.Second, func() { third.ready = false })
	w.harm("kill all", time.Second, func() {
		for _, m := range w.nodes {
			m.ready = false
		}
	})
	w.wants()
	w.harm("the last one", time.Second, func() { second.ready = true })
	w.wants(second.name)
}

func TestNodesThatAreLostOneByOne(t *testing.T) {
	w := newWorld(t, 3)
	w.harm("start", 4*time.Second, nil)
	first := w.at(w.owner)
	w.harm("cut the owner", 2*time.Second, func() { first.cut = true })
	second := w.at(w.owner)
	w.harm("cut the next", 3*time.Second, func() { second.cut = true })
	third := w.at(w.owner)
	if first == second || second == third {
		w.fail("the address stays at a node that is lost")
	}
	w.do("both are back: nothing moves", 10*time.Second, func() { first.cut, second.cut = false, false })
	w.wants(third.name)
}

// The first control plane of a cluster is there before the others that the file lists.
func TestTheFirstNodeOfACluster(t *testing.T) {
	w := newWorld(t, 3)
	w.nodes[1].running, w.nodes[2].running = false, false
	w.harm("start", alone+Misses*Heartbeat+time.Second, nil)
	w.wants("n1")
	w.do("the second", 10*time.Second, func() { w.run(w.nodes[1]) })
	w.do("the third", 10*time.Second, func() { w.run(w.nodes[2]) })
	w.wants("n1")
}

// The file lists nodes that do not exist yet: those that do are served, also while they are not most of them.
func TestFewOfTheNodesExist(t *testing.T) {
	for _, n := range []int{4, 5} {
		for first := range 2 {
			w := newWorld(t, n)
			for _, m := range w.nodes[1:] {
				m.running = false
			}
			w.harm("start", alone+Misses*Heartbeat+time.Second, nil)
			w.do("the second", 10*time.Second, func() { w.run(w.nodes[1]) })
			w.wants("n1")
			m := w.nodes[first]
			w.harm(m.name+" is lost with its API server", 10*time.Second, func() {
				for _, x := range w.nodes[:2] { // etcd has no majority
					x.ready = false
				}
				m.running, m.stopped = false, w.now.Add(-membership.Hold)
			})
			w.harm("it is back", 10*time.Second, func() {
				w.run(m)
				w.nodes[0].ready, w.nodes[1].ready = true, true
			})
			w.wants(w.owner)
			w.do("the owner's speaker restarts", 500*time.Millisecond, func() { w.at(w.owner).running, w.at(w.owner).stopped = false, w.now })
			w.do("it is back", 10*time.Second, func() { w.run(w.at(w.owner)) })
			w.wants(w.owner)
			owner := w.owner
			for _, m := range w.nodes[2:] {
				w.do("another one", 10*time.Second, func() { w.run(m) })
			}
			w.wants(owner)
		}
	}
}

// A network that is cut in two: each half serves itself, and what the half with most nodes has
// decided counts in the end.
func TestANetworkThatIsCutInTwo(t *testing.T) {
	w := newWorld(t, 3)
	w.harm("start", 4*time.Second, nil)
	first := w.at(w.owner)
	w.harm("the owner is alone", 4*time.Second, func() { first.side = 1 })
	var second *machine
	for _, m := range w.nodes {
		if m != first && m.answers() {
			second = m
		}
	}
	if second == nil || !first.answers() {
		w.fail("a half is not served")
	}
	w.harm("the halves meet", 5*time.Second, func() { first.side = 0 })
	w.wants(second.name)
	// Now one that does not own it is alone.
	w.harm("another is alone", 4*time.Second, func() { first.side = 1 })
	w.harm("the halves meet", 5*time.Second, func() { first.side = 0 })
	w.wants(second.name)
}

func TestASpeakerThatRestarts(t *testing.T) {
	w := newWorld(t, 3)
	w.harm("start", 4*time.Second, nil)
	owner := w.at(w.owner)
	for _, m := range w.nodes {
		w.do("restart "+m.name, 500*time.Millisecond, func() { m.running, m.stopped = false, w.now })
		w.do("it is back", 5*time.Second, func() { w.run(m) })
		w.wants(owner.name)
	}
	if w.moved != 1 {
		w.fail("the address has moved")
	}
}

func TestTwoNodes(t *testing.T) {
	w := newWorld(t, 2)
	w.harm("start", 4*time.Second, nil)
	first := w.at(w.owner)
	w.harm("cut the owner", 4*time.Second, func() { first.cut = true })
	second := w.at(w.owner)
	if second == first {
		w.fail("the address stays at a node that is lost")
	}
	w.do("it is back", 10*time.Second, func() { first.cut = false })
	w.wants(second.name)
}

// Random histories: two do not answer for long, none is silent for long, and nothing moves without
// a reason. In the end one answers.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			w := newWorld(t, 2+rng.IntN(4))
			w.harm("start", 4*time.Second, nil)
			for range 12 {
				m, pause := w.nodes[rng.IntN(len(w.nodes))], time.Duration(rng.IntN(80))*100*time.Millisecond
				switch rng.IntN(6) {
				case 0:
					w.harm(m.name+"'s API server is killed", pause, func() { m.ready = false })
				case 1:
					w.harm(m.name+"'s API server is there", pause, func() { m.ready = true })
				case 2:
					w.harm(m.name+" is cut off, or back", pause, func() { m.cut = !m.cut })
				case 3:
					w.harm(m.name+" changes the side", pause, func() { m.side = 1 - m.side })
				case 4:
					w.harm(m.name+"'s speaker is killed", pause, func() { m.running, m.stopped = false, w.now.Add(-membership.Hold) })
				default:
					w.harm(m.name+"'s speaker starts", pause, func() {
						if !m.running {
							w.run(m)
						}
					})
				}
			}
			w.harm("the end of all faults", 12*time.Second, func() {
				for _, m := range w.nodes {
					m.ready, m.cut, m.side = true, false, 0
					if !m.running {
						w.run(m)
					}
				}
			})
			w.wants(w.owner)
			before := w.moved
			w.do("rest", 20*time.Second, nil)
			w.wants(w.owner)
			if w.moved != before {
				w.fail("the address moves while nothing happens")
			}
		})
	}
}

// Without most of the nodes an address moves as well, and stays where a probe finds it.
func TestAnAddressIsHandedOverWithoutAMajority(t *testing.T) {
	w := newWorld(t, 4)
	w.harm("start", 4*time.Second, nil)
	owner := w.at(w.owner)
	var rest []*machine
	for _, m := range w.nodes {
		if m != owner {
			rest = append(rest, m)
		}
	}
	w.do("two speakers are killed", 10*time.Second, func() {
		for _, m := range rest[1:] {
			m.running, m.stopped = false, w.now.Add(-membership.Hold)
		}
	})
	w.harm("the owner's API server is killed", 10*time.Second, func() { owner.ready = false })
	w.wants(rest[0].name)
	w.do("it is back: nothing moves", 10*time.Second, func() { owner.ready = true })
	w.wants(rest[0].name)
}

// A speaker that has heard most of the others, and not the owner, does not know whether the owner can answer.
func TestASpeakerThatStartsHearsTheOwnerFirst(t *testing.T) {
	c := Config{Addrs: []netip.Addr{vip}, Nodes: []Node{{Name: "n1"}, {Name: "n2"}, {Name: "n3"}}}
	owner := Received{Report{Ready: true, Answers: c.Addrs, Hears: []string{"n1"}}, start}
	other := Received{Report{Ready: true, Owners: map[netip.Addr]Held{vip: {"n2", 3}}, Hears: []string{"n1"}}, start}
	r := NewRegistry("n1", start)
	r.Observe(start, c, map[string]Received{"n3": other}, Local{Ready: true})
	if f := r.Facts(start, c); !f.API.Reachable || f.API.Synced || f.Claims[0].Node != "n2" || r.Known(start, c) {
		t.Errorf("%+v; known: %v", f.API, r.Known(start, c))
	}
	r.Observe(start, c, map[string]Received{"n3": other, "n2": owner}, Local{Ready: true})
	if f := r.Facts(start, c); !r.Known(start, c) || f.Claims[0].Answering != "n2" {
		t.Errorf("%+v; known: %v", f.Claims, r.Known(start, c))
	}
	// If the owner is gone, its report is missing for good.
	r = NewRegistry("n1", start)
	later := start.Add(Misses * Heartbeat)
	other.At = later
	r.Observe(later, c, map[string]Received{"n3": other}, Local{Ready: true})
	if f := r.Facts(later, c); !r.Known(later, c) || !f.Leases["n2"].Expired || f.Leases["n3"].Expired {
		t.Errorf("%+v; known: %v", f.Leases, r.Known(later, c))
	}
}
