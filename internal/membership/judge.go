package membership

import (
	"maps"
	"slices"
	"time"
)

// watched takes over what an own session shows: whether it is Up, how often it
// has come Up, and whether it was Up and nothing at all is heard of its peer any
// more.
func (c *State) watched(now time.Time, name string, up bool, ups uint64, lost bool) {
	s := c.sees[name]
	if s == nil || s.past && (!up || s.ups == ups) {
		if s != nil {
			s.stays = up
		}
		return
	}
	was := *s
	switch {
	case up && was.up && was.ups == ups:
	case up:
		*s = sight{up: true, ups: ups, since: now, worked: true}
	case was.up:
		*s = sight{ups: ups, worked: true, down: now}
	}
	switch {
	case up || was.doubted:
	case !lost:
		s.lost, s.judged = time.Time{}, false
	case was.lost.IsZero():
		s.lost, s.judged = now, false
	}
	c.stale = c.stale || was.up != up
	if r, ok := c.rumors[name]; ok && !up {
		c.learn(now, r.fact)
	}
	switch {
	case up && !was.up:
		c.isolate(now, false)
		c.vote(now, name, true)
		c.send([]string{name}, message{Facts: []fact{c.own()}})
		if c.standing(name) != Present {
			c.send([]string{name}, message{Facts: []fact{c.told(now, name)}})
		}
		c.plead(now)
	case !s.lost.IsZero() && was.lost.IsZero() && c.standing(name) == Present:
		c.vote(now, name, false)
	}
}

// vote tells the other watchers of a member whether this one sees it.
func (c *State) vote(now time.Time, name string, sees bool) {
	about := &fact{Member: name, Life: c.lifeOf(name)}
	m := message{Sees: about}
	if !sees {
		m = message{Lost: about}
		// What the others saw before may be over as well: they are asked anew.
		maps.DeleteFunc(c.votes[name], func(_ string, sees bool) bool { return sees })
	}
	to := slices.DeleteFunc(c.ring.neighbors(name), func(n string) bool { return n == c.self })
	c.tell(now, to, m)
	c.judge(now, name)
}

// judge decides whether a member whose session has expired is gone: if more
// watchers have lost it than see it, and at least two have. If nobody else says
// anything, it is this node that may be cut off: then somebody else must answer.
func (c *State) judge(now time.Time, name string) {
	s := c.sees[name]
	if s == nil || s.up || s.lost.IsZero() || c.standing(name) == Gone || c.held(now, name) {
		return
	}
	lost, seen := 1, 0
	for _, sees := range c.votes[name] {
		if sees {
			seen++
		} else {
			lost++
		}
	}
	switch {
	case lost > 1 && 2*lost > len(c.ring.neighbors(name)):
		c.declare(now, name)
		return
	case now.Before(s.lost.Add(Answers)):
		return // the others may yet say that they see it
	}
	s.judged = true
	switch {
	case lost > 1 && lost > seen:
		c.declare(now, name)
	case lost > 1 || seen > 0:
	case c.hears(name):
		c.declare(now, name)
	default:
		c.inquire("")
	}
}

// doubts says that a member says it is there, and no session shows it, though
// one has before or Kubernetes does not hear of it either.
func (c *State) doubts(name string) bool {
	s, k := c.sees[name], c.facts[name]
	return s != nil && !s.up && s.lost.IsZero() && k != nil && k.Standing == Present && (s.worked || c.silent[name])
}

// held says that a member has asked for patience, and gives no cause to doubt.
func (c *State) held(now time.Time, name string) bool {
	k := c.facts[name]
	return k != nil && k.Standing == Restarting && now.Before(k.until) && k.missed < misses
}

// hears says that some session other than that with name is Up.
func (c *State) hears(name string) bool {
	for n, s := range c.sees {
		if n != name && s.up {
			return true
		}
	}
	return false
}

func (c *State) declare(now time.Time, name string) {
	f := fact{Member: name, Life: c.lifeOf(name), Standing: Gone}
	c.learn(now, f)
	c.tell(now, nil, message{Facts: []fact{f}})
}

// count takes in what another watcher of a member sees, unless that was in an
// earlier life.
func (c *State) count(now time.Time, from string, about fact, sees bool) {
	if !slices.Contains(c.ring.neighbors(about.Member), from) || about.Life < c.lifeOf(about.Member) {
		return
	}
	if c.votes[about.Member] == nil {
		c.votes[about.Member] = map[string]bool{}
	}
	c.votes[about.Member][from] = sees
	c.judge(now, about.Member)
}

// inquire asks a question, unless an answer to it is awaited.
func (c *State) inquire(q question) {
	if !c.asked[q] {
		c.asked[q] = true
		c.ask = append(c.ask, q)
	}
}

// answered takes the reply to a question.
func (c *State) answered(now time.Time, q question, r Reply) {
	delete(c.asked, q)
	if q == "" {
		c.witnessed(now, r)
		return
	}
	k := c.facts[string(q)]
	switch {
	case k == nil || k.Standing != Restarting:
	case r == Sign:
		k.missed = 0
	case r == Silence:
		if k.missed++; k.missed == misses {
			c.overdue(now, string(q))
		}
	}
}

// witnessed takes in whether somebody who is no member answers. If so this node
// is not cut off, and those whom nobody sees are gone. If nobody does, it is.
// Where there is nobody to ask, one of two nodes can't tell, and rather answers
// twice than not at all.
func (c *State) witnessed(now time.Time, r Reply) {
	if c.hears("") {
		return
	}
	cut := len(c.sees) > 0 && !c.allSilent() && (r == Silence || r == CantTell && len(c.sees) > 1 && (c.isolated || c.lost()))
	if c.isolated && !cut && !c.allSilent() {
		// The sessions come Up in a moment, unless the others really are gone.
		if c.touched.IsZero() {
			c.touched = now
		}
		cut = now.Before(c.touched.Add(reunion))
	} else {
		c.touched = time.Time{}
	}
	c.isolate(now, cut)
	if cut {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(c.sees)) {
		if s := c.sees[name]; s.judged && len(c.votes[name]) == 0 && !c.held(now, name) && c.standing(name) != Gone {
			c.declare(now, name)
		}
	}
}

// lost reports whether a session that worked is lost.
func (c *State) lost() bool {
	for _, s := range c.sees {
		if s.judged {
			return true
		}
	}
	return false
}

// lonely returns from when on this speaker is to ask whether anybody answers though
// it has lost nobody: none of its sessions is Up, and some neighbor says that it
// does not hear this speaker, or none was ever heard, though Kubernetes hears one.
// ok is false if there is no reason to.
func (c *State) lonely() (from time.Time, ok bool) {
	var since time.Time
	refused, heard, there := false, false, false
	for name, s := range c.sees {
		if s.up {
			return from, false
		}
		if s.down.After(since) {
			since = s.down
		}
		expected := c.standing(name) == Present && !c.silent[name]
		refused, heard, there = refused || expected && s.refused, heard || s.worked, there || expected
	}
	switch {
	case refused:
		return since.Add(Answers), true
	case there && !heard:
		return since.Add(reunion), true
	}
	return from, false
}

// allSilent reports whether all that this node watches are said, from elsewhere,
// to be silent: then this node hears somebody, and they are gone.
func (c *State) allSilent() bool {
	for name := range c.sees {
		if !c.silent[name] {
			return false
		}
	}
	return len(c.sees) > 0
}

// isolate takes in whether this speaker hears nobody. Then it says that it is gone,
// and begins another life when it hears somebody again.
func (c *State) isolate(now time.Time, is bool) {
	if c.isolated == is {
		return
	}
	c.isolated, c.changed = is, true
	if is {
		c.tell(now, nil, message{Facts: []fact{c.own()}})
		return
	}
	c.life++
	c.accused = true
}

// overdue treats a member that asked for patience as lost.
func (c *State) overdue(now time.Time, name string) {
	k := c.facts[name]
	k.missed = misses
	if s := c.sees[name]; s != nil && !s.up {
		*s = sight{worked: s.worked, down: s.down, lost: now}
		c.vote(now, name, false)
	}
}
