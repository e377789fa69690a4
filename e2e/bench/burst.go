package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

const (
	namespace = "bench"
	// floorClass is the loadBalancerClass of the Services that the bare client
	// serves, and Steelyard does not.
	floorClass = "bench.steelyard.dev/floor"
	// creators is how many creations are under way at once.
	creators = 16
)

// pool is what the bursts are served from; nothing is announced.
const pool = `
apiVersion: steelyard.dev/v1beta1
kind: IPAddressPool
metadata: {name: bench}
spec: {addresses: [10.99.0.0/16]}
`

// burst is one measurement: how long each Service waited for its address.
type burst struct {
	waits []time.Duration // sorted
	whole time.Duration   // from the first creation to the last address
}

func (b burst) at(share float64) time.Duration {
	return b.waits[min(len(b.waits)-1, int(share*float64(len(b.waits))))]
}

// bursts measures Steelyard and the floor by turns and prints both. The floor
// is a bare client: a watch, and one status patch for each Service.
func bursts(ctx context.Context, r *lab.Rack, size, rounds int) error {
	config, err := r.Config()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	apply := r.Command(ctx, "control", "kubectl", "apply", "-f", "-")
	apply.Stdin = strings.NewReader(pool)
	if out, err := apply.CombinedOutput(); err != nil {
		return fmt.Errorf("make the pool: %w: %s", err, out)
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make the namespace: %w", err)
	}
	b := bench{client: client, size: size}
	rows := [][]string{{fmt.Sprintf("burst of %d Services", size), "p50", "p99", "Services/s"}}
	row := func(name string, m burst) {
		rows = append(rows, []string{name, ms(m.at(0.5)), ms(m.at(0.99)), fmt.Sprintf("%.0f", float64(size)/m.whole.Seconds())})
	}
	var p50, p99 []float64
	for round := range rounds {
		fmt.Printf("burst, round %d of %d\n", round+1, rounds)
		floor, err := b.floor(ctx)
		if err != nil {
			return err
		}
		ours, err := b.burst(ctx, "")
		if err != nil {
			return err
		}
		row("bare client", floor)
		row("Steelyard", ours)
		p50 = append(p50, float64(ours.at(0.5))/float64(floor.at(0.5)))
		p99 = append(p99, float64(ours.at(0.99))/float64(floor.at(0.99)))
	}
	rows = append(rows, []string{"ratio, median of the rounds", fmt.Sprintf("%.1f", median(p50)), fmt.Sprintf("%.1f", median(p99)), ""})
	return table(rows)
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

type bench struct {
	client *kubernetes.Clientset
	size   int
}

// floor measures a burst that the bare client serves.
func (b bench) floor(ctx context.Context) (burst, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := b.client.CoreV1().Services(namespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return burst{}, fmt.Errorf("watch Services: %w", err)
	}
	var patches errgroup.Group
	patches.Go(func() error {
		n := 0
		for e := range w.ResultChan() {
			svc, ok := e.Object.(*corev1.Service)
			if !ok || e.Type != watch.Added {
				continue
			}
			n++
			patch := fmt.Sprintf(`{"status":{"loadBalancer":{"ingress":[{"ip":"10.98.%d.%d","ipMode":"VIP"}]}}}`, n>>8, n&0xff)
			patches.Go(func() error {
				_, err := b.client.CoreV1().Services(namespace).Patch(ctx, svc.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
				return err
			})
		}
		return nil
	})
	out, err := b.burst(ctx, floorClass)
	w.Stop()
	if failed := patches.Wait(); err == nil {
		err = failed
	}
	return out, err
}

// burst creates the Services, waits until a watch has shown an address on each,
// checks that no address came twice, and removes them again.
func (b bench) burst(ctx context.Context, class string) (burst, error) {
	watching, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	w, err := b.client.CoreV1().Services(namespace).Watch(watching, metav1.ListOptions{})
	if err != nil {
		return burst{}, fmt.Errorf("watch Services: %w", err)
	}
	defer w.Stop()
	var mu sync.Mutex
	created := map[string]time.Time{}
	var creations errgroup.Group
	creations.SetLimit(creators)
	start := time.Now()
	done := make(chan error, 1)
	go func() {
		for i := range b.size {
			creations.Go(func() error {
				svc := service(fmt.Sprintf("svc-%05d", i), class)
				mu.Lock()
				created[svc.Name] = time.Now()
				mu.Unlock()
				_, err := b.client.CoreV1().Services(namespace).Create(ctx, svc, metav1.CreateOptions{})
				return err
			})
		}
		done <- creations.Wait()
	}()
	held := map[string]string{} // Service by address
	var waits []time.Duration
	for e := range w.ResultChan() {
		svc, ok := e.Object.(*corev1.Service)
		if !ok || len(svc.Status.LoadBalancer.Ingress) == 0 {
			continue
		}
		ip := svc.Status.LoadBalancer.Ingress[0].IP
		if other, taken := held[ip]; taken && other != svc.Name {
			return burst{}, fmt.Errorf("address %s was given to %s and to %s", ip, other, svc.Name)
		} else if taken {
			continue
		}
		held[ip] = svc.Name
		mu.Lock()
		waits = append(waits, time.Since(created[svc.Name]))
		mu.Unlock()
		if len(waits) == b.size {
			break
		}
	}
	out := burst{waits: waits, whole: time.Since(start)}
	if err := <-done; err != nil {
		return burst{}, fmt.Errorf("create Services: %w", err)
	}
	if len(waits) < b.size {
		return burst{}, fmt.Errorf("%d of %d Services have an address after %s", len(waits), b.size, out.whole.Round(time.Second))
	}
	slices.Sort(out.waits)
	return out, b.clear(ctx)
}

// clear removes all Services and waits until they are gone.
func (b bench) clear(ctx context.Context) error {
	services := b.client.CoreV1().Services(namespace)
	all, err := services.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list Services: %w", err)
	}
	var deletions errgroup.Group
	deletions.SetLimit(creators)
	for _, svc := range all.Items {
		deletions.Go(func() error { return services.Delete(ctx, svc.Name, metav1.DeleteOptions{}) })
	}
	if err := deletions.Wait(); err != nil {
		return fmt.Errorf("delete Services: %w", err)
	}
	// The next measurement shall not pay for what this one left to do.
	time.Sleep(3 * time.Second)
	return nil
}

func service(name, class string) *corev1.Service {
	no := false
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: corev1.ServiceSpec{
			Type:                          corev1.ServiceTypeLoadBalancer,
			AllocateLoadBalancerNodePorts: &no,
			Selector:                      map[string]string{"app": "none"},
			Ports:                         []corev1.ServicePort{{Port: 80}},
		},
	}
	if class != "" {
		svc.Spec.LoadBalancerClass = &class
	}
	return svc
}
