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
	// maxNote is how long the text of an event may be (events.k8s.io/v1).
	maxNote = 1000
	// maxNotes is how many events may wait to be sent. Those beyond are dropped:
	// what they say stands in some object's status, too.
	maxNotes = 20000
	// After each event the teller waits so many times as long as the API server took
	// for it, up to tellingPause: so one that is busy serves first whom people wait for.
	tellingShare = 9
	tellingPause = 2 * time.Second
	// telling is the least pause, and tellingLater for how long more urgent writes
	// come first.
	telling      = 3 * time.Millisecond
	tellingLater = 100 * time.Millisecond
	// hearing is how long one attempt to send an event may take.
	hearing = 10 * time.Second
)

// Note is an event that is to be sent. Notes of one object, reason and detail are
// repetitions of one another, whatever they say: the first few are sent, and the
// first of each kind, then fewer and fewer (repeats).
type Note struct {
	About   corev1.ObjectReference
	Type    string // corev1.EventTypeNormal or …Warning
	Reason  string
	Action  string
	Detail  string // tells apart what one object may have several of, such as addresses; "": it has one
	Kind    string // tells apart what may happen to it by turns, such as classes of failure; "": one kind
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

// Teller sends notes as events, one after the other, and keeps none that is
// sent. (The recorder of client-go keeps each for six minutes, to merge those
// that are alike; here something is told when it has changed, and no other time.)
type Teller struct {
	// IdleFor returns for how long nothing more urgent was being written: events
	// wait for that, though not for ever. nil: there is nothing more urgent.
	IdleFor func() time.Duration

	client client.Client
	log    *slog.Logger
	name   string        // of the program
	where  string        // it runs
	wake   chan struct{} // buffered 1

	mu      sync.Mutex
	notes   []pending
	repeats repeats
}

// pending is a note, when it was told, and how many like it were not.
type pending struct {
	Note
	at   time.Time
	held int
}

// NewTeller returns a teller for the program of that name, and the host that it
// runs on.
func NewTeller(c client.Client, log *slog.Logger, name, where string) *Teller {
	return &Teller{client: c, log: log, name: name, where: where, wake: make(chan struct{}, 1)}
}

// Tell has n sent later, unless it repeats too soon what was told before. It waits
// for nothing.
func (t *Teller) Tell(n Note) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.notes) >= maxNotes {
		return
	}
	of := topic{uid: n.About.UID, kind: n.About.Kind, namespace: n.About.Namespace, name: n.About.Name, where: t.where, reason: n.Reason, detail: n.Detail}
	if held, send := t.repeats.next(of, n.Kind, now); send {
		t.notes = append(t.notes, pending{n, now, held})
		wait.Signal(t.wake)
	}
}

// text returns what the event says.
func (n pending) text() string {
	var more string
	if n.held > 0 {
		more = fmt.Sprintf(" (%d more since the last event)", n.held)
	}
	return printable.Within(maxNote-len(more), n.Message) + more
}

// Run sends until ctx ends.
func (t *Teller) Run(ctx context.Context) error {
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
		for waited := time.Duration(0); waited < tellingLater && t.IdleFor != nil && t.IdleFor() < tellingLater; waited += telling {
			if !wait.Sleep(ctx, telling) {
				return nil
			}
		}
		start := time.Now()
		if err := t.send(ctx, n); err != nil && ctx.Err() == nil {
			t.log.Warn("can't send an event", "about", n.About.Kind+" "+n.About.Namespace+"/"+n.About.Name, "reason", n.Reason, "err", err)
		}
		if !wait.Sleep(ctx, max(telling, min(tellingShare*time.Since(start), tellingPause))) {
			return nil
		}
	}
}

// send sends one event, as soon as the API server is there. It has its name
// before the first attempt, so that none comes twice.
func (t *Teller) send(ctx context.Context, n pending) error {
	_, err := untilThere(ctx, func() (any, error) {
		ctx, cancel := context.WithTimeout(ctx, hearing)
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
func (t *Teller) next() (pending, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.notes) == 0 {
		t.notes = nil
		return pending{}, false
	}
	n := t.notes[0]
	t.notes[0] = pending{}
	t.notes = t.notes[1:]
	return n, true
}
