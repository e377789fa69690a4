package main

import (
	"context"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/status"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// listing is the pause before checking again whether the links were listed.
const listing = 20 * time.Millisecond

// loop runs a pass whenever the cluster, the links or the members change. What the members
// find comes first: it does not wait for the pause between two passes.
func (r *reconciler) loop() cluster.Loop {
	ignore, late := r.ignores()
	return cluster.Loop{
		Name:        "speaker",
		Reconcile:   r.reconcile,
		Log:         r.log,
		Kinds:       append(cluster.Kinds(), &corev1.Node{}, &discoveryv1.EndpointSlice{}, &v1beta1.L2Claim{}, &v1beta1.Speaker{}),
		Ignore:      ignore,
		MinInterval: cluster.Share(20, 80*time.Millisecond),
		Used:        cluster.Used,
		Burst:       200 * time.Millisecond,
		Crowded:     300 * time.Millisecond,
		Triggers:    []<-chan struct{}{r.links.Changed(), r.links.DuplicateOwnerHeard(), r.links.Stalled(), r.heartbeat.Changed, r.prober.Changed(), r.forwards.Changed, r.arrivals.Changed, r.sessions.Waiting(), late},
		Priority:    r.group.Changed(),
	}
}

// reconcile is one pass: it reads the facts, steps failover's State, and hands the result to
// the adapters. It returns after which time to run again if nothing happens before; 0: never.
func (r *reconciler) reconcile(ctx context.Context) (time.Duration, error) {
	if !r.links.Listed() {
		return listing, nil // without its links this node would lose its addresses
	}
	s, err := r.read(ctx)
	if err != nil {
		return 0, err
	}
	out := r.failover.Step(s.Facts)
	rollOut := r.apply(s, out)
	r.observePass(time.Since(s.Now))
	r.lastPass.Store(time.Now().UnixNano())
	r.heartbeat.Begin() // after its first plan the others may rely on this speaker
	return wait.Soonest(out.Wake, s.drains, s.nextEndpoint, rollOut), nil
}

// read collects the facts. The API's state comes before L2Claims and Leases: it must not promise
// more than they show.
func (r *reconciler) read(ctx context.Context) (s snapshot, err error) {
	s.Now = time.Now()
	read, err := r.configuration.Read(ctx)
	if err != nil {
		return s, err
	}
	config, c := read.Config, &s.Cluster
	c.L2, c.BGP, c.Neighbors = config.L2, config.BGP, config.Neighbors
	r.readNodes(&s)
	c.Services, s.nextEndpoint = r.announceable(&s, config)
	s.API = r.heartbeat.API(s.Now)
	r.readClaims(&s)
	if r.membershipPort != 0 {
		if s.keys, err = cluster.MembershipKeys(ctx, r.reader, r.namespace); err != nil {
			return s, err
		}
	}
	if s.Leases, err = r.heartbeat.Leases(ctx); err != nil {
		return s, err
	}
	r.observe(&s)
	return s, nil
}

// observe collects the facts that are observed on the wire.
func (c *core) observe(s *snapshot) {
	s.Members, s.Stalls, s.Probes = c.group.View(), c.links.Stalls(), c.prober.Results()
	for _, h := range c.links.DuplicateOwners(s.Now) {
		s.Conflicts = append(s.Conflicts, failover.Conflict{Addr: h.Addr, MAC: h.MAC, First: h.First, Last: h.Last})
	}
}

// idleFor returns the time since the last pass.
func (r *reconciler) idleFor() time.Duration { return time.Since(time.Unix(0, r.lastPass.Load())) }

// apply hands the plan to the adapters, and returns when to do so again although nothing has
// changed (0: never). No call waits for its effect. The order matters:
//
//   - A Resync comes first: from then on the API server counts as not heard.
//   - Null routes come before the sessions, whose routes draw traffic.
//   - Sessions are set only once kube-proxy is ready.
func (r *reconciler) apply(s snapshot, out failover.Output) (again time.Duration) {
	if out.Resync {
		r.heartbeat.Restart()
	}
	d := applied(s, out)
	d.Offers, d.NotForwarding = r.forwards.Ready(), r.forwards.Waiting()
	r.nullRoutes.Set(out.Plan.Destinations())
	r.answer(s, out)
	if d.Offers {
		var peerings []announce.Peering
		peerings, again = r.inOrder(s.Now, out.Plan.Peerings)
		r.sessions.Set(peerings)
	}
	r.watch(s, out)
	r.plan.Store(d)
	wait.Signal(r.report)
	return again
}

// applied returns a plan as the reports see it.
func applied(s snapshot, out failover.Output) *status.Applied {
	d := &status.Applied{Output: out, Excluded: s.excluded}
	for node := range s.Speakers {
		if out.Alive[node] {
			d.Present++
		} else if _, is := out.Alive[node]; is {
			d.Missing++
		}
	}
	return d
}

// answer sets what is answered for. The speakers' keys and MACs come before the claims, so that no
// speaker is taken for a foreign host.
func (c *core) answer(s snapshot, out failover.Output) {
	c.links.SetNamed(c.namedLinks(s.Cluster))
	c.links.SetKeys(s.keys)
	c.links.SetSpeakers(slices.Collect(maps.Keys(s.MACs)))
	claims := slices.Concat(out.Plan.Claims, out.Proxy)
	if c.links.Stalls() != s.Stalls {
		claims = nil // this process was stalled since the snapshot; the next pass, which is due, handles that
	}
	c.links.Set(claims)
}

// watch sets what is probed, and which members are monitored, and logs what has changed.
func (c *core) watch(s snapshot, out failover.Output) {
	c.prober.Set(out.Probe)
	c.setMembership(s, out)
	for _, e := range out.Events {
		c.logEvent(e)
	}
}

// namedLinks returns the names of links that the L2Advertisements for this node give in full:
// those are used also without an address.
func (c *core) namedLinks(of announce.Snapshot) []string {
	var out []string
	for i := range of.Nodes {
		for _, ad := range of.L2 {
			if of.Nodes[i].Name == c.node && ad.Nodes.Selects(of.Nodes[i].Labels) {
				out = append(out, ad.Links.Named()...)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// logEvent logs a change of this node's addresses, and counts takeovers.
func (c *core) logEvent(e failover.Event) {
	switch e.Kind {
	case failover.AddressClaimed:
		c.log.Info("claimed address", "addr", e.Addr)
	case failover.AddressReleased:
		c.log.Info("released address", "addr", e.Addr)
	case failover.AddressTakenOver:
		c.takeovers.Add(1)
	case failover.ProcessStalled:
		c.log.Warn("process was stalled; releasing all addresses until their owners are known")
	}
}
