package main

import (
	"context"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// snapshot is all that the decision depends on. Its objects belong to the
// cache and must not be changed.
type snapshot struct {
	objects    intent.Objects
	services   []*corev1.Service            // ours, and not about to vanish
	foreign    []netip.Addr                 // addresses of other load balancers' Services
	namespaces map[string]map[string]string // labels by name
	sessions   []v1beta1.BGPSession
	claims     []v1beta1.L2Claim
}

func (r *reconciler) snapshot(ctx context.Context) (snapshot, error) {
	var s snapshot
	var err error
	if s.objects, err = cluster.Configuration(ctx, r.client, r.namespace); err != nil {
		return s, err
	}
	var services corev1.ServiceList
	if err := cluster.List(ctx, r.client, &services); err != nil {
		return s, err
	}
	all := make([]*corev1.Service, len(services.Items))
	for i := range services.Items {
		all[i] = &services.Items[i]
	}
	for _, svc := range r.assumed.Apply(all) {
		// A Service that is being deleted keeps its address until it is gone, for
		// as long kube-proxy may still serve it.
		if intent.Ours(svc, r.class) {
			s.services = append(s.services, svc)
		} else {
			s.foreign = append(s.foreign, intent.Holds(svc)...)
		}
	}
	var namespaces corev1.NamespaceList
	if err := cluster.List(ctx, r.client, &namespaces); err != nil {
		return s, err
	}
	s.namespaces = make(map[string]map[string]string, len(namespaces.Items))
	for _, n := range namespaces.Items {
		s.namespaces[n.Name] = n.Labels
	}
	var sessions v1beta1.BGPSessionList
	if err := cluster.List(ctx, r.client, &sessions); err != nil {
		return s, err
	}
	var claims v1beta1.L2ClaimList
	if err := cluster.List(ctx, r.client, &claims); err != nil {
		return s, err
	}
	s.sessions, s.claims = sessions.Items, claims.Items
	return s, nil
}
