package main

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/planner"
)

func (r *reconciler) snapshot(ctx context.Context) (planner.Snapshot, error) {
	s := planner.Snapshot{Now: time.Now(), Keeper: &r.keeps}
	if err := r.look(ctx, &s); err != nil {
		return s, err
	}
	s.Review = func(arrived []planner.Arrival, gone []types.UID) map[types.UID]planner.Contest {
		return r.writer.review(arrived, gone, s.Now)
	}
	var namespaces corev1.NamespaceList
	if err := cluster.List(ctx, r.client, &namespaces); err != nil {
		return s, err
	}
	s.Namespaces = make(map[string]map[string]string, len(namespaces.Items))
	for _, n := range namespaces.Items {
		s.Namespaces[n.Name] = n.Labels
	}
	return s, nil
}

// look enters the configuration and the Services, and what became of writes to them.
func (r *reconciler) look(ctx context.Context, s *planner.Snapshot) error {
	var err error
	if s.Configured, err = r.configuration.Read(ctx); err != nil {
		return err
	}
	cached, err := r.services(ctx)
	if err != nil {
		return err
	}
	s.Attempts, s.Finished = r.writer.unresolved(cached, s.Now) // first: what lands from here on is in what was seen
	all := r.writer.seen.Apply(cached)
	s.Services = all[:0]
	for _, svc := range all {
		// A Service that is being deleted keeps its address until it is gone, for
		// as long kube-proxy may still serve it, unless it waits for us (package planner).
		if intent.Ours(svc, r.class) {
			s.Services = append(s.Services, svc)
		}
	}
	return nil
}
