package cluster

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/printable"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

const (
	// maxMessage is how long the text of an event may be (events.k8s.io/v1).
	maxMessage = 1000
	// maxPending is how many events may wait to be sent. Those beyond are dropped: what
	// they report is in the status of some object as well.
	maxPending = 20000
	// After each event the recorder waits idleShare times as long as the API server took
	// for it, up to maxPace: a busy API server serves more urgent requests first.
	idleShare = 9
	maxPace   = 2 * time.Second
	// paceInterval is the least pause. busyPace is for how long no urgent write may have
	// been under way before an event is sent.
	paceInterval = 3 * time.Millisecond
	busyPace     = 100 * time.Millisecond
	// sendTimeout is how long one attempt to send an event may take.
	sendTimeout = 10 * time.Second
)

// Event is an event to send. Events of one object, reason and detail repeat one another,
// whatever their messages are: the first few are sent, and the first of each kind, then
// fewer and fewer (repeats).
type Event struct {
	About   corev1.ObjectReference
	Type    string // corev1.EventTypeNormal or …Warning
	Reason  string
	Action  string
	Detail  string // of several things that one object has, such as addresses, the one concerned; "": it has one
	Kind    string // of several things that can happen to it, such as classes of failure; "": one
	Message string
}

// About refers to an object, as events do: to a Service or one of our own kinds.
func About(obj client.Object) corev1.ObjectReference {
	version := v1beta1.GroupVersion().String()
	if _, ok := obj.(*corev1.Service); ok {
		version = corev1.SchemeGroupVersion.String()
	}
	return corev1.ObjectReference{
		APIVersion: version, Kind: reflect.TypeOf(obj).Elem().Name(),
		Namespace: obj.GetNamespace(), Name: obj.GetName(), UID: obj.GetUID(), ResourceVersion: obj.GetResourceVersion(),
	}
}

// EventRecorder sends events one after the other, and keeps none that is sent. (The
// recorder of client-go keeps each for six minutes, to merge those that are alike; here
// an event is recorded only when something has changed.)
type EventRecorder struct {
	// IdleFor returns for how long no more urgent write has been under way. Events wait
	// for busyPace of that, but not for ever. nil: there are no more urgent writes.
	IdleFor func() time.Duration

	client client.Client
	log    *slog.Logger
	name   string        // of the program
	where  string        // it runs
	wake   chan struct{} // buffered 1

	mu      sync.Mutex
	events  []pending
	repeats repeats
}

// pending is an event, when it was recorded, and how many like it were held back.
type pending struct {
	Event
	at   time.Time
	held int
}

// NewEventRecorder returns a recorder for the program of that name, on that host. It
// starts nothing.
func NewEventRecorder(c client.Client, log *slog.Logger, name, where string) *EventRecorder {
	return &EventRecorder{client: c, log: log, name: name, where: where, wake: make(chan struct{}, 1)}
}

// Record has n sent later, unless it repeats another event too soon. It does not block.
func (t *EventRecorder) Record(n Event) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.events) >= maxPending {
		return
	}
	of := topic{uid: n.About.UID, kind: n.About.Kind, namespace: n.About.Namespace, name: n.About.Name, where: t.where, reason: n.Reason, detail: n.Detail}
	if held, send := t.repeats.next(of, n.Kind, now); send {
		t.events = append(t.events, pending{n, now, held})
		wait.Signal(t.wake)
	}
}

// text returns what the event says.
func (n pending) text() string {
	var more string
	if n.held > 0 {
		more = fmt.Sprintf(" (%d more since the last event)", n.held)
	}
	return printable.Within(maxMessage-len(more), n.Message) + more
}

// Run sends until ctx ends.
func (t *EventRecorder) Run(ctx context.Context) error {
	for {
		n, ok := t.next()
		if !ok {
			select {
			case <-ctx.Done():
				return nil
			case <-t.wake:
			}
			continue
		}
		if !t.waitForIdle(ctx) {
			return nil
		}
		start := time.Now()
		if err := t.send(ctx, n); err != nil && ctx.Err() == nil {
			t.log.Warn("can't send an event", "about", n.About.Kind+" "+n.About.Namespace+"/"+n.About.Name, "reason", n.Reason, "err", err)
		}
		if !wait.Sleep(ctx, max(paceInterval, min(idleShare*time.Since(start), maxPace))) {
			return nil
		}
	}
}

// waitForIdle waits until no more urgent write has been under way for busyPace, but at most
// for that long; false: ctx has ended.
func (t *EventRecorder) waitForIdle(ctx context.Context) bool {
	for left := busyPace; left > 0 && t.IdleFor != nil; {
		idle := t.IdleFor()
		if idle >= busyPace {
			break
		}
		pause := min(left, busyPace-idle)
		if !wait.Sleep(ctx, pause) {
			return false
		}
		left -= pause
	}
	return true
}

// send sends one event, as soon as the API server is there. It has its name
// before the first attempt, so that none comes twice.
func (t *EventRecorder) send(ctx context.Context, n pending) error {
	_, err := waitForCRD(ctx, func() (any, error) {
		ctx, cancel := context.WithTimeout(ctx, sendTimeout)
		defer cancel()
		return nil, t.client.Create(ctx, &eventsv1.Event{
			ObjectMeta:          metav1.ObjectMeta{Namespace: cmp.Or(n.About.Namespace, metav1.NamespaceDefault), Name: fmt.Sprintf("%s.%x", n.About.Name, n.at.UnixNano())},
			EventTime:           metav1.NewMicroTime(n.at),
			ReportingController: t.name,
			ReportingInstance:   t.name + "-" + t.where,
			Regarding:           n.About,
			Type:                n.Type,
			Reason:              n.Reason,
			Action:              n.Action,
			Note:                n.text(),
		})
	})
	if apierrors.IsAlreadyExists(err) {
		return nil // an attempt had arrived whose answer was lost
	}
	return err
}

// next takes the oldest note.
func (t *EventRecorder) next() (pending, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.events) == 0 {
		t.events = nil
		return pending{}, false
	}
	n := t.events[0]
	t.events[0] = pending{}
	t.events = t.events[1:]
	return n, true
}
