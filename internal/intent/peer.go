package intent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// defaultHoldTime is suggested by RFC 4271 section 10.
const defaultHoldTime = 90 * time.Second

func (p *parser) peers(o Objects, profiles map[string]profile) []announce.Neighbor {
	var out []announce.Neighbor
	taken := routers{}
	for _, obj := range byAge(o.Peers) {
		ref := Ref{"BGPPeer", obj.Name}
		p.accept(ref)
		usable := true
		nodes, err := selector("spec.nodeSelectors", obj.Spec.NodeSelectors)
		peer, faults := peer(obj)
		for _, err := range append(faults, err) {
			if err != nil {
				p.fault(ref, v1beta1.ReasonInvalid, "%v; no session is held", err)
				usable = false
			}
		}
		password, reason, err := password(obj.Spec, o.Secrets)
		if err != nil {
			p.unresolved(ref, reason, "%v; no session is held", err)
			usable = false
		}
		watch := p.profileOf(ref, obj.Spec.BFDProfile, profiles)
		if !usable {
			p.unusable = append(p.unusable, announce.UnusablePeer{Name: obj.Name, Nodes: nodes})
			continue
		}
		if older, shadowed := taken.supersedes(routerOf(obj.Spec), len(out)); shadowed {
			p.fault(ref, v1beta1.ReasonOverlaps, "the older BGPPeer %q is for the same router on all of these nodes; no session is held for this one", out[older].Peer.Name)
		}
		peer.Password, peer.Revision = password, revision(obj, o.Secrets)
		if watch != nil {
			peer.BFD = watching(*watch, peer)
		}
		out = append(out, announce.Neighbor{Peer: peer, PerNode: perNode(obj.Spec, peer, watch), Nodes: nodes, Created: obj.CreationTimestamp.Time})
	}
	return out
}

// router is where a session ends, and on which nodes as far as that can be told
// without looking at nodes.
type router struct {
	address, link, vrf string
	from               string // where each node finds the address
	port               int32
	nodes              string // the selectors; "": all nodes
}

func routerOf(s v1beta1.BGPPeerSpec) router {
	r := router{address: string(s.PeerAddress), link: s.Interface, vrf: s.VRF, port: cmp.Or(s.PeerPort, 179)}
	if a, err := parseAddr(r.address); err == nil {
		r.address = a.String()
	}
	if from := s.PeerAddressFrom; from != nil && from.Gateway != nil {
		r.from = fmt.Sprint("gateway ", *from.Gateway)
	} else if from != nil {
		r.from = fmt.Sprintf("%q", []v1beta1.NodeKey{from.Label, from.Annotation})
	}
	if len(s.NodeSelectors) > 0 {
		r.nodes = fmt.Sprintf("%q", s.NodeSelectors)
	}
	return r
}

// routers are the places of the oldest peers for each router.
type routers map[router]int

// supersedes returns the place of the older peer that is for the same router on
// every node that r is for, if there is one, and enters r at its place. Where
// older and younger meet on some nodes only, those nodes say so.
func (rs routers) supersedes(r router, place int) (older int, superseded bool) {
	older = place
	for _, x := range []router{{r.address, r.link, r.vrf, r.from, r.port, ""}, r} {
		if i, taken := rs[x]; taken {
			older = min(older, i)
		}
	}
	if _, taken := rs[r]; !taken {
		rs[r] = place
	}
	return older, older < place
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
		return "", v1beta1.ReasonNotFound, fmt.Errorf("spec.passwordSecret: there is no Secret %s in Steelyard's namespace", printable.Quote(name))
	case s.Type != corev1.SecretTypeBasicAuth:
		return "", v1beta1.ReasonInvalidSecret, fmt.Errorf("spec.passwordSecret: Secret %q is of type %s, not %q", name, printable.Quote(string(s.Type)), corev1.SecretTypeBasicAuth)
	}
	value, err := secretValue(s.Data, name, corev1.BasicAuthPasswordKey, 80)
	if err != nil {
		return "", v1beta1.ReasonInvalidSecret, fmt.Errorf("spec.passwordSecret: %w", err)
	}
	return value, "", nil
}

// secretValue returns the value of a key of a Secret, which has 1 to that many bytes.
func secretValue(data map[string][]byte, name, key string, most int) (string, error) {
	value := string(data[key])
	if strings.HasSuffix(value, "\n") || strings.HasSuffix(value, "\r") {
		return "", fmt.Errorf("key %q of Secret %q ends with a line break, which the router's password does not have: make the Secret with --from-literal, or from a file without it", key, name)
	}
	if n := len(value); n == 0 || n > most {
		return "", fmt.Errorf("key %q of Secret %q holds %d bytes; it must hold 1 to %d", key, name, n, most)
	}
	return value, nil
}

// revision returns the version of a BGPPeer, and of the Secret with its password.
func revision(obj *v1beta1.BGPPeer, secrets map[string]*corev1.Secret) string {
	out := strconv.FormatInt(obj.Generation, 10)
	if of := obj.Spec.PasswordSecret; of != nil && secrets[of.Name] != nil {
		out += "/" + secrets[of.Name].ResourceVersion
	}
	return out
}

// peer returns the parameters of the session, and what is wrong with any.
func peer(obj *v1beta1.BGPPeer) (announce.Peer, []error) {
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
		DualStack: spec.DualStackAddressFamily || spec.Interface != "" && spec.PeerAddress == "",
		Graceful:  spec.EnableGracefulRestart,
	}
	if spec.EBGPMultiHop {
		out.MultiHopTTL = 255
	}
	if spec.TTLSecurity > 0 {
		// RFC 5082 section 3: a router n hops away sends 255 and is heard with 256 - n.
		out.MinTTL = uint8(256 - spec.TTLSecurity)
	}
	faults := addresses(spec, &out)
	if err := sourceAddress(spec, &out); err != nil {
		faults = append(faults, err)
	}
	for _, f := range []struct {
		name string
		in   v1beta1.Duration
		out  *time.Duration
	}{
		{"spec.holdTime", spec.HoldTime, &out.HoldTime},
		{"spec.keepaliveTime", spec.KeepaliveTime, &out.KeepaliveTime},
		{"spec.connectTime", spec.ConnectTime, &out.ConnectTime},
		{"spec.restartTime", spec.RestartTime, &out.RestartTime},
	} {
		if f.in == "" {
			continue
		}
		d, err := time.ParseDuration(string(f.in))
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %s is not a duration such as 90s", f.name, printable.Quote(string(f.in))))
		}
		*f.out = d
	}
	out.HoldTime = cmp.Or(out.HoldTime, defaultHoldTime)
	out.KeepaliveTime = cmp.Or(out.KeepaliveTime, out.HoldTime/3)
	return out, faults
}

// addresses enters those of the session, and returns what is wrong with any.
func addresses(spec v1beta1.BGPPeerSpec, out *announce.Peer) (faults []error) {
	for _, f := range []struct {
		name string
		in   string
		out  *netip.Addr
	}{
		{"spec.peerAddress", string(spec.PeerAddress), &out.Addr},
		{"spec.sourceAddress", string(spec.SourceAddress), &out.SourceAddr},
		{"spec.routerID", spec.RouterID, &out.RouterID},
		{"spec.nextHop", string(spec.NextHop), &out.NextHopV4},
		{"spec.nextHopV6", string(spec.NextHopV6), &out.NextHopV6},
	} {
		if f.in == "" {
			continue
		}
		a, err := parseAddr(f.in)
		if err == nil && f.out != &out.RouterID { // which is a number in the form of an address
			err = hostAddr(a)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", f.name, err))
		}
		*f.out = a
	}
	switch {
	case out.Interface != "" && out.Addr.IsValid(): // a link-local address of that link
		out.Addr, out.Interface = out.Addr.WithZone(out.Interface), ""
	case out.Addr.IsValid() && out.Device == "":
		if err := numbered(out.Addr); err != nil {
			faults = append(faults, fmt.Errorf("spec.peerAddress: %w", err))
		}
	}
	return faults
}

// Unusable returns the BGPPeers to which no node holds a session, with what was found of each.
func (c Config) Unusable() []announce.UnusablePeer {
	out := slices.Clone(c.unusable)
	for i := range out {
		var causes []string
		for _, f := range c.Validations[Ref{"BGPPeer", out[i].Name}].Faults() {
			causes = append(causes, f.Message)
		}
		out[i].Cause = strings.Join(causes, "; ")
	}
	return out
}

// Selected counts the nodes, of which these are the labels by name, that an accepted
// BGPPeer selects; -1: no accepted one has that name.
func (c Config) Selected(peer string, nodes map[string]map[string]string) int {
	i := slices.IndexFunc(c.Neighbors, func(n announce.Neighbor) bool { return n.Peer.Name == peer })
	if i < 0 {
		return -1
	}
	count := 0
	for _, labels := range nodes {
		if of := c.Neighbors[i].Nodes; of == nil || of(labels) {
			count++
		}
	}
	return count
}
