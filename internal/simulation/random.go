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
	maps.Copy(out, ipamKinds())
	return out
}

// kindOf returns the kind of faults of that name.
func kindOf(name string) (faultKind, bool) {
	k, known := kindsOfFaults()[name]
	if !known {
		k, known = kindsWithControllers()[name]
	}
	if !known {
		k, known = kindsByName()[name]
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
	if rnd.IntN(8) == 0 { // Random covers combinations of all of these
		h.Nodes, h.Gateway = 3+rnd.IntN(3), true
		some = []string{"crash", "power", "exclude", "move", "join"}
	}
	kinds = append(kinds, map[string]faultKind{})
	for _, name := range some {
		kinds[3][name] = kindsOfFaults()[name]
	}
	switch rnd.IntN(8) {
	case 0, 1, 2:
		h.trouble(rnd)
	case 3, 4:
		h.losses(rnd)
	case 5:
		h.shares(rnd)
	default:
		h.anything(rnd, kinds)
	}
	if h.External = seed%4 == 3; h.External {
		h.elsewhere(rnd)
	}
	return h
}

// elsewhere is an IPAM that is away, slow, or lies.
func (h *History) elsewhere(rnd *rand.Rand) {
	end := h.end()
	for range rnd.IntN(4) {
		kinds := sortedKeys(ipamKinds())
		h.Faults = append(h.Faults, Fault{At: upTo(rnd, end+time.Second), For: upTo(rnd, 30*time.Second), Kind: kinds[rnd.IntN(len(kinds))]})
	}
}

// anything is faults and edits of all kinds.
func (h *History) anything(rnd *rand.Rand, kinds []map[string]faultKind) {
	var at time.Duration
	pause := []time.Duration{100 * time.Millisecond, time.Second, 5 * time.Second}[rnd.IntN(3)]
	for range 4 + rnd.IntN(16) {
		names := sortedKeys(kinds[rnd.IntN(len(kinds))])
		h.Faults = append(h.Faults, h.random(rnd, names[rnd.IntN(len(names))], at))
		if rnd.IntN(3) > 0 {
			at += upTo(rnd, pause)
		}
	}
	if rnd.IntN(3) == 0 {
		h.behind(rnd, at)
	}
}

// trouble is edits while the leader falls out, again and again.
func (h *History) trouble(rnd *rand.Rand) {
	var at time.Duration
	for range 1 + rnd.IntN(3) {
		kind := []string{"stop-leader", "stop-leader", "crash-leader", "freeze-leader", "cut-leader"}[rnd.IntN(5)]
		h.edits(rnd, at, 500*time.Millisecond)
		h.Faults = append(h.Faults, Fault{At: at + upTo(rnd, 500*time.Millisecond), For: 4*time.Second + upTo(rnd, 6*time.Second), Kind: kind})
		h.edits(rnd, at+500*time.Millisecond, 3*time.Second)
		at += 4*time.Second + upTo(rnd, 10*time.Second)
	}
	for c := range h.Controllers {
		if rnd.IntN(2) == 0 { // others are not behind
			h.Faults = append(h.Faults, Fault{For: at, Kind: "lag-controller", Nodes: []int{c}, Value: 2*time.Second + upTo(rnd, 8*time.Second)})
		}
	}
}

// losses is edits while answers get lost, and caches are behind.
func (h *History) losses(rnd *rand.Rand) {
	long := 10*time.Second + upTo(rnd, 10*time.Second)
	h.Faults = append(h.Faults, Fault{For: long, Kind: "lost"})
	for c := range h.Controllers {
		h.Faults = append(h.Faults, Fault{For: long, Kind: "lag-controller", Nodes: []int{c}, Value: 5*time.Second + upTo(rnd, 10*time.Second)})
	}
	for at := time.Duration(0); at < long; at += upTo(rnd, 4*time.Second) {
		h.edits(rnd, at, time.Second)
		f := h.random(rnd, []string{"resize", "remake-pool", "rename-pool", "grace"}[rnd.IntN(4)], at+upTo(rnd, 5*time.Second))
		h.Faults = append(h.Faults, f)
	}
}

// shares is Services of one namespace that share an address, and change what they do that
// with.
func (h *History) shares(rnd *rand.Rand) {
	h.Services = 5
	var at time.Duration
	for _, place := range []int{0, 2, 4} {
		h.Faults = append(h.Faults, Fault{At: at, Kind: "key", Nodes: []int{place}, Number: 1}, Fault{At: at, Kind: "ask", Nodes: []int{place}})
		at += upTo(rnd, 3*time.Second)
	}
	for range 2 + rnd.IntN(8) {
		at += upTo(rnd, 4*time.Second)
		place := []int{0, 2, 4, rnd.IntN(5)}[rnd.IntN(4)]
		switch rnd.IntN(5) {
		case 0:
			h.edits(rnd, at, time.Second)
		case 1:
			h.Faults = append(h.Faults, Fault{At: at, Kind: "key", Nodes: []int{place}, Number: rnd.IntN(3)})
		case 2:
			h.Faults = append(h.Faults, Fault{At: at, For: upTo(rnd, 6*time.Second), Kind: "stop-leader"})
		default:
			h.Faults = append(h.Faults, Fault{At: at, Kind: "port", Nodes: []int{place}, Number: []int{0, 2, 4, 5}[rnd.IntN(4)]})
		}
	}
}

// edits are some of those that may take or free an address, in a while.
func (h *History) edits(rnd *rand.Rand, at, while time.Duration) {
	kinds := []string{"create", "create", "delete", "remove", "replace", "plain", "class", "ask", "ask-pool", "ask-none", "key", "port", "resize", "resize", "resize", "remake-pool", "rename-pool"}
	for range 1 + rnd.IntN(4) {
		f := h.random(rnd, kinds[rnd.IntN(len(kinds))], at+upTo(rnd, while))
		f.For = min(f.For, 3*time.Second)
		h.Faults = append(h.Faults, f)
	}
}

// behind has all controllers be behind for so long.
func (h *History) behind(rnd *rand.Rand, long time.Duration) {
	for c := range h.Controllers {
		h.Faults = append(h.Faults, Fault{For: long, Kind: "lag-controller", Nodes: []int{c}, Value: upTo(rnd, 8*time.Second)})
	}
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

// most is the greatest place that means something: Services that are not there are made.
func (h *History) most(on byte) int {
	if on == 's' {
		return 16
	}
	return h.places(on)
}
