package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/world"
)

// objectExplanation is all that is to know about an object that is no Service, or about an
// address that no Service has.
type objectExplanation struct {
	Object     string      `json:"object"`           // its kind and name
	Reason     string      `json:"reason,omitempty"` // empty: all is well
	Summary    string      `json:"summary"`
	Properties []property  `json:"properties,omitempty"`
	Conditions []condition `json:"conditions,omitempty"`
	Problems   []problem   `json:"problems,omitempty"` // all that status tells of it
	Usage      []poolUse   `json:"usage,omitempty"`    // of a pool
	Sessions   []session   `json:"sessions,omitempty"` // of a peer or node
	Claims     []claim     `json:"claims,omitempty"`   // of a node
	Services   []service   `json:"services,omitempty"` // that depend on it
	Unread     []string    `json:"unread,omitempty"`   // what could not be read
	now        time.Time
}

// condition is a condition that an object bears.
type condition struct {
	Type    string                 `json:"type"`
	Status  metav1.ConditionStatus `json:"status"`
	Reason  string                 `json:"reason"`
	Message string                 `json:"message"`
}

// kindNamed returns the kind that a user means, as kubectl takes it; "": none that explain
// knows beside Services.
func kindNamed(text string) string {
	text, _, _ = strings.Cut(strings.ToLower(text), ".")
	for kind, names := range map[string][]string{
		"IPAddressPool":    {"ipaddresspool", "pool"},
		"BGPPeer":          {"bgppeer", "peer"},
		"L2Advertisement":  {"l2advertisement"},
		"BGPAdvertisement": {"bgpadvertisement"},
		"Node":             {"node", "no"},
	} {
		if slices.Contains(names, text) || slices.Contains(names, strings.TrimSuffix(text, "s")) {
			return kind
		}
	}
	return ""
}

// explainer explains one object.
type explainer struct {
	*world.Evaluation
	out      objectExplanation
	services []service
}

// explainObject explains an object of a kind that kindNamed returns.
func explainObject(w *world.Snapshot, kind, name string) (answer, error) {
	e := &explainer{Evaluation: w.Evaluate(), out: objectExplanation{Object: kind + " " + name, Unread: w.Unread, now: w.Now}}
	e.services = servicesOf(e.Evaluation)
	var there []string
	if kind == "Node" {
		there = nodeNames(w.Nodes)
	}
	for _, x := range w.Config.Described() {
		if x.Kind == kind {
			there = append(there, x.Name)
		}
		if x.Kind == kind && x.Name == name {
			e.conditions(x.Conditions)
		}
	}
	if !slices.Contains(there, name) {
		return nil, unknown(kind, name, there)
	}
	map[string]func(string){
		"IPAddressPool": e.pool, "BGPPeer": e.peer, "L2Advertisement": e.advertisement, "BGPAdvertisement": e.advertisement, "Node": e.node,
	}[kind](name)
	e.problems(kind, name)
	return e.out, nil
}

func (e *explainer) conditions(of []metav1.Condition) {
	for _, c := range of {
		e.out.Conditions = append(e.out.Conditions, condition{c.Type, c.Status, c.Reason, c.Message})
	}
}

// problems enters what status tells of the object; the first is what the first line says.
func (e *explainer) problems(kind, name string) {
	names := []string{kind + " " + name}
	if kind == "Node" {
		names = append(names, "Speaker "+name)
	}
	for _, p := range problemsOf(e.Evaluation) {
		if slices.Contains(names, p.Object) {
			e.out.Problems = append(e.out.Problems, p)
		}
	}
	if len(e.out.Problems) > 0 {
		e.out.Reason, e.out.Summary = e.out.Problems[0].Reason, e.out.Problems[0].Message
	}
}

func (e *explainer) property(field, format string, args ...any) {
	if text := fmt.Sprintf(format, args...); text != "" {
		e.out.Properties = append(e.out.Properties, property{field, text})
	}
}

func (e *explainer) pool(name string) {
	i := slices.IndexFunc(e.Config.Pools, func(p v1beta1.IPAddressPool) bool { return p.Name == name })
	spec := &e.Config.Pools[i].Spec
	e.property("addresses", "%s", joinAny(spec.Addresses))
	e.property("without", "%s", joinAny(spec.Exclude))
	e.property("prefix", "%s", health.Condition(e.Config.Pools[i].Status.Conditions, v1beta1.ConditionPrefixKnown).Message)
	e.property("IPAM", "%s", ipamOf(&e.Config.Pools[i]))
	serves := "any Service, without being asked"
	if spec.AutoAssign != nil && !*spec.AutoAssign {
		serves = "Services that ask for it (autoAssign is false)"
	}
	if spec.ServiceAllocation != nil {
		serves += ", of those that serviceAllocation selects"
	}
	e.property("serves", "%s", serves)
	var covered []string
	for i := range e.Checked.L2 {
		if pools := e.Checked.L2[i].Pools; pools == nil || pools[name] {
			covered = append(covered, "L2Advertisement "+e.Checked.L2[i].Name)
		}
	}
	for i := range e.Checked.BGP {
		if pools := e.Checked.BGP[i].Pools; pools == nil || pools[name] {
			covered = append(covered, "BGPAdvertisement "+e.Checked.BGP[i].Name)
		}
	}
	e.property("announced by", "%s", cmp.Or(strings.Join(covered, ", "), "no advertisement: its addresses lead nowhere"))
	for _, u := range poolUses(e.Evaluation) {
		if u.Pool == name {
			e.out.Usage = append(e.out.Usage, u)
		}
	}
	for _, k := range e.Kept {
		if e.Checked.PoolOf(k.Addr) == name {
			e.property("kept", "%s", k)
		}
	}
	e.serving(func(s service) bool { return slices.Contains(s.Pools, name) })
	e.out.Summary = counted(len(e.out.Services), "Service") + " with an address of it"
}

// ipamOf returns where the IPAM of a pool is and how it does; "": the pool has none.
func ipamOf(p *v1beta1.IPAddressPool) string {
	if p.Spec.Source == nil || p.Spec.Source.External == nil {
		return ""
	}
	text := p.Spec.Source.External.Endpoint
	if m := health.Condition(p.Status.Conditions, v1beta1.ConditionIPAMReady).Message; m != "" {
		text += "; " + m
	}
	return text
}

// serving enters the Services that are selected.
func (e *explainer) serving(selected func(service) bool) {
	for _, s := range e.services {
		if selected(s) {
			e.out.Services = append(e.out.Services, s)
		}
	}
}

func (e *explainer) peer(name string) {
	i := slices.IndexFunc(e.Config.Peers, func(p v1beta1.BGPPeer) bool { return p.Name == name })
	spec := &e.Config.Peers[i].Spec
	e.property("router", "%s", cmp.Or(string(spec.PeerAddress), "found on interface "+spec.Interface))
	as := cmp.Or(spec.DynamicASN, fmt.Sprint(spec.PeerASN))
	e.property("AS numbers", "%d here, %s there", cmp.Or(spec.LocalASN, spec.MyASN), as)
	if spec.PasswordSecret != nil {
		refs := health.Condition(e.Config.Peers[i].Status.Conditions, v1beta1.ConditionResolvedRefs)
		e.property("password", "of Secret %s, which this plugin does not read; the controller says: %s", spec.PasswordSecret.Name,
			cmp.Or(strings.Trim(refs.Reason+": "+refs.Message, ": "), "nothing yet"))
	}
	e.property("BFD", "%s", cmp.Or(spec.BFDProfile, "none"))
	e.authentication(spec.BFDProfile)
	var by []string
	for i := range e.Config.BGP {
		ad := &e.Config.BGP[i].Spec
		if len(ad.PeerSelectors) > 0 && len(ad.Peers) == 0 {
			by = append(by, e.Config.BGP[i].Name+" (if its peerSelectors match)")
		} else if len(ad.Peers) == 0 || slices.Contains(ad.Peers, name) {
			by = append(by, e.Config.BGP[i].Name)
		}
	}
	e.property("is sent routes by", "%s", cmp.Or(strings.Join(by, ", "), "no BGPAdvertisement"))
	e.sessions(func(s *session) bool { return s.Peer == name })
	up := 0
	for _, s := range e.out.Sessions {
		if s.State == health.Established {
			up++
		}
	}
	e.out.Summary = fmt.Sprintf("%d of %s up", up, counted(len(e.out.Sessions), "session"))
}

// authentication tells how the packets of BFD are signed with a profile, if they are.
func (e *explainer) authentication(profile string) {
	for _, p := range e.Config.Profiles {
		if a := p.Spec.Authentication; p.Name == profile && a != nil {
			refs := health.Condition(p.Status.Conditions, v1beta1.ConditionResolvedRefs)
			e.property("BFD authentication", "%s by key %d of Secret %s, which this plugin does not read; the controller says: %s", cmp.Or(a.Type, v1beta1.BFDMeticulousKeyedSHA1),
				a.SigningKeyID(), a.KeySecret.Name, cmp.Or(strings.Trim(refs.Reason+": "+refs.Message, ": "), "nothing yet"))
		}
	}
}

func (e *explainer) sessions(selected func(*session) bool) {
	for i := range e.Sessions {
		if s := reported(e.Snapshot, &e.Evaluation.Sessions[i]); selected(&s) {
			e.out.Sessions = append(e.out.Sessions, s)
		}
	}
	slices.SortFunc(e.out.Sessions, func(a, b session) int { return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Peer, b.Peer)) })
}

func (e *explainer) advertisement(name string) {
	kind, _, _ := strings.Cut(e.out.Object, " ")
	pools, peers := []string(nil), []string(nil)
	for i := range e.Config.L2 {
		if e.Config.L2[i].Name == name && kind == "L2Advertisement" {
			pools = e.Config.L2[i].Spec.IPAddressPools
			e.property("on links", "%s", cmp.Or(joinAny(e.Config.L2[i].Spec.Interfaces), "all"))
			e.comesTo(e.Config.L2[i].Status)
		}
	}
	for i := range e.Config.BGP {
		if e.Config.BGP[i].Name == name && kind == "BGPAdvertisement" {
			pools, peers = e.Config.BGP[i].Spec.IPAddressPools, e.Config.BGP[i].Spec.Peers
			e.property("to peers", "%s", cmp.Or(strings.Join(peers, ", "), "all"))
			e.comesTo(e.Config.BGP[i].Status)
		}
	}
	e.property("of pools", "%s", cmp.Or(strings.Join(pools, ", "), "all, unless ipAddressPoolSelectors select some"))
	e.serving(func(s service) bool {
		for _, pool := range s.Pools {
			for _, c := range coverFacts(e.Evaluation, e.Service(ipam.Key{Namespace: s.Namespace, Name: s.Name}), pool) {
				if c.Kind == kind && c.Name == name && c.Covers {
					return true
				}
			}
		}
		return false
	})
	e.out.Summary = "it announces the addresses of " + counted(len(e.out.Services), "Service")
}

// comesTo enters what the controller counts of an advertisement.
func (e *explainer) comesTo(s v1beta1.AdvertisementStatus) {
	if s.Announced != nil {
		e.property("comes to", "%s", intent.CountText(*s.Announced))
	}
}

func (e *explainer) node(name string) {
	use := nodeUseOf(e.Snapshot, name)
	e.property("speaker", "%s", cmp.Or(use.Absent, string(use.Speaker)+", version "+use.Version))
	e.property("excluded", "%s", use.Excluded)
	if use.Yields {
		e.property("unschedulable", "it announces only what no other node can")
	}
	e.property("links", "%s", linkNames(use.Links))
	for i := range e.Claims {
		if c := claimOf(&e.Evaluation.Claims[i]); c.Node == name || c.Answers == name {
			e.out.Claims = append(e.out.Claims, c)
		}
	}
	slices.SortFunc(e.out.Claims, func(a, b claim) int { return compareAddresses(a.Address, b.Address) })
	e.sessions(func(s *session) bool { return s.Node == name })
	e.out.Summary = fmt.Sprintf("addresses on the local network that it answers for: %d; BGP sessions: %d", len(e.out.Claims), len(e.out.Sessions))
	if use.Excluded != "" {
		e.out.Summary = "it must not announce anything: " + e.Exclusion.Explain(e.Snapshot.Node(name))
	}
}

// explainAddress explains an address that no Service has.
func explainAddress(w *world.Snapshot, a netip.Addr) objectExplanation {
	t := w.Evaluate()
	out := objectExplanation{Object: "address " + a.String(), Unread: w.Unread, now: w.Now}
	pool := t.Checked.PoolOf(a)
	kept := slices.IndexFunc(intent.Kept(w.Config.Pools, w.Now), func(k ipam.Kept) bool { return k.Addr == a })
	by, is := t.Occupied.Of(a)
	switch {
	case kept >= 0:
		out.Summary = "no Service has it: " + intent.Kept(w.Config.Pools, w.Now)[kept].String()
	case pool != "" && is && !by.Alone:
		out.Reason, out.Summary = v1beta1.ReasonAddressOccupied, fmt.Sprintf("no Service has it, and IPAddressPool %s does not choose it: it is %s", pool, by.Name)
	case pool != "":
		out.Summary = fmt.Sprintf("no Service has it: it is free, in IPAddressPool %s", pool)
	default:
		out.Reason, out.Summary = "AddressOutsidePools", "no Service has it, and no IPAddressPool holds it"
	}
	for i := range w.Nodes {
		for _, x := range w.Nodes[i].Status.Addresses {
			if x.Address == a.String() {
				out.Reason, out.Summary = "AddressOfNode", fmt.Sprintf("it is an address of node %s", w.Nodes[i].Name)
			}
		}
	}
	for _, p := range w.Config.Peers {
		if string(p.Spec.PeerAddress) == a.String() {
			out.Reason, out.Summary = "AddressOfRouter", fmt.Sprintf("it is the address of the router of BGPPeer %s", p.Name)
		}
	}
	if c := w.Claim(a); c != nil {
		out.Claims = []claim{claimOf(c)}
	}
	return out
}

// joinAny lists texts of any type.
func joinAny[T ~string](of []T) string {
	out := make([]string, len(of))
	for i, x := range of {
		out[i] = string(x)
	}
	return strings.Join(out, ", ")
}
