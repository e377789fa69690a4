package cluster

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// namespaces is a reader of Namespaces with those versions.
func namespaces(t *testing.T, versions map[string]string) client.WithWatch {
	t.Helper()
	scheme, err := Scheme()
	if err != nil {
		t.Fatal(err)
	}
	b := fake.NewClientBuilder().WithScheme(scheme)
	for name, v := range versions {
		b.WithObjects(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: v}})
	}
	return b.Build()
}

// lagging shows one world until a time, and another one then.
type lagging struct {
	client.Reader
	then client.Reader
	at   time.Time
}

func (l lagging) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if time.Now().Before(l.at) {
		return l.Reader.Get(ctx, key, o, opts...)
	}
	return l.then.Get(ctx, key, o, opts...)
}

func TestCatchUp(t *testing.T) {
	now := map[string]string{"a": "100", "b": "99"}
	for _, c := range []struct {
		name    string
		cached  map[string]string
		waiting bool
	}{
		{"a cache that shows all is waited for no more", now, false},
		{"one that is ahead as well", map[string]string{"a": "101", "b": "99"}, false},
		{"one that still shows what is deleted as well", map[string]string{"a": "100", "b": "99", "c": "7"}, false},
		{"one that shows an old version is waited for", map[string]string{"a": "99", "b": "99"}, true},
		{"one that does not show an object is waited for", map[string]string{"a": "100"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				direct := namespaces(t, now)
				cache := lagging{namespaces(t, c.cached), direct, start.Add(time.Minute)}
				if err := CatchUp(t.Context(), direct, cache, &corev1.NamespaceList{}); err != nil {
					t.Fatal(err)
				}
				if waited := time.Since(start) >= time.Minute; waited != c.waiting {
					t.Errorf("waited: %t", waited)
				}
			})
		})
	}
}

func TestCatchUpDoesNotWaitForWhatWasDeletedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		direct := namespaces(t, map[string]string{"a": "100", "b": "99"})
		go func() {
			time.Sleep(time.Second)
			_ = direct.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "b"}})
		}()
		if err := CatchUp(t.Context(), direct, namespaces(t, map[string]string{"a": "100"}), &corev1.NamespaceList{}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCatchUpReadsPageByPage(t *testing.T) {
	versions := map[string]string{}
	for i := range 3 * page {
		versions[fmt.Sprint("n", i)] = "5"
	}
	all := namespaces(t, versions)
	limit := namespaces(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	behind, err := behind(ctx, all, limit, &corev1.NamespaceList{})
	if err != nil || len(behind) != len(versions) {
		t.Errorf("%d of %d are behind; %v", len(behind), len(versions), err)
	}
}
