// Package planner decides what the controller writes: which addresses each Service
// gets (package ipam), in which words its conditions say so, which writes may begin
// now, and what is known of those whose answers are still to come. It is pure: it
// reads no clock, does no I/O, and starts no goroutine. State is the whole of it: the
// controller reads an Input, has State.Pass come to a Plan and to the writes to send,
// sends these, and reports to State.Done how each ended.
package planner

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/history"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/source"
)

// Plan is all that must be true.
type Plan struct {
	now       time.Time
	config    *intent.Config
	pools     ipam.Pools
	Services  []*Service   // by age
	Grants    []ipam.Grant // of the services
	attempts  map[types.UID]Attempt
	Contests  map[types.UID]Contest
	announced *Announced
	finalizer Finalizer
	prefixes  intent.AnnotationPrefixes
	Kept      []ipam.Kept // what was kept for Services that were deleted
	Graces    map[string]time.Duration
	pending   []ipam.Kept // what still is
	returns   bool        // a Service is being given what is kept for it: when it shows that, it is not kept any more
	occupied  *ipam.Occupied
	conflicts intent.Conflicts
	externals []intent.External
	reserved  *intent.Reserved
	Calls     []source.Call            // to IPAMs, to be made now; the answers go to State.Asked
	health    map[string]source.Health // of IPAMs, by pool
	quotas    *intent.Quotas
	asked     []*ipam.Request                       // what is granted
	moves     map[string]*v1beta1.RenumberingStatus // by pool that is being replaced
	ends      []time.Time                           // when Services lose what they have of pools that are gone, and when a reservation ends
	departed  []removal
	trail     history.Trail
	Released  []Changed // the addresses of Services that are gone
}

// Service is a Service and what follows from it. It belongs to one version of
// one Service; what else follows from the configuration and the labels of its
// Namespace is forgotten when these change.
type Service struct {
	Object  *corev1.Service
	request ipam.Request
	round   uint64

	judged    bool            // early, allowed and change hold
	early     bool            // its Namespace is not known yet, so that it can't be known who serves it
	allowed   map[int]bool    // which pools serve it, by their place, of those that were asked
	releasing bool            // it is being deleted, and is given nothing any more
	grant     ipam.Grant      // the last answer
	orphaned  orphaned        // what it has of pools that are not there any more
	orphans   []intent.Origin // the same, as far as its status tells
	origins   []intent.Origin // as its status tells
	Change    *Change         // to be written; nil: nothing is
	contest   Contest         // that change takes into account
	announced *Announcement   // likewise
	sent      []netip.Addr    // that writes to this version were to give it: one may have arrived
}

// Planner turns snapshots into plans. It remembers what it worked out for each
// Service, to save time only: a new one comes to the same plan. The zero
// Planner is ready for use.
type Planner struct {
	Prefixes   intent.AnnotationPrefixes
	Finalizer  Finalizer
	namespaces map[string]map[string]string
	config     *intent.Config
	occupied   *ipam.Occupied
	reserved   *intent.Reserved
	quotas     *intent.Quotas
	pools      ipam.Pools

	known     map[*corev1.Service]*Service
	allocator ipam.Allocator
	asked     []*ipam.Request // memory for the requests of one pass
	byKey     map[ipam.Key]*Service
	byAge     []*Service
	round     uint64
	former    []*Service             // of the last term, to find out which of them are gone
	Released  []types.NamespacedName // Services that are gone, or not ours any more, for the reporter
}

// Plan returns the plan for a snapshot. The plan holds until the next call.
func (t *Planner) Plan(s Snapshot) Plan {
	reserves, configures := t.reserve(s), t.configure(s)
	if reserves || configures {
		t.limit()
	}
	t.occupy(s.Occupied)
	arrived, gone, departed := t.observe(s.Services)
	if s.Memory != nil {
		s.Memory.record(s.Now, s.Configured, departed)
		s.Kept, s.Graces = s.Memory.due(s.Now, s.Configured), s.Memory.graces
	}
	if s.Review != nil {
		s.Contests = s.Review(arrived, gone)
	}
	ends := t.ask(s)
	p := Plan{
		config: t.config, pools: t.pools, Services: t.byAge, Grants: t.allocator.Assign(t.pools, t.asked, s.Kept),
		attempts: s.Attempts, Contests: s.Contests, announced: s.Announced, finalizer: t.Finalizer, prefixes: t.Prefixes, now: s.Now, Kept: s.Kept, Graces: s.Graces, pending: t.pending(s), occupied: t.occupied, conflicts: s.Conflicts, reserved: s.Reserved, ends: ends, quotas: t.quotas, asked: t.asked, departed: departed,
	}
	if s.Memory != nil {
		s.Memory.settle(p.pending)
	}
	p.judge(s)
	p.moves = p.renumbering(s)
	p.returns = slices.ContainsFunc(p.pending, func(k ipam.Kept) bool {
		x := t.byKey[k.For]
		return x != nil && (slices.Contains(x.grant.Addrs, k.Addr) || s.Attempts[x.Object.UID].inFlight)
	})
	return p
}

// ask makes the requests of all Services, and returns when some lose what they have of
// pools that are gone, and when the next reservation ends.
func (t *Planner) ask(s Snapshot) (ends []time.Time) {
	clear(t.asked) // or else it would keep what is gone
	t.asked = slices.Grow(t.asked[:0], len(t.byAge))[:len(t.byAge)]
	leaving, renumbers := t.config.Leaving(s.Conflicts, t.holdings), t.config.Renumbers()
	for i, x := range t.byAge {
		if x.request.Offers = nil; s.Offers != nil {
			x.request.Offers = s.Offers(x.Object.UID)
		}
		t.asked[i] = &x.request
		a, tried := s.Attempts[x.Object.UID]
		c := s.contest(x.Object)
		keeps := t.retains(x, a, s)
		if tried || c.times > 0 || x.early || x.releasing || keeps { // few are
			t.asked[i] = x.asks(a, c, s.Now)
		}
		if keeps {
			ends = append(ends, x.orphaned.until)
			t.asked[i].GonePools = x.orphaned.pools
		}
		if x.request.Share.Local && x.request.Share.Key != "" {
			r := *t.asked[i]
			intent.Locate(&r, x.Object, s.Endpoints[r.Service], s.Where)
			t.asked[i] = &r
		}
		if leaves := append(intent.Leaves(t.asked[i], leaving), t.lost(t.asked[i], x.Object, s)...); len(leaves) > 0 {
			r := *t.asked[i]
			r.Leaves, t.asked[i] = leaves, &r
		}
		if renumbers {
			t.asked[i] = t.config.Renumber(t.asked[i], x.Object)
		}
	}
	if next := s.Reserved.Ends(); !next.IsZero() {
		ends = append(ends, next)
	}
	return ends
}

// holdings yields all Services with what they have and ask for.
func (t *Planner) holdings(yield func(intent.Holding) bool) {
	for _, x := range t.byAge {
		if !yield(intent.Holding{Service: x.Object, Request: &x.request}) {
			return
		}
	}
}

// asks returns the request of x, given what is known of writes to it.
func (x *Service) asks(a Attempt, c Contest, now time.Time) *ipam.Request {
	r := x.request
	if has, instead := a.holds(); instead {
		r.Has = has
	} else {
		r.StatusLocked = now.Before(a.notBefore) || c.waits(now)
		r.Has = c.holds(r.Has, r.StatusLocked)
	}
	r.StatusLocked = r.StatusLocked || x.early || x.releasing
	return &r
}

// judge works out what is to be written to each Service, where that may have changed.
func (p *Plan) judge(s Snapshot) {
	for i, x := range p.Services {
		if text := s.disagreeing(x.Object, p.Grants[i]); text != "" {
			p.Grants[i].Message = strings.TrimPrefix(p.Grants[i].Message+"; "+text, "; ")
		}
		g, c, announced := p.Grants[i], s.contest(x.Object), s.Announced.find(x.Object)
		if !x.judged || !sameGrant(x.grant, g) || !c.same(x.contest) || !announced.same(x.announced) {
			x.judged, x.grant, x.contest, x.Change = true, g, c, nil
			if c, differs := p.changeFor(i); differs && !x.early {
				x.Change = &c
			}
		}
		x.announced = announced // the next comparison is with the same one
	}
}

// retains reports whether x keeps what it has of pools that are gone.
func (t *Planner) retains(x *Service, a Attempt, s Snapshot) bool {
	x.orphaned = orphaned{}
	origins := slices.Concat(x.orphans, t.config.Gone(a.origins())) // what was granted before the pool went may not be seen yet
	if len(origins) == 0 {
		return false
	}
	x.orphaned = orphanedOf(origins)
	if x.orphaned.until.IsZero() {
		x.orphaned.until = retainUntil(s.Now, s.Graces, x.orphaned)
	}
	return s.Now.Before(x.orphaned.until)
}

// configure takes in the configuration and the namespaces. What is known of
// Services that a change does not concern stays known. It reports whether there was a change.
func (t *Planner) configure(s Snapshot) (changes bool) {
	concerns := func(*Service) bool { return true }
	if t.config == s.Config {
		changed := differing(t.namespaces, s.Namespaces)
		if len(changed) == 0 {
			return false
		}
		concerns = func(x *Service) bool { return changed[x.Object.Namespace] }
	} else {
		t.config = s.Config
		t.pools = t.config.Pools.Bind(func(k ipam.Key, pool int) bool {
			x := t.byKey[k]
			return x != nil && t.serves(x, pool)
		})
	}
	t.namespaces = s.Namespaces
	for _, x := range t.byAge {
		if concerns(x) {
			t.forget(x)
		}
	}
	return true
}

// occupy takes in what others have of the pools' addresses.
func (t *Planner) occupy(by *ipam.Occupied) {
	if !t.occupied.Equal(by) {
		t.occupied = by
		for _, x := range t.byAge {
			x.judged = false
		}
	}
	for i := range t.pools {
		t.pools[i].Occupied = t.occupied
	}
}

// differing returns the namespaces that came, went or have other labels.
func differing(before, after map[string]map[string]string) map[string]bool {
	out := map[string]bool{}
	for name, labels := range after {
		if old, there := before[name]; !there || !maps.Equal(old, labels) {
			out[name] = true
		}
	}
	for name := range before {
		if _, there := after[name]; !there {
			out[name] = true
		}
	}
	return out
}

// forget has all that follows for x from more than itself computed again.
func (t *Planner) forget(x *Service) {
	_, known := t.namespaces[x.Object.Namespace]
	x.early, x.judged, x.allowed, x.orphans = !known, false, nil, nil
	if t.config != nil {
		x.orphans, x.request.Reserved = t.config.Gone(x.origins), t.reserved.Of(t.config.ReservationsFor(x.Object))
		x.request.Quotas = t.quotas.Of(x.Object.Namespace)
	}
}

// serves reports whether a pool, given by its place, serves x. There may be many
// pools, and a Service that has its address asks one of them.
func (t *Planner) serves(x *Service, pool int) bool {
	yes, known := x.allowed[pool]
	if !known {
		yes = t.config.Pools.Serves(pool, intent.Consumer{
			Namespace: x.Object.Namespace, NamespaceLabels: t.namespaces[x.Object.Namespace], Labels: x.Object.Labels,
		})
		if x.allowed == nil {
			x.allowed = map[int]bool{}
		}
		x.allowed[pool] = yes
	}
	return yes
}

// Reset forgets what Services showed: others may have written to them since. Which ones
// there were is remembered: those that are missing next time have been deleted.
func (t *Planner) Reset() {
	t.former = slices.Concat(t.former, t.byAge)
	t.known, t.byKey, t.byAge = nil, nil, nil
}

// Watch records the Services while another replica leads: k is to know those that are
// deleted meanwhile.
func (t *Planner) Watch(s Snapshot, k *KeptAddresses) {
	_, _, departed := t.observe(s.Services)
	t.Released = nil // a leader looks for them when its term begins
	k.record(s.Now, s.Configured, departed)
	k.settle(k.due(s.Now, s.Configured))
}

// observe brings what is known of the Services up to date, and returns what was not
// seen before, which ones are gone or not ours any more, and what of that was not
// changed on purpose.
func (t *Planner) observe(services []*corev1.Service) (arrived []Arrival, gone []types.UID, departed []removal) {
	if t.known == nil {
		t.known, t.byKey = map[*corev1.Service]*Service{}, map[ipam.Key]*Service{}
	}
	t.round++
	var fresh []*Service
	for _, svc := range services {
		x := t.known[svc]
		if x == nil {
			x = t.service(svc)
			t.known[svc] = x
			fresh = append(fresh, x)
			arrived = append(arrived, Arrival{svc, false, nil}.after(t.byKey[x.request.Service]))
		}
		x.round = t.round
	}
	if len(fresh) == 0 && len(services) == len(t.byAge) {
		return nil, nil, nil
	}
	entered, old := fresh, t.byAge
	var dropped []*Service
	slices.SortFunc(fresh, compareAge)
	t.byAge = make([]*Service, 0, len(services))
	for _, x := range old {
		if x.round != t.round {
			delete(t.known, x.Object)
			delete(t.byKey, x.request.Service)
			dropped = append(dropped, x)
			continue
		}
		for len(fresh) > 0 && compareAge(fresh[0], x) < 0 {
			t.byAge, fresh = append(t.byAge, fresh[0]), fresh[1:]
		}
		t.byAge = append(t.byAge, x)
	}
	t.byAge = append(t.byAge, fresh...)
	for _, x := range entered {
		t.byKey[x.request.Service] = x
		t.forget(x)
	}
	for _, x := range dropped {
		now := t.byKey[x.request.Service]
		if now == nil {
			t.Released = append(t.Released, types.NamespacedName{Namespace: x.Object.Namespace, Name: x.Object.Name})
		}
		if now == nil || now.Object.UID != x.Object.UID {
			gone = append(gone, x.Object.UID)
		}
	}
	departed = t.removals(slices.Concat(t.former, dropped), entered)
	t.former = nil
	return arrived, gone, departed
}

// service returns what follows from one version of a Service alone.
func (t *Planner) service(svc *corev1.Service) *Service {
	x := &Service{Object: svc, request: t.Prefixes.Request(svc), origins: intent.Origins(svc), releasing: t.Finalizer.isReleasing(svc)}
	if x.releasing {
		x.request.Has, x.request.StatusLocked = nil, true
	}
	return x
}

func compareAge(a, b *Service) int { return ipam.CompareAge(&a.request, &b.request) }

func sameGrant(a, b ipam.Grant) bool {
	return a.Reason == b.Reason && a.Message == b.Message && a.Moved == b.Moved &&
		slices.Equal(a.Addrs, b.Addrs) && slices.Equal(a.Pools, b.Pools)
}
