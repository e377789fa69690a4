package simulation

import (
	"cmp"
	"net/netip"
	"strconv"
	"time"

	"github.com/steelyard-lb/steelyard/internal/intent"
)

// weight says what a fault may cost.
type weight uint8

const (
	free  weight = iota // nothing: no address is silent, and none moves
	part                // of something that comes later
	delay               // writes and news are late
	hard                // a takeover
)

// faultKind is what a kind of faults does.
type faultKind struct {
	nodes  int           // how many it needs
	value  time.Duration // at most; 0: none
	signed bool
	weight weight
	spares bool // the nodes keep what they have
	edits  bool // a person does it, at the API server
	still  bool // it leaves the network as it is

	controllers bool // it needs a world with controllers
	on          byte // what the places are of: 0 or 'n' nodes, 'c' controllers, 's' Services, 'p' pools
	number      int  // of how many it chooses one; 0: none
	lasts       bool // its end does something; of those with controllers only
	begin       func(w *world, f Fault, all []*node)
	end         func(w *world, f Fault, all []*node)
}

// letter stands before a place.
func (k faultKind) initial() byte { return cmp.Or(k.on, 'n') }

// count has a flag of the first node hold for as long as the fault does.
func count(flag func(*node) *int) faultKind {
	return faultKind{nodes: 1, weight: hard,
		begin: func(_ *world, _ Fault, all []*node) { *flag(all[0])++ },
		end:   func(_ *world, _ Fault, all []*node) { *flag(all[0])-- },
	}
}

// kindsOfFaults returns all that can be done to a world.
func kindsOfFaults() map[string]faultKind {
	out := map[string]faultKind{
		"mute":        count(func(n *node) *int { return &n.mute }),
		"cut-receive": count(func(n *node) *int { return &n.noReceive }),
		"lan":         {nodes: 1, weight: hard, begin: cutOff(1), end: cutOff(-1)},
		"unplug":      {nodes: 1, weight: hard, begin: (*world).unplug, end: (*world).plug},
		"crash":       {nodes: 1, weight: hard, still: true, begin: (*world).crash, end: (*world).starts},
		"restart":     {nodes: 1, weight: free, spares: true, begin: (*world).restart, end: (*world).starts},
		"freeze":      {nodes: 1, weight: hard, still: true, begin: (*world).freeze, end: (*world).thaw},
		"suspend":     {nodes: 1, weight: hard, begin: (*world).suspend, end: (*world).resume},
		"power":       {nodes: 1, weight: hard, begin: (*world).powerOff, end: (*world).powerOn},
		"pair":        {nodes: 2, weight: hard, spares: true, begin: block(1, true), end: block(-1, true)},
		"oneway":      {nodes: 2, weight: hard, spares: true, begin: block(1, false), end: block(-1, false)},
		"split":       {nodes: 1, weight: hard, begin: split(1), end: split(0)},
		"clock":       {nodes: 1, value: time.Hour, signed: true, spares: true, begin: (*world).setClock, end: nothing},
		"exclude":     {nodes: 1, edits: true, begin: exclude(1), end: exclude(-1)},
		"move":        {nodes: 1, edits: true, begin: (*world).move, end: nothing},
		"join":        {nodes: 1, weight: hard, edits: true, begin: (*world).leave, end: (*world).join},
		"rename":      {nodes: 1, weight: hard, edits: true, begin: (*world).rename, end: nothing},
		"lag": {nodes: 1, value: 5 * time.Second, weight: delay, spares: true,
			begin: func(_ *world, f Fault, all []*node) { lagging(all[0], f.Value) },
			end:   func(_ *world, _ Fault, all []*node) { lagging(all[0], 0) }},
	}
	for kind, f := range ofMany() {
		out[kind] = f
	}
	api := func(weight weight, change func(s *server, by int, value time.Duration), most time.Duration) faultKind {
		return faultKind{weight: weight, spares: true, value: most,
			begin: func(w *world, f Fault, _ []*node) { change(&w.api, 1, f.Value) },
			end:   func(w *world, f Fault, _ []*node) { change(&w.api, -1, f.Value) }}
	}
	out["api"] = api(free, func(s *server, by int, _ time.Duration) { s.away += by }, 0)
	out["lost"] = api(delay, func(s *server, by int, _ time.Duration) { s.loses += by }, 0)
	out["slow"] = api(delay, func(s *server, by int, v time.Duration) { s.slow += time.Duration(by) * v }, 2*time.Second)
	out["gateway"] = faultKind{weight: free, spares: true,
		begin: func(w *world, _ Fault, _ []*node) { w.lan.silent++ },
		end:   func(w *world, _ Fault, _ []*node) { w.lan.silent-- }}
	return out
}

// kindsByName returns the faults that chance does not choose.
func kindsByName() map[string]faultKind {
	return map[string]faultKind{
		// The API server's watch of L2Claims is late, and that of Leases is not.
		"lag-claims": {nodes: 1, weight: delay, spares: true,
			begin: func(_ *world, f Fault, all []*node) { all[0].claimsBehind += f.Value },
			end:   func(_ *world, f Fault, all []*node) { all[0].claimsBehind -= f.Value }},
	}
}

func nothing(*world, Fault, []*node) {}

// cutOff has nothing get to a node or from it, though its cable is in.
func cutOff(by int) func(*world, Fault, []*node) {
	return func(_ *world, _ Fault, all []*node) {
		all[0].mute += by
		all[0].noReceive += by
	}
}

func (w *world) unplug(_ Fault, all []*node) {
	n := all[0]
	if n.unplugged++; n.unplugged == 1 {
		n.pulled = w.now
		w.after(bounce, func() { n.linkChanged() })
	}
}

func (w *world) plug(_ Fault, all []*node) {
	n := all[0]
	if n.unplugged--; n.unplugged == 0 {
		n.linkChanged()
		if s := n.speaker; s != nil {
			s.run(s.announceAll)
		}
	}
}

// linkChanged has the speaker look at its links.
func (n *node) linkChanged() {
	if s := n.speaker; s != nil {
		s.run(s.wake)
	}
}

func (w *world) crash(_ Fault, all []*node) {
	all[0].stopped++
	if s := all[0].speaker; s != nil {
		s.end()
	}
}

func (w *world) restart(_ Fault, all []*node) {
	all[0].stopped++
	if s := all[0].speaker; s != nil && !s.terminated {
		s.terminated = true
		s.run(s.stop)
	}
}

// starts has a kubelet start the speaker.
func (w *world) starts(_ Fault, all []*node) {
	n := all[0]
	n.stopped--
	w.revive(n)
}

// revive starts the speaker of a node that should have one.
func (w *world) revive(n *node) {
	switch {
	case n.stopped > 0 || n.off > 0 || !n.there:
	case n.speaker == nil:
		w.start(n)
	case n.speaker.terminated: // its container has not ended yet
		w.after(100*time.Millisecond, func() { w.revive(n) })
	}
}

func (w *world) freeze(_ Fault, all []*node) {
	if s := all[0].speaker; s != nil {
		s.freeze()
	}
	all[0].frozen++
}

func (w *world) thaw(_ Fault, all []*node) {
	all[0].frozen--
	if s := all[0].speaker; s != nil && s.frozen > 0 {
		if s.frozen == 1 && w.now.Sub(s.since) > time.Second {
			all[0].woke = w.now
		}
		s.thaw()
	}
}

func (w *world) suspend(f Fault, all []*node) {
	all[0].suspended++
	w.freeze(f, all)
}

func (w *world) resume(f Fault, all []*node) {
	all[0].suspended--
	w.thaw(f, all)
}

func (w *world) powerOff(f Fault, all []*node) {
	all[0].off++
	w.crash(f, all)
}

func (w *world) powerOn(f Fault, all []*node) {
	all[0].off--
	w.after(time.Second, func() { w.starts(f, all) })
}

// block has nothing get from one node to another.
func block(by int, both bool) func(*world, Fault, []*node) {
	return func(w *world, _ Fault, all []*node) {
		a, b := all[0].place, all[1].place
		if a == b {
			return
		}
		*w.lan.between(a, b) += by
		if both {
			*w.lan.between(b, a) += by
		}
	}
}

// split has some nodes reach only one another.
func split(side int) func(*world, Fault, []*node) {
	return func(w *world, _ Fault, all []*node) {
		for _, n := range all {
			w.lan.side[n.place] = side
		}
	}
}

func (w *world) setClock(f Fault, all []*node) { all[0].skew += f.Value }

// exclude has a person label a node, or take the label off.
func exclude(by int) func(*world, Fault, []*node) {
	return func(w *world, _ Fault, all []*node) {
		all[0].excluded += by
		if w.api.get(nodes, all[0].name) != nil {
			w.enroll(all[0])
		}
	}
}

// move has a person name a node in the L2Claim of an address: of the one with the fault's
// number, or else of the first in the node's subnet.
func (w *world) move(f Fault, all []*node) {
	for i, a := range w.granted() {
		if subnetOf(a) != all[0].subnet || f.Number > 0 && i != f.Number-1 {
			continue
		}
		o := w.api.get(claims, intent.ClaimName(a))
		if o == nil {
			return
		}
		v := o.value.(claimValue)
		w.logf("    %s of %s goes to %s", a, v.owner, all[0].name)
		v.owner = all[0].name
		w.write(claims, o.name, v)
		w.rules.edited(a, w.now)
		return
	}
}

// leave takes a node out of the cluster, with its machine.
func (w *world) leave(f Fault, all []*node) {
	w.powerOff(f, all)
	w.dropNode(all[0])
}

// dropNode has the Node vanish, and with it what it owns.
func (w *world) dropNode(n *node) {
	n.there = false
	w.dropObjects(n.name)
}

func (w *world) dropObjects(name string) {
	w.remove(nodes, name)
	w.remove(speakers, name)
	w.remove(leases, intent.LeaseName(name))
}

func (w *world) join(_ Fault, all []*node) {
	n := all[0]
	n.off--
	n.stopped--
	w.enroll(n)
	w.revive(n)
}

// enroll makes the Node object.
func (w *world) enroll(n *node) {
	n.there = true
	label := ""
	if n.excluded > 0 {
		label = "label"
	}
	w.write(nodes, n.name, nodeValue{n.addr, label, map[string]string{"place": strconv.Itoa(n.place + 1)}})
}

// rename has a node leave, and come back under another name at once. The Node of its former
// name stays for as long as the fault's value says.
func (w *world) rename(f Fault, all []*node) {
	n := all[0]
	if s := n.speaker; s != nil {
		s.end()
	}
	former := n.name
	if f.Value == 0 {
		w.dropObjects(former)
	} else {
		w.after(f.Value, func() { w.dropObjects(former) })
	}
	n.name += "x"
	w.enroll(n)
	w.revive(n)
}

// lagging has the watches of a node's speaker lag.
func lagging(n *node, by time.Duration) {
	n.behind = by
	if s := n.speaker; s != nil && s.cache != nil {
		s.cache.behind = by
	}
}

// subnetOf returns the subnet of an address of a Service; a rack has one.
func subnetOf(a netip.Addr) int {
	if b := a.As4(); b[0] == 10 {
		return int(b[2])
	}
	return 0
}
