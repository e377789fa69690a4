package simulation

import (
	"slices"
	"time"
)

// Shrink returns the shortest History that it can find by leaving out and
// shortening parts of one that breaks a rule, and that breaks the same rule.
func Shrink(h History) (History, *Violation) { return h.shrink(mutation{}) }

func (h History) shrink(m mutation) (History, *Violation) {
	worst := h.run(m, nil)
	if worst == nil {
		return h, nil
	}
	for again := true; again; {
		again = false
		for _, smaller := range h.smaller() {
			if v := smaller.run(m, nil); v != nil && v.Rule == worst.Rule {
				h, worst, again = smaller, v, true
				break
			}
		}
	}
	return h, worst
}

// smaller returns Histories with less in them, those with much less first.
func (h History) smaller() []History {
	x := reduction{History: h}
	x.leaveOut()
	x.shorten()
	if h.Prefers > 0 {
		x.with(func(c *History) { c.Prefers = 0 })
	}
	if h.SecondLink {
		x.with(func(c *History) { c.SecondLink = false })
	}
	if h.SpareNIC {
		x.with(func(c *History) { c.SpareNIC = false })
	}
	return x.out
}

// reduction collects Histories that are smaller than one.
type reduction struct {
	History
	out []History
}

// with adds the History with a change.
func (x *reduction) with(change func(*History)) {
	c := x.History
	c.Faults = make([]Fault, len(x.Faults))
	for i, f := range x.Faults {
		c.Faults[i] = f
		c.Faults[i].Nodes = slices.Clone(f.Nodes)
	}
	change(&c)
	x.out = append(x.out, c)
}

// leaveOut adds Histories with one fault less, fewer Services, subnets or nodes.
func (x *reduction) leaveOut() {
	used := max(x.Prefers, 2)
	for i, f := range x.Faults {
		x.with(func(c *History) { c.Faults = slices.Delete(c.Faults, i, i+1) })
		for _, n := range f.Nodes {
			used = max(used, n+1)
		}
	}
	if x.Services > 1 {
		x.with(func(c *History) { c.Services = 1 })
		x.with(func(c *History) { c.Services-- })
	}
	if x.Subnets > 1 {
		x.with(func(c *History) { c.Subnets = 1 })
	}
	for n := used; n < x.Nodes; n++ {
		x.with(func(c *History) { c.Nodes = n })
	}
}

// shorten adds Histories with one fault that is shorter, sooner or smaller.
func (x *reduction) shorten() {
	for i, f := range x.Faults {
		if f.Kind == "split" && len(f.Nodes) > 1 {
			for j := range f.Nodes {
				x.with(func(c *History) { c.Faults[i].Nodes = slices.Delete(c.Faults[i].Nodes, j, j+1) })
			}
		}
		for k, d := range f.durations() {
			for _, to := range rounder(*d) {
				x.with(func(c *History) { *c.Faults[i].durations()[k] = to })
			}
		}
	}
}

func (f *Fault) durations() [3]*time.Duration { return [...]*time.Duration{&f.At, &f.For, &f.Value} }

// rounder returns durations that are shorter than d, or rounder.
func rounder(d time.Duration) []time.Duration {
	var out []time.Duration
	for _, to := range []time.Duration{0, (d / 2).Truncate(time.Second), d.Truncate(10 * time.Second), d.Truncate(time.Second), d.Truncate(100 * time.Millisecond)} {
		if to != d && !slices.Contains(out, to) {
			out = append(out, to)
		}
	}
	return out
}
