package planner

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// sim is a controller, without goroutines, against a small model of the API
// server: objects, their versions, a watch that lags, writes and answers that take
// their time. All chance comes from one seed: one seed, one history. It lives in
// a bubble of testing/synctest, whose clock it moves.
type sim struct {
	rnd   *rand.Rand
	start time.Time
	queue timeline
	log   []string

	// The API server.
	version    int
	there      map[string]*corev1.Service // by name
	foreign    map[types.UID]bool         // what it shows was written by another client
	refuses    map[string]bool            // whose status a policy does not let us write
	overwriter map[string]bool            // whose status another client overwrites as soon as we write it
	faulty     bool                       // answers get lost, and take long
	shown      time.Time                  // when the last of them arrives: a watch keeps the order

	// The controller.
	state        *State
	underway     int // writes that have not been answered
	cache        map[string]*corev1.Service
	config       Input // the configuration and the Namespaces
	due, passing bool
	passes       int
	writes       map[string]int // that arrived, by name
	notes        []Event
	broken       error // a rule that was broken on the way
	promises     promises
	reports      int // of what pools keep
	resized      int
	unanswered   int                     // writes that are still to arrive, and whose answers are lost
	pools        []v1beta1.IPAddressPool // as they were made
}

// writeTime is how long the controller waits for an answer.
const writeTime = 5 * time.Second

func newSim(seed uint64) *sim {
	s := &sim{
		rnd: rand.New(rand.NewPCG(seed, 0)), start: time.Now(), faulty: true,
		there: map[string]*corev1.Service{}, foreign: map[types.UID]bool{}, refuses: map[string]bool{}, overwriter: map[string]bool{},
		cache: map[string]*corev1.Service{}, writes: map[string]int{},
	}
	s.promises.checked = map[string]int{}
	s.promises.again()
	s.config.Namespaces = map[string]map[string]string{}
	for _, name := range []string{"a", "b", "s0", "s1", "s2", "s3", "s4", "s5"} {
		s.config.Namespaces[name] = nil // of the Service of that name
	}
	s.controller()
	s.resize()
	return s
}

// moment is something that happens at a time.
type moment struct {
	at   time.Time
	seq  int
	what func()
}

// timeline is a heap of moments.
type timeline struct {
	all []moment
	seq int
}

func (t *timeline) Len() int { return len(t.all) }
func (t *timeline) Less(i, j int) bool {
	return t.all[i].at.Before(t.all[j].at) || t.all[i].at.Equal(t.all[j].at) && t.all[i].seq < t.all[j].seq
}
func (t *timeline) Swap(i, j int) { t.all[i], t.all[j] = t.all[j], t.all[i] }
func (t *timeline) Push(x any)    { t.all = append(t.all, x.(moment)) }
func (t *timeline) Pop() any {
	last := t.all[len(t.all)-1]
	t.all = t.all[:len(t.all)-1]
	return last
}

// in has something happen after a while.
func (s *sim) in(d time.Duration, what func()) {
	s.queue.seq++
	heap.Push(&s.queue, moment{time.Now().Add(d), s.queue.seq, what})
}

// run lets time go by until then.
func (s *sim) run(end time.Time) {
	for s.queue.Len() > 0 && !s.queue.all[0].at.After(end) && s.broken == nil {
		next := heap.Pop(&s.queue).(moment)
		time.Sleep(time.Until(next.at))
		next.what()
	}
	time.Sleep(time.Until(end))
}

// upTo is a random duration, often a short one.
func (s *sim) upTo(d time.Duration) time.Duration {
	return time.Duration(float64(d) * s.rnd.Float64() * s.rnd.Float64() * s.rnd.Float64())
}

func (s *sim) logf(format string, args ...any) {
	s.log = append(s.log, fmt.Sprintf("%9.3f ", time.Since(s.start).Seconds())+fmt.Sprintf(format, args...))
}

// put stores a version of a Service, and has the watch show it; svc nil: it is gone.
func (s *sim) put(name string, svc *corev1.Service) {
	s.version++
	s.promises.change(name, s.there[name], svc, s.config.Config)
	if svc == nil {
		delete(s.there, name)
	} else {
		svc.ResourceVersion = strconv.Itoa(s.version)
		s.there[name] = svc
	}
	if svc != nil && svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		svc = nil // what the watch does not select has gone for it
	}
	s.shown = time.Now().Add(max(time.Until(s.shown), s.upTo(3*time.Second))).Add(1)
	s.in(time.Until(s.shown), func() { s.deliver(name, svc) })
}

// deliver has the cache show a version, and the loop hear of it.
func (s *sim) deliver(name string, svc *corev1.Service) {
	old := s.cache[name]
	switch {
	case svc == nil:
		delete(s.cache, name)
	default:
		s.cache[name] = svc
	}
	switch { // an object as nil would be no nil
	case old != nil && svc != nil && old.UID != svc.UID: // the watch has missed the deletion
		s.wakeUnless(s.state.Ignores(old, nil))
		s.wakeUnless(s.state.Ignores(nil, svc))
	case old != nil && svc != nil:
		s.wakeUnless(s.state.Ignores(old, svc))
	case old != nil:
		s.wakeUnless(s.state.Ignores(old, nil))
	case svc != nil:
		s.wakeUnless(s.state.Ignores(nil, svc))
	}
}

func (s *sim) wakeUnless(skipped bool) {
	if !skipped {
		s.wake()
	}
}

// wake makes a pass due; it comes when the loop has rested.
func (s *sim) wake() {
	if !s.due {
		s.due = true
		s.in(10*time.Millisecond+s.upTo(100*time.Millisecond), s.pass)
	}
}

// pass is one pass, as a controller makes it. What lands meanwhile may do so before
// and after the decision.
func (s *sim) pass() {
	if s.passing {
		s.in(time.Millisecond, s.pass)
		return
	}
	s.due, s.passing = false, true
	defer func() { s.passing = false }()
	s.passes++
	in := s.config
	in.Now, in.Services = time.Now(), s.sorted(s.cache)
	s.meanwhile()
	p, sends, again := s.state.Pass(in)
	s.report(p)
	s.promises.blind = false
	afresh := Snapshot{Now: in.Now, Configured: in.Configured, Namespaces: in.Namespaces, Attempts: p.attempts, Contests: p.Contests, Kept: p.Kept, Graces: p.Graces, Conflicts: p.conflicts, Occupied: p.occupied}
	for _, x := range p.Services {
		afresh.Services = append(afresh.Services, x.Object)
	}
	for i, g := range new(Planner).Plan(afresh).Grants {
		if have := p.Grants[i]; fmt.Sprint(g) != fmt.Sprint(have) {
			s.broken = fmt.Errorf("a new planner grants %s %v, this one %v", p.Services[i].Object.Name, g, have)
		}
	}
	s.meanwhile()
	for _, x := range sends {
		s.send(x.Write)
	}
	if again > 0 {
		s.in(time.Until(in.Now.Add(again)), s.wake)
	}
}

// meanwhile lets a little time go by, in which answers may come.
func (s *sim) meanwhile() {
	if s.rnd.IntN(4) == 0 {
		s.run(time.Now().Add(s.upTo(20 * time.Millisecond)))
	}
}

func (s *sim) sorted(all map[string]*corev1.Service) []*corev1.Service {
	var out []*corev1.Service
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[name])
	}
	return out
}

// send is a write: its way there, what becomes of it, the way of the answer.
func (s *sim) send(w Write) {
	svc, c := w.Service, w.Change
	s.underway++
	there, back := s.upTo(300*time.Millisecond), s.upTo(300*time.Millisecond)
	chance := s.rnd.IntN(20)
	if !s.faulty {
		chance = 19
	}
	done := func(out *corev1.Service, err error) {
		s.logf("    answer for %s: %v", svc.Name, err)
		s.underway--
		next := s.state.Done(w, Answer{out, err, time.Now()})
		if s.notes = append(s.notes, next.Events...); next.Due {
			s.wake()
		}
	}
	s.logf("    write %v to %s@%s", c.Addrs, svc.Name, svc.ResourceVersion)
	switch {
	case chance == 0: // it never arrives
		s.in(writeTime, func() { done(nil, context.DeadlineExceeded) })
	case chance == 1: // it arrives, the answer doesn't
		s.arriveIn(there, svc, c)
		s.in(writeTime, func() { done(nil, context.DeadlineExceeded) })
	case chance == 2: // it arrives when the writer no longer waits for it
		s.in(writeTime, func() { done(nil, context.DeadlineExceeded) })
		s.arriveIn(writeTime+s.upTo(10*time.Second), svc, c)
	default:
		if chance < 6 {
			back = s.upTo(writeTime - there)
		}
		s.in(there, func() {
			out, err := s.arrive(svc, c)
			s.in(back, func() { done(out, err) })
		})
	}
}

// arrive is what the API server makes of a write.
func (s *sim) arrive(svc *corev1.Service, c Change) (*corev1.Service, error) {
	resource := schema.GroupResource{Resource: "services"}
	now := s.there[svc.Name]
	switch {
	case now == nil || now.UID != svc.UID:
		return nil, apierrors.NewNotFound(resource, svc.Name)
	case s.refuses[svc.Name]:
		return nil, apierrors.NewForbidden(resource, svc.Name, errors.New("a policy says no"))
	case now.ResourceVersion != svc.ResourceVersion:
		return nil, apierrors.NewConflict(resource, svc.Name, errors.New("it has been modified"))
	}
	for _, a := range c.Addrs {
		if slices.Contains(intent.Holds(now), a) {
			continue
		}
		for _, other := range s.there {
			if other.UID != svc.UID && !s.foreign[other.UID] && slices.Contains(intent.Holds(other), a) {
				s.broken = fmt.Errorf("%s is written to %s while %s shows it", a, svc.Name, other.Name)
			}
		}
	}
	if no := s.promises.broken(now, c.Addrs); no != "" {
		s.broken = errors.New(no)
	}
	out := now.DeepCopy()
	c.Apply(out, Finalizer{})
	s.writes[svc.Name]++
	if !c.ConditionsOnly {
		out.ManagedFields = nil
	}
	// What another client wrote and we adopted stays theirs.
	s.foreign[svc.UID] = s.foreign[svc.UID] && slices.Equal(c.Addrs, intent.Holds(now))
	s.put(svc.Name, out)
	if s.overwriter[svc.Name] {
		s.in(s.upTo(50*time.Millisecond), func() { s.overwrite(svc.Name, "203.0.113.1") })
	}
	s.logf("    %s@%s shows %v", svc.Name, out.ResourceVersion, c.Addrs)
	return out, nil
}

// atRest tells what is wrong when nothing happens any more: every Service must
// show exactly what a new planner gives it.
func (s *sim) atRest() error {
	snap := Snapshot{Now: time.Now(), Configured: s.config.Configured, Namespaces: s.config.Namespaces, Conflicts: s.state.review(Input{Now: time.Now(), Configured: s.config.Configured, Claims: s.config.Claims})}
	snap.Occupied = s.config.Config.Occupied(intent.Others{Conflicts: snap.Conflicts.Occupying(snap.Now)}, nil, "")
	for _, svc := range s.sorted(s.there) {
		if intent.Ours(svc, "") {
			snap.Services = append(snap.Services, svc)
		}
	}
	var wrong []string
	p := new(Planner).Plan(snap)
	has := map[netip.Addr]string{}
	for i, x := range p.Services {
		if x.Change != nil {
			wrong = append(wrong, fmt.Sprintf("%s@%s shows %v and %v, and the plan says %v and %v", x.Object.Name, x.Object.ResourceVersion, intent.Holds(x.Object), x.Object.Status.Conditions, p.Grants[i].Addrs, x.Change.Conditions))
		}
		for _, a := range intent.Holds(x.Object) {
			if has[a] != "" {
				wrong = append(wrong, fmt.Sprintf("%s and %s both show %s", has[a], x.Object.Name, a))
			}
			has[a] = x.Object.Name
		}
	}
	if n, m := s.state.Open(snap.Now); n > 0 || m > 0 {
		wrong = append(wrong, fmt.Sprintf("%d attempts and %d contests are left", n, m))
	}
	if s.due {
		wrong = append(wrong, "a pass is still due")
	}
	if len(wrong) > 0 {
		return errors.New("at rest " + strings.Join(wrong, "; "))
	}
	return nil
}

// edit changes a Service as a user does.
func (s *sim) edit(name string, change func(*corev1.Service)) {
	if now := s.there[name]; now != nil {
		svc := now.DeepCopy()
		change(svc)
		delete(s.promises.back, now.UID)
		s.put(name, svc)
	}
}

// create makes a Service.
func (s *sim) create(name string) *corev1.Service {
	svc := aService(name, 0)
	svc.Namespace = name
	svc.UID = types.UID(fmt.Sprint(name, "-", s.version))
	svc.CreationTimestamp = metav1.NewTime(time.Now().Truncate(time.Second))
	s.put(name, svc)
	return svc
}
