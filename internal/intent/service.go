package intent

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// Ours reports whether svc is for a load balancer of these classes, by commas; the empty
// class is for Services that name none.
func Ours(svc *corev1.Service, classes string) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer && ServesClass(classes, ClassOf(svc))
}

// Local reports whether a node must have an endpoint of svc to announce it.
func Local(svc *corev1.Service) bool {
	return svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// KeyOf names svc.
func KeyOf(svc *corev1.Service) ipam.Key { return ipam.Key{Namespace: svc.Namespace, Name: svc.Name} }

// AnnotationPrefixes are prefixes of annotations that count beside our own, such as
// MetalLB's. Where a Service has the same annotation under several, our own counts, then
// the first of these. The zero value: our own only.
type AnnotationPrefixes []string

// ParseAnnotationPrefixes reads a comma-separated list of names: "metallb.io" stands for that
// prefix and the older metallb.universe.tf. The empty list is the zero value.
func ParseAnnotationPrefixes(names string) (AnnotationPrefixes, error) {
	var out AnnotationPrefixes
	for name := range strings.SplitSeq(names, ",") {
		switch name = strings.TrimSpace(name); name {
		case "":
		case "metallb.io":
			out = append(out, "metallb.io", "metallb.universe.tf")
		default:
			return nil, fmt.Errorf("annotations of %q are not known; known are: metallb.io", name)
		}
	}
	return out, nil
}

// find returns the annotation that counts for one of our own, and its value.
func (d AnnotationPrefixes) find(svc *corev1.Service, own string) (name, value string) {
	if v, ok := svc.Annotations[own]; ok || len(d) == 0 {
		return own, v
	}
	for _, prefix := range d {
		name := prefix + strings.TrimPrefix(own, v1beta1.Group)
		if v, ok := svc.Annotations[name]; ok {
			return name, v
		}
	}
	return own, ""
}

// Request returns what svc holds and asks for.
func (d AnnotationPrefixes) Request(svc *corev1.Service) ipam.Request {
	r := ipam.Request{
		Service:  KeyOf(svc),
		Created:  svc.CreationTimestamp.Time,
		Has:      Holds(svc),
		Families: families(svc),
		Share:    d.share(svc),
	}
	_, r.Pool = d.find(svc, v1beta1.AnnotationAddressPool)
	for _, p := range svc.Spec.Ports {
		r.Ports = append(r.Ports, ipam.Port{Protocol: string(p.Protocol), Number: uint16(p.Port)})
	}
	var err error
	if r.Want, r.Count, err = d.wanted(svc); err != nil {
		r.Invalid = err.Error()
		var c contradiction
		r.Contradicts = errors.As(err, &c)
	}
	r.Changed = changed(svc, &r)
	return r
}

// Holds returns the addresses in svc's status.
func Holds(svc *corev1.Service) []netip.Addr {
	var out []netip.Addr
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if a, err := parseAddr(in.IP); err == nil {
			out = append(out, a)
		}
	}
	return out
}

func families(svc *corev1.Service) ipam.Families {
	f := ipam.Families{All: true}
	for _, x := range svc.Spec.IPFamilies {
		if x == corev1.IPv6Protocol {
			f.Want = append(f.Want, ipam.IPv6)
		} else {
			f.Want = append(f.Want, ipam.IPv4)
		}
	}
	if len(f.Want) == 0 {
		f.Want = []ipam.Family{ipam.IPv4}
	}
	if p := svc.Spec.IPFamilyPolicy; p != nil && *p == corev1.IPFamilyPolicyPreferDualStack {
		f.All = false
	}
	return f
}

// share returns with whom svc may share. The Pods of a Service without
// selector are its own.
func (d AnnotationPrefixes) share(svc *corev1.Service) ipam.Share {
	_, key := d.find(svc, v1beta1.AnnotationAllowSharedIP)
	pods := svc.Namespace + "/" + svc.Name
	if len(svc.Spec.Selector) > 0 {
		pods = svc.Namespace + "?" + labels.Set(svc.Spec.Selector).String()
	}
	return ipam.Share{
		Key:   key,
		Local: Local(svc),
		Pods:  pods,
	}
}

// SharesLocally reports whether svc asks to share an address that only nodes with an endpoint
// of it announce: then Locate has to tell which nodes these are.
func (d AnnotationPrefixes) SharesLocally(svc *corev1.Service) bool {
	if !Local(svc) { // usually
		return false
	}
	_, key := d.find(svc, v1beta1.AnnotationAllowSharedIP)
	return key != ""
}

// Locate enters in the request of svc the nodes with endpoints that serve.
func Locate(r *ipam.Request, svc *corev1.Service, endpoints []*discoveryv1.EndpointSlice, where *Placement) {
	sorted := func(f ipam.Family) (out []string) {
		for node := range servingNodes(svc, f, endpoints, where) {
			if node != "" {
				out = append(out, node)
			}
		}
		slices.Sort(out)
		return out
	}
	r.On4, r.On6 = sorted(ipam.IPv4), sorted(ipam.IPv6)
}

// Addresses returns the addresses of svc as the decision about announcing sees them.
func (c Config) Addresses(svc *corev1.Service) (out []announce.Address) {
	for _, a := range Holds(svc) {
		out = append(out, c.AddressOf(svc, a))
	}
	for _, a := range c.Externals(svc) {
		out = append(out, c.AddressOf(svc, a))
	}
	return out
}

// Announced returns svc as the decision about announcing sees it. The
// endpoints are the EndpointSlices of svc.
func (c Config) Announced(svc *corev1.Service, endpoints []*discoveryv1.EndpointSlice, where *Placement) announce.Service {
	return c.AnnouncedAt(svc, c.Addresses(svc), endpoints, where)
}

// AnnouncedAt returns what Announced does; addrs are what Addresses returns.
func (c Config) AnnouncedAt(svc *corev1.Service, addrs []announce.Address, endpoints []*discoveryv1.EndpointSlice, where *Placement) announce.Service {
	s := announce.Service{
		Key:    KeyOf(svc),
		Labels: svc.Labels,
		Addrs:  addrs,
		Local:  Local(svc),
	}
	switch {
	case c.Withdraws && !s.Local:
		s.NoEndpoints4, s.NoEndpoints6 = !served(svc, ipam.IPv4, endpoints), !served(svc, ipam.IPv6, endpoints)
	case s.Local:
		s.ReadyOn4, s.ReadyOn6 = servingNodes(svc, ipam.IPv4, endpoints, where), servingNodes(svc, ipam.IPv6, endpoints, where)
		if c.CountsEndpoints {
			s.Endpoints4, s.Endpoints6 = readyCount(svc, ipam.IPv4, endpoints, where), readyCount(svc, ipam.IPv6, endpoints, where)
		}
	}
	return s
}

// Dial returns where kube-proxy answers TCP for svc on every node; zero: nowhere.
func Dial(svc *corev1.Service) netip.AddrPort {
	addr, err := netip.ParseAddr(svc.Spec.ClusterIP)
	i := slices.IndexFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return cmp.Or(p.Protocol, corev1.ProtocolTCP) == corev1.ProtocolTCP })
	if err != nil || i < 0 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr, uint16(svc.Spec.Ports[i].Port))
}

// Unadvertised returns the addresses of svc that no advertisement covers, so that
// no node announces them. The pools are those of the addresses.
func (c Config) Unadvertised(svc *corev1.Service, addrs []netip.Addr, pools []string) []netip.Addr {
	var out []netip.Addr
	for i, a := range addrs {
		if !slices.ContainsFunc(c.L2, func(ad announce.L2Advertisement) bool { return ad.Covers(pools[i], svc.Labels) }) &&
			!slices.ContainsFunc(c.BGP, func(ad announce.BGPAdvertisement) bool { return ad.Covers(pools[i], svc.Labels) }) {
			out = append(out, a)
		}
	}
	return out
}

// IgnoreExcludeLabelUsage says what the flag --ignore-exclude-label does, which controller and
// speakers must have alike.
const IgnoreExcludeLabelUsage = "let nodes announce that have the label " + v1beta1.LabelExcludeNode + ", which kubeadm and others set on control planes; the label " + v1beta1.LabelExclude + " keeps a node from announcing also then. Controller and speakers need the same value"

// Exclusion decides which nodes must not announce anything.
type Exclusion struct {
	// IgnoreLabel is the flag --ignore-exclude-label: nodes that have the label
	// v1beta1.LabelExcludeNode announce.
	IgnoreLabel bool
	// Unschedulable is the flag --unschedulable.
	Unschedulable Unschedulable
}

// Unschedulable says what a node does that is unschedulable (kubectl cordon).
type Unschedulable string

// The values of --unschedulable.
const (
	UnschedulableIgnore Unschedulable = "ignore"
	UnschedulableDrain  Unschedulable = "drain"
)

// UnschedulableUsage says what the flag --unschedulable does, which controller and speakers
// must have alike.
const UnschedulableUsage = "what an unschedulable node (kubectl cordon) does: ignore, or drain: it gives its addresses to nodes that can have them, and keeps those that no other node can. Controller and speakers need the same value"

// UnmarshalText implements encoding.TextUnmarshaler.
func (u *Unschedulable) UnmarshalText(text []byte) error {
	*u = Unschedulable(text)
	if *u != UnschedulableIgnore && *u != UnschedulableDrain {
		return fmt.Errorf("%s: it must be %s or %s", printable.Quote(string(text)), UnschedulableIgnore, UnschedulableDrain)
	}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (u Unschedulable) MarshalText() ([]byte, error) { return []byte(u), nil }

// Yields reports whether a node announces only what no other node can.
func (e Exclusion) Yields(n *corev1.Node) bool {
	return e.Unschedulable == UnschedulableDrain && n.Spec.Unschedulable
}

// Reasons returns the reason for each node; "": it may announce.
func (e Exclusion) Reasons(nodes []corev1.Node) map[string]string {
	out := make(map[string]string, len(nodes))
	for i := range nodes {
		out[nodes[i].Name] = e.Reason(&nodes[i])
	}
	return out
}

// Reason returns the reason for which a node must not announce anything, or "".
func (e Exclusion) Reason(n *corev1.Node) string {
	if _, ok := n.Labels[v1beta1.LabelExclude]; ok {
		return "label " + v1beta1.LabelExclude
	}
	if _, ok := n.Labels[v1beta1.LabelExcludeNode]; ok && !e.IgnoreLabel {
		return "label " + v1beta1.LabelExcludeNode
	}
	if Unreachable(n) {
		return "condition NetworkUnavailable"
	}
	for _, t := range n.Spec.Taints {
		if t.Key == v1beta1.TaintOutOfService {
			return "taint " + v1beta1.TaintOutOfService
		}
	}
	if shutsDown(n) {
		return "it is shutting down"
	}
	return ""
}

// Explain returns the reason for which a node must not announce anything, with the command that
// ends that, if there is one; "": it may.
func (e Exclusion) Explain(n *corev1.Node) string {
	reason := e.Reason(n)
	if remedy := Readmit(n.Name, reason); remedy != "" {
		reason += " (" + remedy + ")"
	}
	return reason
}

// Readmit names the command that ends what Reason says of a node; "": there is none.
func Readmit(node, reason string) string {
	what, key, _ := strings.Cut(reason, " ")
	if what != "label" && what != "taint" {
		return ""
	}
	out := fmt.Sprintf("kubectl %s node %s %s- takes it off", what, node, key)
	if key == v1beta1.LabelExcludeNode {
		out += "; with --ignore-exclude-label it has no effect"
	}
	return out
}

// shutsDown reports whether the kubelet knows that the machine shuts down, and
// holds that up until its Pods have ended (graceful node shutdown). It says so in
// these words only, among others if there are more reasons for not being ready.
func shutsDown(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionFalse && strings.Contains(c.Message, "node is shutting down")
	})
}

// Unreachable says that a node is excluded since its network is not there.
func Unreachable(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeNetworkUnavailable && c.Status == corev1.ConditionTrue
	})
}
