package overview

import (
	"cmp"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/internal/health"
)

// problemsOf returns what needs attention: faults before what waits, Services before all
// else, then by kind and name.
func problemsOf(o *Objects) table[problem] {
	var out []problem
	if o.Away != "" {
		out = append(out, problem{"Controller", "", bad("Cut off"), "the API server can't be asked, so all that is shown here may be old: " + o.Away})
	}
	add := func(found []health.Problem) {
		for _, p := range found {
			mark := bad(p.Reason)
			if p.Severity == health.Waiting {
				mark = wait(p.Reason)
			}
			out = append(out, problem{p.Kind, p.Name, mark, p.Message})
		}
	}
	add(o.Problems())
	for i := range o.Pools {
		add(health.OfConfiguration("IPAddressPool", o.Pools[i].Name, o.Pools[i].Status.Conditions))
		add(health.OfPool(&o.Pools[i]))
	}
	for _, c := range o.Others {
		add(health.OfConfiguration(c.Kind, c.Name, c.Conditions))
	}
	for _, svc := range o.Services {
		add(health.OfService(svc))
	}
	slices.SortStableFunc(out, func(a, b problem) int {
		return cmp.Or(strings.Compare(a.Mark.Class, b.Mark.Class), health.CompareKinds(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return tableOf("events", out)
}
