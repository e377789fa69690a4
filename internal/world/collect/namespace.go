package collect

import (
	"context"
	"fmt"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/internal/cluster"
)

// NamespaceDefault is the namespace that the chart and the manifests install to by
// default.
const NamespaceDefault = "steelyard-system"

// binding grants the controller its rights. Only an administrator can create a
// ClusterRoleBinding, so the namespace of its subject can be trusted.
const binding = "steelyard-controller"

// labelsController returns the labels of the controller's Deployment. Any user who
// may create Deployments can use them.
func labelsController() client.MatchingLabels {
	return client.MatchingLabels{"app.kubernetes.io/name": "steelyard", "app.kubernetes.io/component": "controller"}
}

// Installation is where Steelyard is installed.
type Installation struct {
	Namespace string
	Doubt     string // why the namespace is a guess; empty: it is certain
	// Guessed is set if there was no evidence, or only evidence that any user can
	// forge: then no secret should be written there.
	Guessed bool
	Others  []string // other namespaces with the same evidence
}

// FindInstallation finds Steelyard's namespace by the binding that grants its
// controller rights. If that is missing or not readable, it looks for evidence that
// any user of a namespace can forge: the controller's Deployment, then the speakers'
// Leases. Of several namespaces it takes NamespaceDefault, or else the one with the
// oldest object.
func FindInstallation(ctx context.Context, r client.Reader) (Installation, error) {
	var b rbacv1.ClusterRoleBinding
	err := r.Get(ctx, client.ObjectKey{Name: binding}, &b)
	if in := accounts(b); err == nil && len(in) > 0 {
		return Installation{Namespace: in[0]}, nil
	}
	var forbidden []string
	switch {
	case apierrors.IsForbidden(err):
		forbidden = []string{"the ClusterRoleBinding " + binding}
	case err != nil && !apierrors.IsNotFound(err):
		return Installation{}, fmt.Errorf("look for the rights of Steelyard's controller: %w", err)
	}
	for _, look := range []struct {
		kind schema.GroupVersionKind
		what string
		by   client.ListOption
	}{
		{schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, "Deployments of a controller of Steelyard", labelsController()},
		{coordinationv1.SchemeGroupVersion.WithKind("Lease"), "Leases of speakers", client.HasLabels{cluster.LabelLease}},
	} {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(look.kind.GroupVersion().WithKind(look.kind.Kind + "List"))
		switch err := r.List(ctx, list, look.by); {
		case apierrors.IsForbidden(err):
			forbidden = append(forbidden, look.kind.Kind+"s of all namespaces")
			continue
		case err != nil:
			return Installation{}, fmt.Errorf("look for %s: %w", look.what, err)
		}
		if h := likeliest(list.Items); h.Namespace != "" {
			h.Doubt = fmt.Sprintf("namespace %s is taken for Steelyard's, for there are %s", h.Namespace, look.what)
			if len(h.Others) > 0 {
				h.Doubt += "; there are in " + strings.Join(h.Others, ", ") + " as well"
			}
			h.Doubt += " (any user can create those; --steelyard-namespace says which is meant)"
			return h, nil
		}
	}
	reason := "no namespace has a controller of Steelyard"
	if len(forbidden) > 0 {
		reason = "you may not see " + strings.Join(forbidden, " and ") + ", to find Steelyard's namespace"
	}
	return Installation{Namespace: NamespaceDefault, Guessed: true, Doubt: reason + "; " + NamespaceDefault + " is taken for it (--steelyard-namespace names another)"}, nil
}

// accounts returns the namespaces of the ServiceAccounts that a binding is for.
func accounts(b rbacv1.ClusterRoleBinding) []string {
	var out []string
	for _, s := range b.Subjects {
		if s.Kind == rbacv1.ServiceAccountKind {
			out = append(out, s.Namespace)
		}
	}
	slices.Sort(out)
	return out
}

// likeliest picks the namespace of objects that look like Steelyard's: the default
// one, or the one with the oldest object, since an attacker cannot backdate an
// object.
func likeliest(found []metav1.PartialObjectMetadata) Installation {
	var h Installation
	var oldest metav1.Time
	all := map[string]bool{}
	for i := range found {
		o := &found[i]
		all[o.Namespace] = true
		older := o.CreationTimestamp.Before(&oldest) || o.CreationTimestamp.Equal(&oldest) && o.Namespace < h.Namespace
		if h.Namespace == "" || older {
			h.Namespace, oldest = o.Namespace, o.CreationTimestamp
		}
	}
	if all[NamespaceDefault] {
		h.Namespace = NamespaceDefault
	}
	for n := range all {
		if n != h.Namespace {
			h.Others = append(h.Others, n)
		}
	}
	slices.Sort(h.Others)
	h.Guessed = true
	return h
}
