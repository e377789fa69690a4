// Package kubelet runs the Pods of all nodes of a rack: each Pod is a network
// namespace with a cable to its node, or the node's own, and one process in it. There are no images (the
// name of one stands for a program), one container for each Pod, and no volumes but
// that of a Pod's own ServiceAccount. It decides when a Pod is ready; what runs
// where is the scheduler's business.
package kubelet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/steelyard-lb/steelyard/e2e/lab/hosts"
)

// Config says whom to serve. No field may be left zero.
type Config struct {
	API *kubernetes.Clientset
	Log *slog.Logger
	// Table gives the prefix of namespaces, the logs and the environment.
	Table hosts.Table
	Nodes []Node
	// Agnhost is the program that a Pod runs if its image has none.
	Agnhost string
	// Programs are those of images, by the image's name without registry and tag.
	// One that is not there yet keeps its Pods waiting.
	Programs map[string]string
	// Server is where Pods find the API server, and CA the file of the
	// authority that has signed for it.
	Server netip.AddrPort
	CA     string
	// Certificate and Key are the files that the kubelet shows to the API server.
	Certificate, Key string
}

// Node is one node to serve.
type Node struct {
	Name   string
	V4, V6 netip.Addr
	// PodsV4 is a /24 and PodsV6 a /64.
	PodsV4, PodsV6 netip.Prefix
}

// pod returns the addresses of the node's n-th Pod, n from 2 to 254.
func (n Node) pod(number int) (v4, v6 netip.Addr) {
	b := n.PodsV4.Addr().As4()
	b[3] = byte(number)
	// The same decimal digits in both families, for the eye.
	return netip.AddrFrom4(b), netip.MustParseAddr(n.PodsV6.Addr().String() + strconv.Itoa(number))
}

// kubelet hands each Pod that is bound to one of its nodes to a goroutine of
// the Pod's own (pod.go).
type kubelet struct {
	Config
	nodes map[string]*nodeAddresses

	mu   sync.Mutex
	pods map[types.UID]*pod
	all  sync.WaitGroup // the goroutines of pods, and what answers the API server
}

// nodeAddresses hands out the Pod addresses of one node, in turn, so that an
// address is not used again at once.
type nodeAddresses struct {
	Node
	mu   sync.Mutex
	last int
	used map[int]bool
}

// hostNetworkMark is a variable of the processes of Pods on their node's network.
const hostNetworkMark = "RACK_HOST_NETWORK="

// Run serves the nodes until ctx ends; Pods then go on without it. At its start
// it ends what a former kubelet left running, and starts the same Pods again, with
// the same addresses.
func Run(ctx context.Context, c Config) error {
	if err := hosts.Remove(c.Table.Prefix + "pod-"); err != nil {
		return fmt.Errorf("remove the Pods of a former kubelet: %w", err)
	}
	hosts.KillMarked(hostNetworkMark + c.Table.Prefix)
	k := &kubelet{Config: c, nodes: map[string]*nodeAddresses{}, pods: map[types.UID]*pod{}}
	for _, n := range c.Nodes {
		if err := k.register(ctx, n); err != nil {
			return err
		}
		k.nodes[n.Name] = &nodeAddresses{Node: n, last: 1, used: map[int]bool{}}
	}
	if err := k.serve(ctx); err != nil {
		return err
	}
	return k.run(ctx)
}

func (k *kubelet) run(ctx context.Context) error {
	onNodes := fields.OneTermNotEqualSelector("spec.nodeName", "").String()
	factory := informers.NewSharedInformerFactoryWithOptions(k.API, 0,
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = onNodes }))
	pods := factory.Core().V1().Pods().Informer()
	factory.StartWithContext(ctx)
	defer factory.Shutdown()
	defer k.all.Wait()
	if !cache.WaitForCacheSync(ctx.Done(), pods.HasSynced) {
		return fmt.Errorf("list the Pods: %w", context.Cause(ctx))
	}
	for _, obj := range pods.GetStore().List() {
		p := obj.(*corev1.Pod)
		if node := k.nodes[p.Spec.NodeName]; node != nil {
			node.keep(p.Status.PodIP)
		}
	}
	_, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { k.see(ctx, obj.(*corev1.Pod)) },
		UpdateFunc: func(_, obj any) { k.see(ctx, obj.(*corev1.Pod)) },
		DeleteFunc: func(obj any) {
			if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = last.Obj
			}
			k.vanished(obj.(*corev1.Pod))
		},
	})
	if err != nil {
		return fmt.Errorf("watch the Pods: %w", err)
	}
	<-ctx.Done()
	return nil
}

// register makes the Node object, and tries again until the API server is there.
func (k *kubelet) register(ctx context.Context, n Node) error {
	capacity := corev1.ResourceList{
		corev1.ResourcePods:   resource.MustParse("110"),
		corev1.ResourceCPU:    resource.MustParse("64"),
		corev1.ResourceMemory: resource.MustParse("256Gi"),
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: map[string]string{corev1.LabelHostname: n.Name, corev1.LabelOSStable: "linux"}},
		Spec:       corev1.NodeSpec{PodCIDR: n.PodsV4.String(), PodCIDRs: []string{n.PodsV4.String(), n.PodsV6.String()}},
		Status: corev1.NodeStatus{
			Capacity: capacity, Allocatable: capacity,
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: Port}},
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: n.V4.String()},
				{Type: corev1.NodeInternalIP, Address: n.V6.String()},
				{Type: corev1.NodeHostName, Address: n.Name},
			},
			Conditions: []corev1.NodeCondition{{
				Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "RackNode",
				LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
			}},
		},
	}
	for {
		_, err := k.API.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
		if err == nil || apierrors.IsAlreadyExists(err) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("make Node %s: %w", n.Name, errors.Join(context.Cause(ctx), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// see tells the Pod's goroutine of its newest object, and starts it at first sight.
func (k *kubelet) see(ctx context.Context, obj *corev1.Pod) {
	node := k.nodes[obj.Spec.NodeName]
	_, process := obj.Annotations[ProcessAnnotation]
	if node == nil || process || obj.Status.Phase == corev1.PodFailed || obj.Status.Phase == corev1.PodSucceeded {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	p := k.pods[obj.UID]
	if p == nil {
		p = &pod{kubelet: k, node: node, namespace: obj.Namespace, name: obj.Name, obj: obj, seen: make(chan *corev1.Pod, 1), gone: make(chan struct{})}
		k.pods[obj.UID] = p
		k.all.Go(func() { p.run(ctx) })
	}
	select { // only the newest counts, and only this goroutine sends
	case <-p.seen:
	default:
	}
	p.seen <- obj
}

func (k *kubelet) vanished(obj *corev1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.pods[obj.UID]; p != nil {
		close(p.gone)
		delete(k.pods, obj.UID)
	}
}

// keep marks the address of a Pod that was there before this kubelet.
func (n *nodeAddresses) keep(podIP string) {
	if last, ok := n.number(podIP); ok {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.used[last] = true
	}
}

// number is the inverse of Node.pod for an IPv4 address.
func (n *nodeAddresses) number(podIP string) (int, bool) {
	addr, err := netip.ParseAddr(podIP)
	if err != nil || !n.PodsV4.Contains(addr) {
		return 0, false
	}
	return int(addr.As4()[3]), true
}

// take returns a free number for Node.pod; 0 when there is none.
func (n *nodeAddresses) take() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	for range 253 {
		n.last++
		if n.last > 254 {
			n.last = 2
		}
		if !n.used[n.last] {
			n.used[n.last] = true
			return n.last
		}
	}
	return 0
}

func (n *nodeAddresses) free(number int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.used, number)
}

// podHost is the Pod's name as a host of the rack.
func podHost(uid types.UID) string { return "pod-" + strings.ToLower(string(uid))[:8] }
