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
	var out []History
	with := func(change func(*History)) {
		c := h
		c.Faults = make([]Fault, len(h.Faults))
		for i, f := range h.Faults {
			c.Faults[i] = f
			c.Faults[i].Nodes = slices.Clone(f.Nodes)
		}
		change(&c)
		out = append(out, c)
	}
	for i := range h.Faults {
		with(func(c *History) { c.Faults = slices.Delete(c.Faults, i, i+1) })
	}
	if h.Services > 1 {
		with(func(c *History) { c.Services = 1 })
		with(func(c *History) { c.Services-- })
	}
	if h.Subnets > 1 {
		with(func(c *History) { c.Subnets = 1 })
	}
	used := max(h.Prefers, 1)
	for _, f := range h.Faults {
		for _, n := range f.Nodes {
			used = max(used, n+1)
		}
	}
	for n := max(used, 2); n < h.Nodes; n++ {
		with(func(c *History) { c.Nodes = n })
	}
	for i, f := range h.Faults {
		if f.Kind == "split" && len(f.Nodes) > 1 {
			for j := range f.Nodes {
				with(func(c *History) { c.Faults[i].Nodes = slices.Delete(c.Faults[i].Nodes, j, j+1) })
			}
		}
		for _, d := range []*time.Duration{&h.Faults[i].At, &h.Faults[i].For, &h.Faults[i].Value} {
			for _, to := range rounder(*d) {
				was := *d
				*d = to
				with(func(*History) {})
				*d = was
			}
		}
	}
	if h.Prefers > 0 {
		with(func(c *History) { c.Prefers = 0 })
	}
	if h.SecondLink {
		with(func(c *History) { c.SecondLink = false })
	}
	if h.SpareNIC {
		with(func(c *History) { c.SpareNIC = false })
	}
	return out
}

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
