package cluster

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

const (
	// page is how many objects are read at once past the cache.
	page = 500
	// look lies between two looks at a cache that is behind; after relook the
	// API server is asked again, for what was missing may be deleted.
	pollMin     = 10 * time.Millisecond
	relistAfter = 2 * time.Second
)

// loadBalancers selects the Services that are cached.
func loadBalancers() fields.Selector {
	return fields.OneTermEqualSelector("spec.type", string(corev1.ServiceTypeLoadBalancer))
}

// CatchUp returns when the cache shows every object of those kinds at least as
// the API server had it when CatchUp was called. Of each kind an empty list is
// given. A cache does not show how far it is behind.
func CatchUp(ctx context.Context, direct, cached client.Reader, kinds ...client.ObjectList) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, list := range kinds {
		group.Go(func() error {
			for {
				behind, err := behind(ctx, direct, cached, list)
				if err != nil {
					return err
				}
				for start := time.Now(); len(behind) > 0 && time.Since(start) < relistAfter; {
					if !wait.Sleep(ctx, pollMin) {
						return ctx.Err()
					}
					if behind, err = unchanged(ctx, cached, behind); err != nil {
						return err
					}
				}
				if len(behind) == 0 {
					return nil
				}
			}
		})
	}
	return group.Wait()
}

// lag returns the objects of one kind that the cache does not show yet.
func behind(ctx context.Context, direct, cached client.Reader, list client.ObjectList) ([]client.Object, error) {
	opts := []client.ListOption{client.Limit(page)}
	if _, services := list.(*corev1.ServiceList); services {
		opts = append(opts, client.MatchingFieldsSelector{Selector: loadBalancers()})
	}
	var behind []client.Object
	for more := client.Continue(""); ; {
		if err := direct.List(ctx, list, append(opts, more)...); err != nil {
			return nil, fmt.Errorf("list %T past the cache: %w", list, err)
		}
		var objects []client.Object
		err := meta.EachListItem(list, func(o runtime.Object) error {
			obj, ok := o.(client.Object)
			if !ok {
				return fmt.Errorf("%T holds a %T", list, o)
			}
			objects = append(objects, obj)
			return nil
		})
		if err != nil {
			return nil, err
		}
		missing, err := unchanged(ctx, cached, objects)
		if err != nil {
			return nil, err
		}
		for _, m := range missing { // not the object itself, which holds its page
			behind = append(behind, nameOf(m))
		}
		if list.GetContinue() == "" {
			return behind, nil
		}
		more = client.Continue(list.GetContinue())
	}
}

// nameOf returns an empty object of the same kind, name and version.
func nameOf(obj client.Object) client.Object {
	out := blank(obj)
	out.SetNamespace(obj.GetNamespace())
	out.SetName(obj.GetName())
	out.SetResourceVersion(obj.GetResourceVersion())
	return out
}

func blank(obj client.Object) client.Object {
	return reflect.New(reflect.TypeOf(obj).Elem()).Interface().(client.Object)
}

// still returns those objects of which the cache shows an older version, or none.
func unchanged(ctx context.Context, cached client.Reader, objects []client.Object) ([]client.Object, error) {
	var out []client.Object
	for _, obj := range objects {
		shown := blank(obj)
		err := cached.Get(ctx, client.ObjectKeyFromObject(obj), shown)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("look for %T %s in the cache: %w", obj, client.ObjectKeyFromObject(obj), err)
		}
		if apierrors.IsNotFound(err) || intent.Later(obj, shown) {
			out = append(out, obj)
		}
	}
	return out, nil
}
