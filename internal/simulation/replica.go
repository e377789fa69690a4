package simulation

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/planner"
)

// replica is a place for one controller. Its flags count the faults that hold.
type replica struct {
	place   int
	name    string
	stopped int           // its controller is not started
	still   int           // the process stands still
	paused  time.Duration // for how long the machine stood still without its clock
	cut     int           // it does not reach the API server
	held    time.Time     // until when what it sends gets no further
	behind  time.Duration // of its watches
	old     bool          // its version keeps no addresses
	process *controller   // nil: none
}

// controller is one process of the controller, as the program is wired.
type controller struct {
	*client
	*replica
	id    string
	cache *cache // nil before all is listed
	state *planner.State
	lease election
	seen  map[string]time.Time // since when the cache shows an address on a Service
	since time.Time            // it stands still

	due       bool
	passing   bool // a pass, or catching up, has not ended
	rested    time.Time
	decisions int
	caughtUp  int // the term in which the cache shows what others wrote
	began     time.Time
	busy      int // writes under way
	stopping  bool

	plan   *planner.Summary // of the present term
	report statuses
}

func newReplica(place int) *replica {
	return &replica{place: place, name: fmt.Sprint("c", place+1)}
}

// launch starts the controller of a replica, unless something forbids that.
func (w *world) launch(r *replica) {
	if r.process != nil || r.stopped > 0 {
		return
	}
	w.instances++
	c := &controller{
		client:  &client{world: w, frozen: r.still, reach: func() bool { return r.cut == 0 }},
		replica: r, id: fmt.Sprintf("%s_%d", r.name, w.instances), state: planner.New(nil, planner.Finalizer{Wanted: w.Finalizers}),
		seen: map[string]time.Time{}, since: w.now,
	}
	c.hold = func() (time.Duration, bool) {
		d := r.held.Sub(w.now)
		return max(d, 0), d <= deadAfter
	}
	c.lease.controller, c.report.controller = c, c
	r.process = c
	w.logf("    controller %s starts", c.id)
	c.in(w.within(20*time.Millisecond, 200*time.Millisecond), func() {
		c.follow(c.event, func(all *cache) {
			c.cache = all
			all.behind = r.behind
			for _, o := range all.table[services] {
				c.shows(o)
			}
			c.wake()
			c.lease.look()
		})
	})
}

// deadAfter is for how long a kernel repeats what is not acknowledged.
const deadAfter = 4 * time.Second

// end ends a controller without a word.
func (c *controller) end() {
	c.dead = true
	if c.process == c {
		c.process = nil
	}
	c.api.watchers = slices.DeleteFunc(c.api.watchers, func(x *cache) bool { return x.client == c.client })
}

// stop has a controller stop as SIGTERM does: it lets its writes end, and releases
// the Lease.
func (c *controller) stop() {
	c.stopping = true
	end := c.now.Add(time.Second)
	var drain func()
	drain = func() {
		if c.busy > 0 && c.now.Before(end) {
			c.in(time.Millisecond, drain)
			return
		}
		c.lease.release(c.end)
	}
	drain()
}

// clock is the monotonic clock of the machine.
func (c *controller) clock() time.Time { return c.now.Add(-c.paused) }

func (c *controller) freeze() {
	if c.frozen++; c.frozen == 1 {
		c.since = c.now
	}
}

func (c *controller) thaw() {
	if c.frozen--; c.frozen > 0 || c.dead {
		return
	}
	c.slow++
	c.drain()
}

// drain does one thing after the other of what has come while the process stood still;
// what comes now waits behind it.
func (c *controller) drain() {
	switch {
	case c.client.frozen > 0 || len(c.backlog) == 0:
		c.slow--
	default:
		do := c.backlog[0]
		c.backlog = c.backlog[1:]
		if !c.dead {
			do()
		}
		c.after(c.within(0, 2*time.Millisecond), c.drain)
	}
}

// meta returns an object as the controller's cache has it; nil: there is none.
func metaOf(o *object) metav1.Object {
	if o == nil {
		return nil
	}
	switch v := o.value.(type) {
	case serviceValue:
		return v.Service
	case poolValue:
		return v.IPAddressPool
	case adValue:
		return v.L2Advertisement
	case namespaceValue:
		return v.Namespace
	}
	return nil
}

// event takes in an event of a watch.
func (c *controller) event(before, after *object) {
	k := services
	if after != nil {
		k = after.kind
	} else if before != nil {
		k = before.kind
	}
	switch k {
	case claims:
		c.report.wake()
	case pools, ads, namespaces, services:
		if k == services {
			c.shows(after)
		}
		if k != namespaces {
			c.report.wake()
		}
		if before == nil && after == nil || !c.state.Ignores(metaOf(before), metaOf(after)) {
			c.wake()
		}
	}
}

// shows notes since when the cache shows addresses on a Service.
func (c *controller) shows(o *object) {
	if o == nil {
		return
	}
	for _, a := range intent.Holds(o.value.(serviceValue).Service) {
		if key := seenKey(o, a); c.seen[key].IsZero() {
			c.seen[key] = c.now
		}
	}
}

func seenKey(o *object, a netip.Addr) string { return fmt.Sprint(o.name, " ", o.uid, " ", a) }

// wake has a pass come soon.
func (c *controller) wake() {
	if c.due || c.cache == nil || c.stopping {
		return
	}
	c.due = true
	if !c.passing {
		c.schedule()
	}
}

func (c *controller) schedule() {
	c.at(maxTime(c.now.Add(c.within(200*time.Microsecond, 3*time.Millisecond)), c.rested), c.pass)
}

// pass is what reconciler.reconcile does.
func (c *controller) pass() {
	c.due, c.passing = false, true
	term := c.lease.leading()
	switch {
	case term == 0:
		c.plan = nil
		if !c.mutation.controller.blind {
			c.state.Watch(c.input())
		}
	case c.caughtUp != term:
		c.plan = nil
		c.catchUp(term, func(ok bool) {
			if ok {
				c.caughtUp, c.began = term, c.now
				c.decide(term)
			}
			c.passed(!ok)
		})
		return
	default:
		c.decide(term)
	}
	c.passed(false)
}

// passed has the loop rest, and go on with what has come meanwhile.
func (c *controller) passed(again bool) {
	c.passing = false
	c.rested = c.now.Add(rest)
	if again {
		c.rested = c.now.Add(100 * time.Millisecond)
		c.due = true
	}
	if c.due {
		c.schedule()
	}
}

// decide makes a plan, and sends what is to be written.
func (c *controller) decide(term int) {
	c.decisions++
	in := c.input()
	if before := c.mutation.controller.before; before != nil {
		before(c, &in)
	}
	p, sends, again := c.state.Pass(in)
	c.plan = p.Summary()
	for _, x := range sends {
		c.send(term, x.Write)
	}
	for _, call := range p.Calls {
		c.callIPAM(term, call)
	}
	c.report.wake()
	if again > 0 {
		decision := c.decisions
		c.in(again, func() {
			if c.decisions == decision {
				c.wake()
			}
		})
	}
}

// input is what a pass reads.
func (c *controller) input() planner.Input {
	in := planner.Input{Now: c.now, Cluster: cluster, Configured: c.configured(), Namespaces: map[string]map[string]string{}}
	for _, o := range c.cache.table[services] {
		in.Services = append(in.Services, o.value.(serviceValue).Service)
	}
	for _, o := range c.cache.table[namespaces] {
		in.Namespaces[o.name] = o.value.(namespaceValue).Labels
	}
	return in
}

// configured returns the configuration as the cache shows it.
func (c *controller) configured() intent.Configured {
	return c.world.configured(&c.cache.table, c.old)
}

// mistakes are what a mutation has controllers do wrong.
type mistakes struct {
	before      func(c *controller, in *planner.Input)
	answer      func(error) error // what it takes an error for
	endless     bool              // its term does not end by the clock
	rash        bool              // a new leader does not catch up
	unversioned bool              // a write holds for any version of a Service
	blind       bool              // a standby does not look who leaves
	silent      bool              // the statuses of pools don't say what is kept
}
