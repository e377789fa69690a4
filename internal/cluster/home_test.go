package cluster_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/steelyard-lb/steelyard/internal/cluster"
)

func TestHomeIsFoundByWhatRunsThere(t *testing.T) {
	deployment := func(namespace string) client.Object {
		return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "steelyard-controller",
			Labels: map[string]string{"app.kubernetes.io/name": "steelyard", "app.kubernetes.io/component": "controller"}}}
	}
	lease := func(namespace string) client.Object {
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "speaker-a", Labels: map[string]string{cluster.LabelLease: "speaker"}}}
	}
	stranger := func(namespace string) client.Object {
		return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "other",
			Labels: map[string]string{"app.kubernetes.io/name": "metallb", "app.kubernetes.io/component": "controller"}}}
	}
	for _, c := range []struct {
		name      string
		objects   []client.Object
		forbidden string // kinds
		want      string // the namespace
		doubt     string // how it begins
		err       string
	}{
		{name: "a controller", objects: []client.Object{deployment("net"), stranger("metallb-system")}, want: "net"},
		{name: "a controller, and Leases that an older one left", objects: []client.Object{deployment("net"), lease("old")}, want: "net"},
		{name: "speakers alone", objects: []client.Object{lease("net"), stranger("metallb-system")}, want: "net"},
		{name: "nothing", want: "steelyard-system", doubt: "no namespace has a controller of Steelyard; steelyard-system is taken for it"},
		{name: "two controllers", objects: []client.Object{deployment("net"), deployment("lab")},
			err: "there are Deployments of a controller of Steelyard in namespaces lab, net: say with --steelyard-namespace which is meant"},
		{name: "Deployments are not to be seen", objects: []client.Object{deployment("net"), lease("net")}, forbidden: "Deployment", want: "net"},
		{name: "nothing is to be seen", objects: []client.Object{deployment("net")}, forbidden: "Deployment Lease", want: "steelyard-system",
			doubt: "you may not list Deployments and Leases of all namespaces, to find Steelyard's; steelyard-system is taken for it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			scheme, err := cluster.Scheme()
			if err != nil {
				t.Fatal(err)
			}
			r := fake.NewClientBuilder().WithScheme(scheme).WithObjects(c.objects...).WithInterceptorFuncs(interceptor.Funcs{
				List: func(ctx context.Context, r client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
					kind := strings.TrimSuffix(list.GetObjectKind().GroupVersionKind().Kind, "List")
					if strings.Contains(c.forbidden, kind) {
						return apierrors.NewForbidden(schema.GroupResource{Resource: kind}, "", errors.New("no"))
					}
					return r.List(ctx, list, opts...)
				},
			}).Build()
			have, doubt, err := cluster.Home(t.Context(), r)
			switch {
			case c.err != "":
				if err == nil || err.Error() != c.err {
					t.Errorf("error %v, want %s", err, c.err)
				}
			case err != nil:
				t.Error(err)
			case have != c.want || !strings.HasPrefix(doubt, c.doubt) || (doubt == "") != (c.doubt == ""):
				t.Errorf("%q, %q; want %q, %q", have, doubt, c.want, c.doubt)
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
		other := d.DeepCopy() // of somebody else
		other.Name, other.Spec.Template.Spec.Containers[0].Args = "other", []string{"--load-balancer-class=example.org/other"}
		w, err := cluster.World(t.Context(), fake.NewClientBuilder().WithScheme(scheme).WithObjects(d, other).Build(), "net")
		if err != nil {
			t.Fatal(err)
		}
		if w.Class != c.want {
			t.Errorf("%q: class %q, want %q", c.args, w.Class, c.want)
		}
	}
}
