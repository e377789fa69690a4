package announce

import (
	"cmp"
	"net/netip"
	"slices"
)

// Placement is an address, its owner, and the nodes to which it can be moved and where it
// will stay: those that can answer and to which no other node is strictly preferred.
type Placement struct {
	Addr netip.Addr
	Node string // empty: no node answers
	May  []string
}

// Placements returns the placement of each address that a node answers for, sorted by address.
func (s Snapshot) Placements() []Placement {
	s = s.sorted()
	var out []Placement
	for holders := s.holders(); len(holders) > 0; {
		sharing := first(holders)
		holders = holders[len(sharing):]
		addr := sharing[0].addr
		held, _ := s.held(addr)
		h := Placement{Addr: addr, Node: s.owner(addr, sharing, held, new(candidates))}
		for _, n := range s.preferred(sharing) {
			h.May = append(h.May, n.Name)
		}
		if h.Node != "" {
			out = append(out, h)
		}
	}
	return out
}

// Move moves an address from the node that answers for it to another.
type Move struct {
	Addr     netip.Addr
	From, To string
}

// Balance returns moves, by address, after which the addresses are spread over the nodes as
// evenly as candidates and preferences allow, and of all such sets of moves one of the
// smallest. It ignores an address whose node may not have it: it is moving already.
//
// It cancels negative cycles (Klein). A state assigns each address to one of its nodes. Its
// cost is the sum of the squares of the nodes' numbers of addresses, and after that the number
// of moves. A cycle of reassignments that lowers the cost exists until the cost is minimal.
func Balance(holdings []Placement) []Move {
	b := newBalance(holdings)
	for b.improve() {
	}
	var out []Move
	for i, a := range b.addrs {
		if b.now[i] != a.was {
			out = append(out, Move{a.addr, b.names[a.was], b.names[b.now[i]]})
		}
	}
	return out
}

// balance is the state of the search. Nodes are numbered by name.
type balance struct {
	names []string
	addrs []movable
	now   []int // the node of each of addrs
	load  []int // of each node
}

// movable is an address that a node answers for.
type movable struct {
	addr netip.Addr
	was  int
	may  []int
}

func newBalance(holdings []Placement) *balance {
	b := &balance{}
	for _, h := range holdings {
		b.names = append(b.names, h.May...)
	}
	slices.Sort(b.names)
	b.names = slices.Compact(b.names)
	b.load = make([]int, len(b.names))
	for _, h := range sortedBy(holdings, func(a, b Placement) int { return a.Addr.Compare(b.Addr) }) {
		if !slices.Contains(h.May, h.Node) {
			continue
		}
		m := movable{addr: h.Addr, was: b.number(h.Node)}
		for _, n := range h.May {
			m.may = append(m.may, b.number(n))
		}
		slices.Sort(m.may)
		b.addrs, b.now = append(b.addrs, m), append(b.now, m.was)
		b.load[m.was]++
	}
	return b
}

func (b *balance) number(name string) int {
	i, _ := slices.BinarySearch(b.names, name)
	return i
}

// step is the cheapest move from one node to another.
type step struct {
	cost int // in moves
	addr int // its index; -1: there is none
}

// steps returns the cheapest step between each two nodes.
func (b *balance) steps() [][]step {
	out := make([][]step, len(b.names))
	for u := range out {
		out[u] = make([]step, len(b.names))
		for v := range out[u] {
			out[u][v].addr = -1
		}
	}
	for i, a := range b.addrs {
		u := b.now[i]
		for _, v := range a.may {
			cost := moved(v, a.was) - moved(u, a.was)
			if s := &out[u][v]; v != u && (s.addr < 0 || cost < s.cost) {
				*s = step{cost, i}
			}
		}
	}
	return out
}

func moved(node, was int) int {
	if node == was {
		return 0
	}
	return 1
}

// cost is compared by the spread, then by the moves.
type cost struct{ spread, moves int }

func (c cost) plus(d cost) cost { return cost{c.spread + d.spread, c.moves + d.moves} }

func (c cost) less(d cost) bool {
	return cmp.Or(cmp.Compare(c.spread, d.spread), cmp.Compare(c.moves, d.moves)) < 0
}

// improve finds a cycle that lowers the cost, and follows it. The last vertex, beyond the
// nodes, lets a chain of moves end at another node than it starts: the first node's loss and
// the last one's gain change the spread.
func (b *balance) improve() bool {
	n := len(b.names)
	steps := b.steps()
	between := func(u, v int) (cost, bool) {
		switch {
		case u == v:
			return cost{}, false
		case u == n: // the chain starts here: this node has one less
			return cost{spread: 1 - 2*b.load[v]}, b.load[v] > 0
		case v == n: // and u has one more
			return cost{spread: 2*b.load[u] + 1}, true
		}
		s := steps[u][v]
		return cost{moves: s.cost}, s.addr >= 0
	}
	cycle := negativeCycle(n+1, between)
	if cycle == nil {
		return false
	}
	for i, u := range cycle {
		if v := cycle[(i+1)%len(cycle)]; u != n && v != n {
			a := steps[u][v].addr
			b.now[a] = v
			b.load[u]--
			b.load[v]++
		}
	}
	return true
}

// negativeCycle returns the vertices of a cycle of negative cost, in order; nil if there is
// none (Bellman and Ford).
func negativeCycle(n int, between func(u, v int) (cost, bool)) []int {
	dist, prev := make([]cost, n), make([]int, n)
	for i := range prev {
		prev[i] = -1
	}
	last := -1
	for range n {
		last = -1
		for u := range n {
			for v := range n {
				if c, ok := between(u, v); ok && dist[u].plus(c).less(dist[v]) {
					dist[v], prev[v], last = dist[u].plus(c), u, v
				}
			}
		}
		if last < 0 {
			return nil
		}
	}
	for range n { // to get onto the cycle
		last = prev[last]
	}
	cycle := []int{last}
	for v := prev[last]; v != last; v = prev[v] {
		cycle = append(cycle, v)
	}
	slices.Reverse(cycle)
	return cycle
}
