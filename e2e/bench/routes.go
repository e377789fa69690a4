package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

// routed has the node call the rack's router, watched by BFD, and three
// collectors on the router's host.
const routed = `
apiVersion: steelyard.dev/v1beta1
kind: IPAddressPool
metadata: {name: routed}
spec: {addresses: [10.99.0.0/16]}
---
apiVersion: steelyard.dev/v1beta1
kind: BGPAdvertisement
metadata: {name: routed}
---
apiVersion: steelyard.dev/v1beta1
kind: BFDProfile
metadata: {name: fast}
spec: {receiveInterval: 50, transmitInterval: 50, detectMultiplier: 3}
---
apiVersion: steelyard.dev/v1beta1
kind: BGPPeer
metadata: {name: router}
spec: {myASN: 64512, peerASN: 64601, peerAddress: 192.0.2.1, connectTime: 1s, bfdProfile: fast}
`

// So many collectors there are; the memory is also measured with so many more.
const collectors, more, firstPort = 3, 4, 1790

// routing is a rack with a router, and those who listen to the node.
type routing struct {
	rack    *lab.Rack
	client  *kubernetes.Clientset
	table   *record // of the router's kernel
	peers   []*collector
	made    int // Services
	address netip.Prefix
	ready   bool // of the endpoint of the Service that changes
	rows    [][]string
}

// routes measures how fast routes follow the cluster, and the path.
func routes(ctx context.Context, r *lab.Rack, o options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b, err := newRouting(ctx, r)
	if err != nil {
		return err
	}
	if err := b.changes(ctx, 40*o.rounds); err != nil {
		return err
	}
	if err := b.cuts(ctx, 10*o.rounds); err != nil {
		return err
	}
	if err := b.grow(ctx, max(1, 2000*o.services/full)); err != nil {
		return err
	}
	if err := b.changes(ctx, 40*o.rounds); err != nil {
		return err
	}
	if err := b.grow(ctx, o.services-1); err != nil {
		return err
	}
	if err := b.fill(ctx, o.rounds); err != nil {
		return err
	}
	if err := b.sizes(ctx); err != nil {
		return err
	}
	return table(b.rows)
}

func newRouting(ctx context.Context, r *lab.Rack) (*routing, error) {
	b := &routing{rack: r, rows: [][]string{{"routes, " + r.Router, "p50", "p99", "most"}}}
	config, err := r.Config()
	if err != nil {
		return nil, err
	}
	if b.client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	if b.table, err = forwardingTable(ctx, r); err != nil {
		return nil, err
	}
	if err := kubectl(ctx, r, routed, "apply", "-f", "-"); err != nil {
		return nil, err
	}
	if err := b.collect(ctx, collectors); err != nil {
		return nil, err
	}
	return b, b.serve(ctx)
}

// collect has the node call n collectors more.
func (b *routing) collect(ctx context.Context, n int) error {
	var manifest strings.Builder
	for range n {
		port := firstPort + len(b.peers)
		c, err := collect(b.rack, port)
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { _ = c.listener.Close() }) // nothing was written
		b.peers = append(b.peers, c)
		fmt.Fprintf(&manifest, "---\napiVersion: steelyard.dev/v1beta1\nkind: BGPPeer\nmetadata: {name: collector-%d}\nspec: {myASN: 64512, peerASN: 64601, peerAddress: 192.0.2.1, peerPort: %d, connectTime: 1s}\n", port-firstPort, port)
	}
	return kubectl(ctx, b.rack, manifest.String(), "apply", "-f", "-")
}

// serve makes the Service whose only endpoint comes and goes.
func (b *routing) serve(ctx context.Context) error {
	svc := spec{}.service("changing", 0)
	svc.Namespace, svc.Spec.ExternalTrafficPolicy = "default", corev1.ServiceExternalTrafficPolicyLocal
	svc.Spec.AllocateLoadBalancerNodePorts = nil // Local wants a port for health checks
	if _, err := b.client.CoreV1().Services("default").Create(ctx, svc, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create the Service that changes: %w", err)
	}
	if _, err := b.client.DiscoveryV1().EndpointSlices("default").Create(ctx, b.slice(), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create its endpoint: %w", err)
	}
	for !b.address.IsValid() {
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		svc, err := b.client.CoreV1().Services("default").Get(ctx, "changing", metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("read the Service that changes: %w", err)
		}
		if in := svc.Status.LoadBalancer.Ingress; len(in) > 0 {
			b.address = netip.PrefixFrom(netip.MustParseAddr(in[0].IP), 32)
		}
	}
	return b.watched(ctx)
}

func (b *routing) slice() *discoveryv1.EndpointSlice {
	node, port := "node1", int32(80)
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "changing", Labels: map[string]string{discoveryv1.LabelServiceName: "changing"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.244.1.250"}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &b.ready, Serving: &b.ready}}},
		Ports:       []discoveryv1.EndpointPort{{Port: &port}},
	}
}

// turn has the endpoint come, or go, and returns when that was asked for.
func (b *routing) setReady(ctx context.Context, ready bool) (time.Time, error) {
	b.ready = ready
	at := time.Now()
	if _, err := b.client.DiscoveryV1().EndpointSlices("default").Update(ctx, b.slice(), metav1.UpdateOptions{}); err != nil {
		return at, fmt.Errorf("change the endpoint: %w", err)
	}
	return at, nil
}

// watched waits until BFD with the router is up.
func (b *routing) watched(ctx context.Context) error {
	for {
		out, err := b.rack.Command(ctx, "node1", "curl", "-s", "http://127.0.0.1:7474/metrics").Output()
		if err == nil && strings.Contains(string(out), `steelyard_bfd_session_up{peer="router"} 1`) {
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// changes measures from the change of an endpoint in the API to the UPDATE, and
// to the router's kernel, and counts what else is sent.
func (b *routing) changes(ctx context.Context, n int) error {
	var heard, kernel []time.Duration
	var before, sent int
	for _, p := range b.peers {
		before += p.heard()
	}
	for i := range n {
		ready := i%2 == 0
		if err := b.table.rests(ctx, b.address, !ready); err != nil {
			return fmt.Errorf("in the router's kernel: %w", err)
		}
		at, err := b.setReady(ctx, ready)
		if err != nil {
			return err
		}
		for _, p := range b.peers {
			took, err := p.await(ctx, b.address, ready, at)
			if err != nil {
				return fmt.Errorf("by BGP: %w", err)
			}
			heard = append(heard, took)
		}
		took, err := b.table.await(ctx, b.address, ready, at)
		if err != nil {
			return fmt.Errorf("in the router's kernel: %w", err)
		}
		kernel = append(kernel, took)
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	for _, p := range b.peers {
		sent += p.heard()
	}
	b.add(fmt.Sprintf("an endpoint changes among %d Services, to UPDATE", b.made+1), heard)
	b.add("    to the router's kernel", kernel)
	b.rows = append(b.rows, []string{fmt.Sprintf("    UPDATEs for %d changes to %d peers, of which one each is needed", n, collectors), fmt.Sprint(sent - before)})
	return nil
}

func (b *routing) add(what string, took []time.Duration) {
	b.rows = append(b.rows, []string{what, ms(at(took, 0.5)), ms(at(took, 0.99)), ms(at(took, 1))})
}

// cuts measures how long the router keeps a route when the node's cable is cut
// at the switch, which the router can't see.
func (b *routing) cuts(ctx context.Context, n int) error {
	var took []time.Duration
	for i := range n {
		at, err := b.setReady(ctx, true)
		if err != nil {
			return err
		}
		if i == 0 {
			if _, err := b.table.await(ctx, b.address, true, at); err != nil {
				return err
			}
		}
		if err := b.watched(ctx); err != nil {
			return err
		}
		at = time.Now()
		if err := b.rack.Cut("node1"); err != nil {
			return err
		}
		gone, err := b.table.await(ctx, b.address, false, at)
		if err != nil {
			return err
		}
		took = append(took, gone)
		at = time.Now()
		if err := b.rack.Join("node1"); err != nil {
			return err
		}
		// A changed connectTime lets the speaker try at once, though the session
		// has been lost often.
		if err := kubectl(ctx, b.rack, "", "patch", "bgppeer", "router", "--type=merge", "-p", fmt.Sprintf(`{"spec":{"connectTime":"%dms"}}`, 1000+i)); err != nil {
			return err
		}
		if _, err := b.table.await(ctx, b.address, true, at); err != nil {
			return err
		}
	}
	b.add(fmt.Sprintf("the cable is cut, BFD 50 ms x 3, to the router's kernel, %d times", n), took)
	_, err := b.setReady(ctx, false)
	return err
}

// grow makes the cluster have n more or less quiet Services, all announced.
func (b *routing) grow(ctx context.Context, n int) error {
	creations, creating := errgroup.WithContext(ctx)
	creations.SetLimit(writers)
	for ; b.made < n; b.made++ {
		svc := spec{}.service(fmt.Sprintf("quiet-%05d", b.made), 0)
		svc.Namespace = "default"
		creations.Go(func() error {
			_, err := b.client.CoreV1().Services("default").Create(creating, svc, metav1.CreateOptions{})
			return err
		})
	}
	if err := creations.Wait(); err != nil {
		return fmt.Errorf("create Services: %w", err)
	}
	if _, err := b.setReady(ctx, false); err != nil {
		return err
	}
	for _, p := range b.peers {
		if _, err := p.whole(ctx, b.made, time.Time{}); err != nil {
			return err
		}
	}
	fmt.Printf("  %d Services are announced\n", b.made)
	return pause(ctx, 5*time.Second) // the cluster comes to rest
}
