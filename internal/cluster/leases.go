package cluster

import (
	"context"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/steelyard-lb/steelyard/internal/intent"
)

// WatchLeases watches the Leases of speakers in a namespace, or the one of that name alone,
// until ctx ends, and returns them when they are there. It calls changed when one comes,
// goes, or gets another holder. It uses the connection of mgr, and a cache of its own,
// which can end before mgr does.
func (r *Revisions) WatchLeases(ctx context.Context, mgr manager.Manager, namespace, name string, changed func()) (client.Reader, error) {
	which := cache.ByObject{Namespaces: map[string]cache.Config{namespace: {}}}
	if name == "" {
		which.Label = labels.SelectorFromSet(labels.Set{LabelLease: "speaker"})
	} else {
		which.Field = fields.OneTermEqualSelector("metadata.name", name)
	}
	leases, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		DefaultTransform: strip, NewInformer: r.newInformer, ReaderFailOnMissingInformer: true,
		ByObject: map[client.Object]cache.ByObject{&coordinationv1.Lease{}: which},
	})
	if err != nil {
		return nil, fmt.Errorf("watch Leases: %w", err)
	}
	go func() {
		if err := leases.Start(ctx); err != nil {
			klog.FromContext(ctx).Error(err, "watch Leases")
		}
	}()
	informer, err := leases.GetInformer(ctx, &coordinationv1.Lease{})
	if err != nil {
		return nil, fmt.Errorf("watch Leases: %w", err)
	}
	if _, err := informer.AddEventHandler(onHolder(changed)); err != nil {
		return nil, fmt.Errorf("watch Leases: %w", err)
	}
	return leases, nil
}

// onHolder calls changed when a Lease comes, goes, or gets another holder.
func onHolder(changed func()) toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { changed() },
		UpdateFunc: func(before, after any) {
			b, _ := before.(*coordinationv1.Lease)
			a, _ := after.(*coordinationv1.Lease)
			if b == nil || a == nil || intent.LeaseNode(b) != intent.LeaseNode(a) {
				changed()
			}
		},
		DeleteFunc: func(any) { changed() },
	}
}
