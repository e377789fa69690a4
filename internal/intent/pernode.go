package intent

import (
	"fmt"
	"net/netip"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// nodeField is a field of a BGPPeer whose value each node has on its Node object.
type nodeField struct {
	name   string // of the field
	source v1beta1.NodeSource
	set    func(p *announce.Peer, text string) error
}

// nodeFields returns the fields of spec that a node looks up.
func nodeFields(spec v1beta1.BGPPeerSpec) (out []nodeField) {
	add := func(name string, source *v1beta1.NodeSource, set func(*announce.Peer, string) error) {
		if source != nil {
			out = append(out, nodeField{name, *source, set})
		}
	}
	if from := spec.PeerAddressFrom; from != nil && from.Gateway == nil {
		add("peerAddressFrom", &v1beta1.NodeSource{Label: from.Label, Annotation: from.Annotation}, func(p *announce.Peer, text string) error {
			return parseInto(&p.Addr, text, hostAddr, numbered)
		})
	}
	add("peerASNFrom", spec.PeerASNFrom, func(p *announce.Peer, text string) error { return parseASN(&p.PeerASN, text) })
	add("localASNFrom", spec.LocalASNFrom, func(p *announce.Peer, text string) error { return parseASN(&p.LocalASN, text) })
	add("routerIDFrom", spec.RouterIDFrom, func(p *announce.Peer, text string) error { return parseInto(&p.RouterID, text, routerID) })
	add("sourceAddressFrom", spec.SourceAddressFrom, func(p *announce.Peer, text string) error {
		return parseInto(&p.SourceAddr, text, hostAddr)
	})
	return out
}

// perNode returns what peer p is on a node with these labels and annotations; nil: on each
// the same. Without profile there is no BFD.
func perNode(spec v1beta1.BGPPeerSpec, p announce.Peer, profile *profile) func(labels, annotations map[string]string) announce.Peer {
	fields := nodeFields(spec)
	if len(fields) == 0 {
		return nil
	}
	return func(labels, annotations map[string]string) announce.Peer {
		p := p
		for _, f := range fields {
			if err := f.lookUp(&p, labels, annotations); err != nil {
				p.Problem = printable.Message(fmt.Sprintf("spec.%s: %v", f.name, err))
				break
			}
		}
		if profile != nil {
			p.BFD = watching(*profile, p)
		}
		return p
	}
}

// lookUp enters the value of a node.
func (f nodeField) lookUp(p *announce.Peer, labels, annotations map[string]string) error {
	kind, key, of := "label", f.source.Label, labels
	if key == "" {
		kind, key, of = "annotation", f.source.Annotation, annotations
	}
	text, there := of[string(key)]
	if !there {
		return fmt.Errorf("this Node has no %s %q", kind, key)
	}
	if err := f.set(p, text); err != nil {
		return fmt.Errorf("the %s %q of this Node: %w", kind, key, err)
	}
	return nil
}

// parseInto parses an address that passes these checks.
func parseInto(out *netip.Addr, text string, checks ...func(netip.Addr) error) error {
	a, err := parseAddr(text)
	for _, check := range checks {
		if err == nil {
			err = check(a)
		}
	}
	if err == nil {
		*out = a
	}
	return err
}

// parseASN parses an AS number (RFC 6793).
func parseASN(out *uint32, text string) error {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 { // RFC 7607
		return fmt.Errorf("%s is not an AS number from 1 to 4294967295", printable.Quote(text))
	}
	*out = uint32(n)
	return nil
}

// routerID checks a router ID (RFC 6286 section 2.1).
func routerID(a netip.Addr) error {
	if !a.Is4() || a.IsUnspecified() {
		return fmt.Errorf("%s does not have the form of an IPv4 address other than 0.0.0.0", a)
	}
	return nil
}

// numbered checks that no interface has to tell which host an address is.
func numbered(a netip.Addr) error {
	if a.Is6() && a.IsLinkLocalUnicast() {
		return fmt.Errorf("%s is link-local, which needs spec.interface beside spec.peerAddress", a)
	}
	return nil
}

// sourceAddress enters where a node looks for the addresses of the session among its own links and
// routes, and returns what is wrong with it.
func sourceAddress(spec v1beta1.BGPPeerSpec, out *announce.Peer) error {
	if from := spec.PeerAddressFrom; from != nil && from.Gateway != nil {
		out.Gateway = announce.Gateway{Link: from.Gateway.Interface, Family: ipam.IPv4}
		if from.Gateway.IPFamily == corev1.IPv6Protocol {
			out.Gateway.Family = ipam.IPv6
		}
	}
	out.Source.Link = spec.SourceInterface
	if spec.SourcePrefix == "" {
		return nil
	}
	p, err := netip.ParsePrefix(spec.SourcePrefix)
	if err != nil {
		return fmt.Errorf("spec.sourcePrefix: %s is not a subnet such as 192.0.2.0/24", printable.Quote(spec.SourcePrefix))
	}
	out.Source.Prefix = p.Masked()
	return nil
}
