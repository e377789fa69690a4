package cluster_test

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
)

// pretend lists objects of a pretended cache.
func pretend(objects *[]client.Object) cluster.Lister {
	return func(_ context.Context, kind client.Object, _ client.ObjectList) ([]any, error) {
		var out []any
		for _, o := range *objects {
			switch kind.(type) {
			case *v1beta1.IPAddressPool:
				if p, ok := o.(*v1beta1.IPAddressPool); ok {
					out = append(out, p)
				}
			case *corev1.Secret:
				if s, ok := o.(*corev1.Secret); ok {
					out = append(out, s)
				}
			}
		}
		return out, nil
	}
}

func TestTheConfigurationIsParsedWhenItHasChanged(t *testing.T) {
	pool := func(name string, change func(*v1beta1.IPAddressPool)) *v1beta1.IPAddressPool {
		p := &v1beta1.IPAddressPool{Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{"192.0.2.1"}}}
		p.Name, p.UID, p.Generation = name, "1", 1
		if change != nil {
			change(p)
		}
		return p
	}
	secret := func(version string) *corev1.Secret {
		s := &corev1.Secret{}
		s.Name, s.ResourceVersion = "s", version
		return s
	}
	objects := []client.Object{pool("a", nil), secret("1")}
	read := cluster.NewConfiguration(pretend(&objects))
	before, err := read.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		now    []client.Object
		parsed bool
	}{
		{"when nothing has happened", objects, false},
		{"when a status was written", []client.Object{pool("a", func(p *v1beta1.IPAddressPool) { p.ResourceVersion, p.Status.IPv4 = "2", &v1beta1.PoolUsage{} }), secret("1")}, false},
		{"when a pool has another prefix", []client.Object{pool("a", func(p *v1beta1.IPAddressPool) { p.Status.Prefix = &v1beta1.PrefixStatus{Current: "2001:db8:1::/64"} }), secret("1")}, true},
		{"when it has none any more", []client.Object{pool("a", nil), secret("1")}, true},
		{"when the cache has read all again", []client.Object{pool("a", nil), secret("1")}, false},
		{"when a Secret has changed", []client.Object{pool("a", nil), secret("2")}, true},
		{"when a Secret is gone", []client.Object{pool("a", nil)}, true},
		{"when a specification has changed", []client.Object{pool("a", func(p *v1beta1.IPAddressPool) { p.Generation = 2 })}, true},
		{"when labels have changed", []client.Object{pool("a", func(p *v1beta1.IPAddressPool) { p.Generation, p.Labels = 2, map[string]string{"a": "b"} })}, true},
		{"when an object was made again", []client.Object{pool("a", func(p *v1beta1.IPAddressPool) { p.Generation, p.Labels, p.UID = 2, map[string]string{"a": "b"}, "2" })}, true},
		{"when one has come", []client.Object{pool("a", nil), pool("b", nil)}, true},
		{"when one has gone", []client.Object{pool("b", nil)}, true},
		{"when another has taken its place", []client.Object{pool("c", nil)}, true},
		{"when none is left", nil, true},
	} {
		objects = c.now
		now, err := read.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if parsed := now.Config != before.Config; parsed != c.parsed {
			t.Errorf("%s: parsed is %t", c.name, parsed)
		}
		if len(now.Config.Pools) != len(now.Objects.Pools) {
			t.Errorf("%s: there are %d pools, and %d were parsed", c.name, len(now.Objects.Pools), len(now.Config.Pools))
		}
		if len(now.Objects.Pools) > 0 && now.Objects.Pools[0].ResourceVersion != objects[0].GetResourceVersion() {
			t.Errorf("%s: the objects are those of before", c.name)
		}
		before = now
	}
}

func TestReadingAnUnchangedConfigurationCostsLittle(t *testing.T) {
	var objects []client.Object
	for range 1000 {
		objects = append(objects, &v1beta1.IPAddressPool{})
	}
	read := cluster.NewConfiguration(pretend(&objects))
	if _, err := read.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(10, func() {
		if _, err := read.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}); n > 60 {
		t.Errorf("reading 1,000 pools again costs %v allocations", n)
	}
}
