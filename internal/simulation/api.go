package simulation

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// kind is a kind of objects.
type kind uint8

const (
	nodes kind = iota
	leases
	speakers
	claims
	services
	pools
	ads
	namespaces
	locks // the Lease of the controllers
	kinds
)

// object is one version of an object. It is never changed.
type object struct {
	kind    kind
	name    string
	uid     int
	version int
	value   any
}

// The values of objects: what the programs read of them.
type (
	nodeValue struct {
		addr     netip.Addr
		excluded string
		labels   map[string]string
	}
	leaseValue struct {
		holder  string // empty: it was released
		renewed time.Time
	}
	speakerValue struct {
		links    []announce.Link
		isolated bool
		stopped  bool
	}
	claimValue struct {
		addr      netip.Addr
		owner     string // as its spec says
		answering string // as its status says
	}
	serviceValue struct{ *corev1.Service }
)

// table is objects by kind, sorted by name.
type table [kinds][]*object

func (t *table) find(k kind, name string) (int, bool) {
	return slices.BinarySearchFunc(t[k], name, byName)
}

func byName(o *object, name string) int { return cmp.Compare(o.name, name) }

func (t *table) get(k kind, name string) *object {
	if i, ok := t.find(k, name); ok {
		return t[k][i]
	}
	return nil
}

// put enters a version; one without a value is gone.
func (t *table) put(o *object) {
	i, ok := t.find(o.kind, o.name)
	switch {
	case o.value == nil && ok:
		t[o.kind] = slices.Delete(t[o.kind], i, i+1)
	case o.value == nil:
	case ok:
		t[o.kind][i] = o
	default:
		t[o.kind] = slices.Insert(t[o.kind], i, o)
	}
}

// server is the API server.
type server struct {
	table
	version  int
	changes  [kinds]int // the versions of each kind
	watchers []*cache
	away     int           // it does not answer
	slow     time.Duration // that each request takes longer
	loses    int           // answers get lost
	writes   int           // but for the renewals of Leases
}

var (
	errConflict = errors.New("the object has been modified")
	errNotFound = errors.New("there is no such object")
	errExists   = errors.New("the object is there already")
	errTimeout  = errors.New("no answer in time")
)

// write stores a version of an object, and sends it to the watches.
func (w *world) write(k kind, name string, value any) *object {
	s := &w.api
	s.version++
	s.changes[k]++
	o := &object{kind: k, name: name, uid: s.version, version: s.version, value: value}
	if was := s.get(k, name); was != nil {
		o.uid = was.uid
	}
	w.judgeWrite(o)
	s.put(o)
	if k != leases && k != locks {
		s.writes++
	}
	if k == locks { // no program watches it
		return o
	}
	sent := o
	if !shown(o) {
		sent = &object{kind: k, name: name, uid: o.uid, version: o.version}
	}
	for _, c := range s.watchers {
		if c.selects(sent) {
			c.deliver(sent)
		}
	}
	return o
}

// create stores a new object.
func (w *world) create(k kind, name string, value any) (*object, error) {
	if w.api.get(k, name) != nil {
		return nil, errExists
	}
	return w.write(k, name, value), nil
}

// update stores a later version of an object, if version is still the last one; 0:
// in any case.
func (w *world) update(k kind, name string, version int, value any) (*object, error) {
	now := w.api.get(k, name)
	switch {
	case now == nil:
		return nil, errNotFound
	case version != 0 && now.version != version:
		return nil, errConflict
	}
	return w.write(k, name, value), nil
}

func (w *world) remove(k kind, name string) {
	if w.api.get(k, name) != nil {
		w.write(k, name, nil)
	}
}

// client is a program that asks the API server.
type client struct {
	*world
	dead    bool
	frozen  int // it stands still
	slow    int // it has much to read, of what came while it stood still
	backlog []func()
	reach   func() bool                  // whether packets pass to the API server and back
	hold    func() (time.Duration, bool) // nil, or how long what is sent waits on its way, and whether it arrives
	lost    time.Time                    // when an answer to it last got lost
	lease   string                       // the only Lease that it watches; empty: it watches all
}

// selects reports whether the program watches an object, of the kinds that it watches.
func (c *client) selects(o *object) bool {
	return o.kind != leases || c.lease == "" || c.lease == o.name
}

// goes reports whether the program does at once what is to be done.
func (c *client) goes() bool { return !c.dead && c.frozen == 0 && c.slow == 0 }

// run does something in the program, when it stands still no more, if it lives then.
func (c *client) run(do func()) {
	switch {
	case c.dead:
	case !c.goes():
		c.backlog = append(c.backlog, do)
	default:
		do()
	}
}

func (c *client) at(t time.Time, do func())     { c.queue.push(maxTime(t, c.now), moment{c, do}) }
func (c *client) in(d time.Duration, do func()) { c.at(c.now.Add(d), do) }
func (c *client) ask(do func() (any, error), then func(any, error)) {
	c.askWithin(5*time.Second, do, then)
}

func maxTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// askWithin has the API server do something, and the program go on with what it
// answers, or with an error when no answer has come in time.
func (c *client) askWithin(timeout time.Duration, do func() (any, error), then func(any, error)) {
	over := false
	answer := func(v any, err error) {
		if !over {
			over = true
			then(v, err)
		}
	}
	c.in(timeout, func() { answer(nil, errTimeout) })
	there, back := c.delay(), c.delay()
	lost := c.api.loses > 0 && c.rnd.IntN(4) == 0
	if c.hold != nil {
		wait, arrives := c.hold()
		if there += wait; !arrives {
			return
		}
	}
	c.after(there, func() {
		if c.api.away > 0 || !c.reach() {
			return
		}
		v, err := do()
		if lost {
			c.lost = c.now
			return
		}
		c.after(back, func() {
			if c.api.away == 0 && c.reach() {
				c.run(func() { answer(v, err) })
			}
		})
	})
}

// delay is how long a packet takes to the API server, or from there.
func (w *world) delay() time.Duration {
	d := w.within(200*time.Microsecond, 3*time.Millisecond)
	if w.api.slow > 0 {
		d += w.within(0, w.api.slow)
	}
	return d
}

// cache is what a program sees of the API server's objects, by a watch for each
// kind, which keeps the order and may be behind.
type cache struct {
	table
	*client
	behind time.Duration // how much longer an event may take
	// claimsBehind is how much longer an event of an L2Claim takes; nil: none does.
	claimsBehind *time.Duration
	counts       [kinds]int       // the changes of each that were shown
	shown        [kinds]time.Time // when the last event of each arrives
	broken       [kinds]bool      // it is to be listed again
	watch        [kinds]int       // counts the watches: what an earlier one brings late counts no more
	event        func(before, after *object)
}

// follow begins to watch the API server. then runs when all is listed.
func (c *client) follow(event func(before, after *object), then func(*cache)) {
	out := &cache{client: c, event: func(_, _ *object) {}}
	var begin func()
	begin = func() {
		c.askWithin(2*time.Second, func() (any, error) {
			for k := range out.table {
				out.table[k] = c.selected(kind(k))
			}
			if !slices.Contains(c.api.watchers, out) {
				c.api.watchers = append(c.api.watchers, out)
			}
			return nil, nil
		}, func(_ any, err error) {
			if err != nil {
				c.in(c.within(0, 100*time.Millisecond), begin)
				return
			}
			out.event = event
			then(out)
		})
	}
	begin()
}

// deliver shows a version, after all others of its kind.
func (c *cache) deliver(o *object) {
	if c.dead {
		return
	}
	d := c.delay()
	if c.behind > 0 {
		d += c.within(0, c.behind)
	}
	if o.kind == claims && c.claimsBehind != nil {
		d += *c.claimsBehind
	}
	at := c.now.Add(d)
	if !at.After(c.shown[o.kind]) {
		at = c.shown[o.kind].Add(time.Microsecond)
	}
	c.shown[o.kind] = at
	watch := c.watch[o.kind]
	c.queue.push(at, moment{do: func() {
		switch {
		case c.dead || c.broken[o.kind] || c.watch[o.kind] != watch:
		case c.api.away > 0 || !c.reach():
			c.broken[o.kind] = true
			c.relist(o.kind)
		default:
			c.run(func() { c.show(o) })
		}
	}})
}

// relist lists a kind again as soon as that can be.
func (c *cache) relist(k kind) {
	c.after(c.within(100*time.Millisecond, time.Second), func() {
		if c.dead {
			return
		}
		if c.api.away > 0 || !c.reach() {
			c.relist(k)
			return
		}
		c.broken[k] = false
		c.watch[k]++
		all := c.selected(k)
		c.shown[k] = c.now.Add(c.delay())
		c.at(c.shown[k], func() { c.replace(k, all) })
	})
}

func (c *cache) replace(k kind, all []*object) {
	for _, old := range slices.Clone(c.table[k]) {
		if _, still := slices.BinarySearchFunc(all, old.name, byName); !still {
			c.show(&object{kind: k, name: old.name, version: old.version})
		}
	}
	for _, o := range all {
		c.show(o)
	}
}

func (c *cache) show(o *object) {
	before := c.get(o.kind, o.name)
	if before == o {
		return
	}
	c.put(o)
	c.counts[o.kind]++
	after := o
	if o.value == nil {
		after = nil
	}
	c.event(before, after)
}
