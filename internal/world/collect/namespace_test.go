package collect_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/world/collect"
)

func TestHomeIsFoundByWhatRunsThere(t *testing.T) {
	deployment := func(namespace string) client.Object {
		return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "steelyard-controller",
			Labels: map[string]string{"app.kubernetes.io/name": "steelyard", "app.kubernetes.io/component": "controller"}}}
	}
	lease := func(namespace string) client.Object {
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "speaker-a", Labels: map[string]string{cluster.LabelLease: "speaker"}}}
	}
	other := func(namespace string) client.Object {
		return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "other",
			Labels: map[string]string{"app.kubernetes.io/name": "metallb", "app.kubernetes.io/component": "controller"}}}
	}
	aged := func(o client.Object, year int) client.Object {
		o.SetCreationTimestamp(metav1.Date(year, 1, 1, 0, 0, 0, 0, time.UTC))
		return o
	}
	// The real one, which only an administrator can create.
	bound := func(namespace string) client.Object {
		return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "steelyard-controller"},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "steelyard-controller", Namespace: namespace}}}
	}
	const byLabels = "namespace net is taken for Steelyard's, for there are Deployments of a controller of Steelyard"
	for _, c := range []struct {
		name      string
		objects   []client.Object
		forbidden string // kinds
		want      string // the namespace
		doubt     string // how it begins
		others    string
	}{
		{name: "a binding", objects: []client.Object{bound("net"), deployment("net"), other("metallb-system")}, want: "net"},
		{name: "a binding, and Deployments that tenants forged, older ones", objects: []client.Object{bound("net"), aged(deployment("net"), 2025), aged(deployment("a"), 2020), deployment("steelyard-system")}, want: "net"},
		{name: "a binding, and Leases that an older one left", objects: []client.Object{bound("net"), lease("old")}, want: "net"},
		{name: "a binding without a namespace, and speakers", objects: []client.Object{&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "steelyard-controller"}}, lease("net")}, want: "net", doubt: "namespace net is taken for Steelyard's, for there are Leases of speakers"},
		{name: "a controller alone", objects: []client.Object{deployment("net"), other("metallb-system")}, want: "net", doubt: byLabels},
		{name: "nothing", want: "steelyard-system", doubt: "no namespace has a controller of Steelyard; steelyard-system is taken for it"},
		{name: "two controllers: the older", objects: []client.Object{aged(deployment("net"), 2020), aged(deployment("lab"), 2025)}, want: "net", doubt: byLabels + "; there are in lab as well", others: "lab"},
		{name: "several controllers, one of the usual namespace", objects: []client.Object{aged(deployment("net"), 2020), deployment("steelyard-system"), deployment("a")}, want: "steelyard-system",
			doubt: "namespace steelyard-system is taken for Steelyard's, for there are Deployments of a controller of Steelyard; there are in a, net as well", others: "a net"},
		{name: "the binding is not to be seen", objects: []client.Object{bound("net"), deployment("net")}, forbidden: "ClusterRoleBinding", want: "net", doubt: byLabels},
		{name: "Deployments are not to be seen", objects: []client.Object{deployment("net"), lease("net")}, forbidden: "Deployment", want: "net", doubt: "namespace net is taken for Steelyard's, for there are Leases of speakers"},
		{name: "nothing is to be seen", objects: []client.Object{deployment("net")}, forbidden: "ClusterRoleBinding Deployment Lease", want: "steelyard-system",
			doubt: "you may not see the ClusterRoleBinding steelyard-controller and Deployments of all namespaces and Leases of all namespaces, to find Steelyard's namespace; steelyard-system is taken for it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			scheme, err := cluster.Scheme()
			if err != nil {
				t.Fatal(err)
			}
			refuse := func(kind string) error {
				if slices.Contains(strings.Fields(c.forbidden), kind) {
					return apierrors.NewForbidden(schema.GroupResource{Resource: kind}, "", errors.New("no"))
				}
				return nil
			}
			r := fake.NewClientBuilder().WithScheme(scheme).WithObjects(c.objects...).WithInterceptorFuncs(interceptor.Funcs{
				Get: func(ctx context.Context, r client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
					if err := refuse("ClusterRoleBinding"); err != nil {
						return err
					}
					return r.Get(ctx, key, o, opts...)
				},
				List: func(ctx context.Context, r client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
					if err := refuse(strings.TrimSuffix(list.GetObjectKind().GroupVersionKind().Kind, "List")); err != nil {
						return err
					}
					return r.List(ctx, list, opts...)
				},
			}).Build()
			have, err := collect.FindInstallation(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if have.Namespace != c.want || !strings.HasPrefix(have.Doubt, c.doubt) || (have.Doubt == "") != (c.doubt == "") || strings.Join(have.Others, " ") != c.others {
				t.Errorf("%+v; want %q, %q, %q", have, c.want, c.doubt, c.others)
			}
			if have.Guessed != (c.doubt != "") {
				t.Errorf("guessed: %t", have.Guessed)
			}
		})
	}
}

func TestTheClassIsWhatTheControllersFlagsSay(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--namespace=x"}, ""},
		{[]string{"--load-balancer-class=example.org/a"}, "example.org/a"},
		{[]string{"--load-balancer-class", "example.org/a", "--page"}, "example.org/a"},
		{[]string{"-load-balancer-class", "example.org/a"}, "example.org/a"},
	} {
		scheme, err := cluster.Scheme()
		if err != nil {
			t.Fatal(err)
		}
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "net", Name: "steelyard-controller"}}
		d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "controller", Args: c.args}}
		other := d.DeepCopy() // of another program
		other.Name, other.Spec.Template.Spec.Containers[0].Args = "other", []string{"--load-balancer-class=example.org/other"}
		w, err := collect.Snapshot(t.Context(), fake.NewClientBuilder().WithScheme(scheme).WithObjects(d, other).Build(), "net")
		if err != nil {
			t.Fatal(err)
		}
		if w.Class != c.want {
			t.Errorf("%q: class %q, want %q", c.args, w.Class, c.want)
		}
	}
}
