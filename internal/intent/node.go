package intent

import (
	"encoding/hex"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Links returns the links of a node as its Speaker object has them. It leaves out MACs
// and subnets that cannot be parsed.
func Links(s *v1beta1.Speaker) []announce.Link {
	var out []announce.Link
	for _, l := range s.Status.Links {
		link := announce.Link{Name: l.Name, Up: l.Up, Unnumbered: l.Unnumbered}
		if mac, err := hex.DecodeString(strings.ReplaceAll(l.MAC, ":", "")); err == nil && len(mac) == len(link.MAC) {
			link.MAC = [6]byte(mac)
		}
		for _, p := range l.Prefixes {
			if prefix, err := netip.ParsePrefix(p); err == nil {
				link.Prefixes = append(link.Prefixes, prefix)
			}
		}
		out = append(out, link)
	}
	return out
}

// ClaimName returns the name of an address's L2Claim.
func ClaimName(a netip.Addr) string {
	name := strings.ReplaceAll(a.String(), ":", "-")
	// A name must not start or end with a dash: "::1" is "0--1".
	if strings.HasPrefix(name, "-") {
		name = "0" + name
	}
	if strings.HasSuffix(name, "-") {
		name += "0"
	}
	return name
}

// HeldClaim returns what an L2Claim says of the owner of its address; ok is
// false if its address can't be read.
func HeldClaim(c *v1beta1.L2Claim) (held announce.HeldClaim, ok bool) {
	a, err := netip.ParseAddr(string(c.Spec.Address))
	return announce.HeldClaim{Addr: a, Node: c.Spec.Node, NeedsDAD: NeedsDAD(c)}, err == nil
}

// NeedsDAD reports whether to probe the address before it is announced: no node has
// announced it yet, or a foreign host had it when last seen (RFC 4862 section 5.4).
func NeedsDAD(c *v1beta1.L2Claim) bool {
	announced := meta.FindStatusCondition(c.Status.Conditions, v1beta1.ConditionAnnounced)
	return announced == nil || announced.Status == metav1.ConditionFalse && meta.IsStatusConditionTrue(c.Status.Conditions, v1beta1.ConditionConflict)
}

// ByService sorts EndpointSlices by the Service that they are of.
func ByService(endpoints []*discoveryv1.EndpointSlice) map[ipam.Key][]*discoveryv1.EndpointSlice {
	out := map[ipam.Key][]*discoveryv1.EndpointSlice{}
	for _, s := range endpoints {
		key := ServiceOf(s)
		out[key] = append(out[key], s)
	}
	return out
}

// ServiceOf names the Service that an EndpointSlice is of.
func ServiceOf(s *discoveryv1.EndpointSlice) ipam.Key {
	return ipam.Key{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
}

// shuttingDown is in the message of a Node's condition Ready while the kubelet ends all Pods
// because the machine shuts down (KEP-2000).
const shuttingDown = "node is shutting down"

// GoesDown reports whether a node whose speaker is asked to stop goes down with it, or leaves
// the cluster. A nil Node: it was deleted. A nil Pod, the speaker's own: nothing is known of
// it; else it tells a restart, which deletes the Pod, from the end of the machine, which does
// not.
func GoesDown(n *corev1.Node, pod *corev1.Pod) bool {
	if n == nil || n.DeletionTimestamp != nil {
		return true
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue && strings.Contains(c.Message, shuttingDown) {
			return true
		}
	}
	return pod != nil && pod.DeletionTimestamp == nil
}
