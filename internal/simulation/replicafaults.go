package simulation

import (
	"time"
)

// controllerKinds returns the faults of controllers, given by their places.
func controllerKinds() map[string]faultKind {
	of := func(begin, end func(*world, Fault, *replica)) faultKind {
		return faultKind{nodes: 1, on: 'c', spares: true, lasts: true,
			begin: func(w *world, f Fault, _ []*node) { begin(w, f, w.replicas[f.Nodes[0]]) },
			end:   func(w *world, f Fault, _ []*node) { end(w, f, w.replicas[f.Nodes[0]]) }}
	}
	out := map[string]faultKind{
		"crash-controller":  of((*world).crashController, (*world).startController),
		"stop-controller":   of((*world).stopController, (*world).startController),
		"freeze-controller": of((*world).freezeController, (*world).thawController),
		"pause-controller": of((*world).freezeController, func(w *world, f Fault, r *replica) {
			r.paused += f.For // the clock also stood still
			w.thawController(f, r)
		}),
		"cut-controller":  of(func(_ *world, _ Fault, r *replica) { r.cut++ }, func(_ *world, _ Fault, r *replica) { r.cut-- }),
		"hold-controller": of(func(w *world, f Fault, r *replica) { r.held = maxTime(r.held, w.now.Add(f.For)) }, func(*world, Fault, *replica) {}),
		"lag-controller":  of(func(_ *world, f Fault, r *replica) { r.lagging(f.Value) }, func(_ *world, _ Fault, r *replica) { r.lagging(0) }),
		"old-controller":  of(func(w *world, f Fault, r *replica) { w.replaceController(f, r, true) }, func(w *world, f Fault, r *replica) { w.replaceController(f, r, false) }),
	}
	behind := out["lag-controller"]
	behind.value = 5 * time.Second
	out["lag-controller"] = behind
	all := func(do func(*world, Fault, *replica)) func(*world, Fault, []*node) {
		return func(w *world, f Fault, _ []*node) {
			for _, r := range w.replicas {
				do(w, f, r)
			}
		}
	}
	for name, do := range map[string]string{"stop-leader": "stop-controller", "crash-leader": "crash-controller", "freeze-leader": "freeze-controller", "cut-leader": "cut-controller"} {
		out[name] = faultKind{spares: true, lasts: true, end: nothing, begin: func(w *world, f Fault, _ []*node) {
			r := w.leader()
			if r == nil {
				return
			}
			f.Nodes = []int{r.place}
			k := controllerKinds()[do]
			k.begin(w, f, nil)
			w.after(f.For, func() { k.end(w, f, nil) })
		}}
	}
	out["no-controller"] = faultKind{spares: true, lasts: true, begin: all((*world).crashController), end: all((*world).startController)}
	out["unlock"] = faultKind{spares: true, edits: true, begin: func(w *world, _ Fault, _ []*node) { w.remove(locks, lockName) }, end: nothing}
	for name, k := range out {
		k.controllers = true
		out[name] = k
	}
	return out
}

func (w *world) crashController(_ Fault, r *replica) {
	r.stopped++
	if c := r.process; c != nil {
		c.end()
	}
}

func (w *world) startController(_ Fault, r *replica) {
	r.stopped--
	w.again(r)
}

// again starts a controller when the one before has ended.
func (w *world) again(r *replica) {
	if c := r.process; c != nil && c.stopping {
		w.after(100*time.Millisecond, func() { w.again(r) })
		return
	}
	w.launch(r)
}

func (w *world) stopController(_ Fault, r *replica) {
	r.stopped++
	if c := r.process; c != nil && !c.stopping {
		c.run(c.stop)
	}
}

// replaceController has the controller of another version take the place of one.
func (w *world) replaceController(f Fault, r *replica, old bool) {
	w.crashController(f, r)
	if r.old = old; old {
		w.grants.blind = w.now.Add(time.Hour)
	}
	w.startController(f, r)
}

func (w *world) freezeController(_ Fault, r *replica) {
	r.still++
	if c := r.process; c != nil {
		c.freeze()
	}
}

func (w *world) thawController(_ Fault, r *replica) {
	r.still--
	if c := r.process; c != nil && c.client.frozen > 0 {
		c.thaw()
	}
}

func (r *replica) lagging(by time.Duration) {
	r.behind = by
	if c := r.process; c != nil && c.cache != nil {
		c.cache.behind = by
	}
}

// leader returns the replica that leads; nil: none does.
func (w *world) leader() *replica {
	for _, r := range w.replicas {
		if c := r.process; c != nil && c.lease.leading() != 0 {
			return r
		}
	}
	return nil
}
