package migrate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// peerConfig is what several peers of Cilium have in common, and which advertisements
// they receive.
type peerConfig struct {
	spec     v1beta1.BGPPeerSpec
	secret   string
	families int
	adverts  []metav1.LabelSelector
	peers    []string // our peers that use it
}

func (d *draft) ciliumPeerConfig(e entry) *peerConfig {
	s := e.spec
	out := &peerConfig{secret: s.text("authSecretRef")}
	out.spec.PeerPort = s.sub("transport").small("peerPort")
	t := s.sub("timers")
	out.spec.HoldTime, out.spec.KeepaliveTime = seconds(t, "holdTimeSeconds", 3), seconds(t, "keepAliveTimeSeconds", 1)
	t.drop(Unneeded, "connectRetryTimeSeconds", "a session that failed is tried again within seconds")
	g := s.sub("gracefulRestart")
	out.spec.EnableGracefulRestart = g.flag("enabled")
	g.drop(Unneeded, "restartTimeSeconds", "routers keep routes for two minutes")
	if ttl, ok := s.number("ebgpMultihop"); ok && ttl > 1 {
		out.spec.EBGPMultiHop = true
	}
	for _, f := range s.items("families") {
		afi, safi := f.text("afi"), f.text("safi")
		if safi != "unicast" || afi != "ipv4" && afi != "ipv6" {
			f.noteField(NoEqual, "afi", afi+"/"+safi, "IPv4 and IPv6 unicast are announced here")
			f.take("advertisements")
			continue
		}
		out.families++
		out.adverts = append(out.adverts, f.selector("advertisements")...)
	}
	if s.has("bfd") {
		d.ciliumBFD(e, s.sub("bfd"), &out.spec)
	}
	return out
}

// ciliumBFD creates a profile of the timers, which are in milliseconds here and
// there.
func (d *draft) ciliumBFD(e entry, f fields, peer *v1beta1.BGPPeerSpec) {
	if !f.flag("enabled") {
		return
	}
	var spec v1beta1.BFDProfileSpec
	for name, into := range map[string]*int32{"receiveIntervalMilliseconds": &spec.ReceiveInterval, "transmitIntervalMilliseconds": &spec.TransmitInterval, "detectionMultiplier": &spec.DetectMultiplier} {
		*into = f.small(name)
	}
	m := d.made("BFDProfile", e.obj.GetName(), e.name())
	peer.BFDProfile = m.Name
	d.config.Profiles = append(d.config.Profiles, v1beta1.BFDProfile{ObjectMeta: m, Spec: spec})
}

func (d *draft) ciliumCluster(e entry, configs map[string]*peerConfig) {
	s := e.spec
	nodes := s.selector("nodeSelector")
	for _, instance := range s.items("bgpInstances") {
		instance.take("name")
		asn, _ := instance.number("localASN")
		instance.drop(Unneeded, "localPort", "nodes open the sessions here, and do not listen")
		for _, p := range instance.items("peers") {
			d.ciliumPeer(e, p, asn, nodes, configs)
		}
	}
}

func (d *draft) ciliumPeer(e entry, p fields, asn int64, nodes []metav1.LabelSelector, configs map[string]*peerConfig) {
	d.facts["bgp"] = true
	name := p.text("name")
	ref := p.sub("peerConfigRef")
	ref.take("group")
	ref.take("kind")
	config := configs[ref.text("name")]
	if config == nil {
		config = &peerConfig{families: 2}
		configs["of "+e.obj.GetName()+"/"+name] = config
	}
	spec := *config.spec.DeepCopy()
	spec.MyASN, spec.NodeSelectors = asn, nodes
	spec.PeerAddress = v1beta1.IPAddress(strings.TrimSpace(p.text("peerAddress")))
	spec.PeerASN, _ = p.number("peerASN")
	if spec.PeerASN == 0 {
		spec.DynamicASN = "external"
		p.note(Note{Severity: Changed, Object: p.object, Field: p.at("peerASN"), Reason: "any AS number but our own is accepted; for a router of our own AS set dynamicASN: internal"})
	}
	discovery := p.sub("autoDiscovery")
	discovery.take("mode")
	spec.Interface = discovery.sub("unnumbered").text("interface")
	if family := discovery.sub("defaultGateway").text("addressFamily"); family != "" {
		discovery.noteField(NoEqual, "defaultGateway", family, "the default gateway is not looked for here: this peer is left out; write a BGPPeer with its address, for each network")
		return
	}
	spec.DualStackAddressFamily = config.families > 1
	if config.secret != "" {
		spec.PasswordSecret = d.secret(theirSecret{types.NamespacedName{Namespace: "kube-system", Name: config.secret}, "password"})
	}
	m := d.meta("BGPPeer", strings.ToLower(e.obj.GetName()+"-"+name), e)
	config.peers = append(config.peers, m.Name)
	d.addPeer(m, spec)
}

// ciliumBGP reads advertisements. It reports those of other things than Services.
func (d *draft) ciliumBGP(e entry, configs map[string]*peerConfig) {
	to, all := d.sentTo(e, configs)
	for i, a := range e.spec.items("advertisements") {
		kind := a.text("advertisementType")
		if kind != "Service" {
			a.noteField(NoEqual, "advertisementType", kind, "only addresses of Services are announced here: let Cilium go on with that, on other sessions")
			clear(a.left)
			continue
		}
		service := a.sub("service")
		types := service.texts("addresses")
		for _, t := range types {
			if t != "LoadBalancerIP" {
				service.noteField(NoEqual, "addresses", t, "only addresses of load balancers are announced here")
			}
		}
		if !slices.Contains(types, "LoadBalancerIP") {
			clear(a.left)
			continue
		}
		if !a.has("selector") {
			a.noteField(Unneeded, "service", types, "without a selector it selects no Service")
			clear(a.left)
			continue
		}
		spec := v1beta1.BGPAdvertisementSpec{
			Selection:           v1beta1.Selection{ServiceSelectors: d.servicesOf(a, "selector")},
			AggregationLength:   length(service, "aggregationLengthIPv4"),
			AggregationLengthV6: length(service, "aggregationLengthIPv6"),
			Communities:         d.ciliumCommunities(a.sub("attributes").sub("communities")),
		}
		spec.LocalPref, _ = a.sub("attributes").number("localPreference")
		if !all {
			spec.Peers = to
		}
		if len(to) == 0 {
			d.note(Note{Severity: Changed, Object: e.name(), Reason: "no peer is sent this: it is left out"})
			continue
		}
		name := e.obj.GetName()
		if i > 0 {
			name = fmt.Sprintf("%s-%d", name, i+1)
		}
		d.config.BGP = append(d.config.BGP, v1beta1.BGPAdvertisement{ObjectMeta: d.meta("BGPAdvertisement", name, e), Spec: spec})
	}
}

// sentTo returns the peers whose configuration selects an advertisement by its
// labels, and whether these are all peers.
func (d *draft) sentTo(e entry, configs map[string]*peerConfig) (to []string, all bool) {
	all = true
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		c := configs[name]
		selects := slices.ContainsFunc(c.adverts, func(sel metav1.LabelSelector) bool {
			s, err := metav1.LabelSelectorAsSelector(&sel)
			return err == nil && s.Matches(labels.Set(e.obj.GetLabels()))
		})
		if selects {
			to = append(to, c.peers...)
		} else if len(c.peers) > 0 {
			all = false
		}
	}
	slices.Sort(to)
	return slices.Compact(to), all
}

// ciliumCommunities reads communities. Some well-known names are written as numbers,
// which mean the same.
func (d *draft) ciliumCommunities(f fields) []v1beta1.CommunityName {
	var out []v1beta1.CommunityName
	for _, c := range f.texts("standard") {
		if n, ok := whole(c); ok && !strings.Contains(c, ":") {
			c = fmt.Sprintf("%d:%d", n>>16, n&0xffff)
		}
		out = append(out, v1beta1.CommunityName(c))
	}
	numbers := map[string]string{
		"internet": "0:0", "planned-shut": "graceful-shutdown", "route-filter-translated-v4": "65535:2", "route-filter-v4": "65535:3",
		"route-filter-translated-v6": "65535:4", "route-filter-v6": "65535:5", "llgr-stale": "65535:6", "no-llgr": "65535:7",
	}
	for _, c := range f.texts("wellKnown") {
		out = append(out, v1beta1.CommunityName(cmp.Or(numbers[c], c)))
	}
	for _, c := range f.texts("large") {
		out = append(out, v1beta1.CommunityName("large:"+c))
	}
	return out
}
