package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

const (
	namespace = "bench"
	// full is how many Services the large cluster has, unless -services tells
	// otherwise. All numbers of Services in this program are for full.
	full = 10_000
	// writers is how many creations, or deletions, are under way at once.
	writers = 16
)

// pools are what Services are served from; nothing is announced. Only "main"
// serves Services that name no pool.
const pools = `
apiVersion: steelyard.dev/v1beta1
kind: IPAddressPool
metadata: {name: main}
spec: {addresses: [172.20.0.0/16], graceTime: 0s}
---
apiVersion: steelyard.dev/v1beta1
kind: IPAddressPool
metadata: {name: small}
spec: {addresses: [172.22.0.0/24], autoAssign: false, graceTime: 0s}
---
apiVersion: steelyard.dev/v1beta1
kind: IPAddressPool
metadata: {name: unused}
spec: {addresses: [172.23.0.0/24], autoAssign: false}
---
apiVersion: steelyard.dev/v1beta1
kind: IPAddressPool
metadata: {name: wide-v4}
spec: {addresses: [10.0.0.0/8], autoAssign: false}
---
apiVersion: steelyard.dev/v1beta1
kind: IPAddressPool
metadata: {name: wide-v6}
spec: {addresses: ["fd00:be::/64"], autoAssign: false}
`

// bench is what the steps have in common.
type bench struct {
	options
	rack   *lab.Rack
	config *rest.Config
	client *kubernetes.Clientset
	ledger *ledger
	made   int      // Services created so far, which names them
	held   []*entry // Services that stay from step to step, oldest first

	floorGiven atomic.Int32 // addresses that the bare client has given out; each it gives once

	fewTimes []time.Duration // what fewWaiters measured
	small    growth          // what growthSmall measured
}

// newBench makes the pools and the namespace, and leaves one controller running.
func newBench(ctx context.Context, r *lab.Rack, o options) (*bench, error) {
	config, err := r.Config()
	if err != nil {
		return nil, err
	}
	// For the kinds of Kubernetes itself this speaks protobuf.
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	b := &bench{options: o, rack: r, config: config, client: client}
	if err := kubectl(ctx, r, pools, "apply", "-f", "-"); err != nil {
		return nil, err
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		return nil, fmt.Errorf("make the namespace: %w", err)
	}
	if b.ledger, err = openLedger(ctx, client); err != nil {
		return nil, err
	}
	return b, b.alone(ctx)
}

// scaled turns a number of Services for the full size into one for this run.
func (b *bench) scaled(n int) int { return max(n*b.services/full, 4) }

// wish is what a Service asks for.
type spec struct {
	class    string // empty: Steelyard's
	pool     string // empty: any
	families []corev1.IPFamily
	// addrs returns the addresses that Service i of a batch asks for; nil: any.
	addrs func(i int) string
}

func (w spec) service(name string, i int) *corev1.Service {
	no := false
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Annotations: map[string]string{}},
		Spec: corev1.ServiceSpec{
			Type:                          corev1.ServiceTypeLoadBalancer,
			AllocateLoadBalancerNodePorts: &no,

			Ports:      []corev1.ServicePort{{Port: 80}},
			IPFamilies: w.families,
		},
	}
	if w.class != "" {
		svc.Spec.LoadBalancerClass = &w.class
	}
	if w.pool != "" {
		svc.Annotations["steelyard.dev/address-pool"] = w.pool
	}
	if w.addrs != nil {
		svc.Annotations["steelyard.dev/loadBalancerIPs"] = w.addrs(i)
	}
	if len(w.families) > 1 {
		dual := corev1.IPFamilyPolicyRequireDualStack
		svc.Spec.IPFamilyPolicy = &dual
	}
	return svc
}

// begin enters n Services, to be created in this order.
func (b *bench) begin(n int) *batch {
	names := make([]string, n)
	for i := range names {
		b.made++
		names[i] = fmt.Sprintf("svc-%07d", b.made)
	}
	return b.ledger.enter(names)
}

// create creates the Services of a batch, some at once, and doesn't wait for
// their addresses.
func (b *bench) create(ctx context.Context, of *batch, w spec, atOnce int) error {
	creations, ctx := errgroup.WithContext(ctx)
	creations.SetLimit(atOnce)
	start := time.Now()
	for i, e := range of.entries {
		creations.Go(func() error {
			e.created = time.Now()
			_, err := b.client.CoreV1().Services(namespace).Create(ctx, w.service(e.name, i), metav1.CreateOptions{})
			return err
		})
	}
	if err := creations.Wait(); err != nil {
		return fmt.Errorf("create Services: %w", err)
	}
	of.creating = time.Since(start)
	return nil
}

// serve creates n Services and returns when all have an address.
func (b *bench) serve(ctx context.Context, n int, w spec) (*batch, error) {
	of := b.begin(n)
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return b.create(ctx, of, w, writers) })
	both.Go(func() error {
		return b.ledger.await(ctx, "Services with an address", n, func() int { return len(of.served) })
	})
	return of, both.Wait()
}

// remove deletes Services and returns when all are gone.
func (b *bench) remove(ctx context.Context, entries []*entry) error {
	before := b.ledger.deletions()
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error {
		deletions, ctx := errgroup.WithContext(ctx)
		deletions.SetLimit(writers)
		for _, e := range entries {
			deletions.Go(func() error {
				return b.client.CoreV1().Services(namespace).Delete(ctx, e.name, metav1.DeleteOptions{})
			})
		}
		return deletions.Wait()
	})
	both.Go(func() error {
		return b.ledger.await(ctx, "Services deleted", len(entries), func() int { return b.ledger.gone - before })
	})
	if err := both.Wait(); err != nil {
		return fmt.Errorf("delete Services: %w", err)
	}
	return nil
}

// hold makes the cluster have n Services that Steelyard serves: it adds some,
// or removes the youngest.
func (b *bench) hold(ctx context.Context, n int) error {
	if n < len(b.held) {
		surplus := b.held[n:]
		b.held = slices.Clone(b.held[:n])
		return b.remove(ctx, surplus)
	}
	more, err := b.serve(ctx, n-len(b.held), spec{})
	if err != nil {
		return err
	}
	b.held = append(b.held, more.entries...)
	return nil
}

// ready holds n Services and waits until all programs have done what there is
// to do, so that a measurement does not pay for what was before it.
func (b *bench) ready(ctx context.Context, n int) error {
	if err := b.hold(ctx, n); err != nil {
		return err
	}
	return b.settle(ctx)
}

// kubectl runs kubectl on the rack.
func kubectl(ctx context.Context, r *lab.Rack, stdin string, args ...string) error {
	cmd := r.Command(ctx, "control", append([]string{"kubectl"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
