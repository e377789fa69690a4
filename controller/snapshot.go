package main

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// snapshot is all that the decision depends on. Its objects belong to the
// cache and must not be changed.
type snapshot struct {
	now time.Time
	cluster.Configured
	services   []*corev1.Service            // ours, and not about to vanish; in no order
	namespaces map[string]map[string]string // labels by name
	attempts   map[types.UID]attempt        // writes whose outcome is not known, or was refused
	landings   int                          // how many writes had landed
	contests   map[types.UID]contest        // Services whose status somebody else overwrites

	// review returns the contests when a pass knows what it sees for the first time,
	// and what is gone; nil: contests are known.
	review func([]arrival, []types.UID) map[types.UID]contest
}

// contest returns the contest of svc; the zero contest: there is none.
func (s *snapshot) contest(svc *corev1.Service) contest {
	if len(s.contests) == 0 { // as a rule
		return contest{}
	}
	return s.contests[svc.UID]
}

func (r *reconciler) snapshot(ctx context.Context) (snapshot, error) {
	s := snapshot{now: time.Now()}
	var err error
	if s.Configured, err = r.configuration.Read(ctx); err != nil {
		return s, err
	}
	cached, err := r.services(ctx)
	if err != nil {
		return s, err
	}
	s.review = func(arrived []arrival, gone []types.UID) map[types.UID]contest {
		return r.writer.review(arrived, gone, s.now)
	}
	s.attempts, s.landings = r.writer.unresolved(cached, s.now) // first: what lands from here on is in what was seen
	all := r.writer.seen.Apply(cached)
	s.services = all[:0]
	for _, svc := range all {
		// A Service that is being deleted keeps its address until it is gone, for
		// as long kube-proxy may still serve it, unless it waits for us (finalizer.go).
		if intent.Ours(svc, r.class) {
			s.services = append(s.services, svc)
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
	return s, nil
}
