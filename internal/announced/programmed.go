package announced

import (
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// Programmed is what each advertisement has speakers announce at this moment.
type Programmed map[intent.Ref]v1beta1.AdvertisementCount

// programs counts what advertisements have speakers announce.
type programs struct {
	addrs map[intent.Ref]map[netip.Addr]bool
	nodes map[intent.Ref]map[string]bool
}

func (p *programs) add(ad intent.Ref, a netip.Addr, nodes ...string) {
	if len(nodes) == 0 {
		return
	}
	if p.addrs[ad] == nil {
		p.addrs[ad], p.nodes[ad] = map[netip.Addr]bool{}, map[string]bool{}
	}
	p.addrs[ad][a] = true
	for _, n := range nodes {
		p.nodes[ad][n] = true
	}
}

// program counts an address of svc, whose claim is answered for by a node in that state.
func (j *judge) program(svc *announce.Service, a announce.Address) {
	claim := j.claims[a.Addr]
	if state, said := j.answers(claim); said && state == health.Alive {
		for _, ad := range j.forecast.AnsweredBy(svc, a, claim.Spec.Node) {
			j.programs.add(intent.Ref{Kind: "L2Advertisement", Name: ad}, a.Addr, claim.Spec.Node)
		}
	}
	for ad, nodes := range j.forecast.OfferedBy(svc, a, j.established) {
		j.programs.add(intent.Ref{Kind: "BGPAdvertisement", Name: ad}, a.Addr, nodes...)
	}
}

func (j *judge) established(node, peer string) bool {
	x := j.sessions[session{node, peer}]
	return x != nil && x.State == health.Established
}

// programmed returns the counts of all advertisements of the snapshot.
func (j *judge) programmed() Programmed {
	out := Programmed{}
	count := func(ad intent.Ref) {
		out[ad] = v1beta1.AdvertisementCount{Addresses: int32(len(j.programs.addrs[ad])), Nodes: int32(len(j.programs.nodes[ad]))}
	}
	for i := range j.s.L2 {
		count(intent.Ref{Kind: "L2Advertisement", Name: j.s.L2[i].Name})
	}
	for i := range j.s.BGP {
		count(intent.Ref{Kind: "BGPAdvertisement", Name: j.s.BGP[i].Name})
	}
	return out
}

const (
	// countStood is how long a count must have stood until it is written, and countMost how
	// long one that goes on changing waits at most.
	countStood = time.Second
	countMost  = 10 * time.Second
)

// CountSettler remembers since when the counts of advertisements differ from what their statuses
// say, so that a burst of addresses costs few writes. The zero CountSettler is ready for use.
type CountSettler map[intent.Ref]unshown

// unshown is a count that a status does not show.
type unshown struct {
	now          v1beta1.AdvertisementCount
	since, stood time.Time                   // when any first differed, and since when this one has stood
	due          *v1beta1.AdvertisementCount // what is to be written; nil: nothing yet
}

// Due returns the counts that are to be written, where statuses show those in shown, and when
// others may be if nothing happens; 0: none are.
func (c *CountSettler) Due(now time.Time, shown map[intent.Ref]*v1beta1.AdvertisementCount, p Programmed) (Programmed, time.Duration) {
	before, due, again := *c, Programmed{}, time.Duration(0)
	*c = CountSettler{}
	for ad, is := range p {
		says, there := shown[ad]
		if !there || says != nil && *says == is {
			continue
		}
		x, known := before[ad]
		if !known {
			x.since = now
		}
		if !known || x.now != is {
			x.now, x.stood = is, now
		}
		if wait := min(x.stood.Add(countStood).Sub(now), x.since.Add(countMost).Sub(now)); wait <= 0 {
			x.due, x.since = &is, now
		} else if again == 0 || wait < again {
			again = wait
		}
		if x.due != nil && (says == nil || *says != *x.due) {
			due[ad] = *x.due
		}
		(*c)[ad] = x
	}
	return due, again
}
