package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/world"
)

// explanation is all that is to know about one Service.
type explanation struct {
	Service     string        `json:"service"`
	Reason      string        `json:"reason,omitempty"` // empty: all is well
	Summary     string        `json:"summary"`
	Degraded    string        `json:"degraded,omitempty"` // what does not work beside what does
	Request     *request      `json:"request,omitempty"`
	Pools       []poolFact    `json:"pools,omitempty"`
	Addresses   []addressFact `json:"addresses,omitempty"`
	Endpoints   *endpointFact `json:"endpoints,omitempty"`
	Differences []string      `json:"differences,omitempty"`
	Unread      []string      `json:"unread,omitempty"` // what could not be read
}

// request is what a Service asks for.
type request struct {
	Addresses   []string         `json:"addresses,omitempty"`          // by number
	Families    []string         `json:"families"`                     // in the order of preference
	AllFamilies bool             `json:"allFamilies"`                  // or else the first that there is
	Pool        string           `json:"pool,omitempty"`               // empty: any
	Invalid     string           `json:"invalid,omitempty"`            // what can't be read of it
	Unknown     []string         `json:"unknownAnnotations,omitempty"` // most likely misspelled ones of ours
	Ignored     []intent.Ignored `json:"ignoredAnnotations,omitempty"` // of other load balancers
	Ports       []portFact       `json:"ports,omitempty"`
	Policy      string           `json:"externalTrafficPolicy"`
	SharingKey  string           `json:"sharingKey,omitempty"`
	SharedWith  []string         `json:"sharedWith,omitempty"` // Services with one of its addresses
}

// portFact is a port of a Service.
type portFact struct {
	Port     int    `json:"port"`
	Protocol string `json:"protocol"`
}

// property is something that is said of an object, in words.
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
		Use:   "explain [NAMESPACE/]SERVICE|ADDRESS|KIND/NAME",
		Short: "Explain why a Service has its address and who announces it, or why not",
		Long: `Explain why a Service has its address and who announces it, or why not. It also
explains an address, a pool, a BGPPeer, an advertisement and a node.

The whole chain, with evidence: what the Service asks for, each pool and why it
was chosen or not, the address, each node and why it does or does not announce
it, each BGP peer and its routes, the endpoints. The answer is computed from the
objects, and compared with what the controller and the speakers report;
differences are shown.

A KIND is named as kubectl takes it: svc, ipaddresspool (or pool), bgppeer (or peer),
l2advertisement, bgpadvertisement, node.

Exit code 0: clients reach it; 2: the first line says what is wrong.`,
		Example: `  kubectl steelyard explain svc/web
  kubectl steelyard explain -n shop web
  kubectl steelyard explain shop/web
  kubectl steelyard explain 192.0.2.100
  kubectl steelyard explain pool/lan
  kubectl steelyard explain bgppeer tor`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: t.names(corev1Kind("Service"), "svc/"),
	}
	return t.command(c, func(ctx context.Context, args []string) (answer, error) {
		w, err := t.world(ctx)
		if err != nil {
			return nil, err
		}
		return t.explain(w, strings.Join(args, "/"))
	})
}

// explain explains what a user names: an address, KIND/NAME, svc/NAME, NAME or
// NAMESPACE/NAME. A namespace that has the name of a kind is named by -n.
func (t *tool) explain(w *world.Snapshot, text string) (answer, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		for i := range w.Services {
			if slices.Contains(intent.Holds(&w.Services[i]), addr) {
				return explanationOf(w, intent.KeyOf(&w.Services[i])), nil
			}
		}
		for _, x := range w.Evaluate().Externals {
			if x.Addr == addr {
				return explanationOf(w, x.Service), nil
			}
		}
		return explainAddress(w, addr), nil
	}
	if kind, name, both := strings.Cut(text, "/"); both && kindNamed(kind) != "" {
		return explainObject(w, kindNamed(kind), name)
	}
	key, err := t.serviceOf(w, text)
	if err != nil {
		return nil, err
	}
	return explanationOf(w, key), nil
}

// serviceOf finds the Service of that name.
func (t *tool) serviceOf(w *world.Snapshot, text string) (ipam.Key, error) {
	key, err := t.serviceNamed(text)
	if err != nil || w.Service(key) != nil {
		return key, err
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
		e.explainExternals(evaluation, shown)
		return e
	}
	svc, r := evaluation.Served[place], evaluation.Requests[place]
	e.Request = requestOf(evaluation, svc, r)
	if e.Reason != v1beta1.ReasonSessionsDown { // which says it
		e.Degraded = sessionsLost(evaluation, said.Of[key])
	}
	e.Pools = poolFacts(evaluation, key)
	addrs := slices.Concat(intent.Holds(svc), evaluation.Checked.Externals(svc))
	about := shown.About(addrs)
	for _, a := range addrs {
		e.Addresses = append(e.Addresses, addressFactOf(evaluation, about, svc, a))
	}
	ready, total := w.Serving(key)
	e.Endpoints = &endpointFact{ready, total, w.ReadyOn(key)}
	e.Differences = slices.Concat(evaluation.Differences(key, said.Of[key]), evaluation.RouteDifferences(said, key))
	return e
}

// explainExternals explains the addresses in spec.externalIPs of a Service that is not ours.
func (e *explanation) explainExternals(t *world.Evaluation, shown announce.Snapshot) {
	for i := range t.Services {
		svc := &t.Services[i]
		if key := intent.KeyOf(svc); key.String() == e.Service {
			addrs := t.Checked.Externals(svc)
			about := shown.About(addrs)
			for _, a := range addrs {
				e.Addresses = append(e.Addresses, addressFactOf(t, about, svc, a))
			}
		}
	}
}

func requestOf(t *world.Evaluation, svc *corev1.Service, r *ipam.Request) *request {
	out := &request{AllFamilies: r.Families.All, Pool: r.Pool, Invalid: r.Invalid, Unknown: intent.UnknownAnnotations(svc), Ignored: t.AnnotationPrefixes.Ignored(svc), Policy: "Cluster", SharingKey: r.Share.Key}
	for _, a := range r.Want {
		out.Addresses = append(out.Addresses, a.String())
	}
	for _, f := range r.Families.Want {
		out.Families = append(out.Families, f.String())
	}
	for _, p := range r.Ports {
		out.Ports = append(out.Ports, portFact{int(p.Number), string(p.Protocol)})
	}
	if r.Share.Local {
		out.Policy = "Local"
	}
	for _, other := range t.Served {
		if other != svc && slices.ContainsFunc(intent.Holds(other), func(a netip.Addr) bool { return slices.Contains(intent.Holds(svc), a) }) {
			out.SharedWith = append(out.SharedWith, intent.KeyOf(other).String())
		}
	}
	slices.Sort(out.SharedWith)
	return out
}

// sessionsLost says which of the sessions are down that are to offer the addresses of a
// Service which others offer; "": none.
func sessionsLost(t *world.Evaluation, of *world.Announcement) string {
	if of == nil {
		return ""
	}
	var lost []string
	sessions := map[world.PeerOnNode]bool{}
	for a, nodes := range of.Offers {
		for i := range t.Sessions {
			s := &t.Sessions[i].Status
			key := world.PeerOnNode{Node: s.Node, Peer: s.Peer}
			if sessions[key] || !slices.Contains(nodes, s.Node) || !t.Carries(s, a) {
				continue
			}
			sessions[key] = true
			if s.State != health.Established {
				lost = append(lost, strings.TrimSuffix(fmt.Sprintf("%s to %s: %s", s.Node, s.Peer, s.LastError), ": "))
			}
		}
	}
	if len(lost) == 0 {
		return ""
	}
	slices.Sort(lost)
	text := fmt.Sprintf("%d of %s down: %s", len(lost), counted(len(sessions), "BGP session"), lost[0])
	if more := len(lost) - 1; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
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
		return intent.Join(c.Addrs)
	case ipam.NotAccepted:
		return t.Checked.Validations[intent.Ref{Kind: "IPAddressPool", Name: c.Pool}].Accepted.Message
	case ipam.BeingReplaced:
		return "another pool replaces it (spec.replacedBy), and it gives no new addresses"
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
	case ipam.AwaitsIPAM:
		return "its IPAM has not handed out an address for the Service"
	case ipam.OverQuota:
		return cmp.Or(t.Grant(key).Message, "an AddressQuota lets its namespace have no more of it")
	case ipam.NotNeeded:
		return "the Service has an address of another"
	case ipam.Withheld:
		return "it has one, but the Service is refused as a whole"
	}
	return ""
}
