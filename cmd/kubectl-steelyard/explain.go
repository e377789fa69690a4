package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/world"
)

// explanation is all that is to know about one Service.
type explanation struct {
	Service     string        `json:"service"`
	Reason      string        `json:"reason,omitempty"` // empty: all is well
	Summary     string        `json:"summary"`
	Request     []property    `json:"request,omitempty"`
	Pools       []poolFact    `json:"pools,omitempty"`
	Addresses   []addressFact `json:"addresses,omitempty"`
	Endpoints   *endpointFact `json:"endpoints,omitempty"`
	Differences []string      `json:"differences,omitempty"`
	Unread      []string      `json:"unread,omitempty"` // what could not be read
}

// fact is one thing that a Service asks for.
type property struct {
	Field string `json:"field"`
	Says  string `json:"says"`
}

// poolFact says how a pool stands with the Service.
type poolFact struct {
	Pool     string            `json:"pool"`
	Family   string            `json:"family"`
	Decision ipam.ChoiceReason `json:"decision"`
	Detail   string            `json:"why"`
}

// endpointFact counts the Service's endpoints.
type endpointFact struct {
	Ready   int            `json:"ready"`
	Total   int            `json:"total"`
	ReadyOn map[string]int `json:"readyOn,omitempty"` // by node
}

func explain(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use:   "explain [NAMESPACE/]SERVICE|ADDRESS",
		Short: "Explain why a Service has its address and who announces it, or why not",
		Long: `Explain why a Service has its address and who announces it, or why not.

The whole chain, with evidence: what the Service asks for, each pool and why it
was chosen or not, the address, each node and why it does or does not announce
it, each BGP peer and its routes, the endpoints. The answer is computed from the
objects, and compared with what the controller and the speakers report;
differences are shown.

Exit code 0: clients reach it; 2: the first line says what is wrong.`,
		Example: `  kubectl steelyard explain svc/web
  kubectl steelyard explain -n shop web
  kubectl steelyard explain shop/web
  kubectl steelyard explain 192.0.2.100`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: t.names(corev1Kind("Service"), "svc/"),
	}
	return t.command(c, func(ctx context.Context, args []string) (answer, error) {
		w, err := t.world(ctx)
		if err != nil {
			return nil, err
		}
		key, err := t.serviceOf(w, args)
		if err != nil {
			return nil, err
		}
		return explanationOf(w, key), nil
	})
}

// serviceOf finds the Service that the arguments name: as svc/NAME, svc NAME, NAME,
// NAMESPACE/NAME, or by an address that it has. A namespace called svc is named by -n.
func (t *tool) serviceOf(w *world.Snapshot, args []string) (ipam.Key, error) {
	text := strings.Join(args, "/")
	if addr, err := netip.ParseAddr(text); err == nil {
		for i := range w.Services {
			if slices.Contains(intent.Holds(&w.Services[i]), addr) {
				return intent.KeyOf(&w.Services[i]), nil
			}
		}
		for _, k := range intent.Kept(w.Config.Pools, w.Now) {
			if k.Addr == addr {
				return ipam.Key{}, fmt.Errorf("no Service has address %s: %s", addr, k)
			}
		}
		return ipam.Key{}, fmt.Errorf("no Service has address %s", addr)
	}
	key, err := t.serviceNamed(text)
	if err != nil {
		return key, err
	}
	if w.Service(key) != nil {
		return key, nil
	}
	var elsewhere []string
	for i := range w.Services {
		if k := intent.KeyOf(&w.Services[i]); k.Name == key.Name {
			elsewhere = append(elsewhere, k.Namespace)
		}
	}
	if len(elsewhere) > 0 {
		return key, fmt.Errorf("there is no Service %q in namespace %q; there is one in %s: use -n", key.Name, key.Namespace, strings.Join(elsewhere, ", "))
	}
	return key, fmt.Errorf("there is no Service %q in namespace %q", key.Name, key.Namespace)
}

// serviceNamed reads svc/NAME, NAME, NAMESPACE/NAME or svc/NAMESPACE/NAME.
func (t *tool) serviceNamed(text string) (ipam.Key, error) {
	namespace, err := t.namespace()
	if err != nil {
		return ipam.Key{}, err
	}
	parts := strings.Split(text, "/")
	if len(parts) > 1 && slices.Contains([]string{"svc", "service", "services"}, strings.ToLower(parts[0])) {
		parts = parts[1:]
	}
	if len(parts) == 2 {
		namespace, parts = parts[0], parts[1:]
	}
	if len(parts) != 1 || parts[0] == "" {
		return ipam.Key{}, fmt.Errorf("%q is not a Service: write svc/NAME, or NAMESPACE/NAME", text)
	}
	return ipam.Key{Namespace: namespace, Name: parts[0]}, nil
}

// explanationOf explains the Service of that name, which is there.
func explanationOf(w *world.Snapshot, key ipam.Key) explanation {
	evaluation := w.Evaluate()
	shown := evaluation.Shown()
	said := evaluation.Announcements(shown)
	d := evaluation.Diagnose(key, said.Of[key])
	e := explanation{Service: key.String(), Reason: d.Reason, Summary: d.Text, Unread: w.Unread}
	place, ours := evaluation.Index(key)
	if !ours {
		return e
	}
	svc, r := evaluation.Served[place], evaluation.Requests[place]
	e.Request = requestProperties(svc, r)
	e.Pools = poolFacts(evaluation, key)
	addrs := intent.Holds(svc)
	about := shown.About(addrs)
	for _, a := range addrs {
		e.Addresses = append(e.Addresses, addressFactOf(evaluation, about, svc, a))
	}
	ready, total := w.Serving(key)
	e.Endpoints = &endpointFact{ready, total, w.ReadyOn(key)}
	e.Differences = slices.Concat(evaluation.Differences(key, said.Of[key]), evaluation.RouteDifferences(said, key))
	return e
}

func requestProperties(svc *corev1.Service, r *ipam.Request) []property {
	families := make([]string, len(r.Families.Want))
	for i, f := range r.Families.Want {
		families[i] = f.String()
	}
	what := "an " + families[0] + " address"
	if len(families) == 2 && r.Families.All {
		what += " and an " + families[1] + " address"
	} else if len(families) == 2 {
		what += " and, if there is one, an " + families[1] + " address"
	}
	if len(r.Want) > 0 {
		what = intent.Join(r.Want)
	}
	from := ", of any pool"
	if r.Pool != "" {
		from = fmt.Sprintf(", of IPAddressPool %q", r.Pool)
	}
	out := []property{{"asks for", what + from}}
	if r.Invalid != "" {
		out = append(out, property{"can't be read", r.Invalid})
	}
	if slips := intent.UnknownAnnotations(svc); len(slips) > 0 {
		out = append(out, property{"means nothing", strings.Join(slips, ", ")})
	}
	ports := make([]string, len(r.Ports))
	for i, p := range r.Ports {
		ports[i] = fmt.Sprintf("%d/%s", p.Number, p.Protocol)
	}
	out = append(out, property{"ports", strings.Join(ports, ", ")})
	policy := "Cluster: any node may announce it"
	if r.Share.Local {
		policy = "Local: only nodes with a ready endpoint announce it"
	}
	out = append(out, property{"traffic policy", policy})
	if r.Share.Key != "" {
		out = append(out, property{"shares", fmt.Sprintf("with Services of key %q and other ports", r.Share.Key)})
	}
	return out
}

func poolFacts(t *world.Evaluation, key ipam.Key) []poolFact {
	var out []poolFact
	for _, c := range ipam.Choices(t.Pools, t.Requests, t.Kept, key) {
		out = append(out, poolFact{c.Pool, c.Family.String(), c.Reason, whyPool(t, key, c)})
	}
	return out
}

// whyPool puts a choice in words.
func whyPool(t *world.Evaluation, key ipam.Key, c ipam.Choice) string {
	switch c.Reason {
	case ipam.Chosen:
		return c.Addr.String()
	case ipam.NotAccepted:
		return t.Checked.Validations[intent.Ref{Kind: "IPAddressPool", Name: c.Pool}].Accepted.Message
	case ipam.SelectsOthers:
		for i := range t.Config.Pools {
			if p := &t.Config.Pools[i]; p.Name == c.Pool {
				return intent.Refuses(p.Spec.ServiceAllocation, t.Subject(t.Service(key)))
			}
		}
		return "it selects other Services"
	case ipam.NotAskedFor:
		return "the Service asks for something else"
	case ipam.OnRequestOnly:
		return "autoAssign is false, and the Service does not ask for it"
	case ipam.NoFamily:
		return "it holds no " + c.Family.String() + " address"
	case ipam.Exhausted:
		return "every address that the Service could have of it is taken, or kept for another"
	case ipam.NotNeeded:
		return "the Service has an address of another"
	case ipam.Withheld:
		return "it has one, but the Service is refused as a whole"
	}
	return ""
}
