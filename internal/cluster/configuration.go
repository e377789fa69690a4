package cluster

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// Configuration reads the configuration from the cache, and parses it only when
// it has changed.
type Configuration struct {
	list      Lister
	allocates bool

	mu   sync.Mutex // of what follows
	seen map[any]bool
	last intent.Configured
}

// Lister lists the objects of a kind, in no order: of kind, or with an empty list
// of that kind. They are the cache's own and must not be changed.
type Lister func(ctx context.Context, kind client.Object, list client.ObjectList) ([]any, error)

// NewConfiguration returns the configuration among what list lists.
func NewConfiguration(list Lister) *Configuration { return &Configuration{list: list} }

// Allocating has c read AddressReservations and AddressQuotas as well, and returns it.
func (c *Configuration) Allocating() *Configuration {
	c.allocates = true
	return c
}

// Cached lists from the stores of a cache with CacheOptions.
func Cached(c cache.Cache) Lister {
	var stores sync.Map // by type: to find one takes longer than to list it
	return func(ctx context.Context, kind client.Object, _ client.ObjectList) ([]any, error) {
		of := reflect.TypeOf(kind)
		if known, ok := stores.Load(of); ok {
			return known.(toolscache.Store).List(), nil
		}
		store, err := Store(ctx, c, kind)
		if err != nil {
			return nil, err
		}
		stores.Store(of, store)
		return store.List(), nil
	}
}

// Listed lists with a reader: Secrets of namespace only.
func Listed(r client.Reader, namespace string) Lister {
	return func(ctx context.Context, kind client.Object, list client.ObjectList) ([]any, error) {
		var opts []client.ListOption
		if _, ok := kind.(*corev1.Secret); ok {
			opts = append(opts, client.InNamespace(namespace))
		}
		if err := List(ctx, r, list, opts...); err != nil {
			return nil, err
		}
		var out []any
		err := meta.EachListItem(list, func(o runtime.Object) error {
			out = append(out, o)
			return nil
		})
		return out, err
	}
}

// Read returns the configuration as the cache shows it now. It compares which
// objects are there, and looks into them only if others are than at the last time.
func (c *Configuration) Read(ctx context.Context) (intent.Configured, error) {
	type listed struct {
		kind client.Object
		list client.ObjectList
	}
	kinds := []listed{
		{&v1beta1.IPAddressPool{}, &v1beta1.IPAddressPoolList{}}, {&v1beta1.L2Advertisement{}, &v1beta1.L2AdvertisementList{}},
		{&v1beta1.BGPAdvertisement{}, &v1beta1.BGPAdvertisementList{}}, {&v1beta1.BGPPeer{}, &v1beta1.BGPPeerList{}},
		{&v1beta1.BFDProfile{}, &v1beta1.BFDProfileList{}}, {&v1beta1.Community{}, &v1beta1.CommunityList{}},
		{&corev1.Secret{}, &corev1.SecretList{}},
	}
	if c.allocates {
		kinds = append(kinds, listed{&v1beta1.AddressReservation{}, &v1beta1.AddressReservationList{}}, listed{&v1beta1.AddressQuota{}, &v1beta1.AddressQuotaList{}})
	}
	all := make([][]any, 9)
	for i, x := range kinds {
		var err error
		if all[i], err = c.list(ctx, x.kind, x.list); err != nil {
			return intent.Configured{}, fmt.Errorf("read the configuration: %w", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last.Config == nil || !c.shows(all) {
		secrets := map[string]*corev1.Secret{}
		for _, o := range all[6] {
			if s, ok := o.(*corev1.Secret); ok {
				secrets[s.Name] = s
			}
		}
		c.take(intent.Objects{
			Pools: Values[v1beta1.IPAddressPool](all[0]), L2: Values[v1beta1.L2Advertisement](all[1]), BGP: Values[v1beta1.BGPAdvertisement](all[2]),
			Peers: Values[v1beta1.BGPPeer](all[3]), Profiles: Values[v1beta1.BFDProfile](all[4]), Communities: Values[v1beta1.Community](all[5]),
			Reservations: Values[v1beta1.AddressReservation](all[7]), Quotas: Values[v1beta1.AddressQuota](all[8]), Secrets: secrets,
		}, all)
	}
	return c.last, nil
}

// shows reports whether all are the objects of the last time: one that is changed
// has another place in memory.
func (c *Configuration) shows(all [][]any) bool {
	n := 0
	for _, kind := range all {
		n += len(kind)
		for _, o := range kind {
			if !c.seen[o] {
				return false
			}
		}
	}
	return n == len(c.seen)
}

// take stores objects, and parses them if they differ from those before.
func (c *Configuration) take(o intent.Objects, all [][]any) {
	c.seen = map[any]bool{}
	for _, kind := range all {
		for _, x := range kind {
			c.seen[x] = true
		}
	}
	if c.last.Config == nil || !sameObjects(c.last.Objects, o) {
		config := intent.Parse(o)
		c.last.Config = &config
	}
	c.last.Objects = o
}

// Values returns objects of a kind, as a Store lists them, as a list has them.
func Values[T any](all []any) []T {
	out := make([]T, 0, len(all))
	for _, o := range all {
		if x, ok := o.(*T); ok {
			out = append(out, *x)
		}
	}
	return out
}

// sameObjects reports whether two configurations are equal, whatever the
// order of their objects. What is in a status does not count, but for what is announced of
// spec.externalIPs, and for the prefixes of pools.
func sameObjects(a, b intent.Objects) bool {
	return sameKind(a.Pools, b.Pools) && sameDecided(a.Pools, b.Pools) && sameKind(a.L2, b.L2) && sameKind(a.BGP, b.BGP) &&
		sameKind(a.Peers, b.Peers) && sameKind(a.Profiles, b.Profiles) && sameKind(a.Communities, b.Communities) && sameKind(a.Reservations, b.Reservations) &&
		sameKind(a.Quotas, b.Quotas) &&
		sameSecrets(a.Secrets, b.Secrets)
}

// sameDecided reports whether the statuses of pools, which are the same ones, say the same of spec.externalIPs, and have
// the same prefixes.
func sameDecided(a, b []v1beta1.IPAddressPool) bool {
	by := make(map[string]*v1beta1.IPAddressPool, len(a))
	for i := range a {
		by[a[i].Name] = &a[i]
	}
	for i := range b {
		before := by[b[i].Name]
		if !slices.Equal(before.Status.ExternalIPs, b[i].Status.ExternalIPs) || !intent.SamePrefix(before, &b[i]) {
			return false
		}
	}
	return true
}

func sameSecrets(a, b map[string]*corev1.Secret) bool {
	return maps.EqualFunc(a, b, func(x, y *corev1.Secret) bool { return x.UID == y.UID && x.ResourceVersion == y.ResourceVersion })
}

func sameKind[T any, P interface {
	*T
	metav1.Object
}](a, b []T) bool {
	if len(a) != len(b) {
		return false
	}
	before := make(map[string]P, len(a))
	for i := range a {
		before[P(&a[i]).GetName()] = &a[i]
	}
	for i := range b {
		y := P(&b[i])
		x := before[y.GetName()]
		if x == nil || x.GetUID() != y.GetUID() || x.GetGeneration() != y.GetGeneration() || !maps.Equal(x.GetLabels(), y.GetLabels()) {
			return false
		}
	}
	return true
}
