package simulation

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/internal/membership"
)

// History says what a world is made of, and what is done to it. Equal Histories
// take equal courses.
type History struct {
	Seed     uint64 // of all that is left to chance
	Nodes    int
	Subnets  int  // the nodes are in by turns
	Services int  // with an address each, of the subnets by turns
	Gateway  bool // there is one
	// NoGatewayCounts and NeverIsolated: the speakers have --isolation=peers, or never.
	NoGatewayCounts, NeverIsolated bool
	Prefers                        int  // the node that the advertisement prefers, counted from 1; 0: none
	SpareNIC                       bool // the nodes reach the API server by a network of its own
	// SecondLink: the subnets are on further links of the nodes, and faults of the network
	// are there. The nodes' own addresses, and the API server, are on a link that works.
	SecondLink bool
	// Rack: nodes and addresses are named as those of e2e's racks, so that hashes of them
	// decide the same there.
	Rack bool
	// ManyLeases: the speakers watch their own Leases alone, as those do of more than
	// lease.Largest nodes in any case.
	ManyLeases bool

	Controllers int  // give the Services their addresses; 0: they have them
	Finalizers  bool // set by the controllers
	External    bool // an IPAM chooses the addresses of p1
	Faults      []Fault
	Expected    []Expectation
}

// Fault is something that is done to a world.
type Fault struct {
	At, For time.Duration // since the world has come to rest first; and for how long
	Kind    string
	Nodes   []int         // to whom, by place: nodes, or controllers, Services or pools
	Value   time.Duration // how much, for some kinds
	Number  int           // which one, for some kinds
}

const (
	// warmUp is how long a world has until the first fault.
	warmUp = 12 * time.Second
	// settling is how long it has when the last has ended.
	settling = 20 * time.Second
	// listing is how long it has if there is an IPAM, which is asked again after a minute.
	listing = 3 * time.Minute
	// resting is for how long nothing must happen then.
	resting = 6 * time.Second
)

// end is when the last fault has ended and the last Expectation was checked.
func (h History) end() time.Duration {
	var end time.Duration
	for _, f := range h.Faults {
		end = max(end, f.At+f.For)
	}
	for _, s := range h.Expected {
		end = max(end, s.At)
	}
	return end
}

// isolation is what shows a node that it is cut off.
func (h *History) isolation() membership.Isolation {
	switch {
	case h.NeverIsolated:
		return membership.Never
	case h.NoGatewayCounts:
		return membership.ByPeers
	}
	return membership.ByGateway
}

// tells reports whether there is a gateway that tells a node whether it is cut off.
func (h *History) tells() bool { return h.Gateway && h.isolation() == membership.ByGateway }

// traits are what a world is or is not, by their names.
func (h *History) traits() []trait {
	return []trait{{"gateway", &h.Gateway}, {"isolation-peers", &h.NoGatewayCounts}, {"isolation-never", &h.NeverIsolated}, {"spare-nic", &h.SpareNIC}, {"second-link", &h.SecondLink}, {"rack", &h.Rack}, {"many-leases", &h.ManyLeases}, {"finalizers", &h.Finalizers}, {"external", &h.External}}
}

type trait struct {
	name string
	has  *bool
}

// String writes a History in a form that Parse reads.
func (h History) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d\nnodes %d\nsubnets %d\nservices %d\n", h.Seed, h.Nodes, h.Subnets, h.Services)
	for _, t := range h.traits() {
		if *t.has {
			b.WriteString(t.name + "\n")
		}
	}
	if h.Prefers > 0 {
		fmt.Fprintf(&b, "prefers %d\n", h.Prefers)
	}
	if h.Controllers > 0 {
		fmt.Fprintf(&b, "controllers %d\n", h.Controllers)
	}
	for _, f := range h.Faults {
		b.WriteString(f.String() + "\n")
	}
	for _, s := range h.Expected {
		b.WriteString(s.String() + "\n")
	}
	return b.String()
}

func (f Fault) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "at %s for %s: %s", f.At, f.For, f.Kind)
	kind, _ := kindOf(f.Kind)
	for _, n := range f.Nodes {
		fmt.Fprintf(&b, " %c%d", kind.initial(), n+1)
	}
	if f.Number != 0 {
		fmt.Fprintf(&b, " of %d", f.Number)
	}
	if f.Value != 0 {
		fmt.Fprintf(&b, " by %s", f.Value)
	}
	return b.String()
}

// Parse reads what String has written. Empty lines, and those that begin with #,
// are left out.
func Parse(text string) (History, error) {
	var h History
	for i, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := h.parse(line); err != nil {
			return h, fmt.Errorf("line %d: %q: %w", i+1, line, err)
		}
	}
	if h.Nodes < 1 && h.Controllers < 1 || h.Subnets < 1 {
		return h, errors.New("a history needs nodes or controllers, and subnets")
	}
	return h, nil
}

var errUnknown = errors.New("not understood")

func (h *History) parse(line string) error {
	words := strings.Fields(line)
	numbers := map[string]*int{"nodes": &h.Nodes, "subnets": &h.Subnets, "services": &h.Services, "prefers": &h.Prefers, "controllers": &h.Controllers}
	traits := h.traits()
	i := slices.IndexFunc(traits, func(t trait) bool { return t.name == line })
	var err error
	switch {
	case i >= 0:
		*traits[i].has = true
	case len(words) == 2 && words[0] == "seed":
		h.Seed, err = strconv.ParseUint(words[1], 10, 64)
	case len(words) == 2 && numbers[words[0]] != nil:
		*numbers[words[0]], err = strconv.Atoi(words[1])
	case len(words) >= 5 && words[0] == "at" && words[2] == "for":
		err = h.parseFault(words)
	case len(words) > 2 && words[0] == "at" && strings.HasSuffix(words[1], ":"):
		err = h.parseExpectation(words)
	default:
		err = errUnknown
	}
	return err
}

// parseFault reads "at 1s for 2s: kind n1 n2 by 3s".
func (h *History) parseFault(words []string) error {
	f := Fault{Kind: words[4]}
	var err error
	if f.At, err = time.ParseDuration(words[1]); err != nil {
		return err
	}
	if f.For, err = time.ParseDuration(strings.TrimSuffix(words[3], ":")); err != nil {
		return err
	}
	kind, known := kindOf(f.Kind)
	if !known || kind.controllers && h.Controllers == 0 {
		return fmt.Errorf("fault %q: %w", f.Kind, errUnknown)
	}
	rest := words[5:]
	if n := len(rest); n >= 2 && rest[n-2] == "by" {
		if f.Value, err = time.ParseDuration(rest[n-1]); err != nil {
			return err
		}
		rest = rest[:n-2]
	}
	if n := len(rest); n >= 2 && rest[n-2] == "of" {
		if f.Number, err = strconv.Atoi(rest[n-1]); err != nil {
			return err
		}
		rest = rest[:n-2]
	}
	for _, name := range rest {
		place, err := h.place(name, kind.on)
		if err != nil {
			return err
		}
		f.Nodes = append(f.Nodes, place)
	}
	h.Faults = append(h.Faults, f)
	return nil
}

// place reads a letter and a number from 1.
func (h *History) place(name string, on byte) (int, error) {
	place, err := strconv.Atoi(strings.TrimPrefix(name, string(cmp.Or(on, 'n'))))
	if err != nil || place < 1 || place > h.most(on) {
		return 0, fmt.Errorf("%q: %w", name, errUnknown)
	}
	return place - 1, nil
}
