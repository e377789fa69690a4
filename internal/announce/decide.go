package announce

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// Selector reports whether an object with these labels is selected; nil selects all.
type Selector func(labels map[string]string) bool

// Selects reports whether an object with these labels is selected.
func (s Selector) Selects(labels map[string]string) bool { return s == nil || s(labels) }

// Node is a node of the cluster.
type Node struct {
	Name   string
	Labels map[string]string
	// Annotations are read for BGP peers only.
	Annotations map[string]string
	Live        bool   // its speaker is alive
	Excluded    string // why it must not announce anything; empty: it may
	Links       []Link // those that can speak layer 2
	// Yields: it announces only what no other node can, because it is unschedulable.
	Yields bool
	// Unready: kube-proxy does not forward there yet. The node keeps what it has, and takes
	// only what no other node can.
	Unready bool
	// Addr is the address at which other nodes reach it. If it is IPv4, it is the BGP
	// identifier where the peer sets none. The zero Addr: unknown.
	Addr netip.Addr
	// AddrV6 is its internal address of IPv6; the zero Addr: it has none.
	AddrV6 netip.Addr
	// Backups are the nodes that answer in the place of this one, which restarts,
	// the first that can; empty: it answers itself.
	Backups []string
}

// Link is a network interface that can speak layer 2.
type Link struct {
	Name     string
	Up       bool // set up, and with carrier
	MAC      [6]byte
	Prefixes []netip.Prefix // its subnets
	// Unnumbered: it has no address of its own. Only an advertisement that gives its exact
	// name selects it.
	Unnumbered bool
}

// Service is a Service with addresses.
type Service struct {
	Key           ipam.Key
	Labels        map[string]string
	Addrs         []Address
	Local         bool            // externalTrafficPolicy is Local: only nodes with an endpoint take traffic
	ReadyOn4      map[string]bool // nodes with an IPv4 endpoint that serves one of its ports; used if Local
	ReadyOn6      map[string]bool // the same for IPv6
	Endpoints4    map[string]int  // how many endpoints of ReadyOn4 each node has; only while a Bandwidth asks
	Endpoints6    map[string]int  // the same for IPv6
	EndpointState EndpointState   // of the endpoints on Self; used if Local, for routes only
	// No endpoint of a family serves: advertisements that withdraw then do not announce its
	// addresses. Used if not Local.
	NoEndpoints4, NoEndpoints6 bool
	// Unstable, if not empty, says that its endpoints came and went too often lately, so that
	// the same holds for a while although one serves.
	Unstable string
}

// EndpointState is a recent change of a Service's endpoints on a node. The zero value means
// none.
type EndpointState string

// The states of endpoints.
const (
	// Arriving: the node does not forward to them yet, so it advertises no routes yet.
	Arriving EndpointState = "arriving"
	// Terminating: they terminate, but still serve. The node keeps its routes while those of
	// other nodes may be on their way.
	Terminating EndpointState = "terminating"
)

// ReadyOn returns the nodes with an endpoint of a's family that serves; used if Local.
func (s *Service) ReadyOn(a netip.Addr) map[string]bool {
	if a.Is4() {
		return s.ReadyOn4
	}
	return s.ReadyOn6
}

// withdrawn returns the reason for which an advertisement that withdraws without endpoints
// does not announce a; "": it does.
func (s *Service) withdrawn(a netip.Addr) Reason {
	none := s.NoEndpoints6
	if a.Is4() {
		none = s.NoEndpoints4
	}
	switch {
	case s.Local:
		return ""
	case none || s.EndpointState == Arriving:
		return NoEndpoints
	case s.Unstable != "":
		return EndpointsUnstable
	}
	return ""
}

// routes reports whether a node may attract the Service's traffic at a.
func (s *Service) routes(node string, a netip.Addr) bool {
	switch {
	case !s.Local || s.EndpointState == Terminating:
		return true
	case s.EndpointState == Arriving:
		return false
	}
	return s.ReadyOn(a)[node]
}

// Address is an address of a Service and the pool that holds it; with Pool
// empty no pool does, and the address is not announced.
type Address struct {
	Addr netip.Addr
	Pool string
	// Bits is the length of the shortest prefix around it that has no address from outside
	// the pool: no shorter one is advertised. 0: no limit.
	Bits int
	// Node is the node whose own address it is, which alone announces it; "": any node may.
	Node string
}

// othersOwn reports whether an address that is the own one of the node owner ("": of none) is not n's.
func othersOwn(owner string, n *Node) bool { return owner != "" && owner != n.Name }

// HeldClaim is the present owner of an address on the local network.
type HeldClaim struct {
	Addr      netip.Addr
	Node      string
	NeedsDAD  bool // no node has announced it yet, or a foreign host had it when last seen
	Unwritten bool // the others do not know yet that Node has it: a node that is preferred waits
}

// Selection is what an advertisement selects. Nil fields select all.
type Selection struct {
	Pools    map[string]bool
	Nodes    Selector
	Services Selector
	// Withdraws: it does not announce an address of a Service without endpoints.
	Withdraws bool
}

// Covers reports whether an advertisement with this selection covers an address from that pool
// of a Service with these labels.
func (s Selection) Covers(pool string, labels map[string]string) bool {
	return pool != "" && (s.Pools == nil || s.Pools[pool]) && s.Services.Selects(labels)
}

// L2Advertisement has addresses announced by ARP and NDP.
type L2Advertisement struct {
	Name string
	Selection
	Links  Links
	Prefer []Preference
	// IgnoresConflicts: a foreign host that answers for an address is no reason not to announce it.
	IgnoresConflicts bool
}

// Preference adds weight to the nodes that it selects.
type Preference struct {
	Weight int
	Nodes  Selector
}

// BGPAdvertisement has addresses announced to BGP peers.
type BGPAdvertisement struct {
	Name string
	Selection
	Peers      map[string]bool // nil: all
	Length4    int             // of IPv4 prefixes
	Length6    int             // of IPv6 prefixes
	Attributes Route           // its Prefix is not used
	Bandwidth  Bandwidth       // what it is on each node; the zero Bandwidth: that of Attributes
}

// Neighbor is a configured BGP peer and the nodes that hold a session to it.
type Neighbor struct {
	Peer    Peer
	PerNode func(labels, annotations map[string]string) Peer // what Peer is on a node; nil: the same on each
	Nodes   Selector
	Created time.Time // of two peers with one address the older one has the session
}

// On returns what the peer is on a node with these labels and annotations.
func (n *Neighbor) On(labels, annotations map[string]string) Peer {
	if n.PerNode == nil {
		return n.Peer
	}
	return n.PerNode(labels, annotations)
}

// Snapshot is all that the decision depends on. Order never matters.
type Snapshot struct {
	Self      string
	Leaving   bool // if Self is excluded or yields, its routes are not withdrawn yet
	Nodes     []Node
	Services  []Service
	Claims    []HeldClaim
	L2        []L2Advertisement
	BGP       []BGPAdvertisement
	Neighbors []Neighbor
	Unusable  []UnusablePeer // for explanations only
}

// UnusablePeer is a BGPPeer to which no node holds a session, for its configuration.
type UnusablePeer struct {
	Name, Cause string
	Nodes       Selector
}

// Plan is all that the node announces. The zero Plan announces nothing.
type Plan struct {
	Claims     []Claim          // sorted by address
	Backups    []Claim          // for nodes that restart; sorted by address
	Peerings   []Peering        // sorted by the peer's name
	Superseded []Superseded     // sorted by the peer's name
	Clashes    []AttributeClash // sorted
	Results    []Result         // of each Service; sorted by Key
}

// Of returns the result for a Service; the zero Result if the snapshot did not have it.
func (p Plan) Of(key Key) Result {
	if i, ok := slices.BinarySearchFunc(p.Results, key, func(r Result, key Key) int { return r.Key.Compare(key) }); ok {
		return p.Results[i]
	}
	return Result{}
}

// Superseded is a peer to which this node holds no session because an older one has the same
// address.
type Superseded struct{ Peer, By string }

// AttributeClash is two advertisements that announce the same prefix to the same peer with different
// values of one field. The loser's value is not sent.
type AttributeClash struct{ Loser, Winner, Field string }

// Result is what this node announces for one Service, and why it announces no more.
type Result struct {
	Key    Key
	Layer2 []Ownership // of each of its addresses; sorted by address
	BGP    Reason      // Announced, or why this node offers no route
}

// Of returns the ownership of one of the Service's addresses; the zero Ownership if a is none
// of them.
func (v Result) Of(a netip.Addr) Ownership {
	for _, o := range v.Layer2 {
		if o.Addr == a {
			return o
		}
	}
	return Ownership{}
}

// Ownership is the owner of an address on the local network.
type Ownership struct {
	Addr   netip.Addr
	Pool   string // that Addr is from
	Owner  string // the node; empty if none can
	Reason Reason // of this node
}

// Reason is why a node announces an address, or does not. Its text is part of the API.
type Reason string

// The reasons, in the order of the checks. The first check that fails gives the reason.
const (
	Announced           Reason = "Announced"
	AddressOutsidePools Reason = "AddressOutsidePools" // no pool holds the address
	NotAdvertised       Reason = "NotAdvertised"       // no advertisement covers the address
	NoEndpoints         Reason = "NoEndpoints"         // the Service has none, and the advertisements withdraw then
	EndpointsUnstable   Reason = "EndpointsUnstable"   // they come and go, and the advertisements withdraw without endpoints
	NodeNotLive         Reason = "NodeNotLive"         // the node's speaker is not alive
	NodeExcluded        Reason = "NodeExcluded"        // by label, condition or taint
	NodeUnschedulable   Reason = "NodeUnschedulable"   // and another node can
	AddressOfNode       Reason = "AddressOfNode"       // the address is another node's own
	NodeNotSelected     Reason = "NodeNotSelected"     // by no advertisement that covers the address
	NoLinkUp            Reason = "NoLinkUp"            // no link that the advertisements select, and that is in the address's subnet if any of those is, is up
	NoLocalEndpoints    Reason = "NoLocalEndpoints"    // externalTrafficPolicy is Local
	NotOwner            Reason = "NotOwner"            // another node answers
	NoPeer              Reason = "NoPeer"              // the node holds no session that the advertisements select
)

// Decide returns what node s.Self announces. Equal snapshots, in any order, give equal plans.
// On one snapshot no two nodes claim the same address.
func Decide(s Snapshot) Plan {
	s = s.sorted()
	owned := s.unowned() // in the order of the Services
	var plan Plan
	if len(s.L2) > 0 {
		plan.Claims, plan.Backups = s.layer2(s.holders(), owned)
	}
	plan.Peerings, plan.Superseded = s.peerings()
	offered, clashes := s.bgp(plan.Peerings)
	plan.Clashes = clashes
	plan.Results = make([]Result, len(s.Services))
	for i := range s.Services {
		svc := &s.Services[i]
		n := len(svc.Addrs)
		own := owned[:n:n]
		if n > 1 {
			slices.SortFunc(own, func(a, b Ownership) int { return a.Addr.Compare(b.Addr) })
			own = slices.CompactFunc(own, func(a, b Ownership) bool { return a.Addr == b.Addr })
		}
		plan.Results[i] = Result{Key: svc.Key, Layer2: own, BGP: offered[i]}
		owned = owned[n:]
	}
	return plan
}

// sorted returns s with all lists sorted, so that the order of the input decides nothing.
func (s Snapshot) sorted() Snapshot {
	s.Nodes = sortedBy(s.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	s.Services = sortedBy(s.Services, func(a, b Service) int { return a.Key.Compare(b.Key) })
	s.Claims = sortedBy(s.Claims, func(a, b HeldClaim) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Node, b.Node), ipam.CompareBool(a.NeedsDAD, b.NeedsDAD))
	})
	s.L2 = sortedBy(s.L2, func(a, b L2Advertisement) int { return cmp.Compare(a.Name, b.Name) })
	s.BGP = sortedBy(s.BGP, func(a, b BGPAdvertisement) int { return cmp.Compare(a.Name, b.Name) })
	s.Neighbors = sortedBy(s.Neighbors, func(a, b Neighbor) int { return cmp.Compare(a.Peer.Name, b.Peer.Name) })
	return s
}

// sortedBy returns in itself if it is sorted, which is safe because it is never changed.
func sortedBy[T any](in []T, less func(a, b T) int) []T {
	if slices.IsSortedFunc(in, less) {
		return in
	}
	out := slices.Clone(in)
	slices.SortFunc(out, less)
	return out
}

// self returns the node that the plan is for; one that is not in s is not live.
func (s Snapshot) self() *Node { return s.node(s.Self) }

// node returns the node of that name; s.Nodes must be sorted. For an unknown name it returns
// a node without links.
func (s Snapshot) node(name string) *Node {
	if i, ok := s.index(name); ok {
		return &s.Nodes[i]
	}
	return &Node{Name: name}
}

// index returns the place of the node of that name, of sorted ones.
func (s Snapshot) index(name string) (int, bool) {
	return slices.BinarySearchFunc(s.Nodes, name, func(n Node, name string) int { return cmp.Compare(n.Name, name) })
}
