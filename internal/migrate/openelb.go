package migrate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// The names that OpenELB 0.6 uses.
const (
	openELBGroup     = "network.kubesphere.io"
	openELBMark      = "lb.kubesphere.io/v1alpha1"
	openELBDefault   = "eip.openelb.kubesphere.io/is-default-eip"
	openELBFinalizer = "finalizer.lb.kubesphere.io/v1alpha1"
	openELBRack      = "openelb.kubesphere.io/rack"
)

// openELB is what is known of OpenELB 0.6 (network.kubesphere.io/v1alpha2).
func openELB() converter {
	resource := func(name string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Group: openELBGroup, Version: "v1alpha2", Resource: name}
	}
	return converter{
		kinds: []schema.GroupVersionResource{resource("eips"), resource("bgpconfs"), resource("bgppeers")},
		convert: func(d *draft) {
			version := []string{openELBGroup + "/v1alpha2"}
			d.each("Eip", version, d.eip)
			d.openELBAdvertisements()
			conf := bgpConf{}
			d.each("BgpConf", version, func(e entry) { conf = d.bgpConf(e) })
			d.each("BgpPeer", version, func(e entry) { d.bgpPeer(e, conf) })
		},
		asks: func(d *draft, svc *corev1.Service) request {
			if slices.Contains(svc.Finalizers, openELBFinalizer) {
				d.facts["finalizer "+svc.Namespace+"/"+svc.Name] = true
			}
			w := requestOf(svc, OpenELB)
			w.pool = cmp.Or(w.pool, svc.Labels["eip.openelb.kubesphere.io/v1alpha2"])
			w.prefixes = []string{"lb.kubesphere.io/", "eip.openelb.kubesphere.io/", "protocol.openelb.kubesphere.io/", "layer2.openelb.kubesphere.io/", "node-proxy.openelb.kubesphere.io/"}
			w.known = []string{"v1alpha1", "v1alpha2"}
			w.said = map[string]string{
				"type":        "OpenELB's NodeProxy mode has no equal: an address here is announced, not a node's own",
				"external-ip": "OpenELB's NodeProxy mode has no equal",
				"internal-ip": "OpenELB's NodeProxy mode has no equal",
			}
			return w
		},
		steps: openELBSteps,
	}
}

// eip converts an Eip to a pool.
func (d *draft) eip(e entry) {
	s := e.spec
	name := e.obj.GetName()
	spec := v1beta1.IPAddressPoolSpec{Addresses: d.ranges(s, "address", []string{s.text("address")})}
	protocol := s.text("protocol")
	link := s.text("interface")
	namespaces := s.texts("namespaces")
	labels := map[string]string{}
	s.into("namespaceSelector", &labels)
	priority := d.priority(s, "priority")
	if len(namespaces)+len(labels) > 0 {
		// With OpenELB these get an address of it without a request; others may
		// request one.
		users := d.eipUsers(name, namespaces)
		spec.ServiceAllocation = &v1beta1.ServiceAllocation{Namespaces: append(namespaces, users...)}
		if len(labels) > 0 {
			spec.ServiceAllocation.NamespaceSelectors = []metav1.LabelSelector{{MatchLabels: labels}}
		}
		// Lower goes first with both; but 0 is first there, and last here.
		spec.ServiceAllocation.Priority = priority + 1
		d.note(Note{Severity: Changed, Object: e.name(), Field: "spec.namespaces",
			Reason: fmt.Sprintf("other namespaces could ask for this Eip as well; here a pool serves its namespaces only (those that use it now, %v, were added)", users)})
	} else if e.obj.GetAnnotations()[openELBDefault] != "true" {
		no := false
		spec.AutoAssign = &no // only Services that request it get its addresses
	}
	if s.flag("disable") {
		no := false
		spec.AutoAssign = &no
		s.noteField(Changed, "disable", true, "Services can still ask for an address of it")
	}
	s.drop(Unneeded, "usingKnownIPs", "addresses that Services hold are known from their status")
	m := d.meta("IPAddressPool", name, e)
	d.poolOf[name] = m.Name
	d.pool(m, spec)
	d.eipAnnounced(s, m.Name, protocol, link)
}

// eipAnnounced records how the addresses of an Eip are announced.
func (d *draft) eipAnnounced(s fields, pool, protocol, link string) {
	switch protocol {
	case "", "bgp":
		d.facts["pool bgp "+pool] = true
	case "vip":
		s.noteField(Changed, "protocol", protocol, "VRRP is not spoken here: the addresses are announced by ARP and NDP, as for protocol layer2")
		d.facts["pool layer2 "+link+" "+pool] = true
	default:
		d.facts["pool layer2 "+link+" "+pool] = true
	}
	if strings.HasPrefix(link, "can_reach:") {
		s.noteField(Unneeded, "interface", link, "a node answers on the links that are in an address's subnet")
	}
}

// eipUsers returns the other namespaces whose Services request an Eip.
func (d *draft) eipUsers(eip string, namespaces []string) []string {
	out := []string{}
	for _, svc := range d.source.Services {
		const key = "eip.openelb.kubesphere.io/v1alpha2"
		if cmp.Or(svc.Labels[key], svc.Annotations[key]) == eip && !slices.Contains(namespaces, svc.Namespace) && !slices.Contains(out, svc.Namespace) {
			out = append(out, svc.Namespace)
		}
	}
	slices.Sort(out)
	return out
}

// openELBAdvertisements creates an advertisement for each network interface that Eips
// name, and one for the Eips that are announced to routers.
func (d *draft) openELBAdvertisements() {
	links := map[string][]string{}
	var routed []string
	for _, p := range d.config.Pools {
		for key := range d.facts {
			link, ok := strings.CutPrefix(key, "pool layer2 ")
			if ok && strings.HasSuffix(link, " "+p.Name) {
				link = strings.TrimSuffix(link, " "+p.Name)
				if strings.HasPrefix(link, "can_reach:") {
					link = ""
				}
				links[link] = append(links[link], p.Name)
			}
		}
		if d.facts["pool bgp "+p.Name] {
			routed = append(routed, p.Name)
		}
	}
	for _, link := range slices.Sorted(maps.Keys(links)) {
		d.facts["layer2"] = true
		name, spec := "openelb", v1beta1.L2AdvertisementSpec{Selection: v1beta1.Selection{IPAddressPools: links[link]}}
		if link != "" {
			name, spec.Interfaces = "openelb-"+peerName("", link, 0), []v1beta1.InterfacePattern{v1beta1.InterfacePattern(link)}
		}
		d.config.L2 = append(d.config.L2, v1beta1.L2Advertisement{ObjectMeta: d.made("L2Advertisement", name, "the Eips that are announced on the local network"), Spec: spec})
	}
	if len(routed) > 0 {
		d.facts["bgp"] = true
		d.config.BGP = append(d.config.BGP, v1beta1.BGPAdvertisement{
			ObjectMeta: d.made("BGPAdvertisement", "openelb", "the Eips of protocol bgp"),
			Spec:       v1beta1.BGPAdvertisementSpec{Selection: v1beta1.Selection{IPAddressPools: routed}},
		})
	}
}

// bgpConf is what peers need of a BgpConf.
type bgpConf struct {
	asn      int64
	racks    map[string]int64
	graceful bool
}

func (d *draft) bgpConf(e entry) bgpConf {
	s := e.spec
	out := bgpConf{racks: map[string]int64{}}
	out.asn, _ = s.number("as")
	s.into("asPerRack", &out.racks)
	s.drop(Changed, "routerId", "it is the same on every node, and must differ: it is left out, so that each node takes its first IPv4 address")
	for _, name := range []string{"listenPort", "listenAddresses"} {
		s.drop(Unneeded, name, "nodes open the sessions here, and do not listen")
	}
	s.drop(Unneeded, "families", "a session carries the family of its own addresses, unless dualStackAddressFamily is set")
	s.drop(Unneeded, "useMultiplePaths", "routes are announced here, not taken in")
	s.drop(NoEqual, "policy", "policies are not written in TOML here: see communities, localPref and peers of BGPAdvertisement")
	out.graceful = graceful(s)
	return out
}

// graceful reads whether graceful restart is on.
func graceful(s fields) bool {
	g := s.sub("gracefulRestart")
	on := g.flag("enabled")
	for _, name := range slices.Sorted(maps.Keys(g.left)) {
		g.drop(Unneeded, name, "times of graceful restart are not set here: routers keep routes for two minutes")
	}
	return on
}

// bgpPeer converts a BgpPeer to one peer, or to one for each rack with an AS number
// of its own.
func (d *draft) bgpPeer(e entry, conf bgpConf) {
	s := e.spec
	c := s.sub("conf")
	spec := v1beta1.BGPPeerSpec{
		MyASN: conf.asn, PeerAddress: v1beta1.IPAddress(c.text("neighborAddress")), Interface: c.text("neighborInterface"),
		VRF: c.text("vrf"), Password: c.password("authPassword"), NodeSelectors: s.selector("nodeSelector"),
		EnableGracefulRestart: graceful(s) || conf.graceful,
	}
	spec.PeerASN, _ = c.number("peerAs")
	spec.LocalASN, _ = c.number("localAs")
	if c.flag("adminDown") {
		c.noteField(NoEqual, "adminDown", true, "a peer can't be switched off: it is left out")
		return
	}
	c.drop(Unneeded, "description", "it is for people")
	for _, name := range []string{"peerGroup", "peerType", "removePrivateAs", "routeFlapDamping", "sendCommunity", "allowOwnAs", "replacePeerAs"} {
		c.drop(Unneeded, name, "routes are announced as they are, and none is taken in")
	}
	hop := s.sub("ebgpMultihop")
	spec.EBGPMultiHop = hop.flag("enabled")
	hop.drop(Unneeded, "multihopTtl", "any number of hops will do")
	t := s.sub("timers").sub("config")
	spec.HoldTime, spec.KeepaliveTime, spec.ConnectTime = seconds(t, "holdTime", 3), seconds(t, "keepaliveInterval", 1), seconds(t, "connectRetry", 1)
	t.drop(Unneeded, "minimumAdvertisementInterval", "changes are sent at once")
	tr := s.sub("transport")
	spec.PeerPort = tr.small("remotePort")
	tr.drop(NoEqual, "passiveMode", "nodes open the sessions here: the router must accept them")
	for _, name := range []string{"mtuDiscovery", "tcpMss", "remoteAddress"} {
		tr.drop(NoEqual, name, "the kernel decides")
	}
	for _, family := range s.items("afiSafis") {
		d.openELBFamily(family)
	}
	if len(conf.racks) == 0 {
		d.addPeer(d.meta("BGPPeer", e.obj.GetName(), e), spec)
		return
	}
	for _, rack := range slices.Sorted(maps.Keys(conf.racks)) {
		of := *spec.DeepCopy()
		of.MyASN = conf.racks[rack]
		if len(of.NodeSelectors) == 0 {
			of.NodeSelectors = []metav1.LabelSelector{{}}
		}
		for i := range of.NodeSelectors {
			if of.NodeSelectors[i].MatchLabels == nil {
				of.NodeSelectors[i].MatchLabels = map[string]string{}
			}
			of.NodeSelectors[i].MatchLabels[openELBRack] = rack
		}
		d.addPeer(d.meta("BGPPeer", e.obj.GetName()+"-"+rack, e), of)
	}
}

func (d *draft) openELBFamily(f fields) {
	f.sub("config").sub("family").drop(Unneeded, "afi", "a session carries the family of its own addresses, unless dualStackAddressFamily is set")
	f.sub("config").sub("family").take("safi")
	f.sub("config").take("enabled")
	f.drop(Unneeded, "mpGracefulRestart", "graceful restart is for all families of a session")
	f.drop(NoEqual, "addPaths", "a node has one path for each route")
}

func openELBSteps(d *draft) []string {
	namespace := "openelb-system"
	var patches []string
	for key := range d.facts {
		if svc, ok := strings.CutPrefix(key, "finalizer "); ok {
			ns, name, _ := strings.Cut(svc, "/")
			patches = append(patches, fmt.Sprintf("kubectl patch service %s -n %s --type json -p '[{\"op\":\"test\",\"path\":\"/metadata/finalizers/0\",\"value\":\"%s\"},{\"op\":\"remove\",\"path\":\"/metadata/finalizers/0\"}]'", printable.Shell(name), printable.Shell(ns), openELBFinalizer))
		}
	}
	slices.Sort(patches)
	u := usual{
		stopController: "kubectl scale deployment openelb-controller --replicas=0 -n " + namespace,
		stopSpeakers:   "kubectl delete daemonset openelb-speaker -n " + namespace,
		never:          "Do not delete an Eip, nor the mark " + openELBMark + " on a Service, before: both take addresses away.",
		before:         []string{"Steelyard serves every Service without loadBalancerClass, also those without the mark " + openELBMark + "=openelb. See which of them wait for an address.\nkubectl get services -A --field-selector spec.type=LoadBalancer"},
		remove:         "Uninstall OpenELB. Its Eips have a finalizer that no program removes any more: kubectl patch eips.network.kubesphere.io NAME --type merge -p '{\"metadata\":{\"finalizers\":null}}' before they are deleted.",
	}
	if len(patches) > 0 {
		u.after = []string{"Remove the finalizers that OpenELB put on Services; or they can't be deleted once it is gone. (The command fails where others stand before it: edit those by hand.)\n" + strings.Join(patches, "\n")}
	}
	return d.usual(u)
}
