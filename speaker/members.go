package main

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/membership"
)

// presence is what both ways of looking say of the other speakers: Kubernetes,
// by their Leases, and the speakers among themselves.
type presence struct {
	leased map[string]time.Time // who holds a Lease, renewed when
	lost   map[string]bool      // of these, who missed too many renewals
	proven map[string]bool      // who went on renewing after it was gone for its watchers
	membership.View
}

// there reports whether a node's speaker can be counted on. What was found on
// the wire counts for more than a Lease, which the API server may be slow to
// tell of; the Lease counts for those whom nobody has heard. Speakers that can't
// hear one another but all reach the API server agree by that, else two would
// take one address from each other for ever.
func (p presence) there(node string) bool {
	standing, known := p.Standing[node]
	_, leased := p.leased[node]
	switch {
	case !leased:
		return false
	case standing == membership.Gone:
		return p.proven[node] && !p.lost[node]
	case known && standing != membership.Unheard:
		return true
	default:
		return !p.lost[node]
	}
}

// renewals are those of a Lease that were seen.
type renewals struct {
	last time.Time // by its holder's clock, which may be set
	n    int
}

// prove says who went on renewing its Lease, as often as makes another one
// count as gone, since it is gone for its watchers.
func (r *reconciler) prove(p *presence) {
	p.proven = map[string]bool{}
	maps.DeleteFunc(r.goneFor, func(node string, _ renewals) bool { return p.Standing[node] != membership.Gone })
	for node, standing := range p.Standing {
		renewed, leased := p.leased[node]
		if standing != membership.Gone || !leased {
			delete(r.goneFor, node)
			continue
		}
		seen, known := r.goneFor[node]
		switch {
		case !known:
			seen.last = renewed
		case !seen.last.Equal(renewed):
			seen = renewals{renewed, seen.n + 1}
		}
		r.goneFor[node] = seen
		p.proven[node] = seen.n >= missedBeats
	}
}

// members returns those that this speaker is to watch and be watched by: all
// that are there, and those that a cable may have come loose of just now.
func (p presence) members(self string) []string {
	names := []string{self}
	for node := range p.leased {
		if node != self && (p.there(node) || !p.lost[node]) {
			names = append(names, node)
		}
	}
	return names
}

func (r *reconciler) presence(ctx context.Context) (presence, error) {
	leased, lost, err := r.beat.leases(ctx)
	p := presence{leased: leased, lost: lost, View: r.group.View()}
	r.prove(&p)
	return p, err
}

// gather tells the group who should be there.
func (r *reconciler) gather(ctx context.Context, p presence, nodes []corev1.Node) error {
	// Who hears of this speaker counts on it: not before it may claim something.
	r.joined = r.joined || r.beat.connected()
	if r.membershipPort == 0 || !r.joined {
		return nil
	}
	keys, err := r.keys(ctx)
	if err != nil {
		return err
	}
	config := membership.Config{
		Keys: keys, Interval: r.membershipInterval, Multiplier: uint8(r.membershipMultiplier), Port: uint16(r.membershipPort),
	}
	should := p.members(r.node)
	for i := range nodes {
		if addr := addressOf(&nodes[i]); addr.IsValid() && slices.Contains(should, nodes[i].Name) {
			config.Members = append(config.Members, membership.Member{Name: nodes[i].Name, Addr: addr, Silent: p.lost[nodes[i].Name]})
		}
	}
	r.group.Set(config)
	var addrs []netip.Addr
	for _, m := range config.Members {
		addrs = append(addrs, m.Addr)
	}
	r.neighbors.Set(addrs)
	return nil
}

// keys returns the values of the Secret: what is called "key" first, for it
// signs; the others are accepted too, so that keys can be changed in two steps.
func (r *reconciler) keys(ctx context.Context) ([][]byte, error) {
	var secret corev1.Secret
	if err := r.reader.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: cluster.SecretMembership}, &secret); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil, nil // the controller has not made it yet
		}
		return nil, fmt.Errorf("read the speakers' key: %w", err)
	}
	var out [][]byte
	if key := secret.Data[cluster.MembershipKey]; len(key) > 0 {
		out = append(out, key)
	}
	for _, name := range slices.Sorted(maps.Keys(secret.Data)) {
		if name != cluster.MembershipKey && len(secret.Data[name]) > 0 {
			out = append(out, secret.Data[name])
		}
	}
	return out, nil
}

// addressOf returns the address at which the other nodes reach n: the first
// internal one, of IPv4 if there is any.
func addressOf(n *corev1.Node) netip.Addr {
	var best netip.Addr
	for _, a := range n.Status.Addresses {
		addr, err := netip.ParseAddr(a.Address)
		if a.Type != corev1.NodeInternalIP || err != nil {
			continue
		}
		if !best.IsValid() || addr.Is4() && !best.Is4() {
			best = addr
		}
	}
	return best
}
