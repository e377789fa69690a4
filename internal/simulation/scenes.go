package simulation

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// generator makes the faults of a seed.
type generator struct {
	*rand.Rand
	History
}

// Random returns the History of a seed: mostly of 3 to 7 nodes, now and then of
// many in several subnets.
func Random(seed uint64) History {
	rnd := rand.New(rand.NewPCG(seed, 1))
	g := generator{rnd, History{Seed: seed, Nodes: 3 + rnd.IntN(5), Subnets: 1, Services: 2 + rnd.IntN(3), Gateway: rnd.IntN(8) > 0, SpareNIC: rnd.IntN(2) == 0, SecondLink: seed%5 == 4}}
	if rnd.IntN(4) == 0 {
		g.Prefers = 1
	}
	switch rnd.IntN(12) {
	case 0:
		g.Nodes = 2
	case 1:
		g.Subnets = 2
	case 2:
		g.Nodes, g.Subnets, g.Services = 10+rnd.IntN(10), 4, 4
	}
	switch rnd.IntN(3) {
	case 0:
		g.scene()
	case 1:
		g.storm(1+rnd.IntN(2), recent+time.Second) // one fault has its effect before the next
	default:
		g.storm(1+rnd.IntN(5), 0)
	}
	// Where the nodes' own network is whole, a segment in two halves is a limit of ours.
	g.SecondLink = g.SecondLink && !slices.ContainsFunc(g.Faults, func(f Fault) bool { return f.Kind == "split" || f.Kind == "switch" })
	return g.History
}

// storm adds faults of any kind, one after the other or at the same time.
func (g *generator) storm(count int, pause time.Duration) {
	all := sortedKeys(kindsOfFaults())
	var at time.Duration
	for range count {
		f := g.fault(all[g.IntN(len(all))], at)
		g.Faults = append(g.Faults, f)
		if pause > 0 {
			at += f.For + pause
		}
		if g.IntN(3) > 0 {
			at += upTo(g.Rand, 15*time.Second)
		}
	}
}

// fault returns one of a kind, with nodes and durations by chance.
func (g *generator) fault(name string, at time.Duration) Fault {
	kind := kindsOfFaults()[name]
	f := Fault{At: at, Kind: name, For: upTo(g.Rand, 20*time.Second)}
	if name == "rolling" {
		f.For = rolling
	}
	for range kind.nodes {
		f.Nodes = append(f.Nodes, g.IntN(g.Nodes))
	}
	if kind.value > 0 {
		f.Value = upTo(g.Rand, kind.value)
		if kind.signed && g.IntN(2) == 0 {
			f.Value = -f.Value
		}
	}
	if name == "split" {
		f.Nodes = g.Perm(g.Nodes)[:1+g.IntN(g.Nodes-1)]
		slices.Sort(f.Nodes)
	}
	return f
}

// scenes are faults that happen together, by chance too seldom. Of the kinds in each
// part one is taken.
var scenes = []struct {
	around string   // lasts from before the others until after them
	then   []string // at about the same time
}{
	{"api", []string{"lan split unplug freeze suspend cut-receive mute switch"}},
	{"api", []string{"split switch", "power crash restart"}},
	{"api", []string{"lan unplug freeze suspend", "power crash"}},
	{"split", []string{"api", "power freeze restart"}},
	{"lag", []string{"move exclude", "move exclude"}},
	{"lag", []string{"freeze suspend lan unplug"}},
	{"power", []string{"crashes restarts", "gateway lan"}},
	{"restart", []string{"power lan unplug crash suspend", "oneway pair"}},
	{"pair", []string{"oneway pair split", "api lan"}},
	{"lan", []string{"power crash lan", "rename join exclude"}},
	{"gateway", []string{"others switch", "lan power"}},
	{"lost", []string{"lan freeze", "move power"}},
}

// scene adds the faults of one.
func (g *generator) scene() {
	scene := scenes[g.IntN(len(scenes))]
	start := upTo(g.Rand, 6*time.Second)
	var end time.Duration
	for _, kinds := range scene.then {
		all := strings.Fields(kinds)
		f := g.fault(all[g.IntN(len(all))], start+upTo(g.Rand, 2*time.Second))
		g.Faults = append(g.Faults, f)
		end = max(end, f.At+f.For)
	}
	around := g.fault(scene.around, 0)
	around.For = max(end+upTo(g.Rand, 15*time.Second)-upTo(g.Rand, 2*time.Second), time.Second)
	g.Faults = slices.Insert(g.Faults, 0, around)
}

// upTo returns a duration, a short one as often as a long one.
func upTo(rnd *rand.Rand, most time.Duration) time.Duration {
	d := time.Duration(float64(most) * rnd.Float64())
	if rnd.IntN(3) == 0 {
		d /= 10
	}
	return d.Round(10 * time.Millisecond)
}
