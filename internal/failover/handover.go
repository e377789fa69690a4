package failover

import (
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// handoverTimeout is for how long a node goes on answering for an address that
// another one is to have, if that one does not say that it answers.
const handoverTimeout = 2 * time.Second

// handover is an address on its way to another node.
type handover struct {
	since time.Time
	links announce.Links
}

// addProxies sets what this node answers for without announcing it: in the place of
// nodes that restart, and until handovers are done.
func (p *pass) addProxies() {
	if !p.mayAnswer() {
		clear(p.handovers)
		return
	}
	p.Proxy = append(slices.Clone(p.Plan.Backups), p.inHandover()...)
}

// proxyReplies returns the own links that an address is still answered for on.
func (p *pass) proxyReplies(h handover) (out []announce.ProxyReply) {
	for _, l := range p.ownLinks() {
		if l.Up && h.links.Selects(l) {
			out = append(out, announce.ProxyReply{Link: l.Name, MAC: l.MAC})
		}
	}
	return out
}

// inHandover returns claims on the addresses in handover to nodes that do not report yet that
// they answer (make before break).
func (p *pass) inHandover() []announce.Claim {
	for _, c := range p.last.Plan.Claims {
		if _, known := p.handovers[c.Addr]; !known && !p.Claimed[c.Addr] {
			p.handovers[c.Addr] = handover{p.Now, c.Links}
		}
	}
	if len(p.handovers) == 0 {
		return nil
	}
	successors := map[netip.Addr]string{}
	for _, v := range p.Plan.Results {
		for _, o := range v.Layer2 {
			successors[o.Addr] = o.Owner
		}
	}
	var out []announce.Claim
	for a, h := range p.handovers {
		to := successors[a]
		answers := p.answering[a] == to || p.opponents[a].Node == to // its L2Claim says so, or it was heard
		if to == "" || to == p.Node || !p.Alive[to] || answers || p.Now.Sub(h.since) > handoverTimeout {
			delete(p.handovers, a)
			continue
		}
		if as := p.proxyReplies(h); len(as) > 0 {
			out = append(out, announce.Claim{Addr: a, ProxyReplies: as})
		}
	}
	slices.SortFunc(out, func(a, b announce.Claim) int { return a.Addr.Compare(b.Addr) })
	return out
}
