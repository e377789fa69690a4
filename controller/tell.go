package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"

	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

const (
	// maxNote is how long the text of an event may be (events.k8s.io/v1).
	maxNote = 1000
	// maxNotes is how many events may wait to be sent. Beyond that they are
	// only logged: the condition of the Service says the same.
	maxNotes = 20000
	// telling paces the events: after each, and for how long addresses come
	// first while they are being written.
	telling      = 5 * time.Millisecond
	tellingLater = 100 * time.Millisecond
)

// note is an event that is to be sent. The zero note is none.
type note struct {
	about           *corev1.ObjectReference
	kind            string // corev1.EventTypeNormal or …Warning
	reason, message string
}

func about(svc *corev1.Service) *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: svc.Namespace, Name: svc.Name, UID: svc.UID, ResourceVersion: svc.ResourceVersion}
}

func warn(svc *corev1.Service, reason, message string) note {
	return note{about(svc), corev1.EventTypeWarning, reason, message}
}

// noteOf says what has changed on a Service, if it is worth an event.
func noteOf(svc, before *corev1.Service, c change) note {
	if !c.event {
		return note{}
	}
	n := note{about(svc), corev1.EventTypeNormal, c.allocated.Reason, c.allocated.Message}
	if c.allocated.Status == metav1.ConditionFalse {
		n.kind = corev1.EventTypeWarning
	}
	if held := intent.Holds(before); len(held) > 0 && c.moved != "" {
		n.message = fmt.Sprintf("%s (held %s before: %s)", n.message, join(held), c.moved)
	}
	return n
}

// teller logs notes and sends them as events, one after the other and after
// the addresses: nobody waits for an address because others are told of theirs.
type teller struct {
	recorder events.EventRecorder
	log      *slog.Logger
	idleFor  func() time.Duration // for how long no address was being written
	wake     chan struct{}        // buffered 1

	mu    sync.Mutex
	notes []note
}

func (t *teller) tell(n note) {
	if n.about == nil {
		return
	}
	t.log.Info("allocation changed", "service", n.about.Namespace+"/"+n.about.Name, "reason", n.reason, "message", n.message)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.notes) < maxNotes {
		t.notes = append(t.notes, n)
		cluster.Signal(t.wake)
	}
}

// run sends until ctx ends.
func (t *teller) run(ctx context.Context) error {
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
		for waited := time.Duration(0); waited < tellingLater && t.idleFor() < tellingLater; waited += telling {
			if !cluster.Sleep(ctx, telling) {
				return nil
			}
		}
		text := n.message
		if len(text) > maxNote {
			text = strings.ToValidUTF8(text[:maxNote-3], "") + "…"
		}
		t.recorder.Eventf(n.about, nil, n.kind, n.reason, "Allocate", "%s", text)
		if !cluster.Sleep(ctx, telling) {
			return nil
		}
	}
}

// next takes the oldest note.
func (t *teller) next() (note, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.notes) == 0 {
		t.notes = nil
		return note{}, false
	}
	n := t.notes[0]
	t.notes[0] = note{}
	t.notes = t.notes[1:]
	return n, true
}
