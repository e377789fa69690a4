// Package announcer finds out for the controller whether Services are announced: it reads what
// the speakers report and whether they live, has package announced judge it, and waits until
// what it finds stands. It writes nothing: the reconciler's passes write conditions, package
// report writes the states of speakers and the counts of advertisements.
package announcer

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/announced"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/damper"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/leader"
	"github.com/steelyard-lb/steelyard/internal/planner"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

const (
	// announcedRest is the pause between two looks at what is announced: the changes of a
	// burst share some.
	announcedRest = 500 * time.Millisecond
	// leasesEvery is how often the speakers' Leases are read, with leasesPerSecond more of
	// them a second longer: a watch would receive every renewal.
	leasesEvery     = 2 * time.Second
	leasesPerSecond = 100
	// readTimeout is how long the Leases may take: longer, and the next look asks again.
	readTimeout = 5 * time.Second
)

// Options are what an Announcer needs.
type Options struct {
	Client        client.Client
	Direct        client.Reader // past the cache
	Configuration *cluster.Configuration
	Services      func(context.Context) ([]*corev1.Service, error)
	Endpoints     func(context.Context) ([]*discoveryv1.EndpointSlice, error)
	Leading       func() *leader.Term // nil: this replica does not lead
	Log           *slog.Logger
	Namespace     string // of the speakers' Leases
	Class         string
	Exclusion     intent.Exclusion
}

// Announcer finds out what the Services' conditions Announced are to say. Make one with New.
type Announcer struct {
	Options
	// Changed and Heard ask for writes: of conditions, and of what the reporter writes. Both have a
	// buffer of 1.
	Changed, Heard chan struct{}

	found    atomic.Pointer[planner.Announced]    // nil: not known yet
	speakers atomic.Pointer[planner.Presences]    // nil: not known yet
	counted  atomic.Pointer[announced.Programmed] // counts of advertisements that are to be written; nil: none

	dirty    atomic.Bool // something has happened since the last look
	relist   atomic.Bool // so have speakers, whose Leases are to be read
	term     *leader.Term
	settler  announced.Settler
	damper   damper.Damper
	counts   announced.CountSettler
	leases   []coordinationv1.Lease
	read     time.Time // when the Leases were
	presence map[string]health.PresenceState
}

// New returns an Announcer. Its Loop runs it.
func New(o Options) *Announcer {
	return &Announcer{Options: o, Changed: make(chan struct{}, 1), Heard: make(chan struct{}, 1)}
}

// Loop returns the loop that runs the Announcer.
func (a *Announcer) Loop() cluster.Loop {
	return cluster.Loop{
		Name: "announcer", Log: a.Log, Reconcile: a.Look,
		Ignore: func(before, after client.Object) bool {
			ignored := a.ignores(before, after)
			if !ignored {
				a.dirty.Store(true)
			}
			if _, is := cmp.Or(after, before).(*v1beta1.Speaker); is && !ignored {
				a.relist.Store(true)
			}
			return ignored
		},
		MinInterval: cluster.Share(20, announcedRest), Used: cluster.Used,
		Kinds: []client.Object{
			&corev1.Service{}, &corev1.Node{}, &discoveryv1.EndpointSlice{}, &v1beta1.L2Claim{}, &v1beta1.BGPSession{}, &v1beta1.Speaker{},
			&v1beta1.IPAddressPool{}, &v1beta1.L2Advertisement{}, &v1beta1.BGPAdvertisement{}, &v1beta1.BGPPeer{},
		},
	}
}

// ignores reports whether an event changes no condition. Endpoints of a Service with
// externalTrafficPolicy Cluster matter only for the ports that they have.
func (a *Announcer) ignores(before, after client.Object) bool {
	update := before != nil && after != nil
	if update && !matters(before, after) {
		return true
	}
	s, is := cmp.Or(after, before).(*discoveryv1.EndpointSlice)
	if !is {
		return false
	}
	svc, key := &corev1.Service{}, intent.ServiceOf(s)
	err := a.Client.Get(context.Background(), client.ObjectKey{Namespace: key.Namespace, Name: key.Name}, svc, client.UnsafeDisableDeepCopy)
	if err != nil || !intent.Announceable(svc, a.Class) {
		return true // when that changes, the Service's own event counts
	}
	was, ok := before.(*discoveryv1.EndpointSlice)
	return update && ok && !intent.Local(svc) && intent.SamePorts(was, s)
}

// matters reports whether an update may change a condition.
func matters(before, after client.Object) bool {
	switch after.(type) {
	case *v1beta1.L2Claim, *v1beta1.BGPSession, *corev1.Service:
		return true
	}
	return !intent.Same(before, after)
}

// Look finds out what the conditions are to say. It returns when to look again if nothing happens.
func (a *Announcer) Look(ctx context.Context) (time.Duration, error) {
	t := a.Leading()
	if t == nil {
		a.forget()
		return leasesEvery, nil // perhaps it leads by then
	}
	if a.term != t {
		a.term, a.settler, a.damper, a.counts, a.read = t, announced.Settler{}, damper.Damper{}, nil, time.Time{}
		a.forget()
	}
	now := time.Now()
	happened := a.dirty.Swap(false)
	o, err := a.reports(ctx, now)
	if err != nil {
		a.dirty.Store(true)
		return 0, err
	}
	next := a.read.Add(a.leaseInterval()).Sub(now)
	presence := presences(o)
	a.publish(o, presence)
	if last := a.found.Load(); !happened && last != nil && len(last.Of) == 0 && reflect.DeepEqual(presence, a.presence) {
		return next, nil
	}
	a.presence = presence
	services, held, err := a.evaluate(ctx, now, o)
	if err != nil {
		a.dirty.Store(true)
		return 0, err
	}
	found, again := a.settled(now, services)
	a.found.Store(found)
	if len(found.Of) > 0 {
		wait.Signal(a.Changed)
	}
	if again = wait.Soonest(again, held); again > 0 {
		a.dirty.Store(true)
		next = min(next, again)
	}
	return max(next, time.Millisecond), nil
}

// Found returns what the conditions are to say; nil: that is not known yet.
func (a *Announcer) Found() *planner.Announced { return a.found.Load() }

// Happened has the next look judge everything again.
func (a *Announcer) Happened() { a.dirty.Store(true) }

// forget forgets what was found: this replica does not lead, or not yet.
func (a *Announcer) forget() {
	a.found.Store(nil)
	a.speakers.Store(nil)
	a.counted.Store(nil)
}

// count has the reporter write the counts of advertisements that are due, and returns when others may be.
func (a *Announcer) count(now time.Time, c intent.Configured, p announced.Programmed) time.Duration {
	shown := map[intent.Ref]*v1beta1.AdvertisementCount{}
	for i := range c.Objects.L2 {
		shown[intent.Ref{Kind: "L2Advertisement", Name: c.Objects.L2[i].Name}] = c.Objects.L2[i].Status.Announced
	}
	for i := range c.Objects.BGP {
		shown[intent.Ref{Kind: "BGPAdvertisement", Name: c.Objects.BGP[i].Name}] = c.Objects.BGP[i].Status.Announced
	}
	due, again := a.counts.Due(now, shown, p)
	a.counted.Store(&due)
	if len(due) > 0 {
		wait.Signal(a.Heard)
	}
	return again
}

// Programmed returns the counts of advertisements that are to be written.
func (a *Announcer) Programmed() map[intent.Ref]v1beta1.AdvertisementCount {
	if p := a.counted.Load(); p != nil {
		return *p
	}
	return nil
}

func (a *Announcer) leaseInterval() time.Duration {
	return leasesEvery + time.Duration(len(a.leases))*time.Second/leasesPerSecond
}

// publish has the reporter see the states of the speakers.
func (a *Announcer) publish(o *health.Objects, states map[string]health.PresenceState) {
	last := a.speakers.Load()
	changed := last == nil || len(*last) != len(states)
	out := make(planner.Presences, len(states))
	for node, state := range states {
		out[node] = planner.Presence{State: state, Heard: o.Heard(node)}
		changed = changed || (*last)[node].State != state
	}
	a.speakers.Store(&out)
	if changed {
		wait.Signal(a.Heard)
	}
}

// Presences returns the states of the speakers for the reporter; nil: they are not known.
func (a *Announcer) Presences() planner.Presences {
	if p := a.speakers.Load(); p != nil {
		return *p
	}
	return nil
}

// presences returns the states of all speakers.
func presences(o *health.Objects) map[string]health.PresenceState {
	out := make(map[string]health.PresenceState, len(o.Speakers))
	for i := range o.Speakers {
		out[o.Speakers[i].Name] = o.Presence(o.Speakers[i].Name).State
	}
	return out
}

// reports returns what the speakers report.
func (a *Announcer) reports(ctx context.Context, now time.Time) (*health.Objects, error) {
	if a.relist.Swap(false) || now.Sub(a.read) >= a.leaseInterval() {
		var leases coordinationv1.LeaseList
		asking, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		// The API server's own cache will do.
		if err := a.Direct.List(asking, &leases, client.InNamespace(a.Namespace), &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: "0"}}); err != nil {
			return nil, fmt.Errorf("list the speakers' Leases: %w", err)
		}
		a.leases, a.read = append([]coordinationv1.Lease{}, leases.Items...), now
	}
	var claims v1beta1.L2ClaimList
	var sessions v1beta1.BGPSessionList
	var speakers v1beta1.SpeakerList
	for _, list := range []client.ObjectList{&claims, &sessions, &speakers} {
		if err := cluster.List(ctx, a.Client, list); err != nil {
			return nil, err
		}
	}
	return &health.Objects{Now: a.read, Namespace: a.Namespace, Leases: a.leases, Claims: claims.Items, Sessions: sessions.Items, Speakers: speakers.Items}, nil
}

// announcedService is a Service with addresses, and the report on it.
type announcedService struct {
	svc    *corev1.Service
	report announced.Result
}

// evaluate returns the report on each Service with addresses, and when it may be another one
// if nothing happens; 0: never.
func (a *Announcer) evaluate(ctx context.Context, now time.Time, o *health.Objects) ([]announcedService, time.Duration, error) {
	read, err := a.Configuration.Read(ctx)
	if err != nil {
		return nil, 0, err
	}
	var nodes corev1.NodeList
	if err := cluster.List(ctx, a.Client, &nodes); err != nil {
		return nil, 0, err
	}
	services, err := a.Services(ctx)
	if err != nil {
		return nil, 0, err
	}
	endpoints, err := a.Endpoints(ctx)
	if err != nil {
		return nil, 0, err
	}
	of := intent.ByService(endpoints)
	s := announce.Snapshot{L2: read.Config.L2, BGP: read.Config.BGP, Neighbors: read.Config.Neighbors, Unusable: read.Config.Unusable(), Nodes: announced.Nodes(nodes.Items, o, a.Exclusion)}
	var out []announcedService
	where, backends := intent.PlacementOf(nodes.Items), announced.Backends{}
	for _, svc := range services {
		if intent.Announceable(svc, a.Class) {
			key := intent.KeyOf(svc)
			x := read.Config.Announced(svc, of[key], where)
			if len(x.Addrs) == 0 { // of spec.externalIPs nothing is announced
				continue
			}
			s.Services = append(s.Services, x)
			backends[key] = intent.BackendsOf(svc, of[key], where)
			if intent.Ours(svc, a.Class) { // others have no condition
				out = append(out, announcedService{svc: svc})
			}
		}
	}
	again := a.damp(now, s.Services, read.Config.Withdraws)
	results, programmed := announced.Evaluate(s, backends, o)
	for i := range out {
		out[i].report = results[intent.KeyOf(out[i].svc)]
	}
	return out, wait.Soonest(again, a.count(now, read, programmed)), nil
}

// damp marks the Services whose endpoints come and go, as the speakers do. It returns when that
// changes if nothing happens; 0: never.
func (a *Announcer) damp(now time.Time, services []announce.Service, withdraws bool) time.Duration {
	serves := map[ipam.Key]bool{}
	for i := range services {
		if svc := &services[i]; withdraws && !svc.Local {
			serves[svc.Key] = !svc.NoEndpoints4 || !svc.NoEndpoints6
		}
	}
	held, again := a.damper.Follow(now, serves)
	for i := range services {
		services[i].Unstable = held[services[i].Key]
	}
	return again
}

// settled returns what the conditions are to say now, and when that may change if nothing happens.
func (a *Announcer) settled(now time.Time, services []announcedService) (*planner.Announced, time.Duration) {
	a.settler.Begin()
	out := &planner.Announced{Of: map[types.UID]*planner.Announcement{}, Not: map[string]int{}}
	var first time.Duration
	for _, x := range services {
		shown := health.Condition(x.svc.Status.Conditions, v1beta1.ConditionServiceAnnounced)
		due, again := a.settler.Settle(now, x.svc.UID, shown, x.report.Condition())
		if due.Status != shown.Status || due.Reason != shown.Reason || due.Message != shown.Message {
			out.Of[x.svc.UID] = &planner.Announcement{Addrs: x.report.Addrs, Condition: due}
		}
		switch {
		case due.Status != "" && due.Status != metav1.ConditionTrue:
			out.Not[due.Reason]++
		case due.Status != "" && due.Reason != v1beta1.ReasonAnnounced:
			out.Unserved++
		}
		first = wait.Soonest(first, again)
	}
	return out, first
}
