// Package overview renders a page that shows what Steelyard does and what needs
// attention: pools, layer-2 addresses, BGP sessions, speakers, Services.
//
// It decides nothing. It shows only what the objects report of themselves, so every
// replica of the controller shows the same. It shows nothing of Secrets.
package overview

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/health"
)

// Objects is what the page is made of. It is not changed.
type Objects struct {
	Pools  []v1beta1.IPAddressPool
	Others []Configured // configuration objects of all other kinds
	health.Objects
	Services []*corev1.Service // those that Steelyard serves
	// Away is why the Leases could not be read from the API server; "": they could.
	Away string
}

// Configured is the conditions of a configuration object.
type Configured struct {
	Kind, Name string
	Conditions []metav1.Condition
}

// Scene is the replica that shows the page, and how.
type Scene struct {
	Replica string
	Leads   bool          // this replica assigns addresses
	Refresh time.Duration // how often the page reloads itself; 0: never
}

// most is how many rows of a table are shown, so that the page stays small enough for
// a browser.
const most = 300

// page is the data of the template.
type page struct {
	Scene
	Now                                 time.Time
	Style                               any
	Summary                             string
	Problems                            table[problem]
	Pools                               table[pool]
	Claims                              table[claim]
	Sessions                            table[session]
	Speakers                            table[speaker]
	Services, Addresses, Up, Registered int
}

// table is rows, up to a maximum.
type table[T any] struct {
	Rows   []T
	Hidden int    // rows left out
	Kind   string // the resource's name for kubectl
}

func tableOf[T any](kind string, rows []T) table[T] {
	shown := min(len(rows), most)
	return table[T]{Rows: rows[:shown], Hidden: len(rows) - shown, Kind: kind}
}

// Mark is a state. Its text is shown beside its color.
type Mark struct {
	Class string // good, bad or wait
	Text  string
}

func good(text string) Mark { return Mark{"good", text} }
func bad(text string) Mark  { return Mark{"bad", text} }
func wait(text string) Mark { return Mark{"wait", text} }

// Sign returns a shape for readers who cannot tell the colors apart.
func (m Mark) Sign() string {
	switch m.Class {
	case "good":
		return "✓"
	case "bad":
		return "✗"
	}
	return "!"
}

// problem is something that needs attention.
type problem struct {
	Kind, Name string
	Mark       Mark
	Message    string
}

// claim is a layer-2 address.
type claim struct {
	Address, Node   string
	Links, Services []string
	Since           *metav1.Time
	Mark            Mark
}

// session is a BGP session.
type session struct {
	Node, Peer string
	Mark       Mark
	BFD        string
	Routes     int32
	Since      *metav1.Time
	Error      string
}

// speaker is a node's speaker.
type speaker struct {
	Node      string
	Mark      Mark
	Links     []string
	Addresses int32
	Up, Total int32 // sessions
	Version   string
	Since     *metav1.Time
}

// pageOf returns the page for o.
func pageOf(o Objects, scene Scene) page {
	p := page{Scene: scene, Now: o.Now, Services: len(o.Services)}
	p.Pools = poolsOf(o.Pools)
	p.Claims = claimsOf(&o)
	p.Sessions = sessionsOf(&o)
	p.Speakers = speakersOf(&o)
	p.Problems = problemsOf(&o)
	for _, svc := range o.Services {
		p.Addresses += len(svc.Status.LoadBalancer.Ingress)
	}
	for i := range o.Sessions {
		p.Registered++
		if o.Up(&o.Sessions[i].Status) {
			p.Up++
		}
	}
	return p
}

func claimsOf(o *Objects) table[claim] {
	sorted := make([]*v1beta1.L2Claim, len(o.Claims))
	for i := range o.Claims {
		sorted[i] = &o.Claims[i]
	}
	slices.SortFunc(sorted, func(a, b *v1beta1.L2Claim) int {
		return byAddress(string(a.Spec.Address), string(b.Spec.Address))
	})
	rows, states := make([]claim, len(sorted)), map[string]health.PresenceState{}
	for i, c := range sorted {
		state, known := states[c.Status.Node]
		if !known {
			state = o.Presence(c.Status.Node).State
			states[c.Status.Node] = state
		}
		rows[i] = claim{
			Address: string(c.Spec.Address), Node: c.Spec.Node, Services: c.Status.Services, Since: c.Status.Since, Mark: markOfClaim(c, state),
		}
		for _, l := range c.Status.Links {
			rows[i].Links = append(rows[i].Links, l.Name)
		}
	}
	return tableOf("l2claims.steelyard.dev", rows)
}

// markOfClaim returns the state of an address, whose node's speaker is in that state.
func markOfClaim(c *v1beta1.L2Claim, speaker health.PresenceState) Mark {
	switch {
	case meta.IsStatusConditionTrue(c.Status.Conditions, v1beta1.ConditionConflict):
		return bad("Conflict")
	case speaker == health.Unknown:
		return wait("Unknown")
	case speaker == health.Alive && meta.IsStatusConditionTrue(c.Status.Conditions, v1beta1.ConditionAnnounced):
		return good("Announced")
	}
	return wait("Not announced")
}

// byAddress sorts addresses: IPv4 first, and invalid ones last.
func byAddress(a, b string) int {
	x, err1 := netip.ParseAddr(a)
	y, err2 := netip.ParseAddr(b)
	if err1 != nil || err2 != nil {
		return cmp.Or(cmp.Compare(fmt.Sprint(err1 != nil), fmt.Sprint(err2 != nil)), strings.Compare(a, b))
	}
	return x.Compare(y)
}

func sessionsOf(o *Objects) table[session] {
	rows := make([]session, len(o.Sessions))
	for i, s := range o.Sessions {
		rows[i] = session{
			Node: s.Status.Node, Peer: s.Status.Peer, BFD: s.Status.BFD, Since: s.Status.Since, Error: s.Status.LastError,
			Mark: bad(cmp.Or(s.Status.State, "Unknown")),
		}
		switch {
		case o.Outdated(s.Status.Node):
			rows[i].Mark = wait("Unknown")
			if s.Status.State != v1beta1.SessionUnknown { // the controller is about to write so
				rows[i].Error = "the node's speaker is not heard of; what it said last was " + cmp.Or(s.Status.State, "nothing")
			}
		case o.Up(&s.Status):
			rows[i].Mark = good(s.Status.State)
		}
		if s.Status.Prefixes != nil {
			rows[i].Routes = s.Status.Prefixes.Advertised
		}
	}
	slices.SortFunc(rows, func(a, b session) int {
		return cmp.Or(strings.Compare(a.Peer, b.Peer), strings.Compare(a.Node, b.Node))
	})
	return tableOf("bgpsessions", rows)
}

func speakersOf(o *Objects) table[speaker] {
	rows := make([]speaker, len(o.Speakers))
	for i := range o.Speakers {
		s := &o.Speakers[i]
		rows[i] = speaker{Node: s.Name, Mark: markOfSpeaker(s, o.Presence(s.Name).State), Addresses: s.Status.Addresses, Version: s.Status.Version, Since: s.Status.Since}
		if n := s.Status.Sessions; n != nil {
			rows[i].Up, rows[i].Total = n.Established, n.Total
		}
		for _, l := range s.Status.Links {
			name := l.Name
			if !l.Up {
				name += " (down)"
			}
			rows[i].Links = append(rows[i].Links, name)
		}
	}
	slices.SortFunc(rows, func(a, b speaker) int { return strings.Compare(a.Node, b.Node) })
	return tableOf("speakers", rows)
}

func markOfSpeaker(s *v1beta1.Speaker, state health.PresenceState) Mark {
	is := func(condition string) bool { return meta.IsStatusConditionTrue(s.Status.Conditions, condition) }
	switch {
	case state != health.Alive:
		return bad(string(state))
	case is(v1beta1.ConditionRestarting):
		return wait("Restarting")
	case is(v1beta1.ConditionReady):
		return good("Ready")
	}
	return wait("Not ready yet")
}
