package main

import (
	"context"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// retryAfter is the pause before what could not be written is tried again. An
// event of the object itself is not waited for, and no other Service waits.
const retryAfter = 2 * time.Second

// reconciler reads, thinks and writes. No decision depends on its memory, but
// for what it wrote and the cache does not show yet.
type reconciler struct {
	client    client.Client
	direct    client.Reader // past the cache
	events    events.EventRecorder
	log       *slog.Logger
	namespace string
	class     string
	assumed   cluster.Overlay[*corev1.Service]

	ours map[types.UID]client.ObjectKey // the Services of the pass before; nil at first
	left []client.ObjectKey             // Services to be cleaned of our words
}

func (r *reconciler) reconcile(ctx context.Context) (reconcile.Result, error) {
	snap, err := r.snapshot(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	if failed := r.apply(ctx, think(snap)); failed {
		return reconcile.Result{RequeueAfter: retryAfter}, nil
	}
	return reconcile.Result{}, nil
}

// plan is all that must be true.
type plan struct {
	snapshot
	config intent.Config
	pools  ipam.Pools
	grants map[ipam.Key]ipam.Grant
}

// think turns the snapshot into the plan. It is pure.
func think(s snapshot) plan {
	p := plan{snapshot: s, config: intent.Parse(s.objects)}
	byKey := make(map[ipam.Key]*corev1.Service, len(s.services))
	requests := make([]ipam.Request, len(s.services))
	for i, svc := range s.services {
		byKey[intent.KeyOf(svc)] = svc
		requests[i] = intent.Request(svc)
	}
	p.pools = p.config.Bind(func(k ipam.Key) intent.Subject {
		subject := intent.Subject{Namespace: k.Namespace, NamespaceLabels: s.namespaces[k.Namespace]}
		if svc := byKey[k]; svc != nil {
			subject.Labels = svc.Labels
		}
		return subject
	})
	p.grants = ipam.Assign(p.pools, requests)
	return p
}
