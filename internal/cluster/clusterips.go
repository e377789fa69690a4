package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/internal/wait"
)

// ClusterIPRanges returns the ranges that the cluster's Services have their ClusterIPs of. It
// returns none where the cluster does not tell: before Kubernetes 1.33 it has no ServiceCIDRs.
func ClusterIPRanges(ctx context.Context, r client.Reader) ([]netip.Prefix, error) {
	var list networkingv1.ServiceCIDRList
	switch err := List(ctx, r, &list); {
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	var out []netip.Prefix
	for _, c := range list.Items {
		for _, text := range c.Spec.CIDRs {
			p, err := netip.ParsePrefix(text)
			if err != nil {
				return nil, fmt.Errorf("ServiceCIDR %q: %w", c.Name, err)
			}
			out = append(out, p.Masked())
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out), nil
}

// clusterIPsEvery is how often the ranges are read: administrators add one once in years.
const clusterIPsEvery = time.Minute

// ClusterIPs reads the ranges of ClusterIPs now and again. Make one with NewClusterIPs.
type ClusterIPs struct {
	Changed chan struct{} // buffered 1
	direct  client.Reader
	log     *slog.Logger
	found   atomic.Pointer[[]netip.Prefix]
}

// NewClusterIPs returns a ClusterIPs that reads past the cache.
func NewClusterIPs(direct client.Reader, log *slog.Logger) *ClusterIPs {
	return &ClusterIPs{direct: direct, log: log, Changed: make(chan struct{}, 1)}
}

// Ranges returns the ranges that were read last.
func (c *ClusterIPs) Ranges() []netip.Prefix {
	if found := c.found.Load(); found != nil {
		return *found
	}
	return nil
}

// Run reads until ctx ends.
func (c *ClusterIPs) Run(ctx context.Context) error {
	for {
		found, err := ClusterIPRanges(ctx, c.direct)
		switch {
		case err != nil && ctx.Err() == nil:
			c.log.Info("can't read the ranges of ClusterIPs; will try again", "err", err)
		case err == nil && !slices.Equal(found, c.Ranges()):
			c.found.Store(&found)
			wait.Signal(c.Changed)
		}
		if !wait.Sleep(ctx, clusterIPsEvery) {
			return nil
		}
	}
}
