package simulation

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
)

// node is a machine that is a node of the cluster. Faults may overlap: each flag
// counts how many hold at present.
type node struct {
	host
	place   int // among the nodes
	name    string
	addr    netip.Addr
	mac     [6]byte
	subnet  int
	there   bool          // it is part of the cluster: there is a Node object
	skew    time.Duration // of its wall clock
	speaker *speaker      // nil: not running

	pulled   time.Time     // when the cable last was
	woke     time.Time     // when the speaker last went on that had stood still for a second
	stopped  int           // the kubelet does not start the speaker
	frozen   int           // the speaker stands still
	excluded int           // by a label
	behind   time.Duration // of the speaker's watches

	claimsBehind time.Duration // of its watch of L2Claims, exactly
}

// host is something with a cable to the local network.
type host struct {
	off       int // the machine is switched off
	suspended int // the whole machine stands still
	unplugged int // there is no carrier
	mute      int // nothing that it sends gets anywhere
	noReceive int // nothing gets to it
}

func (h *host) alive() bool    { return h.off == 0 && h.suspended == 0 }
func (h *host) sends() bool    { return h.alive() && h.unplugged == 0 && h.mute == 0 }
func (h *host) receives() bool { return h.alive() && h.unplugged == 0 && h.noReceive == 0 }

func (n *node) prefix() netip.Prefix { return netip.PrefixFrom(n.addr, 24).Masked() }

// link is the node's only link for layer 2, as its Speaker reports it.
func (n *node) link(up bool) announce.Link {
	return announce.Link{Name: "eth0", Up: up, MAC: n.mac, Prefixes: []netip.Prefix{n.prefix()}}
}

// lan is the local network: a segment for each subnet, with a client in it, a
// router that belongs to all, and the API server behind that.
type lan struct {
	nodes   []*node
	subnets [][]*node // the nodes of each
	others  []host    // the clients, the router, the API server
	blocked []int     // by sender and receiver, how many faults are between them
	side    []int     // by host: 1 if it is cut off from the rest
	silent  int       // the router forwards, but answers nothing for itself
}

func (l *lan) client(subnet int) int { return len(l.nodes) + subnet }
func (l *lan) router() int           { return len(l.nodes) + len(l.subnets) }
func (l *lan) server() int           { return l.router() + 1 }

func (l *lan) host(i int) *host {
	if i < len(l.nodes) {
		return &l.nodes[i].host
	}
	return &l.others[i-len(l.nodes)]
}

func newLAN(all []*node, subnets int) lan {
	l := lan{nodes: all, subnets: make([][]*node, subnets), others: make([]host, subnets+2)}
	for _, n := range all {
		l.subnets[n.subnet] = append(l.subnets[n.subnet], n)
	}
	l.side, l.blocked = make([]int, l.server()+1), make([]int, (l.server()+1)*(l.server()+1))
	return l
}

// between is how many faults are on the way from a to b.
func (l *lan) between(a, b int) *int { return &l.blocked[a*len(l.side)+b] }

// subnet returns the segment of a host; -1: it is in all.
func (l *lan) subnet(i int) int {
	switch {
	case i < len(l.nodes):
		return l.nodes[i].subnet
	case i < l.router():
		return i - len(l.nodes)
	}
	return -1
}

// passes reports whether a frame gets from a to b.
func (l *lan) passes(a, b int) bool {
	return l.host(a).sends() && l.host(b).receives() && l.side[a] == l.side[b] && *l.between(a, b) == 0
}

// reaches reports whether a packet gets from a to b, by way of the router if they
// are in different subnets.
func (l *lan) reaches(a, b int) bool {
	if x, y := l.subnet(a), l.subnet(b); x >= 0 && y >= 0 && x != y {
		return l.passes(a, l.router()) && l.passes(l.router(), b)
	}
	return l.passes(a, b)
}

// talk reports whether packets pass both ways.
func (l *lan) talk(a, b int) bool { return l.reaches(a, b) && l.reaches(b, a) }

func newNode(place int, h History) *node {
	subnet := place % h.Subnets
	n := &node{
		place: place, name: fmt.Sprint("n", place+1), subnet: subnet, there: true,
		addr: netip.AddrFrom4([4]byte{10, 0, byte(subnet), byte(place/h.Subnets%200 + 1)}),
		mac:  [6]byte{2, 0, 0, byte(subnet), byte(place >> 8), byte(place)}, // as machine reads it
	}
	if h.Rack {
		n.name, n.addr = fmt.Sprint("node", place+1), netip.AddrFrom4([4]byte{192, 0, 2, byte(place + 11)})
	}
	return n
}
