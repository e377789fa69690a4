// Package collect reads a cluster once, for the kubectl plugin. It starts no cache
// and writes nothing.
package collect

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/world"
)

// Snapshot reads the whole cluster. The namespace is Steelyard's own. Secrets are not
// read: the user need not know passwords. A list that the user may not read is named
// in Unread if it can be replaced by a guess; any other failure is an error.
func Snapshot(ctx context.Context, r client.Reader, namespace string) (*world.Snapshot, error) {
	w := &world.Snapshot{Objects: health.Objects{Now: time.Now(), Namespace: namespace}}
	var (
		pools       v1beta1.IPAddressPoolList
		l2          v1beta1.L2AdvertisementList
		bgp         v1beta1.BGPAdvertisementList
		peers       v1beta1.BGPPeerList
		profiles    v1beta1.BFDProfileList
		communities v1beta1.CommunityList
		reserved    v1beta1.AddressReservationList
		quotas      v1beta1.AddressQuotaList
		services    corev1.ServiceList
		namespaces  corev1.NamespaceList
		nodes       corev1.NodeList
		endpoints   discoveryv1.EndpointSliceList
		leases      coordinationv1.LeaseList
		speakers    v1beta1.SpeakerList
		claims      v1beta1.L2ClaimList
		sessions    v1beta1.BGPSessionList
		deployments appsv1.DeploymentList
	)
	own := client.InNamespace(namespace)
	x := reading{reader: r}
	for _, list := range []client.ObjectList{
		&pools, &l2, &bgp, &peers, &profiles, &communities, &reserved, &quotas, &services, &namespaces, &nodes, &endpoints, &speakers, &claims, &sessions,
	} {
		x.list(ctx, list, "")
	}
	x.list(ctx, &leases, "which speakers are there is guessed from their Speaker objects", own)
	x.list(ctx, &deployments, "the controller's class and its annotation prefixes are guessed to be the default", own)
	if err := x.wait(); err != nil {
		return nil, err
	}
	w.Unread = slices.Sorted(maps.Values(x.unread))
	if x.unread["Lease"] == "" && leases.Items == nil {
		leases.Items = []coordinationv1.Lease{} // nil would mean that they could not be read
	}
	w.Config = intent.Objects{Pools: pools.Items, L2: l2.Items, BGP: bgp.Items, Peers: peers.Items, Profiles: profiles.Items, Communities: communities.Items, Reservations: reserved.Items, Quotas: quotas.Items}
	w.Services, w.Namespaces, w.Nodes, w.Endpoints = services.Items, namespaces.Items, nodes.Items, endpoints.Items
	w.Leases, w.Speakers, w.Claims, w.Sessions = leases.Items, speakers.Items, claims.Items, sessions.Items
	var err error
	w.ClusterIPs, err = cluster.ClusterIPRanges(ctx, r)
	if w.ClusterIPsUnread = apierrors.IsForbidden(err); err != nil && !w.ClusterIPsUnread {
		return nil, err
	}
	w.Settings, err = settings(deployments.Items)
	w.Guessed = x.unread["Deployment"] != ""
	return w, err
}

// Settings reads the flags of the controller in a namespace, and nothing else.
func Settings(ctx context.Context, r client.Reader, namespace string) (world.Settings, error) {
	var deployments appsv1.DeploymentList
	if err := cluster.List(ctx, r, &deployments, client.InNamespace(namespace)); err != nil {
		return world.Settings{}, err
	}
	return settings(deployments.Items)
}

// settings reads the controller's flags from its Deployment.
func settings(deployments []appsv1.Deployment) (world.Settings, error) {
	var s world.Settings
	controller := labels.SelectorFromSet(labels.Set(labelsController()))
	for _, d := range deployments {
		if !controller.Matches(labels.Set(d.Labels)) && d.Name != "steelyard-controller" {
			continue
		}
		for _, c := range d.Spec.Template.Spec.Containers {
			if c.Name != "controller" {
				continue
			}
			args, addClass := slices.Concat(c.Command, c.Args), intent.AddClass(&s.Class)
			for i, arg := range args {
				name, value, given := strings.Cut(strings.TrimLeft(arg, "-"), "=")
				if !given && i+1 < len(args) {
					value = args[i+1]
				}
				var err error
				switch name {
				case "load-balancer-class":
					err = addClass(value)
				case "ignore-exclude-label":
					s.Exclusion.IgnoreLabel = !given || value == "true"
				case "unschedulable":
					err = s.Exclusion.Unschedulable.UnmarshalText([]byte(value))
				case "compat-annotations":
					s.AnnotationPrefixes, err = intent.ParseAnnotationPrefixes(value)
				}
				if err != nil {
					return s, fmt.Errorf("read the flags of Deployment %s/%s: %w", d.Namespace, d.Name, err)
				}
			}
		}
	}
	return s, nil
}
