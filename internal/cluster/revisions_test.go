package cluster

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
)

// etcd is an API server with Namespaces, whose watches report nothing before the version that
// they were asked for.
type etcd struct {
	mu      sync.Mutex
	version int
	names   []string
	watches []*since
}

type since struct {
	*watch.FakeWatcher
	version int
}

func (e *etcd) list(context.Context, metav1.ListOptions) (runtime.Object, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := &corev1.NamespaceList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(e.version)}}
	for _, n := range e.names {
		out.Items = append(out.Items, corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n, ResourceVersion: "1"}})
	}
	return out, nil
}

func (e *etcd) watch(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	from, _ := strconv.Atoi(o.ResourceVersion)
	w := &since{watch.NewFakeWithChanSize(100, false), from}
	e.watches = append(e.watches, w)
	return w, nil
}

// create makes a Namespace.
func (e *etcd) create(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.version++
	e.names = append(e.names, name)
	for _, w := range e.watches {
		if !w.IsStopped() && w.version < e.version {
			w.Add(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: strconv.Itoa(e.version)}})
		}
	}
}

// restart ends all watches, and puts back that state.
func (e *etcd) restart(version int, names ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.version, e.names = version, names
	for _, w := range e.watches {
		w.Stop()
	}
}

// listThenWatch is a ListWatch whose watches do not begin with a list.
type listThenWatch struct{ *toolscache.ListWatch }

func (listThenWatch) IsWatchListSemanticsUnSupported() bool { return true }

// cached are an informer's objects.
func (e *etcd) cached(t *testing.T, r *Revisions) toolscache.Store {
	informer := r.newInformer(listThenWatch{&toolscache.ListWatch{ListWithContextFunc: e.list, WatchFuncWithContext: e.watch}}, &corev1.Namespace{}, 0, nil)
	go informer.RunWithContext(t.Context())
	return informer.GetStore()
}

func TestCachesFollowAnAPIServerWhoseVersionGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		restored := 0
		r := &Revisions{Restored: func() { restored++ }}
		// The second is of a kind that has not changed since the backup.
		changed, quiet := &etcd{version: 10, names: []string{"a"}}, &etcd{version: 10, names: []string{"q"}}
		first, second := changed.cached(t, r), quiet.cached(t, r)
		time.Sleep(time.Second)
		synctest.Wait()
		for _, name := range []string{"b", "c", "d"} {
			changed.create(name)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(first.ListKeys()); n != 4 {
			t.Fatalf("it shows %d objects, want 4", n)
		}

		changed.restart(13, changed.names...) // an API server that restarts
		quiet.restart(13, "q")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if restored != 0 || len(changed.watches) != 2 || len(quiet.watches) != 2 {
			t.Errorf("restored %d times, with %d and %d watches, want 0, with 2 and 2", restored, len(changed.watches), len(quiet.watches))
		}

		changed.restart(11, "a", "b")
		quiet.restart(11, "q", "p") // which it had not shown yet, and its watch would show only later
		time.Sleep(10 * time.Second)
		synctest.Wait()
		changed.create("e")
		time.Sleep(time.Second)
		synctest.Wait()
		if keys := first.ListKeys(); len(keys) != 3 {
			t.Errorf("after the restore it shows %v, want a, b and e", keys)
		}
		if keys := second.ListKeys(); len(keys) != 2 {
			t.Errorf("the other kind's cache shows %v, want q and p", keys)
		}
		if restored != 1 {
			t.Errorf("called %d times, want once", restored)
		}
	})
}
