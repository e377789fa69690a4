package overlay

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func versioned(uid, rv string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: uid, UID: types.UID(uid), ResourceVersion: rv}}
}

func versions(services []*corev1.Service) []string {
	var out []string
	for _, s := range services {
		out = append(out, s.Name+"@"+s.ResourceVersion)
	}
	return out
}

func TestOverlay(t *testing.T) {
	for _, c := range []struct {
		name   string
		seen   []*corev1.Service
		made   []*corev1.Service
		cached []*corev1.Service
		want   []string
	}{
		{"the zero overlay changes nothing", nil, nil, []*corev1.Service{versioned("a", "5")}, []string{"a@5"}},
		{"what was seen later replaces what is cached", []*corev1.Service{versioned("a", "7")}, nil, []*corev1.Service{versioned("a", "5"), versioned("b", "6")}, []string{"a@7", "b@6"}},
		{"a cache that has caught up wins", []*corev1.Service{versioned("a", "7")}, nil, []*corev1.Service{versioned("a", "7")}, []string{"a@7"}},
		{"a cache that is ahead wins", []*corev1.Service{versioned("a", "7")}, nil, []*corev1.Service{versioned("a", "12")}, []string{"a@12"}},
		{"versions are compared as numbers", []*corev1.Service{versioned("a", "100")}, nil, []*corev1.Service{versioned("a", "99")}, []string{"a@100"}},
		{"the later of two that were seen counts", []*corev1.Service{versioned("a", "9"), versioned("a", "8")}, nil, []*corev1.Service{versioned("a", "5")}, []string{"a@9"}},
		{"a new object that the cache has not shown yet is there", nil, []*corev1.Service{versioned("a", "9")}, nil, []string{"a@9"}},
		{"a known object that the cache holds no more is gone", []*corev1.Service{versioned("a", "9")}, nil, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var o Objects[*corev1.Service]
			for _, s := range c.seen {
				o.RecordWrite(s)
			}
			for _, s := range c.made {
				o.RecordCreate(s, time.Time{})
			}
			if diff := cmp.Diff(c.want, versions(o.Apply(c.cached, time.Time{}))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A watch may show an object and its end between two looks, and a list from before
// its end may come after.
func TestOverlayHearsOfTheEnd(t *testing.T) {
	now := time.Unix(1, 0)
	var o Objects[*corev1.Service]
	o.RecordCreate(versioned("a", "7"), now)
	o.RecordDelete("a", now)
	o.RecordCreate(versioned("a", "7"), now)
	o.RecordCreate(versioned("b", "7"), now)
	if got := versions(o.Apply(nil, now)); !cmp.Equal(got, []string{"b@7"}) {
		t.Errorf("%v", got)
	}
	o.RecordDelete("b", now.Add(unshown))
	if len(o.gone) != 1 {
		t.Errorf("it remembers the end of %v", o.gone)
	}
}

func TestOverlayForgets(t *testing.T) {
	now := time.Unix(1, 0)
	var o Objects[*corev1.Service]
	o.RecordWrite(versioned("caught up", "7"))
	o.RecordWrite(versioned("deleted", "7"))
	o.RecordCreate(versioned("never shown", "7"), now)
	o.RecordWrite(versioned("deleted before the next look", "7"))
	o.Apply([]*corev1.Service{versioned("caught up", "8"), versioned("deleted", "6")}, now)
	got := versions(o.Apply([]*corev1.Service{versioned("caught up", "8")}, now))
	if diff := cmp.Diff([]string{"caught up@8", "never shown@7"}, got); diff != "" {
		t.Error(diff)
	}
	if got := o.Apply(nil, now.Add(unshown)); len(got) != 0 || len(o.newer) != 0 {
		t.Errorf("after %s it still remembers %v", unshown, versions(got))
	}
}
