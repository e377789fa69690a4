package static

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

const (
	// Heartbeat is what failover counts silence by: a speaker whose reports are missing for Misses
	// of these has expired. Reports come several times as often.
	Heartbeat = 500 * time.Millisecond
	// Misses is how many heartbeats a speaker may miss.
	Misses = 3
	// heard is for how long a report counts as heard. It is shorter than what makes a speaker expire,
	// so that a speaker knows first that it is cut off.
	heard = (Misses-1)*Heartbeat + Heartbeat/2
	// alone is how long a speaker waits for others after its start, until it goes on without those
	// that no speaker has heard: perhaps they do not exist yet.
	alone = 3 * time.Second
)

// pool is the name of the pool of all addresses, and of the advertisements.
const pool = "static"

// Report is what a speaker tells the others.
type Report struct {
	Ready    bool                `json:"ready,omitempty"`    // the API server on its node answers
	Isolated bool                `json:"isolated,omitempty"` // it reaches no other speaker on the wire
	Links    []announce.Link     `json:"links,omitempty"`
	Owners   map[netip.Addr]Held `json:"owners,omitempty"`  // that it knows
	Answers  []netip.Addr        `json:"answers,omitempty"` // what it answers for, sorted
	Hears    []string            `json:"hears,omitempty"`   // whose reports reach it, sorted
	Lost     []string            `json:"lost,omitempty"`    // whose reports reached it since it started, and do not now, sorted
}

// Held is the owner of an address, as an L2Claim says it. The greatest Term counts.
type Held struct {
	Node string `json:"node"`
	Term uint64 `json:"term"` // how often the address has got another owner
}

// supersedes reports whether h counts instead of o. Of two that got the same term in two halves of a
// network the first by name counts, on all nodes.
func (h Held) supersedes(o Held) bool {
	return cmp.Or(cmp.Compare(h.Term, o.Term), cmp.Compare(o.Node, h.Node)) > 0
}

// Received is a report and when it was received last.
type Received struct {
	Report
	At time.Time
}

// Local is what a speaker observes itself.
type Local struct {
	Ready    bool
	Isolated bool
	Links    []announce.Link
}

// Registry is what a speaker knows from all reports, its own among them. Most of the nodes that the
// file lists, and that exist, stand in for the API server: while this node and they hear each other, it
// knows what they do. It reads no clock, and has no lock. Make one with NewRegistry.
type Registry struct {
	self    string
	started time.Time
	from    time.Time           // reports from before do not count
	since   time.Time           // since when this node hears most; zero: it does not
	synced  bool                // it heard most for long enough once
	owners  map[netip.Addr]Held //
	answers []netip.Addr
	claimed map[netip.Addr]time.Time // since when this node has answered for what others own by owners
	reports map[string]Received      // of each node of the file that was ever heard, this one too
}

// NewRegistry returns the registry of a speaker that starts now.
func NewRegistry(self string, now time.Time) *Registry {
	return &Registry{self: self, started: now, owners: map[netip.Addr]Held{}, claimed: map[netip.Addr]time.Time{}, reports: map[string]Received{}}
}

// Restart has what was heard so far count as not heard.
func (r *Registry) Restart(now time.Time) { r.from, r.since = now, time.Time{} }

// Observe takes in what the others reported, and what this node observes.
func (r *Registry) Observe(now time.Time, c Config, others map[string]Received, own Local) {
	r.reports = map[string]Received{}
	for _, n := range c.Nodes {
		x, ok := others[n.Name]
		if !ok || n.Name == r.self {
			continue
		}
		r.reports[n.Name] = x
		for a, h := range x.Owners {
			if known := r.owners[a]; h.supersedes(known) {
				r.owners[a] = h
			}
		}
	}
	maps.DeleteFunc(r.owners, func(a netip.Addr, _ Held) bool { return !slices.Contains(c.Addrs, a) })
	r.reports[r.self] = Received{Report{Ready: own.Ready, Isolated: own.Isolated, Links: own.Links, Owners: r.owners, Answers: r.answers}, now}
	switch {
	case !r.reachesMost(now, c):
		r.since = time.Time{}
	case r.since.IsZero():
		r.since = now
	}
	r.synced = r.synced || r.isSynced(now)
}

// reachesMost reports whether most members, this node one of them, hear each other and this one.
func (r *Registry) reachesMost(now time.Time, c Config) bool {
	return r.most(now, c, func(x Received) bool { return r.hears(now, x) })
}

// most reports whether most members, this node one of them, have sent a report that counts, and hear this one.
func (r *Registry) most(now time.Time, c Config, counts func(Received) bool) bool {
	n := 1
	for name, x := range r.reports {
		if name != r.self && counts(x) && slices.Contains(x.Hears, r.self) {
			n++
		}
	}
	return 2*n > r.members(now, c)
}

// members returns of how many nodes most count: all of the file; or, once this speaker has waited for them, those
// that it has heard since it started, and those that these have.
func (r *Registry) members(now time.Time, c Config) int {
	if now.Sub(r.started) < alone {
		return len(c.Nodes)
	}
	known := map[string]bool{r.self: true}
	for name, x := range r.reports {
		for _, n := range slices.Concat([]string{name}, x.Hears, x.Lost) {
			known[n] = true
		}
	}
	n := 0
	for _, node := range c.Nodes {
		if known[node.Name] {
			n++
		}
	}
	return n
}

// hears reports whether a report counts as heard.
func (r *Registry) hears(now time.Time, x Received) bool {
	return now.Sub(x.At) < heard && !x.At.Before(r.from)
}

func (r *Registry) isSynced(now time.Time) bool {
	return !r.since.IsZero() && now.Sub(r.since) >= Misses*Heartbeat
}

// Known reports whether this node has found out enough to decide anything: it heard all others, or,
// for long enough after its start, most of them, or none. Of a node that it has not heard it knows neither
// the links nor whether the API server there is ready.
func (r *Registry) Known(now time.Time, c Config) bool {
	waited := now.Sub(r.started) >= Misses*Heartbeat
	return r.synced || !r.since.IsZero() && (waited || len(r.reports) == len(c.Nodes))
}

// Report returns what to tell the others.
func (r *Registry) Report(now time.Time) ([]byte, error) {
	own := r.reports[r.self].Report
	own.Owners, own.Answers, own.Hears, own.Lost = r.owners, r.answers, nil, nil
	for _, name := range slices.Sorted(maps.Keys(r.reports)) {
		switch {
		case name == r.self:
		case r.hears(now, r.reports[name]):
			own.Hears = append(own.Hears, name)
		default:
			own.Lost = append(own.Lost, name)
		}
	}
	return json.Marshal(own)
}

// Record takes in what this node answers for now: it becomes the owner of that, unless out has it
// unconfirmed, as other speakers write it into L2Claims. Most nodes must have reported since: this
// one may be cut off and not know it yet.
func (r *Registry) Record(now time.Time, c Config, out failover.Output) {
	r.answers = nil
	before := r.claimed
	r.claimed = map[netip.Addr]time.Time{}
	for _, claim := range out.Plan.Claims {
		a := claim.Addr
		r.answers = append(r.answers, a)
		h := r.owners[a]
		if h.Node == r.self {
			continue
		}
		since, known := before[a]
		if !known {
			since = now
		}
		r.claimed[a] = since
		confirmed := r.most(now, c, func(x Received) bool { return x.At.After(since) })
		if confirmed && h.Node == out.Owners[a] && !out.Unconfirmed[a] {
			r.owners[a] = Held{r.self, h.Term + 1}
		}
	}
}

// API returns how well the others are heard, in terms of the API server.
func (r *Registry) API(now time.Time) failover.API {
	return failover.API{Reachable: !r.since.IsZero(), Synced: r.isSynced(now), WasSynced: r.synced}
}

// Facts returns what otherwise Kubernetes says: all but what is observed on the wire.
func (r *Registry) Facts(now time.Time, c Config) failover.Facts {
	f := failover.Facts{
		Now: now, Cluster: r.snapshot(c), Speakers: map[string]bool{}, Isolated: map[string]bool{}, MACs: map[[6]byte]string{}, Leases: map[string]failover.Lease{},
		API: r.API(now),
	}
	for _, n := range c.Nodes {
		x, ever := r.reports[n.Name]
		f.Leases[n.Name] = failover.Lease{Renewed: x.At, Expired: now.Sub(x.At) >= Misses*Heartbeat && now.Sub(r.started) >= Misses*Heartbeat}
		if !ever {
			continue
		}
		f.Speakers[n.Name] = true
		if x.Isolated {
			f.Isolated[n.Name] = true
		}
		for _, l := range x.Links {
			if l.MAC != [6]byte{} {
				f.MACs[l.MAC] = n.Name
			}
		}
	}
	for _, a := range c.Addrs {
		if h, ok := r.owners[a]; ok {
			f.Claims = append(f.Claims, failover.Claim{HeldClaim: announce.HeldClaim{Addr: a, Node: h.Node}, Answering: r.answering(a, h.Node)})
		}
	}
	return f
}

// answering returns the node that says that it answers for an address: the owner, if it does.
func (r *Registry) answering(a netip.Addr, owner string) string {
	if slices.Contains(r.reports[owner].Answers, a) {
		return owner
	}
	for _, name := range slices.Sorted(maps.Keys(r.reports)) {
		if slices.Contains(r.reports[name].Answers, a) {
			return name
		}
	}
	return ""
}

// snapshot returns the cluster: one Service with all addresses, whose endpoints are the API servers,
// as with externalTrafficPolicy Local.
func (r *Registry) snapshot(c Config) announce.Snapshot {
	s := announce.Snapshot{Self: r.self}
	svc := announce.Service{Key: ipam.Key{Name: "kubernetes"}, Local: true, ReadyOn4: map[string]bool{}}
	for _, a := range c.Addrs {
		svc.Addrs = append(svc.Addrs, announce.Address{Addr: a, Pool: pool, Bits: a.BitLen()})
	}
	for _, n := range c.Nodes {
		x := r.reports[n.Name]
		node := announce.Node{Name: n.Name, Links: x.Links, Addr: n.Addr}
		if n.Addr.Is6() {
			node.AddrV6 = n.Addr
		}
		s.Nodes = append(s.Nodes, node)
		if x.Ready {
			svc.ReadyOn4[n.Name] = true
		}
	}
	svc.ReadyOn6 = svc.ReadyOn4
	s.Services = []announce.Service{svc}
	if len(c.Routers) == 0 {
		s.L2 = []announce.L2Advertisement{{Name: pool, Links: announce.Links{Only: c.Links}}}
		return s
	}
	s.BGP = []announce.BGPAdvertisement{{Name: pool, Length4: 32, Length6: 128}}
	for _, p := range c.Routers {
		s.Neighbors = append(s.Neighbors, announce.Neighbor{Peer: p})
	}
	return s
}
