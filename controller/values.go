package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

const (
	// fromValues is the field manager, and the value of the label, of what is applied.
	fromValues = "steelyard-values"
	// kindsTimeout is how long to wait for kinds that were installed a moment ago.
	kindsTimeout = time.Minute
)

// applied are the kinds that applyValues may apply and delete.
func applied() []string {
	return []string{"Community", "BFDProfile", "IPAddressPool", "BGPPeer", "L2Advertisement", "BGPAdvertisement"}
}

// applyValues applies objects, each a JSON text, and deletes those that were applied so before
// and are not among them. Objects that others made it leaves alone, and says so. One that
// can't be applied keeps it from no other.
func applyValues(ctx context.Context, c client.Client, texts []string, log *slog.Logger) error {
	var errs []error
	kept := map[string]bool{}
	for _, text := range texts {
		obj := &unstructured.Unstructured{}
		if err := obj.UnmarshalJSON([]byte(text)); err != nil {
			return fmt.Errorf("read an object to apply: %w", err)
		}
		kept[obj.GetKind()+" "+obj.GetName()] = true
		obj.SetLabels(map[string]string{v1beta1.LabelManagedBy: fromValues})
		if err := applyOne(ctx, c, obj); err != nil {
			errs = append(errs, fmt.Errorf("apply %s %q: %w", obj.GetKind(), obj.GetName(), err))
			continue
		}
		log.Info("applied", "kind", obj.GetKind(), "name", obj.GetName())
	}
	for _, kind := range applied() {
		errs = append(errs, deleteOthers(ctx, c, kind, kept, log))
	}
	return errors.Join(errs...)
}

// deleteOthers deletes the objects of a kind that were applied before, but those that are kept.
func deleteOthers(ctx context.Context, c client.Client, kind string, kept map[string]bool, log *slog.Logger) error {
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(v1beta1.GroupVersion().WithKind(kind + "List"))
	if err := c.List(ctx, &list, client.MatchingLabels{v1beta1.LabelManagedBy: fromValues}); err != nil {
		return fmt.Errorf("list what was applied before: %w", err)
	}
	for i := range list.Items {
		obj := &list.Items[i]
		if kept[kind+" "+obj.Name] {
			continue
		}
		if err := c.Delete(ctx, obj, client.Preconditions{UID: &obj.UID}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete %s %q: %w", kind, obj.Name, err)
		}
		log.Info("deleted", "kind", kind, "name", obj.Name)
	}
	return nil
}

// applyOne applies an object, whose kind the API server may not know for a moment yet.
func applyOne(ctx context.Context, c client.Client, obj *unstructured.Unstructured) error {
	for start := time.Now(); ; {
		there := &metav1.PartialObjectMetadata{}
		there.SetGroupVersionKind(obj.GroupVersionKind())
		err := c.Get(ctx, client.ObjectKeyFromObject(obj), there)
		if err == nil && there.Labels[v1beta1.LabelManagedBy] != fromValues {
			return fmt.Errorf("it is there, and not from values: delete it, or label it %s=%s", v1beta1.LabelManagedBy, fromValues)
		}
		if client.IgnoreNotFound(err) == nil {
			err = c.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj), client.FieldOwner(fromValues), client.ForceOwnership)
		}
		if !meta.IsNoMatchError(err) || time.Since(start) > kindsTimeout || !wait.Sleep(ctx, time.Second) {
			return err
		}
	}
}
