package migrate

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// pureLBv1 is the version of PureLB's kinds up to 0.15.
const pureLBv1 = "purelb.io/v1"

// pureLB is what is known of PureLB: up to 0.15 (purelb.io/v1), and 0.16 and 0.17
// (purelb.io/v2, bgp.purelb.io/v1).
func pureLB() converter {
	const reads = "it is a report of PureLB's"
	return converter{
		kinds: []schema.GroupVersionResource{
			{Group: "purelb.io", Version: "v2", Resource: "servicegroups"}, {Group: "purelb.io", Version: "v2", Resource: "lbnodeagents"},
			{Group: "purelb.io", Version: "v1", Resource: "servicegroups"}, {Group: "purelb.io", Version: "v1", Resource: "lbnodeagents"},
			{Group: "bgp.purelb.io", Version: "v1", Resource: "bgpconfigurations"},
		},
		classes: []string{"purelb.io/purelb", "purelb.io/purelbv2"},
		homes:   []string{"purelb-system", "purelb"},
		foreign: map[string]string{"BGPNodeStatus": reads},
		convert: func(d *draft) {
			d.each("ServiceGroup", []string{"purelb.io/v2", pureLBv1}, d.serviceGroup)
			d.each("LBNodeAgent", []string{"purelb.io/v2", pureLBv1}, d.nodeAgent)
			d.each("BGPConfiguration", []string{"bgp.purelb.io/v1"}, d.pureLBBGP)
			d.pureLBAdvertisements()
		},
		asks: func(_ *draft, svc *corev1.Service) request {
			w := requestOf(svc, PureLB)
			w.prefixes = []string{"purelb.io/"}
			w.known = []string{"addresses", "service-group", "allow-shared-ip", "allocated-by", "allocated-from", "pool-type", "announcing-IPv4", "announcing-IPv6", "announcing", "skip-ipv6-dad"}
			w.said = map[string]string{
				"allow-local":   "+externalTrafficPolicy Local works here on the local network too: a node with an endpoint answers",
				"re-evaluate":   "+every change is looked at here as it comes",
				"multi-pool":    "a Service has at most one address of each family here",
				"node-affinity": "externalTrafficPolicy Local does that here",
			}
			return w
		},
		steps: func(d *draft) []string {
			namespace := d.namespace("purelb-system")
			return d.usual(usual{
				stopController: "kubectl scale deployment allocator --replicas=0 -n " + namespace,
				stopSpeakers:   "kubectl delete daemonset lbnodeagent -n " + namespace + "\nThe addresses that it put on network interfaces end by themselves within 5 minutes; those on kube-lb0 do not: remove that link on each node (ip link del kube-lb0).",
				never:          "Do not delete a ServiceGroup before.",
				remove:         "Uninstall PureLB. What it leaves on Services (annotations under purelb.io) does no harm.",
			})
		},
	}
}

func (d *draft) serviceGroup(e entry) {
	s := e.spec
	name := e.obj.GetName()
	namespaces, enforce, byDefault := s.texts("namespaces"), s.flag("enforceNamespaces"), s.flag("namespaceDefault")
	spec := v1beta1.IPAddressPoolSpec{}
	for _, manager := range []string{"external", "netbox"} {
		s.drop(NoEqual, manager, "there are no external address managers here; addresses of it that are in use are kept, in a pool of their own")
	}
	kind := ""
	for _, k := range []string{"local", "remote"} {
		if s.has(k) {
			kind = k
			spec.Addresses = d.pureLBRanges(s.sub(k), k)
		}
	}
	if kind == "local" && e.obj.GetAPIVersion() == pureLBv1 {
		d.note(Note{Severity: Changed, Object: e.name(), Field: "spec.local",
			Reason: "in this version it does not say whether routers bring clients to its addresses; they are announced on the local network: if they are not of the nodes' subnet, write a BGPAdvertisement for its pool, and a BGPPeer for each router"})
	}
	if len(namespaces) > 0 {
		spec.ServiceAllocation = &v1beta1.ServiceAllocation{Namespaces: namespaces}
		if !enforce {
			users := d.users(name, namespaces)
			spec.ServiceAllocation.Namespaces = append(namespaces, users...)
			s.noteField(Changed, "namespaces", namespaces, "other namespaces could ask for this group as well; here a pool serves its namespaces only (those that use it now, %v, were added)", users)
		}
	}
	if name != "default" && (len(namespaces) == 0 || !byDefault && d.overlapping(e, namespaces)) {
		no := false
		spec.AutoAssign = &no // only Services that request it get its addresses
	}
	m := d.meta("IPAddressPool", name, e)
	d.poolOf[name] = m.Name
	d.facts["pool "+kind+" "+m.Name] = true
	d.pool(m, spec)
}

// users returns the other namespaces whose Services request a group.
func (d *draft) users(group string, namespaces []string) []string {
	out := []string{}
	for _, svc := range d.source.Services {
		from := cmp.Or(svc.Annotations["purelb.io/allocated-from"], svc.Annotations["purelb.io/service-group"])
		if from == group && !slices.Contains(namespaces, svc.Namespace) && !slices.Contains(out, svc.Namespace) {
			out = append(out, svc.Namespace)
		}
	}
	slices.Sort(out)
	return out
}

// overlapping reports whether another group serves one of the namespaces.
func (d *draft) overlapping(e entry, namespaces []string) bool {
	for _, o := range d.source.Objects {
		if o.GetKind() != e.obj.GetKind() || o.GetName() == e.obj.GetName() && o.GetNamespace() == e.obj.GetNamespace() {
			continue
		}
		if spec, ok := o.Object["spec"].(map[string]any); ok {
			list, _ := spec["namespaces"].([]any)
			for _, n := range list {
				if text, ok := n.(string); ok && slices.Contains(namespaces, text) {
					return true
				}
			}
		}
	}
	return false
}

// pureLBRanges reads the pools of a group.
func (d *draft) pureLBRanges(s fields, kind string) []v1beta1.AddressRange {
	var out []v1beta1.AddressRange
	read := func(p fields) {
		out = append(out, d.ranges(p, "pool", []string{p.text("pool")})...)
		p.drop(Unneeded, "subnet", "a node answers for an address on the links that are in its subnet")
		if kind == "local" {
			p.drop(Unneeded, "aggregation", "addresses are not put on network interfaces here")
		} else if v := p.text("aggregation"); v != "" && v != "/32" && v != "/128" {
			p.noteField(Changed, "aggregation", v, "routes are announced for single addresses; to announce a prefix, set aggregationLength in the BGPAdvertisement, where the pool fills the prefix")
		}
	}
	if s.has("pool") {
		read(s) // of v1, before it had families
	}
	for _, name := range []string{"v4pool", "v6pool"} {
		if s.has(name) {
			read(s.sub(name))
		}
	}
	for _, name := range []string{"v4pools", "v6pools"} {
		for _, p := range s.items(name) {
			read(p)
		}
	}
	s.drop(NoEqual, "multiPool", "a Service has at most one address of each family here")
	s.drop(NoEqual, "balancePools", "addresses are given out in order here")
	s.drop(Unneeded, "skipIPv6DAD", "an address is probed for half a second before it is announced the first time")
	return out
}

// nodeAgent converts an LBNodeAgent to an advertisement of the local pools.
func (d *draft) nodeAgent(e entry) {
	s := e.spec
	spec := v1beta1.L2AdvertisementSpec{Selection: v1beta1.Selection{NodeSelectors: s.selector("nodeSelector")}}
	if len(spec.NodeSelectors) == 0 && d.facts["agent"] {
		d.note(Note{Severity: Changed, Object: e.name(), Reason: "it was for the nodes that no other LBNodeAgent selects; here advertisements add up"})
	}
	d.facts["agent"] = true
	local := s.sub("local")
	for _, field := range []string{"localInterface", "localint"} { // the latter one of v1
		switch name := local.text(field); name {
		case "":
		case "default":
			local.noteField(Unneeded, field, name, "a node answers on the links that are in an address's subnet")
		default:
			spec.Interfaces = append(spec.Interfaces, d.globs(local, field, []string{name})...)
		}
	}
	extra := local.texts("interfaces")
	if len(spec.Interfaces) > 0 {
		for _, name := range extra {
			spec.Interfaces = append(spec.Interfaces, v1beta1.InterfacePattern(name))
		}
	} else if len(extra) > 0 {
		local.noteField(Unneeded, "interfaces", extra, "all links that are in an address's subnet are used")
	}
	for _, field := range []string{"dummyInterface", "extlbint", "addressConfig"} {
		local.drop(Unneeded, field, "addresses are not put on network interfaces here")
	}
	for _, field := range []string{"garpConfig", "sendgarp"} {
		local.drop(Unneeded, field, "a new owner always announces itself")
	}
	d.config.L2 = append(d.config.L2, v1beta1.L2Advertisement{ObjectMeta: d.meta("L2Advertisement", e.obj.GetName(), e), Spec: spec})
}

// pureLBAdvertisements sets the pools of the advertisements: local ones are announced
// on the local network, remote ones to routers.
func (d *draft) pureLBAdvertisements() {
	local, remote := []string{}, []string{}
	for _, p := range d.config.Pools {
		if d.facts["pool local "+p.Name] {
			local = append(local, p.Name)
		} else {
			remote = append(remote, p.Name)
		}
	}
	if len(d.config.L2) == 0 && len(local) > 0 {
		d.config.L2 = append(d.config.L2, v1beta1.L2Advertisement{ObjectMeta: d.made("L2Advertisement", "purelb-local", "the local ServiceGroups")})
	}
	if len(local) == 0 {
		d.config.L2 = nil
	}
	for i := range d.config.L2 {
		d.config.L2[i].Spec.IPAddressPools = local
		d.facts["layer2"] = true
	}
	if len(remote) > 0 {
		d.facts["bgp"] = true
		d.config.BGP = append(d.config.BGP, v1beta1.BGPAdvertisement{
			ObjectMeta: d.made("BGPAdvertisement", "purelb-remote", "the remote ServiceGroups"),
			Spec:       v1beta1.BGPAdvertisementSpec{Selection: v1beta1.Selection{IPAddressPools: remote}},
		})
	}
}

// pureLBBGP reads a configuration of k8gobgp.
func (d *draft) pureLBBGP(e entry) {
	s := e.spec
	d.facts["bgp"] = true
	global := s.sub("global")
	asn, _ := global.number("asn")
	router := global.text("routerID")
	if strings.Contains(router, "$") {
		global.noteField(Unneeded, "routerID", router, "the node's first IPv4 address is taken")
		router = ""
	} else if router != "" {
		global.noteField(Changed, "routerID", router, "it is the same on every node, and must differ: it is left out, so that each node takes its first IPv4 address")
	}
	families := global.texts("families")
	restarts := graceful(global)
	for _, name := range []string{"listenPort", "listenAddresses"} {
		global.drop(Unneeded, name, "nodes open the sessions here, and do not listen")
	}
	for _, name := range []string{"useMultiplePaths", "routeSelectionOptions", "defaultRouteDistance", "nodeStatus", "routerIDPool"} {
		global.drop(Unneeded, name, "routes are announced here, not taken in")
	}
	s.sub("netlinkImport").drop(Unneeded, "enabled", "routes come from the Services here, not from the kernel")
	s.sub("netlinkImport").drop(Unneeded, "interfaceList", "routes come from the Services here, not from the kernel")
	s.drop(NoEqual, "netlinkExport", "routes of routers are not taken in here")
	for i, n := range s.items("neighbors") {
		d.pureLBNeighbor(e, n, neighbor{asn: asn, dual: len(families) > 1, graceful: restarts, index: i})
	}
}

// neighbor is what the peers have in common, and the index of one of them.
type neighbor struct {
	asn            int64
	dual, graceful bool
	index          int
}

func (d *draft) pureLBNeighbor(e entry, n fields, all neighbor) {
	c := n.sub("config")
	spec := v1beta1.BGPPeerSpec{
		MyASN: all.asn, PeerAddress: v1beta1.IPAddress(c.text("neighborAddress")), Interface: c.text("neighborInterface"),
		VRF: c.text("vrf"), Password: c.password("authPassword"), NodeSelectors: n.selector("nodeSelector"),
		EnableGracefulRestart: graceful(n) || all.graceful,
	}
	spec.PeerASN, _ = c.number("peerAsn")
	spec.LocalASN, _ = c.number("localAsn")
	if spec.PeerASN == 0 {
		spec.DynamicASN = "external"
	}
	if c.flag("adminDown") {
		c.noteField(NoEqual, "adminDown", true, "a peer can't be switched off: it is left out")
		return
	}
	c.drop(Unneeded, "description", "it is for people")
	ref := c.sub("authPasswordSecretRef")
	ref.take("optional")
	spec.PasswordSecret = d.secret(theirSecret{types.NamespacedName{Namespace: e.obj.GetNamespace(), Name: ref.text("name")}, cmp.Or(ref.text("key"), "password")})
	hop := n.sub("ebgpMultihop")
	spec.EBGPMultiHop = hop.flag("enabled")
	hop.drop(Unneeded, "multihopTtl", "any number of hops will do")
	t := n.sub("timers").sub("config")
	spec.HoldTime, spec.KeepaliveTime, spec.ConnectTime = seconds(t, "holdTime", 3), seconds(t, "keepaliveInterval", 1), seconds(t, "connectRetry", 1)
	t.drop(Unneeded, "minimumAdvertisementInterval", "changes are sent at once")
	tr := n.sub("transport")
	spec.SourceAddress = v1beta1.IPAddress(tr.text("localAddress"))
	tr.drop(NoEqual, "passiveMode", "nodes open the sessions here: the router must accept them")
	var own []string
	for _, f := range n.items("afiSafis") {
		if family := f.text("family"); f.flag("enabled") {
			own = append(own, family)
		}
	}
	spec.DualStackAddressFamily = len(own) > 1 || len(own) == 0 && all.dual
	name := fmt.Sprintf("%s-%s", e.obj.GetName(), peerName(string(spec.PeerAddress), spec.Interface, all.index))
	d.addPeer(d.meta("BGPPeer", name, e), spec)
}

// peerName returns a name for a peer.
func peerName(address, link string, index int) string {
	if a, err := parseAddr(address); err == nil {
		return strings.Trim(strings.ReplaceAll(a.String(), ":", "-"), "-")
	}
	if link != "" {
		return strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(link))
	}
	return strconv.Itoa(index)
}

// seconds reads a time in seconds, or as text. One below the minimum is left out.
func seconds(f fields, name string, least int64) v1beta1.Duration {
	v := f.take(name)
	if text, ok := v.(string); ok {
		v = strings.TrimSuffix(text, "s")
	}
	n, ok := whole(v)
	switch {
	case v == nil:
		return ""
	case !ok:
		f.unreadable(name, v)
		return ""
	case n == 0:
		return ""
	case n < least:
		f.noteField(Changed, name, n, "it is at least %ds here; what is usual is taken", least)
		return ""
	}
	return v1beta1.Duration(fmt.Sprintf("%ds", n))
}
