package intent

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// A condition of the Service records what an address that may be shared was granted for,
// because a tenant who may edit Services may not write their status. A Service
// whose request differs from that gives way to those whose request does not.

// Granted returns the condition that says for which request an address was granted;
// false: none is needed, since no other Service may share it.
func Granted(r *ipam.Request) (metav1.Condition, bool) {
	if r.Share.Key == "" {
		return metav1.Condition{}, false
	}
	return metav1.Condition{
		Type: v1beta1.ConditionSharing, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonGranted,
		Message: "the address was granted for the present sharing key, ports, externalTrafficPolicy and selector, and may be shared; fingerprint " + fingerprint(r),
	}, true
}

// changed reports whether svc asks for something else than what it was granted its
// addresses for. Without the condition that says so, it does not.
func changed(svc *corev1.Service, r *ipam.Request) bool {
	c := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionSharing)
	return c != nil && len(r.Has) > 0 && !strings.HasSuffix(c.Message, " "+fingerprint(r))
}

// fingerprint tells apart requests that may share with different others.
func fingerprint(r *ipam.Request) string {
	ports := make([]string, len(r.Ports))
	for i, p := range r.Ports {
		ports[i] = fmt.Sprintf("%s/%d", p.Protocol, p.Number)
	}
	slices.Sort(ports)
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %t %q %q", r.Share.Key, r.Share.Local, r.Share.Pods, ports))
	return hex.EncodeToString(sum[:]) // whole: who edits the Service chooses both of two that must differ
}
