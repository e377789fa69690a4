package membership

import (
	"slices"
	"time"
)

// tick does what is due.
func (c *State) tick(now time.Time) {
	c.later = slices.DeleteFunc(c.later, func(d delayed) bool {
		if due := !now.Before(d.at); due {
			c.out = append(c.out, d.Letter)
			return true
		}
		return false
	})
	for _, name := range c.members {
		if s := c.sees[name]; s != nil && s.past && s.stays && !now.Before(c.adopts(s)) {
			s.past = false
			c.watched(now, name, true, s.ups, false)
		}
		if r, ok := c.rumors[name]; ok && !now.Before(r.until) {
			c.learn(now, r.fact)
		}
		s, k := c.sees[name], c.facts[name]
		switch {
		case s == nil:
		case k != nil && k.Standing == Restarting && k.missed < misses:
			if !now.Before(k.until) {
				c.overdue(now, name)
			} else if !s.up && !now.Before(k.probed.Add(probing)) {
				k.probed = now
				c.inquire(question(name))
			}
		case !s.lost.IsZero() && !s.judged && !now.Before(s.lost.Add(Answers)):
			c.judge(now, name)
		case c.doubts(name) && !now.Before(s.down.Add(doubt)):
			*s = sight{worked: s.worked, down: s.down, lost: now, doubted: true}
			c.vote(now, name, false)
		}
	}
	from, lonely := c.lonely()
	if (c.isolated || lonely && !now.Before(from)) && !now.Before(c.inquired.Add(probing)) {
		c.inquired = now
		c.inquire("")
	}
	if !now.Before(c.gossiped.Add(gossip)) {
		c.gossiped = now
		facts, to := c.news(now), c.ring.neighbors(c.self)
		if c.isolated {
			facts = append(facts, c.own())
		}
		if len(facts) > 0 && len(to) > 0 {
			c.send(to, message{Facts: facts})
		}
		c.send(c.strangers(), message{Hello: true, Facts: []fact{c.own()}})
	}
}

// adopts is when a session that seemed to be of an earlier life, and is Up still,
// must be of the present one: the other would have expired.
func (c *State) adopts(s *sight) time.Time { return s.down.Add(c.detect + Answers) }

// next is when tick has something to do.
func (c *State) next() time.Time {
	next := c.gossiped.Add(gossip)
	sooner := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	for _, d := range c.later {
		sooner(d.at)
	}
	for _, r := range c.rumors {
		sooner(r.until)
	}
	for name, s := range c.sees {
		k := c.facts[name]
		if s.past && s.stays {
			sooner(c.adopts(s))
		}
		switch {
		case k != nil && k.Standing == Restarting && k.missed < misses:
			sooner(k.until)
			if !s.up {
				sooner(k.probed.Add(probing))
			}
		case !s.lost.IsZero() && !s.judged && c.standing(name) != Gone:
			sooner(s.lost.Add(Answers))
		case c.doubts(name):
			sooner(s.down.Add(doubt))
		}
	}
	if c.isolated {
		sooner(c.inquired.Add(probing))
	} else if from, lonely := c.lonely(); lonely {
		sooner(latest(from, c.inquired.Add(probing)))
	}
	return next
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// news is what neighbors are told again and again.
func (c *State) news(now time.Time) []fact {
	var out []fact
	for _, name := range c.members {
		if k := c.facts[name]; k != nil && (k.Standing != Present || now.Before(k.tell)) {
			out = append(out, c.told(now, name))
		}
	}
	return out
}

// strangers returns some members that have not been heard yet, others each time.
func (c *State) strangers() []string {
	out := []string{}
	for range c.members {
		c.greeted = (c.greeted + 1) % len(c.members)
		if name := c.members[c.greeted]; name != c.self && c.facts[name] == nil {
			out = append(out, name)
		}
		if len(out) == greetings {
			break
		}
	}
	return out
}

// told is a fact as others are told it now.
func (c *State) told(now time.Time, name string) fact {
	k := c.facts[name]
	f := k.fact
	f.Hold = max(0, k.until.Sub(now))
	return f
}

// send sends a message once.
func (c *State) send(to []string, m message) {
	m.From = c.self
	facts := m.Facts
	for len(facts) > most {
		m.Facts, facts = facts[:most], facts[most:]
		c.out = append(c.out, Letter{to, m})
	}
	m.Facts = facts
	c.out = append(c.out, Letter{to, m})
}

// tell sends a message that matters: now, and again.
func (c *State) tell(now time.Time, to []string, m message) {
	c.send(to, m)
	for _, after := range repeats {
		c.later = append(c.later, delayed{now.Add(after), c.out[len(c.out)-1]})
	}
}

// view is what there is to know.
func (c *State) view() View {
	v := View{Isolated: c.isolated, Standing: make(map[string]Standing, len(c.members)), Watchers: map[string][]string{}}
	for _, name := range c.members {
		v.Standing[name] = c.standing(name)
		if c.facts[name] == nil && name != c.self {
			v.Standing[name] = Unheard
		}
		if v.Standing[name] == Restarting {
			v.Watchers[name] = c.present(name)
		}
	}
	for _, s := range c.sees {
		v.Sessions++
		if s.up {
			v.Up++
		}
	}
	return v
}

// present returns the members after name that are Present.
func (c *State) present(name string) []string {
	var out []string
	for _, n := range c.ring.after(name) {
		if c.standing(n) == Present {
			out = append(out, n)
		}
	}
	return out
}
