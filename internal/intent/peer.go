package intent

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
)

// defaultHoldTime is suggested by RFC 4271 section 10.
const defaultHoldTime = 90 * time.Second

func (p *parser) peers(o Objects, profiles map[string]v1beta1.BFDProfileSpec) []announce.Neighbor {
	var out []announce.Neighbor
	var good []*v1beta1.BGPPeer
	for _, obj := range byAge(o.Peers) {
		ref := Ref{"BGPPeer", obj.Name}
		p.accept(ref)
		nodes, err := selector("spec.nodeSelectors", obj.Spec.NodeSelectors)
		if err != nil {
			p.fault(ref, v1beta1.ReasonInvalid, "%v; no session is held", err)
			continue
		}
		password, reason, err := password(obj.Spec, o.Secrets)
		if err != nil {
			p.fault(ref, reason, "%v; no session is held", err)
			continue
		}
		peer, err := peer(obj)
		if err != nil {
			p.fault(ref, v1beta1.ReasonInvalid, "%v; no session is held", err)
			continue
		}
		if older := shadow(obj, good); older != "" {
			p.fault(ref, v1beta1.ReasonOverlaps, "the older BGPPeer %q is for the same router on all of these nodes; no session is held for this one", older)
		}
		if name := obj.Spec.BFDProfile; name != "" {
			if profile, ok := profiles[name]; ok {
				peer.BFD = watching(profile, peer)
			} else {
				p.fault(ref, v1beta1.ReasonNotFound, "spec.bfdProfile: there is no BFDProfile %q; the session is held without", name)
			}
		}
		peer.Password = password
		good = append(good, obj)
		out = append(out, announce.Neighbor{Peer: peer, Nodes: nodes, Created: obj.CreationTimestamp.Time})
	}
	return out
}

// shadow returns the older peer that is for the same router on every node that
// obj selects, as far as that can be told without looking at nodes; "": none.
// Where older and younger meet on some nodes only, those nodes say so.
func shadow(obj *v1beta1.BGPPeer, older []*v1beta1.BGPPeer) string {
	type spot struct {
		address, link, vrf string
		port               int32
	}
	of := func(s v1beta1.BGPPeerSpec) spot {
		address, err := parseAddr(string(s.PeerAddress))
		if err != nil {
			return spot{string(s.PeerAddress), s.Interface, s.VRF, cmp.Or(s.PeerPort, 179)}
		}
		return spot{address.String(), s.Interface, s.VRF, cmp.Or(s.PeerPort, 179)}
	}
	for _, o := range older {
		everywhere := len(o.Spec.NodeSelectors) == 0 || reflect.DeepEqual(o.Spec.NodeSelectors, obj.Spec.NodeSelectors)
		if everywhere && of(o.Spec) == of(obj.Spec) {
			return o.Name
		}
	}
	return ""
}

// password returns the password of the session. A wrong or missing Secret is
// an error, never an empty password.
func password(spec v1beta1.BGPPeerSpec, secrets map[string]*corev1.Secret) (password, reason string, err error) {
	if spec.PasswordSecret == nil {
		return spec.Password, "", nil
	}
	name := spec.PasswordSecret.Name
	s := secrets[name]
	switch {
	case s == nil:
		return "", v1beta1.ReasonNotFound, fmt.Errorf("spec.passwordSecret: there is no Secret %q in Steelyard's namespace", name)
	case s.Type != corev1.SecretTypeBasicAuth:
		return "", v1beta1.ReasonInvalid, fmt.Errorf("spec.passwordSecret: Secret %q is of type %q, not %q", name, s.Type, corev1.SecretTypeBasicAuth)
	}
	value := string(s.Data[corev1.BasicAuthPasswordKey])
	if n := len(value); n == 0 || n > 80 {
		return "", v1beta1.ReasonInvalid, fmt.Errorf("spec.passwordSecret: key %q of Secret %q holds %d bytes; it must hold 1 to 80", corev1.BasicAuthPasswordKey, name, n)
	}
	return value, "", nil
}

func peer(obj *v1beta1.BGPPeer) (announce.Peer, error) {
	spec := obj.Spec
	out := announce.Peer{
		Name:      obj.Name,
		Port:      uint16(cmp.Or(spec.PeerPort, 179)),
		LocalASN:  uint32(cmp.Or(spec.LocalASN, spec.MyASN)),
		PeerASN:   uint32(spec.PeerASN),
		ASN:       announce.ASNRule(spec.DynamicASN),
		Interface: spec.Interface,
		Device:    spec.VRF,
		// The addresses of an unnumbered session are of no family that matters.
		DualStack: spec.DualStackAddressFamily || spec.Interface != "",
		Graceful:  spec.EnableGracefulRestart,
	}
	if spec.EBGPMultiHop {
		out.MultiHopTTL = 255
	}
	if spec.TTLSecurity > 0 {
		// RFC 5082 section 3: a router n hops away sends 255 and is heard with 256 - n.
		out.MinTTL = uint8(256 - spec.TTLSecurity)
	}
	for _, f := range []struct {
		name string
		in   string
		out  *netip.Addr
	}{
		{"spec.peerAddress", string(spec.PeerAddress), &out.Addr},
		{"spec.sourceAddress", string(spec.SourceAddress), &out.SourceAddr},
		{"spec.routerID", spec.RouterID, &out.RouterID},
	} {
		if f.in == "" {
			continue
		}
		a, err := parseAddr(f.in)
		if err != nil {
			return out, fmt.Errorf("%s: %w", f.name, err)
		}
		*f.out = a
	}
	for _, f := range []struct {
		name string
		in   v1beta1.Duration
		out  *time.Duration
	}{
		{"spec.holdTime", spec.HoldTime, &out.HoldTime},
		{"spec.keepaliveTime", spec.KeepaliveTime, &out.KeepaliveTime},
		{"spec.connectTime", spec.ConnectTime, &out.ConnectTime},
	} {
		if f.in == "" {
			continue
		}
		d, err := time.ParseDuration(string(f.in))
		if err != nil {
			return out, fmt.Errorf("%s: %q is not a duration such as 90s", f.name, f.in)
		}
		*f.out = d
	}
	out.HoldTime = cmp.Or(out.HoldTime, defaultHoldTime)
	out.KeepaliveTime = cmp.Or(out.KeepaliveTime, out.HoldTime/3)
	return out, nil
}
