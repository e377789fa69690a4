package failover

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// takeover is an address that this node took over, and whose L2Claim does not say
// so yet.
type takeover struct {
	from string // the node that the L2Claim named then; empty: none
	// unconfirmed: the API server was out of reach since. Then from may have been
	// alive and well in another half of the network: this node probes once more
	// before it writes its own name over it.
	unconfirmed bool
}

// take leaves out of the plan what this node may not begin to answer for yet.
func (p *pass) take() {
	p.Unconfirmed, p.Claimed = map[netip.Addr]bool{}, make(map[netip.Addr]bool, len(p.Plan.Claims))
	p.recordFormer()
	p.dead = p.findDead()
	p.observeDeaths()
	all := len(p.Plan.Claims)
	if !p.mayAnswer() { // while cut off or stalled, missing answers prove nothing
		p.probes.after = p.Now
		p.Plan.Claims = nil
		p.recordTakeovers()
		p.withheld = all > 0
		return
	}
	var unknown []announce.Claim
	p.Plan.Claims = slices.DeleteFunc(p.Plan.Claims, func(c announce.Claim) bool {
		if p.last.Claimed[c.Addr] {
			return false
		}
		switch p.mayTake(c.Addr) {
		case yes:
			return false
		case no:
			return true
		}
		if p.free(c.Addr, p.upLinks(c.Links)) {
			return false
		}
		unknown = append(unknown, c)
		return true
	})
	p.recordTakeovers()
	p.confirm()
	p.Probe = p.requests(unknown)
	p.withheld = len(p.Plan.Claims) < all
}

// permission says whether this node may begin to answer for an address.
type permission uint8

const (
	no permission = iota
	yes
	ifProbeFindsNoHost // if a probe finds that no host has it
)

// mayTake says whether this node may begin to answer for an address that the plan
// gives it. In order:
//
//   - Stalled: no.
//   - Its owner is dead, or its link in the address's segment is, and this node never found it
//     alive: no, until its Lease says that it is alive, or has expired.
//   - Its owner is dead otherwise, or its link, and this node has missed nothing: yes, with
//     or without the API server. If the owner was alive by its Lease before
//     the API server was out of reach, or was last heard before this node was Synced: if a probe
//     finds no host. Another node may have taken the address over and not yet recorded that
//     in the L2Claim.
//   - Its owner is not known to be alive: only once this node knows the others. Then yes
//     if there is no owner, or its Node is deleted. If only its Lease has expired: if a
//     probe finds no host.
//   - Its owner is alive, and kube-proxy here does not send to the endpoint yet for which this
//     node is to have it: no. The owner goes on answering meanwhile (handover).
//   - The API server is heard, and nothing was missed: yes. A living owner gives
//     it up to this node. If this node had it before it started, or before it missed anything:
//     unless a probe finds another node. That one may have taken the address over and not yet recorded that in the L2Claim.
//   - The cache may be outdated, and this node was Synced once: if a probe finds no host.
//   - This node was never Synced: no.
func (p *pass) mayTake(a netip.Addr) permission {
	owner := p.Owners[a]
	what, dead := p.deadFor(a, owner)
	switch {
	case p.Phase == Stalled:
		return no
	case dead && p.undecided(what):
		return no
	case dead && p.mayHaveAnotherOwner(a, what):
		return ifProbeFindsNoHost
	case dead && !p.missed(a):
		return yes
	case !dead && owner != p.Node && !p.Alive[owner]:
		return p.mayTakeExpired(owner)
	case p.API.Reachable && !p.missed(a):
		return p.mayTakeBack(a)
	case p.API.WasSynced:
		return ifProbeFindsNoHost
	}
	return no
}

// arrives reports whether kube-proxy does not send yet to the endpoints on this node of a
// Service with externalTrafficPolicy Local that has the address.
func (p *pass) arrives(a netip.Addr) bool {
	if p.arriving == nil {
		p.arriving = map[netip.Addr]bool{}
		for i := range p.Cluster.Services {
			if svc := &p.Cluster.Services[i]; svc.Local && svc.EndpointState == announce.Arriving {
				for _, x := range svc.Addrs {
					p.arriving[x.Addr] = true
				}
			}
		}
	}
	return p.arriving[a]
}

// mayHaveAnotherOwner reports whether an address of a node, or a link, that is dead may have another
// owner, which the L2Claim does not name:
//
//   - it was lost, or last heard by this node, while this node missed what others did;
//   - others that were lost did something meanwhile that they could not write;
//   - it was alive by its Lease.
//
// Or it has the address still: this node hears it.
func (p *pass) mayHaveAnotherOwner(a netip.Addr, dead nodeOrLink) bool {
	return p.mayBeAcrossPartition(dead) || p.hearsLost(dead) || !p.missed(a) && (p.Phase == Starting || p.returnedUnwritten() || p.lastHeardBefore(dead, p.syncedAt))
}

// writeTime is how long a speaker needs to write what it took over.
const writeTime = 5 * time.Second

// returnedUnwritten reports whether a node, or a link, that was lost came back so late before the
// API server went away, or after, that what it did meanwhile could not be written.
func (p *pass) returnedUnwritten() bool {
	return !p.API.Reachable && !p.lastReturn.IsZero() && p.lastReturn.After(p.reachableAt.Add(-writeTime))
}

// mayTakeExpired is mayTake for an owner whose Lease alone has expired. A Node that was
// deleted is gone on purpose, and a new address has no owner: for these nothing waits.
func (p *pass) mayTakeExpired(owner string) permission {
	_, there := p.Alive[owner]
	switch {
	case !p.API.Synced:
		return no
	case !there:
		return yes
	}
	return ifProbeFindsNoHost
}

// mayTakeBack is mayTake for what a living node gives up, or the L2Claim gives this node. A foreign host that answers
// does not keep this node from it: that is a conflict, which package layer2 reports. Nor does the
// node that answers according to the L2Claim: it hands the address over to this one.
func (p *pass) mayTakeBack(a netip.Addr) permission {
	if owner := p.Owners[a]; owner != p.Node && p.Alive[owner] && p.arrives(a) {
		return no
	}
	if node, asked := p.probeFound(a); !p.former[a] || asked && (node == "" || node == p.answering[a]) {
		return yes
	}
	return ifProbeFindsNoHost
}

// recordFormer records which addresses this node had before it started, or before it missed what
// others decided. Where there is no other speaker, no other node can have taken them over.
func (p *pass) recordFormer() {
	first := p.former == nil
	if first {
		p.former = map[netip.Addr]bool{}
	}
	if first || p.Phase.missed() {
		for a, owner := range p.Owners {
			if owner == p.Node && len(p.Speakers) > 1 {
				p.former[a] = true
			}
		}
	}
	maps.DeleteFunc(p.former, func(a netip.Addr, _ bool) bool { return p.Owners[a] != p.Node || p.last.Claimed[a] })
}

// asksForFormer reports whether this node has not found out yet who has an address that it
// had before it started.
func (p *pass) asksForFormer() bool {
	for a := range p.former {
		if _, probes := p.Probe[a]; probes {
			if _, asked := p.result(a); !asked {
				return true
			}
		}
	}
	return false
}

// recordTakeovers records what this node answers for now, and did not before.
func (p *pass) recordTakeovers() {
	for _, c := range p.Plan.Claims {
		p.Claimed[c.Addr] = true
		owner := p.Owners[c.Addr]
		if p.last.Claimed[c.Addr] || owner == p.Node {
			continue
		}
		p.unwritten[c.Addr] = takeover{from: owner}
		if owner != "" {
			p.Events = append(p.Events, Event{Kind: AddressTakenOver, Addr: c.Addr, From: owner})
		}
	}
	maps.DeleteFunc(p.unwritten, func(a netip.Addr, t takeover) bool { return !p.Claimed[a] || p.Owners[a] != t.from })
}

// confirm marks the addresses whose takeover must not be written into the L2Claim
// yet: those that were taken over without the API server, until a probe finds that
// the former owner does not have them, and it can't be alive by its Lease; and those over
// which another node wrote its name.
func (p *pass) confirm() {
	for a := range p.writers {
		p.Unconfirmed[a] = true
	}
	for a, t := range p.unwritten {
		other, asked := p.probeFound(a)
		switch {
		case !p.API.Reachable:
			t.unconfirmed = t.unconfirmed || t.from != ""
		case asked && other != t.from && !p.ownerMayBeAcrossPartition(a, t.from):
			t.unconfirmed = false
		}
		p.unwritten[a] = t
		if t.unconfirmed {
			p.Unconfirmed[a] = true
		}
	}
}
