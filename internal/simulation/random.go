package simulation

import (
	"maps"
	"math/rand/v2"
	"time"
)

// kindsWithControllers returns the faults of worlds that have controllers.
func kindsWithControllers() map[string]faultKind {
	out := editKinds()
	maps.Copy(out, controllerKinds())
	return out
}

// kindOf returns the kind of faults of that name.
func kindOf(name string) (faultKind, bool) {
	k, known := kindsOfFaults()[name]
	if !known {
		k, known = kindsWithControllers()[name]
	}
	return k, known
}

// RandomGrants returns the History of a seed in which controllers give out addresses:
// mostly without nodes, which would only announce them.
func RandomGrants(seed uint64) History {
	rnd := rand.New(rand.NewPCG(seed, 2))
	h := History{Seed: seed, Subnets: 1, Services: 2 + rnd.IntN(4), Controllers: 2 + rnd.IntN(2), Finalizers: rnd.IntN(6) == 0}
	kinds := []map[string]faultKind{editKinds(), editKinds(), controllerKinds()}
	some := []string{"api", "lost", "slow"}
	if rnd.IntN(8) == 0 { // how nodes fare when all of that comes together is told by Random
		h.Nodes, h.Gateway = 3+rnd.IntN(3), true
		some = []string{"crash", "power", "exclude", "move", "join"}
	}
	kinds = append(kinds, map[string]faultKind{})
	for _, name := range some {
		kinds[3][name] = kindsOfFaults()[name]
	}
	var at time.Duration
	pause := []time.Duration{100 * time.Millisecond, time.Second, 5 * time.Second}[rnd.IntN(3)]
	for range 4 + rnd.IntN(16) {
		from := kinds[rnd.IntN(len(kinds))]
		names := sortedKeys(from)
		h.Faults = append(h.Faults, h.random(rnd, names[rnd.IntN(len(names))], at))
		if rnd.IntN(3) > 0 {
			at += upTo(rnd, pause)
		}
	}
	if rnd.IntN(3) == 0 { // behind all the time
		for c := range h.Controllers {
			h.Faults = append(h.Faults, Fault{For: at, Kind: "lag-controller", Nodes: []int{c}, Value: upTo(rnd, 8*time.Second)})
		}
	}
	return h
}

// random returns a fault of a kind that begins then.
func (h *History) random(rnd *rand.Rand, kind string, at time.Duration) Fault {
	k, _ := kindOf(kind)
	f := Fault{At: at, Kind: kind}
	if k.lasts || !k.controllers {
		f.For = upTo(rnd, 15*time.Second)
	}
	if kind == "rolling" {
		f.For = rolling
	}
	for range k.nodes {
		f.Nodes = append(f.Nodes, rnd.IntN(h.places(k.on)))
	}
	if k.number > 0 {
		f.Number = rnd.IntN(k.number)
	}
	if k.value > 0 {
		f.Value = upTo(rnd, k.value)
	}
	return f
}

// places is how many there are of what a letter stands for.
func (h *History) places(on byte) int {
	switch on {
	case 's':
		return h.Services + 2 // one that is not there is made
	case 'p':
		return 3
	case 'c':
		return h.Controllers
	}
	return h.Nodes
}
