package cluster

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/overlay"
)

// Claims returns all claims, as of the cache or later. They must not be changed.
func Claims(ctx context.Context, reader client.Reader, written *overlay.Objects[*v1beta1.L2Claim], now time.Time) ([]*v1beta1.L2Claim, error) {
	var list v1beta1.L2ClaimList
	if err := List(ctx, reader, &list); err != nil {
		return nil, err
	}
	out := make([]*v1beta1.L2Claim, len(list.Items))
	for i := range list.Items {
		out[i] = &list.Items[i]
	}
	return written.Apply(out, now), nil
}

// OwnedBy makes an object vanish with the Node.
func OwnedBy(node *corev1.Node) metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID, Controller: &yes}
}
