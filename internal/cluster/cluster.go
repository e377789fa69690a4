// Package cluster is how the programs read the cluster: which objects they cache and
// which fields of these, how events become runs of one loop, and how a program reads its
// own writes before the cache shows them. It also sends Events, and has the log, the
// metrics' server and the connection to the API server in common.
//
// It decides nothing about addresses. It writes nothing but Events and the speakers'
// Secret.
//
// Loop stays ours: controller-runtime's queue knows neither pauses in proportion to the
// work done nor signals that end a pause, and its metrics and workers are for many keys,
// where there is one. EventRecorder stays ours: client-go's recorder keeps each event for minutes
// to merge those that are alike, and sends at once; events here wait for more
// urgent writes, and repeated ones are sent less and less often.
package cluster

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"reflect"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/version"
)

// Scheme returns the types that the programs read and write.
func Scheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(s); err != nil {
		return nil, fmt.Errorf("register Kubernetes types: %w", err)
	}
	if err := v1beta1.AddToScheme(s); err != nil {
		return nil, fmt.Errorf("register own types: %w", err)
	}
	return s, nil
}

// SecretMembership names the Secret with the keys by which speakers sign their messages
// to one another. MembershipKey is the entry that they sign with.
const (
	SecretMembership = "steelyard-membership"
	MembershipKey    = "key"
)

// LabelLease marks the Leases of the speakers.
const LabelLease = v1beta1.Group + "/lease"

// deadAfter is how long sent data may stay unacknowledged before a connection
// to the API server is closed and made again.
const deadAfter = 4 * time.Second

// The field managers under which the programs write.
const (
	ManagerController = "steelyard-controller"
	ManagerSpeaker    = "steelyard-speaker"
	ManagerPlugin     = "kubectl-steelyard"
)

// Connect adapts the configuration of a client: no rate limit on this side,
// and a connection that a network fault has killed is noticed in seconds. The API
// server takes what is written for that of the given field manager.
func Connect(cfg *rest.Config, manager string) *rest.Config {
	out := rest.CopyConfig(cfg)
	out.QPS = -1
	out.UserAgent = manager + "/" + version.String() // the part before the slash is the field manager
	dialer := net.Dialer{Timeout: deadAfter, KeepAlive: deadAfter, Control: setUserTimeout}
	out.Dial = dialer.DialContext
	return out
}

// CacheOptions limits the cache to what the programs read: Services that are relevant, Secrets and ConfigMaps of their own namespace, and of every object only the
// fields in use. drop takes out of an object what this program alone does not
// read; nil: nothing. All caches of a program share its Revisions.
func CacheOptions(namespace string, drop func(client.Object), revisions *Revisions) cache.Options {
	return cache.Options{
		DefaultTransform: func(in any) (any, error) {
			out, err := strip(in)
			if obj, ok := out.(client.Object); ok && drop != nil {
				drop(obj)
			}
			return out, err
		},
		NewInformer:                 revisions.newInformer,
		ReaderFailOnMissingInformer: true,
		// By a field, and not as Namespaces, which make a cache without a Store. It asks within the namespace all the same.
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}:    {Field: fields.OneTermEqualSelector("metadata.namespace", namespace)},
			&corev1.ConfigMap{}: {Field: fields.OneTermEqualSelector("metadata.namespace", namespace)},
		},
	}
}

// strip drops fields that no program reads.
func strip(in any) (any, error) {
	obj, ok := in.(client.Object)
	if !ok {
		return in, nil // a tombstone of the cache
	}
	managers := obj.GetManagedFields()
	obj.SetManagedFields(nil)
	switch o := obj.(type) {
	case *corev1.Service:
		o.ManagedFields = otherManagers(managers)
		delete(o.Annotations, corev1.LastAppliedConfigAnnotation)
		o.Spec.ClusterIP, o.Spec.ClusterIPs, o.Spec.SessionAffinity, o.Spec.InternalTrafficPolicy = "", nil, "", nil
	case *corev1.Node:
		o.Status.Images = nil
	case *corev1.ConfigMap: // of which the prefixes of pools are read
		o.Annotations, o.BinaryData = nil, nil
		for key, text := range o.Data {
			o.Data[key] = strings.Clone(text[:min(len(text), maxEntry)])
		}
	}
	return obj, nil
}

// maxEntry bounds how much of an entry of a ConfigMap is kept: more than any prefix has.
const maxEntry = 256

// otherManagers returns, of the managers of a Service's fields, those that wrote its
// addresses and are none of ours: by name alone. As a rule there is none.
func otherManagers(managers []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	var out []metav1.ManagedFieldsEntry
	for _, m := range managers {
		if m.Subresource == "status" && m.Manager != ManagerController && m.FieldsV1 != nil && bytes.Contains(m.FieldsV1.GetRawBytes(), []byte(`"f:loadBalancer"`)) {
			out = append(out, metav1.ManagedFieldsEntry{Manager: m.Manager})
		}
	}
	return out
}

// Stripped drops from an object that was not read through the cache what the
// cache would have dropped, and returns it.
func Stripped[T client.Object](obj T) T {
	_, _ = strip(obj) // it fails on nothing
	return obj
}

// Kinds are the configuration kinds, which both programs watch.
func Kinds() []client.Object {
	return []client.Object{
		&v1beta1.IPAddressPool{}, &v1beta1.L2Advertisement{}, &v1beta1.BGPAdvertisement{},
		&v1beta1.BGPPeer{}, &v1beta1.BFDProfile{}, &v1beta1.Community{},
		&corev1.Secret{}, &corev1.Service{},
	}
}

// Store is where the cache keeps its objects of a kind: they are the cache's own
// and must not be changed.
func Store(ctx context.Context, c cache.Cache, kind client.Object, opts ...cache.InformerGetOption) (toolscache.Store, error) {
	informer, err := c.GetInformer(ctx, kind, opts...)
	if err != nil {
		return nil, fmt.Errorf("find the cache of %T: %w", kind, err)
	}
	shared, ok := informer.(toolscache.SharedIndexInformer)
	if !ok {
		return nil, fmt.Errorf("the cache of %T is a %T, which can't be listed", kind, informer)
	}
	return shared.GetStore(), nil
}

// Services returns the Services of the cache: the cache's own, in no order.
func Services(ctx context.Context, c cache.Cache) ([]*corev1.Service, error) {
	return stored(ctx, c, &corev1.Service{})
}

// AllClaims returns the L2Claims of the cache: the cache's own, in no order.
func AllClaims(ctx context.Context, c cache.Cache) ([]*v1beta1.L2Claim, error) {
	return stored(ctx, c, &v1beta1.L2Claim{})
}

// Endpoints returns the EndpointSlices of the cache: the cache's own, in no order.
func Endpoints(ctx context.Context, c cache.Cache) ([]*discoveryv1.EndpointSlice, error) {
	return stored(ctx, c, &discoveryv1.EndpointSlice{})
}

func stored[T client.Object](ctx context.Context, c cache.Cache, kind T) ([]T, error) {
	store, err := Store(ctx, c, kind)
	if err != nil {
		return nil, err
	}
	return All[T](store), nil
}

// All returns what a Store holds, in no order: the cache's own objects.
func All[T client.Object](from toolscache.Store) []T {
	all := from.List()
	out := make([]T, 0, len(all))
	for _, o := range all {
		if t, ok := o.(T); ok {
			out = append(out, t)
		}
	}
	return out
}

// List reads a list from the cache without copying the objects, which must not
// be changed.
func List(ctx context.Context, r client.Reader, list client.ObjectList, opts ...client.ListOption) error {
	if err := r.List(ctx, list, append(opts, client.UnsafeDisableDeepCopy)...); err != nil {
		return fmt.Errorf("list %s: %w", reflect.TypeOf(list).Elem().Name(), err)
	}
	return nil
}
