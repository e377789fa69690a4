package migrate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// kubeVIP is what is known of kube-vip, 0.8 to 1.2, and its cloud provider: a
// ConfigMap of addresses, and environment variables of a DaemonSet.
func kubeVIP() converter {
	return converter{
		kinds: []schema.GroupVersionResource{
			{Version: "v1", Resource: "configmaps"}, {Group: "apps", Version: "v1", Resource: "daemonsets"}, {Version: "v1", Resource: "pods"},
		},
		classes:      []string{"kube-vip.io/kube-vip-class"},
		homes:        []string{"kube-system"},
		anyNamespace: true,
		concerns: func(o *unstructured.Unstructured) bool {
			if o.GetKind() == "ConfigMap" {
				return o.GetName() == "kubevip"
			}
			return kubeVIPEnv(o.Object) != nil
		},
		convert: func(d *draft) {
			d.skipOthers()
			d.each("ConfigMap", []string{"v1"}, d.kubeVIPPools)
			d.each("DaemonSet", []string{"apps/v1"}, d.kubeVIPDaemons)
			d.each("Pod", []string{"v1"}, d.kubeVIPDaemons)
		},
		asks: func(d *draft, svc *corev1.Service) request {
			w := requestOf(svc, KubeVIP)
			asked, ip := w.addresses, svc.Spec.LoadBalancerIP
			// With two addresses kube-vip's provider writes one of them there. 0.0.0.0 means DHCP.
			w.clearIP = ip == "0.0.0.0" || ip == "::" || asked != "" && asked != ip
			w.share = d.sharing(svc)
			w.prefixes = []string{"kube-vip.io/"}
			w.known = []string{"loadbalancerIPs", "requestedIP", "hwaddr", "vipHost", "active-endpoint", "active-endpoint-ipv6", "egress-nftables-table"}
			w.said = kubeVIPReasons()
			if asked == "" && (ip == "0.0.0.0" || ip == "::") || strings.Contains(asked, "0.0.0.0") {
				d.note(Note{Severity: Changed, Object: serviceName(svc), Value: fmt.Sprint(intent.Holds(svc)), Reason: "its address was leased by DHCP; no program renews that here: reserve the address at the DHCP server"})
			}
			return w
		},
		steps: kubeVIPSteps,
	}
}

// kubeVIPReasons returns kube-vip's annotations that have no equivalent, and why; +
// where none is needed.
func kubeVIPReasons() map[string]string {
	const egress = "traffic from Pods is not rewritten here: use egress of the CNI"
	return map[string]string{
		"egress": egress, "egress-internal": egress, "egress-ipv6": egress, "egress-destination-ports": egress, "egress-source-ports": egress,
		"egress-allowed-networks": egress, "egress-denied-networks": egress, "egress-no-internal-traffic": egress, "egress-detect-api-server": egress,
		"flush-conntrack":                   egress,
		"ignore":                            "every Service of its class is served here: give this one another spec.loadBalancerClass, which means to create it again",
		"loadbalancerHostname":              "addresses are not leased by DHCP here",
		"macvlanName":                       "addresses are not leased by DHCP here",
		"dhcp-broadcast":                    "addresses are not leased by DHCP here",
		"ddns":                              "names are not announced here: use external-dns",
		"serviceInterface":                  "interfaces are chosen for pools here, not for Services: see spec.interfaces of L2Advertisement",
		"serviceVLAN":                       "interfaces are chosen for pools here, not for Services: see spec.interfaces of L2Advertisement; the VLAN must be there",
		"forwardUPNP":                       "no router is asked to forward ports here",
		"upnp-lease-duration":               "no router is asked to forward ports here",
		"ignore-service-security":           "+kube-proxy decides which ports are open",
		"rp_filter":                         "+addresses are not put on network interfaces here",
		"leaseName":                         "+there is no lease for a Service here",
		"forcePerServiceElection":           "+every address has a node of its own here",
		"allow-reconcile-without-endpoints": "+a Service with externalTrafficPolicy Cluster is announced whether or not it has endpoints",
	}
}

// skipOthers removes what was read with the rest and is not kube-vip's.
func (d *draft) skipOthers() {
	for i := range d.source.Objects {
		o := &d.source.Objects[i]
		switch o.GetKind() {
		case "ConfigMap", "DaemonSet", "Pod":
			d.taken[o] = !d.concerns(o)
		}
	}
}

// kubeVIPPools reads the addresses: a pool for each namespace, and the global one.
func (d *draft) kubeVIPPools(e entry) {
	data := e.all.sub("data")
	if e.obj.GetName() != "kubevip" {
		clear(e.all.left)
		return
	}
	globalCIDR := data.has("cidr-global")
	for _, kind := range []string{"cidr", "range"} {
		for _, name := range slices.Sorted(maps.Keys(data.left)) {
			namespace, ok := strings.CutPrefix(name, kind+"-")
			if !ok {
				continue
			}
			text := data.text(name)
			if kind == "range" && globalCIDR {
				data.noteField(Changed, name, text, "with cidr-global there kube-vip never looks at it, so it is left out")
				continue
			}
			m := d.made("IPAddressPool", "kubevip-"+namespace, e.name()+" "+name)
			spec := v1beta1.IPAddressPoolSpec{Addresses: d.ranges(data, name, dhcpless(data, name, text))}
			if namespace != "global" {
				spec.ServiceAllocation = &v1beta1.ServiceAllocation{Namespaces: []string{namespace}}
			}
			d.pool(m, spec)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(data.left)) {
		d.kubeVIPOption(data, name)
	}
}

// dhcpless splits a list of addresses, and removes what means DHCP.
func dhcpless(f fields, name, text string) []string {
	var out []string
	for part := range strings.SplitSeq(text, ",") {
		switch part = strings.TrimSpace(part); part {
		case "":
		case "0.0.0.0/32", "0.0.0.0", "::/128":
			f.noteField(NoEqual, name, part, "addresses are not leased by DHCP here")
		default:
			out = append(out, part)
		}
	}
	return out
}

func (d *draft) kubeVIPOption(data fields, name string) {
	switch {
	case strings.HasPrefix(name, "allow-share-"):
		if data.text(name) == "true" {
			d.facts["share "+strings.TrimPrefix(name, "allow-share-")] = true
		}
	case strings.HasPrefix(name, "interface-"):
		data.drop(NoEqual, name, "write an L2Advertisement with spec.interfaces for the pool of this namespace")
	case name == "search-order":
		data.drop(Unneeded, name, "addresses are given out in ascending order here")
	case name == "skip-end-ips-in-cidr":
		if data.text(name) == "true" {
			for i := range d.config.Pools {
				s := &d.config.Pools[i].Spec
				s.Exclude = append(s.Exclude, ends(s.Addresses)...)
			}
		}
	}
}

// sharing returns the key of a namespace whose Services share addresses without a
// request.
func (d *draft) sharing(svc *corev1.Service) string {
	switch {
	case d.facts["share "+svc.Namespace]:
		return "kubevip-" + svc.Namespace
	case d.facts["share global"]:
		return "kubevip-global"
	}
	return ""
}

// kubeVIPEnv returns the environment of the containers of a DaemonSet or Pod that run
// kube-vip, or nil.
func kubeVIPEnv(object map[string]any) map[string]any {
	within := func(m map[string]any, name string) map[string]any {
		out, _ := m[name].(map[string]any)
		return out
	}
	pod := within(object, "spec")
	if object["kind"] != "Pod" {
		pod = within(within(pod, "template"), "spec")
	}
	var env map[string]any
	list, _ := pod["containers"].([]any)
	for _, x := range list {
		c, _ := x.(map[string]any)
		image, _ := c["image"].(string)
		name, _, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
		if name, _, _ = strings.Cut(name, "@"); name != "kube-vip" && name != "kube-vip-iptables" {
			continue
		}
		if env == nil {
			env = map[string]any{}
		}
		settings, _ := c["env"].([]any)
		for _, y := range settings {
			v, _ := y.(map[string]any)
			name, _ := v["name"].(string)
			env[name] = v["value"]
		}
	}
	return env
}

// kubeVIPDaemons reads how kube-vip announces, from a DaemonSet or from static Pods,
// which are the same on every node.
func (d *draft) kubeVIPDaemons(e entry) {
	env := kubeVIPEnv(e.obj.Object)
	clear(e.spec.left) // the rest is how it is run
	clear(e.all.left)
	owned := slices.ContainsFunc(e.obj.GetOwnerReferences(), func(o metav1.OwnerReference) bool { return o.Kind != "Node" })
	if env == nil || owned && e.obj.GetKind() == "Pod" {
		return
	}
	said := fmt.Sprint(env)
	if d.facts["kube-vip with "+said] {
		d.note(Note{Severity: Unneeded, Object: e.name(), Reason: "it is set as another is"})
		return
	}
	d.facts["kube-vip with "+said] = true
	f := fields{env, "env", e.name(), d.note}
	if f.flag("cp_enable") {
		f.noteField(NoEqual, "cp_enable", true, "an address for the API server itself is not kept here: let kube-vip go on with that, with svc_enable set to false")
		d.facts["control plane"] = true
	}
	f.take("address")
	if !f.flag("svc_enable") {
		clear(env)
		return
	}
	if e.obj.GetKind() == "DaemonSet" {
		d.facts["services by "+e.obj.GetNamespace()+"/"+e.obj.GetName()] = true
	} else {
		d.facts["static Pods"] = true
	}
	d.kubeVIPARP(f)
	d.kubeVIPBGP(f)
	f.drop(Unneeded, "lb_class_name", "see the step that installs Steelyard")
	for _, name := range []string{"vip_wireguard", "vip_routingtable", "enableUPNP", "enable_upnp", "mirror_dest_interface", "zebra_enable"} {
		if f.flag(name) {
			f.noteField(NoEqual, name, true, "there is nothing like it")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		f.drop(Unneeded, name, "a setting of kube-vip's own workings, or of what is not on")
	}
}

func (d *draft) kubeVIPARP(f fields) {
	link, own := f.text("vip_interface"), f.text("vip_servicesinterface")
	if own != "" {
		link = own
	}
	if !f.flag("vip_arp") {
		return
	}
	d.facts["layer2"] = true
	spec := v1beta1.L2AdvertisementSpec{}
	if link != "" && link != "lo" {
		spec.Interfaces = []v1beta1.InterfacePattern{v1beta1.InterfacePattern(link)}
	}
	d.config.L2 = append(d.config.L2, v1beta1.L2Advertisement{ObjectMeta: d.made("L2Advertisement", "kubevip", f.object+" vip_arp"), Spec: spec})
}

func (d *draft) kubeVIPBGP(f fields) {
	if !f.flag("bgp_enable") {
		return
	}
	d.facts["bgp"] = true
	asn, _ := f.number("bgp_as")
	base := v1beta1.BGPPeerSpec{MyASN: asn, HoldTime: seconds(f, "bgp_hold_time", 3), KeepaliveTime: seconds(f, "bgp_keepalive_interval", 1), SourceAddress: v1beta1.IPAddress(f.text("bgp_sourceip"))}
	f.drop(Changed, "bgp_routerid", "it is the same on every node, and must differ: it is left out, so that each node takes its first IPv4 address")
	f.drop(Unneeded, "bgp_routerinterface", "each node takes its first IPv4 address")
	f.drop(NoEqual, "bgp_sourceif", "name the node's address, or let the kernel choose")
	type router struct{ address, asn, password, hops string }
	var routers []router
	for text := range strings.SplitSeq(f.text("bgp_peers"), ",") {
		if part := peerParts(text); len(part) >= 2 {
			part = append(part, "", "")
			routers = append(routers, router{part[0], part[1], part[2], part[3]})
		} else if text != "" {
			f.note(Note{Severity: NoEqual, Object: f.object, Field: "env.bgp_peers", Reason: "an entry of it is not of the form address:AS:password:multihop"})
		}
	}
	one := router{f.text("bgp_peeraddress"), f.text("bgp_peeras"), f.password("bgp_peerpass"), f.text("bgp_multihop")}
	if one.address != "" {
		routers = append(routers, one)
	}
	for i, r := range routers {
		spec := base
		spec.PeerAddress, spec.Password, spec.EBGPMultiHop = v1beta1.IPAddress(r.address), r.password, strings.HasPrefix(r.hops, "true")
		spec.PeerASN, _ = whole(r.asn)
		d.addPeer(d.made("BGPPeer", "kubevip-"+peerName(r.address, "", i), f.object+" bgp_peers"), spec)
	}
	d.config.BGP = append(d.config.BGP, v1beta1.BGPAdvertisement{ObjectMeta: d.made("BGPAdvertisement", "kubevip", f.object+" bgp_enable")})
}

// peerParts splits address:AS:password:multihop, with IPv6 addresses in brackets.
func peerParts(text string) []string {
	text = strings.TrimSpace(text)
	if rest, ok := strings.CutPrefix(text, "["); ok {
		address, after, _ := strings.Cut(rest, "]")
		return append([]string{address}, strings.Split(strings.TrimPrefix(after, ":"), ":")...)
	}
	return strings.Split(text, ":")
}

func kubeVIPSteps(d *draft) []string {
	var stop []string
	for key := range d.facts {
		if set, ok := strings.CutPrefix(key, "services by "); ok {
			ns, name, _ := strings.Cut(set, "/")
			stop = append(stop, fmt.Sprintf("kubectl set env daemonset/%s -n %s svc_enable=false", printable.Shell(name), printable.Shell(ns)))
		}
	}
	slices.Sort(stop)
	if d.facts["static Pods"] {
		stop = append(stop, "On each node set svc_enable to \"false\" in kube-vip's manifest (/etc/kubernetes/manifests); the kubelet restarts it.")
	}
	if len(stop) == 0 {
		stop = []string{"kubectl set env daemonset/kube-vip-ds -n kube-system svc_enable=false"}
	}
	remove := "Remove kube-vip and its cloud provider."
	if d.facts["control plane"] {
		remove = "Leave kube-vip where it keeps the address of the API server; remove its cloud provider."
	}
	return d.usual(usual{
		before:         []string{"Let every Service ask for the address that it has, in case kube-vip empties a status as it goes: run this again with --pin."},
		stopController: "kubectl scale statefulset,deployment kube-vip-cloud-provider --replicas=0 -n kube-system     # whichever it is",
		stopSpeakers:   strings.Join(stop, "\n") + "\nSee that no node has an address of a Service on an interface any more: ip addr.",
		never:          "Do not delete its ConfigMap before.",
		remove:         remove,
	})
}
