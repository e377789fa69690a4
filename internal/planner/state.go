package planner

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/history"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/overlay"
	"github.com/steelyard-lb/steelyard/internal/source"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// State is a controller without its API server: all that it remembers from one pass
// to the next. The caller reads the cluster, calls Pass, sends the writes that it
// returns, and calls Done with each answer. It reads no clock, and has no lock:
// its caller holds one (which Ignores does not need).
type State struct {
	planner   Planner
	memory    KeptAddresses
	attempts  Attempts
	pacer     pacer
	conflicts *intent.Conflicts                // addresses of pools that foreign hosts have; nil: the pools' statuses have not been read in this term
	sources   source.State                     // what is known of IPAMs
	written   overlay.Objects[*corev1.Service] // the Services as the API server returned them
	trail     history.Trail                    // who got and lost addresses; nil: the pools' statuses have not been read in this term
}

// New returns the state of a controller that knows nothing yet.
func New(prefixes intent.AnnotationPrefixes, finalizer Finalizer) *State {
	return &State{planner: Planner{Prefixes: prefixes, Finalizer: finalizer}}
}

// Input is what a pass reads.
type Input struct {
	Now time.Time
	intent.Configured
	Services   []*corev1.Service            // as the cache shows them, in no order; also others' than ours
	Namespaces map[string]map[string]string // labels by name; Watch needs none
	Others     intent.Others                // which addresses nodes and the cluster have; Watch needs none
	Claims     []*v1beta1.L2Claim           // they tell at which addresses foreign hosts answer; Watch needs none
	Cluster    string                       // the UID of the Namespace kube-system, by which IPAMs know the cluster; Watch needs none
	Endpoints  Endpoints                    // of Services of which NeedsEndpoints says so; Watch needs none
	Announced  *Announced                   // what the conditions Announced are to be; nil: that is not known
}

// Send is a write that is to be sent now. Its answer, or that there is none,
// goes to Done.
type Send struct {
	Write
	Again bool // the last one to this Service failed
}

// Pass decides what is to be written now, and counts that as under way. The plan
// holds until the next call. It returns when to make the next pass if nothing
// happens before; 0: never.
func (s *State) Pass(in Input) (p Plan, sends []Send, again time.Duration) {
	snap := s.snapshot(in)
	snap.Namespaces, snap.Memory, snap.Announced = in.Namespaces, &s.memory, in.Announced
	snap.Endpoints, snap.Where = in.Endpoints, intent.PlacementOf(in.Others.Nodes)
	snap.Conflicts = s.review(in)
	snap.Reserved = in.Config.Reserved(in.Now, s.planner.reserved, s.choosing(in, snap))
	in.Others.Conflicts, in.Others.Reserved = snap.Conflicts.Occupying(in.Now), snap.Reserved
	snap.Occupied = in.Config.Occupied(in.Others, in.Services, s.planner.Finalizer.Class)
	snap.Review = func(arrived []Arrival, gone []types.UID) map[types.UID]Contest {
		return s.attempts.Review(arrived, gone, in.Now)
	}
	if snap.Offers = s.offers(in); snap.Offers != nil {
		snap.Disagreement = s.sources.Disagreement
		if slices.ContainsFunc(in.Config.Pools.Sources(), func(t *source.Target) bool { return t.MovesLost }) {
			snap.Lost = s.sources.Lost
		}
	}
	p = s.planner.Plan(snap)
	p.externals = s.externals(in, p)
	changed := s.changesOf(in)
	p.Released, p.trail = changed.departed(p.departed), s.trail
	next := p.Step(snap)
	s.pacer.begin(&next, snap.Attempts, in.Now)
	for _, w := range next.Writes {
		if failures, started := s.attempts.Start(w.Service, w.Change); started {
			w.Change.history = changed.written(w)
			sends = append(sends, Send{w, failures > 0})
			s.planner.send(w)
		}
	}
	for _, uid := range next.Forgets {
		s.attempts.Forget(uid)
	}
	for _, w := range next.Agreed {
		s.attempts.Agree(w, in.Now)
	}
	if next.Awaits {
		s.attempts.Await()
	}
	return p, sends, wait.Soonest(next.Again, s.ask(in, snap, &p))
}

// externals decides which addresses in spec.externalIPs are announced.
func (s *State) externals(in Input, p Plan) []intent.External {
	if !in.Config.AnnouncesExternals() { // usually
		return nil
	}
	holders := map[netip.Addr]ipam.Key{}
	for _, svc := range in.Services {
		for _, a := range intent.Holds(svc) {
			holders[a] = intent.KeyOf(svc)
		}
	}
	for i, g := range p.Grants {
		for _, a := range g.Addrs {
			holders[a] = p.Services[i].request.Service
		}
	}
	serves := func(pool int, svc *corev1.Service) bool {
		return in.Config.Pools.Serves(pool, intent.Consumer{Namespace: svc.Namespace, NamespaceLabels: in.Namespaces[svc.Namespace], Labels: svc.Labels})
	}
	return in.Config.ExternalIPs(in.Services, serves, p.occupied, holders)
}

// review brings up to date at which addresses foreign hosts answer.
func (s *State) review(in Input) intent.Conflicts {
	if s.conflicts == nil {
		remembered := intent.RememberedConflicts(in.Objects.Pools)
		s.conflicts = &remembered
	}
	*s.conflicts = in.Config.Conflicts(*s.conflicts, in.Claims, in.Now)
	return *s.conflicts
}

// Watch has this replica know what is deleted while another one leads.
func (s *State) Watch(in Input) { s.planner.Watch(s.snapshot(in), &s.memory) }

// Reset begins a term: others may have written since the last one. No write of the
// last one may be under way any more.
func (s *State) Reset() {
	s.attempts.Reset()
	s.planner.Reset()
	s.written.Reset()
	s.memory.Forget()
	s.conflicts, s.trail, s.planner.reserved = nil, nil, nil
	s.sources.Reset()
}

// Restored forgets what was written: the API server has gone back to an earlier state. The
// rest is forgotten by Reset, when the next term begins.
func (s *State) Restored() { s.written.Reset() }

// snapshot returns ours of the Services, as of the cache or later. One that is being
// deleted keeps its address until it is gone, for as long kube-proxy may still serve
// it, unless it waits for us (finalizer.go).
func (s *State) snapshot(in Input) Snapshot {
	out := Snapshot{Now: in.Now, Configured: in.Configured, Attempts: s.attempts.Pending(in.Services, in.Now)}
	all := s.written.Apply(in.Services, in.Now)
	out.Services = make([]*corev1.Service, 0, len(all)) // all may be what was read, which is read on
	for _, svc := range all {
		if intent.Ours(svc, s.planner.Finalizer.Class) {
			out.Services = append(out.Services, svc)
		}
	}
	return out
}

// Ignores reports whether an event concerns no allocation: what this controller itself
// has written, Services of others, and what is not in the specification of an object.
// It may be called at any time.
func (s *State) Ignores(before, after metav1.Object) bool {
	if svc, ok := cmp.Or(after, before).(*corev1.Service); ok {
		class := s.planner.Finalizer.Class
		old, updated := before.(*corev1.Service)
		ours := intent.Ours(svc, class) || updated && intent.Ours(old, class)
		return !ours && !intent.Occupies(before, after) || after != nil && s.written.Recorded(svc)
	}
	if _, ok := cmp.Or(after, before).(*v1beta1.L2Claim); ok {
		return intent.SameConflict(before, after)
	}
	if before == nil || after == nil {
		return false
	}
	switch after.(type) {
	case *corev1.Node, *v1beta1.Speaker:
		return intent.SameOthers(before, after)
	case *corev1.Namespace:
		return maps.Equal(before.GetLabels(), after.GetLabels())
	}
	// A watch that was broken reports an object that was created again as a change.
	return before.GetUID() == after.GetUID() && before.GetGeneration() == after.GetGeneration() && maps.Equal(before.GetLabels(), after.GetLabels()) && intent.SamePrefix(before, after)
}

// NeedsEndpoints reports whether it depends on the endpoints of svc which address it gets. It
// may be called at any time.
func (s *State) NeedsEndpoints(svc *corev1.Service) bool {
	return s.planner.Prefixes.SharesLocally(svc) && intent.Ours(svc, s.planner.Finalizer.Class)
}

// Released returns the Services that are gone, or not ours any more, since the
// last call.
func (s *State) Released() []types.NamespacedName {
	out := s.planner.Released
	s.planner.Released = nil
	return out
}

// Finalizer says what is done with finalizers.
func (s *State) Finalizer() Finalizer { return s.planner.Finalizer }

// Open returns for how many Services something is not settled: an attempt, or a
// contest.
func (s *State) Open(now time.Time) (attempts, contests int) { return s.attempts.Open(now) }

// Answer is what became of a write.
type Answer struct {
	Service *corev1.Service // as the API server returned it
	Err     error           // nil: it was written
	Now     time.Time
}

// Outcome is what follows from an answer.
type Outcome struct {
	Due     bool      // a pass is due
	Events  []Event   // on the Service
	Changed []Changed // of who has which address
	Warn    bool      // the error is to be logged
}

// Event is to be recorded on a Service.
type Event struct{ Type, Action, Reason, Message string }

// Done takes in the answer to a write that Pass returned.
func (s *State) Done(w Write, answer Answer) (out Outcome) {
	if !w.Change.AnnouncedOnly {
		s.pacer.busy(answer.Now)
	}
	if answer.Err == nil {
		s.written.RecordWrite(answer.Service)
		out.Events, out.Changed = w.Change.events(w.Service), w.Change.history
		// On its way it may be altered, by a webhook say.
		out.Due = !w.Change.ConditionsOnly && !slices.Equal(intent.Holds(answer.Service), w.Change.Addrs)
	}
	a, due := s.attempts.Done(w.Service.UID, answer.Err, answer.Now)
	out.Due = out.Due || due
	switch err := answer.Err; {
	case apierrors.IsNotFound(err):
		s.planner.notWritten(w, nil)
		s.forget(w)
	case errors.Is(err, ErrUnsent), Refused(err):
		s.planner.notWritten(w, a.maybe)
		s.forget(w)
	}
	if err := answer.Err; err == nil || errors.Is(err, ErrUnsent) || a.Failures > 1 || apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return out // another client was faster, and the cache will show it; or it was reported the first time
	}
	out.Warn = true
	if Refused(answer.Err) {
		out.Events = append(out.Events, warning(v1beta1.ReasonStatusRefused, "the API server refuses the status of this Service: "+answer.Err.Error()))
	}
	return out
}

func warning(reason, message string) Event {
	return Event{corev1.EventTypeWarning, "Allocate", reason, message}
}

// deleted reports whether c is the first to say of svc that a pool of its addresses is
// deleted.
func (c Change) deleted(svc *corev1.Service) bool {
	after := &corev1.Service{Status: corev1.ServiceStatus{Conditions: []metav1.Condition{c.Allocated}}}
	return !intent.PoolDeleted(svc) && intent.PoolDeleted(after)
}

// misspelled returns the event that annotations of svc mean nothing, if c is the first to say so.
func (c Change) misspelled(svc *corev1.Service) []Event {
	if !c.Event {
		return nil
	}
	text := intent.SlipsText(intent.UnknownAnnotations(svc))
	before := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAllocated)
	if text == "" || before != nil && strings.Contains(before.Message, text) {
		return nil
	}
	return []Event{warning(v1beta1.ReasonUnknownAnnotation, text)}
}

// events returns the events when c is written to svc, which shows what was before.
func (c Change) events(svc *corev1.Service) (out []Event) {
	if c.Event {
		e := Event{corev1.EventTypeNormal, "Allocate", c.Allocated.Reason, c.Allocated.Message}
		if c.Allocated.Status == metav1.ConditionFalse {
			e.Type = corev1.EventTypeWarning
		}
		if c.deleted(svc) {
			e.Type, e.Reason = corev1.EventTypeWarning, v1beta1.ReasonPoolDeleted
			e.Message += "; then it gets an address of another pool, or none: create the pool again, or another one with the address"
		}
		if c.Moved != "" {
			e.Message = fmt.Sprintf("%s (%s)", e.Message, c.Moved)
		}
		out = append(out, e)
	}
	if c.Contested != "" && meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionContested) == nil {
		out = append(out, warning(v1beta1.ReasonStatusOverwritten, c.Contested))
	}
	out = append(out, c.misspelled(svc)...)
	return append(out, c.unannounced(svc)...)
}
