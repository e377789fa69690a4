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

// The effects, the worst first. A Service with several has the first.
const (
	Loses     Effect = "loses"     // it had an address, and gets none
	Withdrawn Effect = "withdrawn" // its addresses stay, and one of them is no longer announced
	Changes   Effect = "changes"   // its addresses are others, more or fewer
	Moves     Effect = "moves"     // its addresses stay, and other nodes announce them
	Gains     Effect = "gains"     // it had no address, and gets one
	Announced Effect = "announced" // its addresses stay, and one that was not announced is now
	Refused   Effect = "refused"   // it is new, and gets no address
	Vanishes  Effect = "vanishes"  // it had an address, and is deleted or of another type or class
	Unchanged Effect = ""          // no change
)

// Difference is how one Service changes between two Snapshots.
type Difference struct {
	Service       ipam.Key
	Effect        Effect
	Before, After ServiceState
	Reason        string // why an address is lost, moved or not announced; may be empty
}

// ServiceState is the addresses of a Service and who announces them.
type ServiceState struct {
	Addrs []netip.Addr
	Owner []string   // which node answers for each address on the local network; "": none
	BGP   [][]string // which nodes advertise each address
}

// Compare returns how each Service changes from t to after, by name. Services that do
// not change are left out.
func (t *Evaluation) Compare(after *Evaluation) []Difference {
	announcedBefore, announcedAfter := t.Announcements(t.Granted()), after.Announcements(after.Granted())
	all := maps.Clone(t.index)
	maps.Copy(all, after.index)
	for _, x := range slices.Concat(t.Externals, after.Externals) {
		all[x.Service] = 0
	}
	var out []Difference
	for _, k := range slices.SortedFunc(maps.Keys(all), ipam.Key.Compare) {
		d := Difference{Service: k, Before: t.stateOf(k, announcedBefore), After: after.stateOf(k, announcedAfter)}
		was, is := t.concerns(k), after.concerns(k)
		if d.Effect = d.effect(was, is); d.Effect != Unchanged {
			d.Reason = after.reason(d, announcedAfter)
			out = append(out, d)
		}
	}
	return out
}

func (t *Evaluation) stateOf(k ipam.Key, announced Announcements) ServiceState {
	s := ServiceState{Addrs: t.Grant(k).Addrs}
	if svc := t.Service(k); svc != nil {
		s.Addrs = slices.Concat(s.Addrs, t.Checked.Externals(svc))
	}
	if of := announced.Of[k]; of != nil {
		for _, a := range s.Addrs {
			s.Owner, s.BGP = append(s.Owner, of.Owner[a]), append(s.BGP, of.Offers[a])
		}
	}
	return s
}

// concerns reports whether the Service k is ours, or has addresses in spec.externalIPs of a pool
// that announces such.
func (t *Evaluation) concerns(k ipam.Key) bool {
	_, ours := t.index[k]
	return ours || len(t.ExternalsOf(k)) > 0
}

// effect classifies the change of a Service that this load balancer served before
// (was) or serves now (is).
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
	case after.notAnnouncedCount() > before.notAnnouncedCount():
		return Withdrawn
	case after.notAnnouncedCount() < before.notAnnouncedCount():
		return Announced
	case !slices.Equal(before.Owner, after.Owner) || !slices.EqualFunc(before.BGP, after.BGP, slices.Equal):
		return Moves
	}
	return Unchanged
}

// notAnnouncedCount counts the addresses that no node announces.
func (s ServiceState) notAnnouncedCount() (n int) {
	for i := range s.Addrs {
		if s.Owner[i] == "" && len(s.BGP[i]) == 0 {
			n++
		}
	}
	return n
}

// reason explains an effect that is not what the user asked for; "": it is.
func (t *Evaluation) reason(d Difference, announced Announcements) string {
	g := t.Grant(d.Service)
	switch externals := t.ExternalsOf(d.Service); {
	case (d.Effect == Loses || d.Effect == Refused) && g.Reason == "" && len(externals) > 0:
		return fmt.Sprintf("%s: %s: %s", ExternalIPRefused, externals[0].Addr, externals[0].Refused)
	case d.Effect == Loses || d.Effect == Refused:
		return fmt.Sprintf("%s: %s", g.Reason, g.Message)
	case d.Effect == Vanishes:
		if svc := t.Service(d.Service); svc != nil {
			return t.notOurs(svc)
		}
		return "it is deleted"
	case d.After.notAnnouncedCount() > 0:
		return t.noNodeAnnounces() + " it: " + announced.Of[d.Service].WhyNotAnnounced()
	}
	return g.Moved
}

// ValidationChanges returns a sentence for each configuration object whose validation
// differs in after.
func (t *Evaluation) ValidationChanges(after *Evaluation) []string {
	all := maps.Clone(t.Checked.Validations)
	maps.Copy(all, after.Checked.Validations)
	var out []string
	for ref := range all {
		before, now := t.Checked.Validations[ref], after.Checked.Validations[ref]
		_, is := after.Checked.Validations[ref]
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

// Text describes the state in a few words, for a table.
func (s ServiceState) Text() string {
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
