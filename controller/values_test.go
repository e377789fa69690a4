package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
)

func TestApplyValues(t *testing.T) {
	pool := func(name, by string) *v1beta1.IPAddressPool {
		p := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{"203.0.113.0/24"}}}
		if by != "" {
			p.Labels = map[string]string{v1beta1.LabelManagedBy: by}
		}
		return p
	}
	text := func(name string) string {
		return `{"apiVersion":"steelyard.dev/v1beta1","kind":"IPAddressPool","metadata":{"name":"` + name + `"},"spec":{"addresses":["192.0.2.0/28"]}}`
	}
	scheme, err := cluster.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(pool("hand", ""), pool("old", fromValues), pool("changed", fromValues), pool("bad", fromValues)).
		WithInterceptorFuncs(interceptor.Funcs{Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, o ...client.ApplyOption) error {
			if named, ok := obj.(interface{ GetName() string }); ok && named.GetName() == "bad" {
				return apierrors.NewBadRequest("no such range")
			}
			return c.Apply(ctx, obj, o...)
		}}).Build()
	err = applyValues(t.Context(), c, []string{text("bad"), text("hand"), text("changed"), text("new")}, slog.New(slog.DiscardHandler))
	for _, want := range []string{`"bad": no such range`, `"hand": it is there, and not from values`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, have %v", want, err)
		}
	}
	var pools v1beta1.IPAddressPoolList
	if err := c.List(t.Context(), &pools); err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, p := range pools.Items {
		have = append(have, p.Name+" "+string(p.Spec.Addresses[0]))
	}
	slices.Sort(have)
	want := []string{"bad 203.0.113.0/24", "changed 192.0.2.0/28", "hand 203.0.113.0/24", "new 192.0.2.0/28"}
	if !slices.Equal(have, want) {
		t.Errorf("want %q, have %q", want, have)
	}
	if err := applyValues(t.Context(), c, []string{"nonsense"}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("want an error for what is no JSON")
	}
}
