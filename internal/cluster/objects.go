package cluster

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/overlay"
)

// Claims returns all claims, as of the cache or later. They must not be changed.
func Claims(cached toolscache.Store, written *overlay.Objects[*v1beta1.L2Claim], now time.Time) []*v1beta1.L2Claim {
	return written.Apply(All[*v1beta1.L2Claim](cached), now)
}

// OwnedBy makes an object vanish with the Node.
func OwnedBy(node *corev1.Node) metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID, Controller: &yes}
}
