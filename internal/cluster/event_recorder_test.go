package cluster

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/steelyard-lb/steelyard/internal/printable"
)

// tellTo starts a recorder on a fake API server. Before each creation it asks
// before, and after it after; what they return is the answer, unless it is nil.
func tellTo(t *testing.T, before, after func() error) (*EventRecorder, func() []eventsv1.Event) {
	t.Helper()
	scheme, err := Scheme()
	if err != nil {
		t.Fatal(err)
	}
	api := fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if err := before(); err != nil {
				return err
			}
			return errors.Join(c.Create(ctx, o, opts...), after())
		},
	}).Build()
	recorder := NewEventRecorder(api, slog.New(slog.DiscardHandler), "program", "host")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { _ = recorder.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return recorder, func() []eventsv1.Event {
		var all eventsv1.EventList
		if err := api.List(t.Context(), &all); err != nil {
			t.Fatal(err)
		}
		return all.Items
	}
}

func fine() error { return nil }

func noteOn(service, message string) Event {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: service, UID: "1"}}
	return Event{About: About(svc), Type: corev1.EventTypeNormal, Reason: "Assigned", Action: "Allocate", Message: message}
}

func TestANoteBecomesAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recorder, events := tellTo(t, fine, fine)
		at := time.Now()
		recorder.Record(noteOn("a", "has "+strings.Repeat("ü", maxMessage)+"\x1b[2J"))
		time.Sleep(time.Minute)
		all := events()
		if len(all) != 1 {
			t.Fatalf("there are %d events", len(all))
		}
		e := all[0]
		if len(e.Note) > maxMessage || !strings.HasPrefix(e.Note, "has üü") || !strings.HasSuffix(e.Note, "more)") || !printable.Is(e.Note) {
			t.Errorf("its text has %d bytes: %s", len(e.Note), e.Note)
		}
		if !e.EventTime.Time.Equal(at) || e.ReportingInstance != "program-host" || !strings.HasPrefix(e.Name, "a.") || e.Namespace != "n" {
			t.Errorf("have %+v", e)
		}
		want := eventsv1.Event{Regarding: noteOn("a", "").About, Type: "Normal", Reason: "Assigned", Action: "Allocate", ReportingController: "program"}
		have := eventsv1.Event{Regarding: e.Regarding, Type: e.Type, Reason: e.Reason, Action: e.Action, ReportingController: e.ReportingController}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("want -, have +:\n%s", diff)
		}
	})
}

func TestEachNoteIsSentOnce(t *testing.T) {
	away := apierrors.NewServiceUnavailable("starting")
	refuses := apierrors.NewForbidden(schema.GroupResource{Resource: "events"}, "", errors.New("no"))
	for _, c := range []struct {
		name          string
		before, after error
		want          int
	}{
		{"the API server is there", nil, nil, 3},
		{"it is away at first", away, nil, 3},
		{"its first answers are lost", nil, away, 3},
		{"it refuses what comes first", refuses, nil, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				first := func(err error) func() error {
					return func() error {
						if calls < 2 {
							return err
						}
						return nil
					}
				}
				recorder, events := tellTo(t, func() error { calls++; return first(c.before)() }, first(c.after))
				for _, text := range []string{"1", "2", "2"} {
					recorder.Record(noteOn("a", text))
					time.Sleep(time.Nanosecond) // no two at the same time
				}
				time.Sleep(time.Minute)
				if have := len(events()); have != c.want {
					t.Errorf("there are %d events, want %d", have, c.want)
				}
			})
		})
	}
}

func TestEventsComeAfterWhatIsUrgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recorder, events := tellTo(t, fine, fine)
		recorder.IdleFor = func() time.Duration { return 0 }
		recorder.Record(noteOn("a", "1"))
		time.Sleep(busyPace / 2)
		if n := len(events()); n != 0 {
			t.Errorf("%d were sent in a busy time", n)
		}
		time.Sleep(busyPace)
		if n := len(events()); n != 1 {
			t.Errorf("%d were sent in the end, want 1", n)
		}
	})
}
