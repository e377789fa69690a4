package membership

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

const (
	// Answers is how long the other watchers have to say what they see.
	Answers = 100 * time.Millisecond
	// gossip is how often neighbors tell each other what they know, so that a
	// lost datagram does no lasting harm.
	gossip = time.Second
	// remember is for how long neighbors are told that a member is back.
	remember = time.Minute
	// greetings is how many members that were not heard yet are greeted at a time.
	greetings = 16
	// hearing is how long a member that this speaker sees has to contradict, when
	// others hold it for gone.
	hearing = 200 * time.Millisecond
	// probing is how often the node of a restarting speaker is asked whether it
	// is there, and how often a speaker that hears nobody asks again.
	probing = 100 * time.Millisecond
	// misses is how many times a node may not answer.
	misses = 4
	// reunion is how long a speaker that was cut off waits for its sessions when
	// somebody else answers again.
	reunion = 3 * time.Second
	// doubt is how long a member that says it is there, and whose session has
	// worked before or whose Lease is over, may be without a session that is Up.
	doubt = 5 * time.Second
)

// repeats is when a datagram that matters is sent again. Who has it already
// does nothing.
var repeats = [...]time.Duration{30 * time.Millisecond, 90 * time.Millisecond}

// State decides, from what it sees and hears, who is there. It has no clock, no
// sockets and no goroutine: after each input Ready says what is to be done, and
// Next is when to call Tick if nothing else happens. Make one with NewState.
type State struct {
	self    string
	life    uint64
	stopped bool // this speaker is restarting
	members []string
	silent  map[string]bool // members whose Leases are over
	detect  time.Duration   // after which a session without packets expires
	subnets map[string]netip.Prefix
	ring    ring

	facts  map[string]*known
	rumors map[string]rumor           // by member that others hold for gone, and this speaker sees
	sees   map[string]*sight          // by neighbor
	votes  map[string]map[string]bool // by member, by voter: whether the voter sees the member; of the member's present life

	isolated bool
	inquired time.Time // when it was last asked whether anybody answers
	touched  time.Time // since when somebody does again
	gossiped time.Time
	greeted  int  // the place among the members of who was greeted last
	accused  bool // somebody holds this speaker for gone

	out     []Letter
	later   []delayed
	ask     []question
	asked   map[question]bool // no answer yet
	changed bool              // who is there has changed
	stale   bool              // what view says, but for who is there
}

// known is a fact, and what follows from it here.
type known struct {
	fact
	until  time.Time // end of the hold
	learnt time.Time
	tell   time.Time // neighbors are told of a Present until then
	probed time.Time
	missed int
	warned bool // of a Gone: the member was told
}

// rumor is a fact that is not believed yet.
type rumor struct {
	fact
	until time.Time
}

// sight is what an own session shows.
type sight struct {
	up     bool
	lost   time.Time // when it expired; zero: it is Up, was never Up, or its end was no sign of loss
	judged bool      // the time for answers is over
	past   bool      // it is of an earlier life, until it comes Up, or for longer than that could last
	stays  bool      // of past: it is Up still
	ups    uint64    // how often it has come Up
	since  time.Time // when it last did; zero unless it is Up

	refused bool      // the neighbor does not hear this speaker
	worked  bool      // it has been Up some time
	down    time.Time // since when it is not Up
	doubted bool      // it is lost for it did not come Up in time
}

type delayed struct {
	at time.Time
	Letter
}

// question is whether something answers: the node of a member, or with "" any
// neighbor of this node that is no member.
type question string

// NewState returns the State of a member that knows nobody yet. life must be
// greater than at its last start.
func NewState(self string, life uint64) *State {
	return &State{self: self, life: life, facts: map[string]*known{}, rumors: map[string]rumor{}, sees: map[string]*sight{}, votes: map[string]map[string]bool{}, asked: map[question]bool{}}
}

// set takes over who should be there.
func (c *State) set(now time.Time, members []string) {
	before := c.members
	c.members = slices.Compact(slices.Sorted(slices.Values(members)))
	if slices.Equal(before, c.members) && maps.Equal(c.ring.subnets, c.subnets) {
		return
	}
	c.changed = true
	c.ring = newRing(c.members, c.subnets)
	gone := func(name string) bool { return !slices.Contains(c.members, name) }
	maps.DeleteFunc(c.facts, func(name string, _ *known) bool { return gone(name) })
	maps.DeleteFunc(c.rumors, func(name string, _ rumor) bool { return gone(name) })
	maps.DeleteFunc(c.votes, func(name string, _ map[string]bool) bool { return gone(name) })
	for _, votes := range c.votes {
		maps.DeleteFunc(votes, func(name string, _ bool) bool { return gone(name) })
	}
	neighbors := c.ring.neighbors(c.self)
	maps.DeleteFunc(c.sees, func(name string, _ *sight) bool { return !slices.Contains(neighbors, name) })
	for _, n := range neighbors {
		if c.sees[n] == nil {
			c.sees[n] = &sight{down: now}
		}
	}
	if !slices.Contains(before, c.self) && !gone(c.self) {
		c.announce()
	}
	if len(c.sees) == 0 {
		c.isolate(now, false) // there is nobody to hear
	}
	for _, name := range c.members { // some that had a vote may be gone
		c.judge(now, name)
	}
}

// announce tells all that this speaker is there. Who misses it and believes
// otherwise will say so.
func (c *State) announce() {
	c.accused = false
	c.send(nil, message{Facts: []fact{c.own()}})
}

// own is what is told of this speaker. One that is isolated says that it is gone:
// perhaps it can be heard, though it hears nobody.
func (c *State) own() fact {
	f := fact{Member: c.self, Life: c.life}
	if c.isolated {
		f.Standing = Gone
	}
	return f
}

// restart tells all that this speaker stops, to come back within hold.
func (c *State) restart(now time.Time, hold time.Duration) {
	c.stopped = true
	c.tell(now, nil, message{Facts: []fact{{Member: c.self, Life: c.life, Standing: Restarting, Hold: hold}}})
}

// standing returns what counts for a member.
func (c *State) standing(name string) Standing {
	if k := c.facts[name]; k != nil {
		return k.Standing
	}
	return Present
}

func (c *State) lifeOf(name string) uint64 {
	if k := c.facts[name]; k != nil {
		return k.Life
	}
	return 0
}

// learn takes over a fact, if it says more than is known.
func (c *State) learn(now time.Time, f fact) {
	k := c.facts[f.Member]
	if f.Member == c.self || !slices.Contains(c.members, f.Member) || k != nil && !f.outdoes(k.fact) {
		return
	}
	delete(c.rumors, f.Member)
	before := c.standing(f.Member)
	fresh := &known{fact: f, until: now.Add(f.Hold), learnt: now}
	if k == nil || k.Life != f.Life {
		delete(c.votes, f.Member)
		// One that has restarted within the detection time leaves a session behind
		// that is Up still, and will expire.
		restarted := k != nil && k.Standing == Restarting
		if s := c.sees[f.Member]; s != nil && (!s.up || restarted && !s.since.After(k.learnt)) {
			*s = sight{past: true, stays: s.up, ups: s.ups, worked: s.worked, down: now}
		}
	}
	if before != Present && f.Standing == Present {
		fresh.tell = now.Add(remember)
	}
	c.facts[f.Member] = fresh
	c.changed = c.changed || before != f.Standing
	c.stale = c.stale || k == nil
	if f.Standing == Gone { // who is gone has no vote
		for _, votes := range c.votes {
			delete(votes, f.Member)
		}
		for _, name := range c.members {
			c.judge(now, name)
		}
	}
}

// hear takes a message.
func (c *State) hear(now time.Time, m message) {
	if m.From == c.self || !slices.Contains(c.members, m.From) {
		return
	}
	for _, f := range m.Facts {
		if f.Member == c.self {
			c.accuse(now, f)
			continue
		}
		if k := c.facts[f.Member]; k != nil && k.fact.outdoes(f) {
			c.send([]string{m.From}, message{Facts: []fact{c.told(now, f.Member)}})
		}
		switch {
		case f.Member == m.From: // it knows
			c.learn(now, f)
		case !c.withholds(now, f):
			c.learn(now, f)
			c.doubtNews(m.From, f)
		}
	}
	if m.Hello && !c.stopped {
		c.send([]string{m.From}, message{Facts: []fact{c.own()}})
	}
	if m.Sees != nil {
		c.count(now, m.From, *m.Sees, true)
	}
	if m.Lost == nil {
		return
	}
	if s := c.sees[m.Lost.Member]; s != nil && s.up {
		c.send([]string{m.From}, message{Sees: &fact{Member: m.Lost.Member, Life: c.lifeOf(m.Lost.Member)}})
	}
	c.count(now, m.From, *m.Lost, false)
}

// withholds says that a fact is not to be believed yet: others hold a member for
// gone that this speaker sees. They may have been cut off, and it alive and well;
// so it is told first, and if it lives it contradicts.
func (c *State) withholds(now time.Time, f fact) bool {
	k, s := c.facts[f.Member], c.sees[f.Member]
	if f.Standing != Gone || s == nil || !s.up || k != nil && !f.outdoes(k.fact) {
		return false
	}
	if c.rumors[f.Member].fact != f {
		c.rumors[f.Member] = rumor{f, now.Add(hearing)}
		c.send([]string{f.Member}, message{Facts: []fact{f}})
	}
	return true
}

// doubtNews tells a member that somebody holds it for gone, if there is reason
// to think that it lives: its session here is Up, or the news comes from somebody
// who does not watch it, so that it may be old. The living contradict.
func (c *State) doubtNews(from string, f fact) {
	k, s := c.facts[f.Member], c.sees[f.Member]
	if f.Standing != Gone || k == nil || k.fact != f || k.warned {
		return
	}
	if s != nil && s.up || !slices.Contains(c.ring.neighbors(f.Member), from) {
		k.warned = true
		c.send([]string{f.Member}, message{Facts: []fact{f}})
	}
}

// accuse takes in that somebody holds this speaker for restarting or gone. It
// begins another life, and says so once it is in touch.
func (c *State) accuse(now time.Time, f fact) {
	if f.Standing == Present || c.stopped {
		return
	}
	c.life = max(c.life, f.Life+1) // who has not heard of this life holds an earlier one for gone
	c.accused = true
	c.plead(now)
}

// plead contradicts those who hold this speaker for gone, unless most of its
// sessions are down.
func (c *State) plead(now time.Time) {
	up := 0
	for _, s := range c.sees {
		if s.up {
			up++
		}
	}
	if c.accused && up > 0 && 2*up >= len(c.sees) {
		c.announce()
	}
}
