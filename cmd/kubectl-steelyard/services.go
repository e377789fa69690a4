package main

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/world"
)

// service is a Service that Steelyard serves, in a line.
type service struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Addresses []string  `json:"addresses"`
	Pools     []string  `json:"pools"`            // of the addresses
	Reason    string    `json:"reason,omitempty"` // what keeps clients out; empty: nothing
	Summary   string    `json:"summary"`
	Policy    string    `json:"externalTrafficPolicy"`
	Endpoints endpoints `json:"endpoints"`
}

// endpoints counts the endpoints of a Service.
type endpoints struct {
	Ready int `json:"ready"`
	Total int `json:"total"`
}

// serviceList is what the command services answers.
type serviceList struct {
	Services []service `json:"services"`
	Unread   []string  `json:"unread,omitempty"` // what could not be read
	all      bool      // of all namespaces
}

func services(t *tool) *cobra.Command {
	var all bool
	c := t.command(&cobra.Command{
		Use:   "services",
		Short: "List Services, their addresses, and what keeps clients from them",
		Long: `List the Services that Steelyard serves, their addresses, and what keeps clients
from them: those of the namespace that kubectl's flags name, or of all with -A.

Exit code 0: clients reach all of them; 2: one has a problem.`,
		Args: noArguments,
	}, func(ctx context.Context, _ []string) (answer, error) {
		w, err := t.world(ctx)
		if err != nil {
			return nil, err
		}
		ns, err := t.namespace()
		if err != nil {
			return nil, err
		}
		a := serviceList{Services: servicesOf(w.Evaluate()), Unread: w.Unread, all: all}
		if !all {
			a.Services = slices.DeleteFunc(a.Services, func(s service) bool { return s.Namespace != ns })
		}
		return a, nil
	})
	c.Flags().BoolVarP(&all, "all-namespaces", "A", false, "those of all namespaces")
	return c
}

// servicesOf returns the Services that Steelyard serves, by namespace and name.
func servicesOf(t *world.Evaluation) []service {
	said := t.Announcements(t.Shown())
	out := []service{}
	for i, svc := range t.Served {
		k := intent.KeyOf(svc)
		d := t.Diagnose(k, said.Of[k])
		s := service{Namespace: k.Namespace, Name: k.Name, Addresses: []string{}, Pools: []string{}, Reason: d.Reason, Summary: d.Text, Policy: "Cluster"}
		for _, a := range intent.Holds(svc) {
			s.Addresses = append(s.Addresses, a.String())
			if pool := t.Checked.PoolOf(a); pool != "" && !slices.Contains(s.Pools, pool) {
				s.Pools = append(s.Pools, pool)
			}
		}
		if t.Requests[i].Share.Local {
			s.Policy = "Local"
		}
		s.Endpoints.Ready, s.Endpoints.Total = t.Serving(k)
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func (serviceList) kind() string { return "ServiceReport" }

func (a serviceList) clean() bool {
	return !slices.ContainsFunc(a.Services, func(s service) bool { return s.Reason != "" })
}

func (a serviceList) names() []string {
	var out []string
	for _, s := range a.Services {
		if a.all {
			s.Name = s.Namespace + "/" + s.Name
		}
		out = append(out, "service/"+s.Name)
	}
	return out
}

func (a serviceList) draw(p *printer) {
	if len(a.Services) == 0 {
		text := "Steelyard serves no Service in this namespace (-A lists those of all)"
		if a.all {
			text = "Steelyard serves no Service"
		}
		p.line(plain(text))
	} else {
		drawServices(p, "", a.Services, a.all)
	}
	drawList(p, "Not known", a.Unread)
}

// drawServices draws Services; with their namespaces, if they are of several.
func drawServices(p *printer, indent string, of []service, namespaces bool) {
	title := header("NAMESPACE", "SERVICE", "STATE", "ADDRESSES", "POOLS", "POLICY", "ENDPOINTS", "WHY")
	show := func(row []cell) []cell {
		if !p.wide {
			row = slices.Delete(slices.Clone(row), 4, 7)
		}
		if !namespaces {
			row = row[1:]
		}
		return row
	}
	rows := [][]cell{show(title)}
	for _, s := range of {
		state, detail := good("OK"), plain("")
		if s.Reason != "" {
			state, detail = bad(s.Reason), plain(s.Summary)
		} else if p.wide {
			detail = plain(s.Summary)
		}
		rows = append(rows, show([]cell{plain(s.Namespace), plain(s.Name), state, plain(strings.Join(s.Addresses, ",")), plain(strings.Join(s.Pools, ",")),
			plain(s.Policy), plainf("%d/%d", s.Endpoints.Ready, s.Endpoints.Total), detail}))
	}
	p.table(indent, withoutEmpty(rows)...)
}
