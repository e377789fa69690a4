package simulation

import "time"

// ofMany returns the faults that come in more than one part.
func ofMany() map[string]faultKind {
	return map[string]faultKind{
		"rolling":  {spares: true, begin: (*world).rollingRestart, end: nothing},
		"shutdown": {nodes: 1, weight: part, begin: (*world).shutDown, end: (*world).powerOn},
		"others":   {nodes: 1, weight: hard, begin: others((*world).powerOff), end: others((*world).powerOn)},
		"switch":   {weight: hard, begin: each(cutOff(1)), end: each(cutOff(-1))},
		"crashes":  {weight: hard, begin: each((*world).crash), end: each((*world).starts)},
		"restarts": {weight: hard, begin: each((*world).restart), end: each((*world).starts)},
		"clocks":   {value: time.Hour, signed: true, spares: true, begin: each((*world).setClock), end: nothing},
	}
}

// each does something to all nodes.
func each(do func(*world, Fault, []*node)) func(*world, Fault, []*node) {
	return func(w *world, f Fault, _ []*node) {
		for _, n := range w.nodes {
			do(w, f, []*node{n})
		}
	}
}

// others does something to all nodes but one.
func others(do func(*world, Fault, []*node)) func(*world, Fault, []*node) {
	return func(w *world, f Fault, spared []*node) {
		for _, n := range w.nodes {
			if n != spared[0] {
				do(w, f, []*node{n})
			}
		}
	}
}

// shutDown stops the speaker as a kubelet does that knows no grace period, and
// soon switches the machine off.
func (w *world) shutDown(f Fault, all []*node) {
	w.restart(f, all)
	w.after(min(f.For, 500*time.Millisecond), func() {
		all[0].off++
		if s := all[0].speaker; s != nil {
			s.end()
		}
		w.rules.events = append(w.rules.events, event{w.now, hard, all, false, false})
		w.logf("    %s is off", all[0].name)
	})
}

// rolling is how long a rolling restart takes.
const rolling = 7*4*time.Second + 2*time.Second

// rollingRestart has all speakers restart, each when the one before has been back
// for a while, as an update of the DaemonSet does.
func (w *world) rollingRestart(f Fault, _ []*node) {
	for i, n := range w.nodes {
		if i > 6 {
			return
		}
		all := []*node{n}
		w.after(time.Duration(i)*4*time.Second, func() {
			w.restart(f, all)
			w.after(1500*time.Millisecond, func() { w.starts(f, all) })
		})
	}
}
