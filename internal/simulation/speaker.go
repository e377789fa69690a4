package simulation

import (
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/lease"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

const (
	// noticed is how long a process can stand still before others may notice.
	noticed = membership.Answers + multiplier*fast
	// rest is between two passes, at least; in a big cluster each of them takes longer, and
	// passes use at most a tenth of a core.
	rest, restForNode = 10 * time.Millisecond, 30 * time.Microsecond
	// bounce is for how long a lost carrier goes unreported.
	bounce = 100 * time.Millisecond
)

// speaker is the process of one node.
type speaker struct {
	*client
	node      *node
	instance  int
	started   time.Time
	cache     *cache // nil before all is listed
	first     group  // of the members
	second    group  // in a world with second links
	failover  *failover.State
	heartbeat *heartbeat
	peers     map[string]*node   // of the members, by name
	names     map[*node][]string // the same the other way round; a node may also be known by a former name
	others    []*node            // the same but for this one, by name
	stopping  bool
	// terminated: it was sent SIGTERM, which it does not get while it stands still.
	terminated bool
	since      time.Time // when it began to stand still
	stalls     uint64

	due       bool
	rested    time.Time
	decisions int

	entries    map[netip.Addr]*entry
	duplicates []duplicate
	prober     prober
	digest     digest
	overlay    map[string]written // L2Claims as the API server last returned them
	gone       map[int]bool       // those whose deletion the cache has seen, by UID
	plan       *failover.Output
	report     reporter
	phase      failover.Phase // that was last logged
	notes      any            // of a mutation
}

func (w *world) reachesServer(n *node) bool {
	if w.SpareNIC || w.SecondLink {
		return n.alive()
	}
	return w.lan.talk(n.place, w.lan.server())
}

// start begins the speaker of a node, if the node is on and has none.
func (w *world) start(n *node) {
	if n.speaker != nil || n.off > 0 || !n.there {
		return
	}
	w.instances++
	s := &speaker{
		client: &client{world: w, frozen: n.frozen, reach: func() bool { return w.reachesServer(n) }},
		node:   n, instance: w.instances, started: w.now, since: w.now,
		failover: failover.New(failover.Options{Node: n.name, Heartbeat: interval, Misses: intent.MissedHeartbeats}),
		peers:    map[string]*node{}, entries: map[netip.Addr]*entry{}, overlay: map[string]written{}, gone: map[int]bool{},
	}
	if w.ManyLeases {
		s.lease = intent.LeaseName(n.name)
	}
	s.heartbeat = &heartbeat{speaker: s, tracker: lease.NewTracker(n.name, interval)}
	s.report.speaker, s.prober.speaker = s, s
	s.first, s.second = s.newGroup(false), s.newGroup(true)
	n.speaker, w.rules.fresh = s, true
	w.logf("    speaker of %s starts", n.name)
	s.in(w.within(20*time.Millisecond, 200*time.Millisecond), func() {
		s.follow(s.event, func(c *cache) {
			s.cache = c
			c.behind, c.claimsBehind = n.behind, &n.claimsBehind
			s.wake()
		})
	})
}

// end ends a speaker without a word.
func (s *speaker) end() {
	if s.dead {
		return
	}
	s.dead, s.rules.fresh = true, true
	if s.node.speaker == s {
		s.node.speaker = nil
	}
	s.api.watchers = slices.DeleteFunc(s.api.watchers, func(c *cache) bool { return c.client == s.client })
}

// stop has a speaker stop as SIGTERM does.
func (s *speaker) stop() {
	s.stopping, s.rules.fresh = true, true
	clear(s.entries)
	s.first.members.Restart(s.now)
	s.second.members.Restart(s.now)
	if s.heartbeat.begun && !s.first.view().Reachable && s.plan.Join {
		s.askWithin(time.Second, func() (any, error) {
			return s.update(leases, intent.LeaseName(s.node.name), 0, leaseValue{})
		}, func(any, error) {})
	}
	s.report.reportStop()
	s.first.act()
	s.second.act()
	s.in(150*time.Millisecond, s.end)
}

// freeze has a speaker stand still.
func (s *speaker) freeze() {
	if s.frozen++; s.frozen == 1 {
		s.since = s.now
	}
}

// thaw has it go on. What came meanwhile waits for it.
func (s *speaker) thaw() {
	if s.frozen--; s.frozen > 0 || s.dead {
		return
	}
	if s.now.Sub(s.since) > noticed && !s.mutation.steady {
		s.stalls++
		s.wake()
	}
	all := s.backlog
	s.backlog = nil
	for _, do := range all {
		s.run(do)
	}
}

// event takes in an event of a watch.
func (s *speaker) event(before, after *object) {
	if after == nil && before != nil && before.kind == claims {
		s.gone[before.uid] = true
		if s.overlay[before.name].object != nil && s.overlay[before.name].uid == before.uid {
			delete(s.overlay, before.name)
		}
	}
	if before != nil && after != nil {
		switch a := after.value.(type) {
		case leaseValue:
			if a.holder == before.value.(leaseValue).holder {
				return
			}
		case claimValue:
			if a == before.value.(claimValue) {
				return
			}
		}
	}
	s.wake()
}

// wake has a pass come soon.
func (s *speaker) wake() {
	if s.due || s.cache == nil || s.stopping {
		return
	}
	s.due = true
	s.at(maxTime(s.now.Add(s.within(200*time.Microsecond, 2*time.Millisecond)), s.rested), s.pass)
}

func (s *speaker) pass() {
	s.due = false
	if s.stopping {
		return
	}
	s.rested = s.now.Add(max(rest, time.Duration(len(s.nodes))*restForNode))
	f := s.facts()
	s.mutation.facts(s, &f)
	out := s.failover.Step(f)
	s.mutation.output(s, &f, &out)
	s.apply(out)
	if !s.heartbeat.begun {
		s.heartbeat.begun = true
		s.heartbeat.tick()
	}
	if s.decisions++; out.Wake > 0 {
		decision := s.decisions
		s.in(out.Wake, func() {
			if s.decisions == decision {
				s.wake()
			}
		})
	}
}

func (s *speaker) facts() failover.Facts {
	f := failover.Facts{
		Now: s.now, Members: s.view(),
		Leases: s.heartbeat.held(), API: s.heartbeat.tracker.API(s.now), Stalls: s.stalls, Conflicts: s.conflicts(), Probes: s.prober.results(),
	}
	if s.Controllers > 0 {
		config := s.configured(&s.cache.table, false).Config
		f.Cluster.L2 = config.L2
		f.Cluster.Services = servicesOf(s.cache, func(v serviceValue) announce.Service { return config.Announced(v.Service, nil, nil) })
	} else {
		f.Cluster.L2, f.Cluster.Services = s.advertised, s.digest.announced(s)
	}
	s.digest.update(s)
	f.Speakers, f.Isolated, f.MACs, f.Cluster.Nodes = s.digest.speakers, s.digest.isolated, s.digest.macs, s.digest.nodes
	for _, o := range s.claims() {
		c := o.value.(claimValue)
		f.Claims = append(f.Claims, failover.Claim{
			HeldClaim: announce.HeldClaim{Addr: c.addr, Node: c.owner, NeedsDAD: c.answering == ""}, Answering: c.answering,
		})
	}
	return f
}

// link is the own link, as the kernel's messages say.
func (s *speaker) link() announce.Link {
	n := s.node
	bounces := n.unplugged > 0 && s.now.Before(n.pulled.Add(bounce)) && n.pulled.After(s.started)
	return n.link(n.unplugged == 0 || bounces)
}

// written is an L2Claim that the cache may not show yet.
type written struct {
	*object
	at    time.Time
	shown bool // the cache has shown some version of it
}

// saw remembers an L2Claim that the cache may not show yet; as package overlay does.
func (s *speaker) saw(o *object, shown bool) {
	old := s.overlay[o.name]
	if s.gone[o.uid] {
		return
	}
	if old.object == nil || old.version < o.version {
		s.overlay[o.name] = written{o, s.now, shown || old.shown && old.uid == o.uid}
	}
}

// claims returns the L2Claims, as of the cache or later.
func (s *speaker) claims() []*object {
	out := table{claims: slices.Clone(s.cache.table[claims])}
	for _, name := range sortedKeys(s.overlay) {
		x, cached := s.overlay[name], s.cache.get(claims, name)
		switch {
		case cached != nil && cached.uid == x.uid && x.version > cached.version:
			x.shown = true
			s.overlay[name] = x
			out.put(x.object)
		case cached == nil && !x.shown && s.now.Sub(x.at) < time.Minute:
			out.put(x.object)
		default:
			delete(s.overlay, name)
		}
	}
	return out[claims]
}

func (s *speaker) apply(out failover.Output) {
	if out.Resync {
		s.heartbeat.resync()
	}
	s.setClaims(slices.Concat(out.Plan.Claims, out.Proxy))
	s.prober.set(out.Probe)
	s.gather(out)
	s.plan = &out
	s.logOutput(out)
	s.report.wake()
}

// gather tells the members who should be there.
func (s *speaker) gather(out failover.Output) {
	if !out.Join {
		return
	}
	config := make([]membership.Member, 0, len(s.first.config))
	var segment []membership.Member
	for _, m := range s.digest.members {
		if w, watched := out.Watched[m.Name]; watched {
			m.Silent = w.LeaseExpired
			if m.Subnet == s.node.prefix() {
				segment = append(segment, m)
			}
			if s.SecondLink {
				m.Subnet = netip.Prefix{}
			}
			config = append(config, m)
		}
	}
	changed := !slices.Equal(config, s.first.config)
	if changed {
		s.peers, s.names, s.others = map[string]*node{}, map[*node][]string{}, nil
		for _, m := range config {
			n := s.byAddr[m.Addr]
			s.peers[m.Name], s.names[n] = n, append(s.names[n], m.Name)
			if n != s.node {
				s.others = append(s.others, n)
			}
		}
		s.first.set(config)
	}
	if s.SecondLink {
		if changed || !slices.Equal(segment, s.second.config) {
			s.second.set(segment)
		}
		s.second.members.SetLink(s.now, s.link().Up)
		s.second.act()
	}
}

func (s *speaker) logOutput(out failover.Output) {
	if s.log == nil {
		return
	}
	for _, e := range out.Events {
		s.logf("    %s: %s %s %s", s.node.name, e.Kind, e.Addr, e.From)
	}
	if out.Phase != s.phase {
		s.logf("    %s: %s", s.node.name, out.Phase)
		s.phase = out.Phase
	}
}
