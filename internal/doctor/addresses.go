package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// addressChecks look at pools and at who else has their addresses.
func addressChecks() []check {
	return []check{
		{"addresses-in-use", "Does a pool hold addresses of nodes, routers, Pods or ClusterIPs?", (*patient).inUse},
		{"advertised", "Does an advertisement cover each pool?", (*patient).advertised},
		{"subnets", "Is each pool of the local network in a subnet of the nodes?", (*patient).subnets},
		{"other-load-balancers", "Does another load balancer serve the same Services?", (*patient).others},
	}
}

// inUse looks for what must not be given to a Service.
func (p *patient) inUse() verdict {
	var evidence []string
	one := func(text, whose string) {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return
		}
		if pool := p.holding(ipam.Range{First: a, Last: a}); pool != "" {
			evidence = append(evidence, fmt.Sprintf("IPAddressPool %s holds %s, %s", pool, a, whose))
		}
	}
	whole := func(prefix netip.Prefix, whose string) {
		if pool := p.holding(rangeOf(prefix)); pool != "" {
			evidence = append(evidence, fmt.Sprintf("IPAddressPool %s holds addresses of %s, %s", pool, prefix, whose))
		}
	}
	for i := range p.Nodes {
		n := &p.Nodes[i]
		for _, a := range addressesOf(n) {
			one(a, "an address of node "+n.Name)
		}
		for _, text := range append(slices.Clone(n.Spec.PodCIDRs), n.Spec.PodCIDR) {
			if prefix, err := netip.ParsePrefix(text); err == nil {
				whole(prefix, "the Pods of node "+n.Name)
			}
		}
	}
	for _, peer := range p.Config.Peers {
		one(string(peer.Spec.PeerAddress), "the router of BGPPeer "+peer.Name)
	}
	for _, prefix := range p.ServiceCIDRs {
		whole(prefix, "the ClusterIPs")
	}
	for i := range p.Services {
		svc := &p.Services[i]
		for _, a := range svc.Spec.ClusterIPs {
			one(a, "the ClusterIP of Service "+svc.Namespace+"/"+svc.Name)
		}
	}
	return found(Fault, evidence, "take them out of spec.addresses, or into spec.exclude, of the pool: a Service that is given one breaks what has it now")
}

// holding returns the pool that holds an address of r; "": none.
func (p *patient) holding(r ipam.Range) string {
	for _, pool := range p.Checked.Pools {
		if _, both := ipam.Overlap(pool.Ranges, []ipam.Range{r}); both {
			return pool.Name
		}
	}
	return ""
}

// rangeOf returns all addresses of a prefix.
func rangeOf(p netip.Prefix) ipam.Range {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return ipam.Range{First: p.Masked().Addr(), Last: last}
}

// covers reports whether an advertisement of either kind is for a pool.
func (p *patient) covers(pool string) (layer2, bgp bool) {
	of := func(s announce.Selection) bool { return s.Pools == nil || s.Pools[pool] }
	layer2 = slices.ContainsFunc(p.Checked.L2, func(ad announce.L2Advertisement) bool { return of(ad.Selection) })
	bgp = slices.ContainsFunc(p.Checked.BGP, func(ad announce.BGPAdvertisement) bool { return of(ad.Selection) })
	return layer2, bgp
}

func (p *patient) advertised() verdict {
	var evidence []string
	for _, pool := range p.Checked.Pools {
		switch layer2, bgp := p.covers(pool.Name); {
		case !layer2 && !bgp:
			evidence = append(evidence, "IPAddressPool "+pool.Name+": no advertisement is for it")
		case !layer2 && len(p.Checked.Neighbors) == 0:
			evidence = append(evidence, "IPAddressPool "+pool.Name+": it is for BGP, and there is no BGPPeer")
		}
	}
	if len(p.Checked.Pools) == 0 {
		return verdict{Warning, []string{"there is no IPAddressPool"}, "make one, and an L2Advertisement or a BGPAdvertisement; until then no Service gets an address"}
	}
	return found(Warning, evidence, "make an L2Advertisement, or a BGPAdvertisement and a BGPPeer, that names the pool: until then its addresses lead nowhere")
}

// subnets looks for pools that are announced on the local network alone, and
// that no node has a subnet for: nobody there asks for such an address.
func (p *patient) subnets() verdict {
	var local []netip.Prefix
	for i := range p.Speakers {
		for _, l := range intent.Links(&p.Speakers[i]) {
			local = append(local, l.Prefixes...)
		}
	}
	if len(local) == 0 {
		return verdict{Unknown, []string{"no speaker tells of a subnet"}, "see the check speakers"}
	}
	var evidence []string
	for _, pool := range p.Checked.Pools {
		if layer2, bgp := p.covers(pool.Name); !layer2 || bgp {
			continue
		}
		for _, r := range pool.Ranges {
			inside := slices.ContainsFunc(local, func(s netip.Prefix) bool { return s.Contains(r.First) && s.Contains(r.Last) })
			if !inside {
				evidence = append(evidence, fmt.Sprintf("IPAddressPool %s: %s is in no subnet of any node", pool.Name, between(r)))
			}
		}
	}
	return found(Warning, evidence, "use addresses of the nodes' subnet, or announce them by BGP, or have the router take that range for local (a route to its interface on the nodes' network)")
}

func between(r ipam.Range) string {
	if r.First == r.Last {
		return r.First.String()
	}
	return r.First.String() + "-" + r.Last.String()
}

// rival is another load balancer, by what its images are called.
type rival struct {
	product string
	images  []string
	marks   []string // annotations that it writes on Services which it serves
	classes []string // that it serves beside Services without class
}

func rivals() []rival {
	return []rival{
		{"MetalLB", []string{"metallb/controller", "metallb/speaker"}, []string{"metallb.io/ip-allocated-from-pool", "metallb.universe.tf/ip-allocated-from-pool"}, nil},
		{"PureLB", []string{"purelb/allocator", "purelb/lbnodeagent"}, []string{"purelb.io/allocated-by"}, []string{"purelb.io/purelb", "purelb.io/purelbv2"}},
		{"OpenELB", []string{"kubesphere/openelb"}, []string{"lb.kubesphere.io/v1alpha1"}, nil},
		{"kube-vip", []string{"kube-vip/kube-vip-cloud-provider", "kube-vip/kube-vip"}, []string{"kube-vip.io/vipHost"}, []string{"kube-vip.io/kube-vip-class"}},
		{"ServiceLB of k3s", []string{"rancher/klipper-lb"}, nil, nil},
		{"LoxiLB", []string{"loxilb-io/kube-loxilb"}, nil, []string{"loxilb.io/loxilb"}},
	}
}

func (p *patient) others() verdict {
	var evidence []string
	running := map[string]bool{}
	for _, w := range p.Workloads {
		for _, r := range rivals() {
			if w.Replicas == 0 || !slices.ContainsFunc(w.Images, func(image string) bool { return isOf(image, r.images) }) || !r.serves(w, p.Class) {
				continue
			}
			running[r.product] = true
			evidence = append(evidence, fmt.Sprintf("%s runs: %s", r.product, w))
		}
	}
	for _, f := range p.Foreign {
		if f.Product == "Cilium" && f.Count > 0 {
			evidence = append(evidence, fmt.Sprintf("Cilium has %s: its LB IPAM gives out addresses, too", plural(f.Count, f.Kind)))
		}
	}
	for _, svc := range p.Served {
		for _, r := range rivals() {
			for _, mark := range r.marks {
				if _, marked := svc.Annotations[mark]; marked && running[r.product] {
					evidence = append(evidence, fmt.Sprintf("Service %s/%s is served by %s, too (%s)", svc.Namespace, svc.Name, r.product, mark))
				}
			}
		}
	}
	class := "without spec.loadBalancerClass"
	if p.Class != "" {
		class = "of class " + p.Class
	}
	return found(Fault, evidence, "two load balancers take the Services "+class+" from each other: remove one (kubectl steelyard migrate tells how), or give each a class of its own")
}

// serves reports whether a workload of a rival takes Services of that class.
func (r rival) serves(w Workload, class string) bool {
	of := "" // MetalLB's flag: these alone
	for _, x := range w.Settings {
		if v, ok := strings.CutPrefix(strings.TrimLeft(x, "-"), "lb-class="); ok {
			of = v
		}
		if x == "svc_enable=false" {
			return false // kube-vip, for the API server only
		}
	}
	if of != "" {
		return of == class
	}
	return class == "" || slices.Contains(r.classes, class)
}

// isOf reports whether an image is one of these, whatever registry it is from.
func isOf(image string, names []string) bool {
	path, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndex(path, ":"); i > strings.LastIndex(path, "/") {
		path = path[:i]
	}
	return slices.ContainsFunc(names, func(n string) bool {
		return path == n || strings.HasSuffix(path, "/"+n) || strings.HasPrefix(path, n+"-") || strings.Contains(path, "/"+n+"-")
	})
}
