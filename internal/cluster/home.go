package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// NamespaceDefault is where Steelyard is installed if nobody says otherwise.
const NamespaceDefault = "steelyard-system"

// labelsController are those of the controller's Deployment.
func labelsController() client.MatchingLabels {
	return client.MatchingLabels{"app.kubernetes.io/name": "steelyard", "app.kubernetes.io/component": "controller"}
}

// Home finds the namespace that Steelyard is installed in: by its controller's
// Deployment, or else by the speakers' Leases. If there is nothing to find it by
// it returns NamespaceDefault, and says in doubt why; several are an error.
func Home(ctx context.Context, r client.Reader) (namespace, doubt string, err error) {
	var forbidden []string
	for _, look := range []struct {
		kind schema.GroupVersionKind
		what string
		by   client.ListOption
	}{
		{schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, "Deployments of a controller of Steelyard", labelsController()},
		{coordinationv1.SchemeGroupVersion.WithKind("Lease"), "Leases of speakers", client.HasLabels{LabelLease}},
	} {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(look.kind.GroupVersion().WithKind(look.kind.Kind + "List"))
		switch err := r.List(ctx, list, look.by); {
		case apierrors.IsForbidden(err):
			forbidden = append(forbidden, look.kind.Kind+"s")
			continue
		case err != nil:
			return "", "", fmt.Errorf("look for %s: %w", look.what, err)
		}
		var in []string
		for _, o := range list.Items {
			in = append(in, o.Namespace)
		}
		slices.Sort(in)
		in = slices.Compact(in)
		if len(in) > 1 {
			return "", "", fmt.Errorf("there are %s in namespaces %s: say with --steelyard-namespace which is meant", look.what, strings.Join(in, ", "))
		}
		if len(in) == 1 {
			return in[0], "", nil
		}
	}
	why := "no namespace has a controller of Steelyard"
	if len(forbidden) > 0 {
		why = "you may not list " + strings.Join(forbidden, " and ") + " of all namespaces, to find Steelyard's"
	}
	return NamespaceDefault, why + "; " + NamespaceDefault + " is taken for it (--steelyard-namespace names another)", nil
}
