package world

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Effect is what becomes of a Service.
type Effect string

// The effects, the worst first; of several the first is told.
const (
	Loses     Effect = "loses"     // it had an address and gets none
	Withdrawn Effect = "withdrawn" // its addresses stay, and some is announced no more
	Changes   Effect = "changes"   // it gets another address, or one less or more
	Moves     Effect = "moves"     // its addresses stay, and others announce them
	Gains     Effect = "gains"     // it had no address and gets one
	Announced Effect = "announced" // its addresses stay, and nobody announced some before
	Refused   Effect = "refused"   // it is new, and gets no address
	Vanishes  Effect = "vanishes"  // it is deleted, or not for this load balancer any more, and had an address
	Unchanged Effect = ""          // nothing
)

// Difference is what becomes of one Service from one world to another.
type Difference struct {
	Service       ipam.Key
	Effect        Effect
	Before, After Standing
	Why           string // of an address that is lost, changed or not announced; may be empty
}

// Standing is what a Service has.
type Standing struct {
	Addrs []netip.Addr
	Owner []string   // of each address, on the local network; "": nobody
	BGP   [][]string // of each address, the nodes that offer it
}

// Compare tells what becomes of each Service if t becomes after, in order of
// their names; those of which nothing becomes are left out.
func (t *Thought) Compare(after *Thought) []Difference {
	saidBefore, saidAfter := t.Say(t.Granted()), after.Say(after.Granted())
	all := maps.Clone(t.place)
	maps.Copy(all, after.place)
	var out []Difference
	for _, k := range slices.SortedFunc(maps.Keys(all), ipam.Key.Compare) {
		d := Difference{Service: k, Before: t.standing(k, saidBefore), After: after.standing(k, saidAfter)}
		_, was := t.place[k]
		_, is := after.place[k]
		if d.Effect = d.effect(was, is); d.Effect != Unchanged {
			d.Why = after.why(d, saidAfter)
			out = append(out, d)
		}
	}
	return out
}

func (t *Thought) standing(k ipam.Key, said Sayings) Standing {
	s := Standing{Addrs: t.Grant(k).Addrs}
	if of := said.Of[k]; of != nil {
		for _, a := range s.Addrs {
			s.Owner, s.BGP = append(s.Owner, of.Owner[a]), append(s.BGP, of.Offers[a])
		}
	}
	return s
}

// effect names what becomes of the Service, which was or is ours.
func (d Difference) effect(was, is bool) Effect {
	before, after := d.Before, d.After
	switch {
	case !is && len(before.Addrs) > 0:
		return Vanishes
	case !is:
		return Unchanged
	case !was && len(after.Addrs) == 0:
		return Refused
	case len(before.Addrs) == 0 && len(after.Addrs) == 0:
		return Unchanged
	case len(after.Addrs) == 0:
		return Loses
	case len(before.Addrs) == 0:
		return Gains
	case !slices.Equal(before.Addrs, after.Addrs):
		return Changes
	case after.silent() > before.silent():
		return Withdrawn
	case after.silent() < before.silent():
		return Announced
	case !slices.Equal(before.Owner, after.Owner) || !slices.EqualFunc(before.BGP, after.BGP, slices.Equal):
		return Moves
	}
	return Unchanged
}

// silent counts the addresses that nobody announces.
func (s Standing) silent() (n int) {
	for i := range s.Addrs {
		if s.Owner[i] == "" && len(s.BGP[i]) == 0 {
			n++
		}
	}
	return n
}

// why tells what led to an effect, if that is not what people asked for.
func (t *Thought) why(d Difference, said Sayings) string {
	g := t.Grant(d.Service)
	switch {
	case d.Effect == Loses || d.Effect == Refused:
		return fmt.Sprintf("%s: %s", g.Reason, g.Message)
	case d.Effect == Vanishes:
		if svc := t.Service(d.Service); svc != nil {
			return t.notOurs(svc)
		}
		return "it is deleted"
	case d.After.silent() > 0:
		return t.nobody() + " it: " + said.Of[d.Service].Silence()
	}
	return g.Moved
}

// Judgements tells of configuration objects whose verdict is another in after,
// in words.
func (t *Thought) Judgements(after *Thought) []string {
	all := maps.Clone(t.Checked.Verdicts)
	maps.Copy(all, after.Checked.Verdicts)
	var out []string
	for ref := range all {
		before, now := t.Checked.Verdicts[ref], after.Checked.Verdicts[ref]
		_, is := after.Checked.Verdicts[ref]
		if !is || slices.Equal(before.Faults(), now.Faults()) && slices.Equal(before.NoEffect, now.NoEffect) {
			continue
		}
		for _, f := range now.Faults() {
			out = append(out, fmt.Sprintf("%s %s will not be programmed: %s: %s", ref.Kind, ref.Name, f.Reason, f.Message))
		}
		switch {
		case len(now.NoEffect) > 0:
			out = append(out, fmt.Sprintf("%s %s: without effect: %s", ref.Kind, ref.Name, strings.Join(now.NoEffect, ", ")))
		case len(now.Faults()) == 0:
			out = append(out, fmt.Sprintf("%s %s will be programmed", ref.Kind, ref.Name))
		}
	}
	slices.Sort(out)
	return out
}

// Text writes what a Service has in few words.
func (s Standing) Text() string {
	if len(s.Addrs) == 0 {
		return "-"
	}
	var parts []string
	for i, a := range s.Addrs {
		text := a.String()
		if s.Owner[i] != "" {
			text += " on " + s.Owner[i]
		}
		switch n := len(s.BGP[i]); {
		case n > 3:
			text += fmt.Sprintf(" by BGP from %d nodes", n)
		case n > 0:
			text += " by BGP from " + strings.Join(s.BGP[i], " and ")
		case s.Owner[i] == "":
			text += " not announced"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}
