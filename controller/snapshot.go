package main

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/planner"
)

func (r *reconciler) snapshot(ctx context.Context) (planner.Input, error) {
	s := planner.Input{Now: time.Now()}
	if err := r.look(ctx, &s); err != nil {
		return s, err
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

// look enters the configuration and the Services.
func (r *reconciler) look(ctx context.Context, s *planner.Input) (err error) {
	if s.Configured, err = r.configuration.Read(ctx); err != nil {
		return err
	}
	s.Services, err = r.services(ctx)
	return err
}
