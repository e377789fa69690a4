// Command podnet connects the Pods of a kind cluster whose node image was built
// from source: on each node it writes the configuration of the CNI plugins for
// the node's Pod CIDRs, keeps a route to those of every other node, and has the
// kernel translate the addresses of Pods that talk to others than Pods. Nodes must
// share a link. It is what kindnetd does in published node images, which is an
// image as well, and can't be pinned as a module. It knows no network policies.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	node := flag.String("node", os.Getenv("NODE_NAME"), "name of the node that this runs on")
	subnets := flag.String("pod-subnets", os.Getenv("POD_SUBNET"), "comma list: what all Pods' addresses are in")
	file := flag.String("cni-config", "/etc/cni/net.d/10-podnet.conflist", "file to write for the container runtime")
	api := flag.String("server", os.Getenv("CONTROL_PLANE_ENDPOINT"), "HOST:PORT of the API server; empty: the Service kubernetes, which needs a kube-proxy")
	flag.Parse()
	if err := run(ctx, *node, *subnets, *file, *api); err != nil {
		slog.Error("podnet ends", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, node, subnets, file, server string) error {
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	if server != "" {
		config.Host = "https://" + server
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if err := masquerade(ctx, subnets); err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	nodes := factory.Core().V1().Nodes()
	wake := make(chan struct{}, 1)
	changed := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	if _, err := nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { changed() }, UpdateFunc: func(any, any) { changed() }, DeleteFunc: func(any) { changed() },
	}); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		}
		if err := apply(nodes.Lister(), node, file); err != nil {
			return err // the container starts again
		}
	}
}

// apply makes true what follows from the nodes as they are.
func apply(lister listers.NodeLister, own, file string) error {
	nodes, err := lister.List(labels.Everything())
	if err != nil {
		return err
	}
	routes := map[netip.Prefix]netip.Addr{}
	for _, n := range nodes {
		if n.Name == own {
			if err := writeConfig(file, n.Spec.PodCIDRs); err != nil {
				return err
			}
			continue
		}
		for _, cidr := range n.Spec.PodCIDRs {
			prefix, err := netip.ParsePrefix(cidr)
			if err != nil {
				return fmt.Errorf("read the Pod CIDRs of node %s: %w", n.Name, err)
			}
			if via, ok := address(n, prefix.Addr().Is4()); ok {
				routes[prefix] = via
			}
		}
	}
	return setRoutes(routes)
}

// address returns the node's address of one family.
func address(n *corev1.Node, v4 bool) (netip.Addr, bool) {
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP && ip.Is4() == v4 {
			return ip, true
		}
	}
	return netip.Addr{}, false
}

// writeConfig writes the configuration of the CNI plugins, if it is another one.
func writeConfig(file string, cidrs []string) error {
	if len(cidrs) == 0 {
		return nil // the controller will give some, and this is called again
	}
	var ranges, routes []string
	for _, cidr := range cidrs {
		ranges = append(ranges, fmt.Sprintf(`[{"subnet": %q}]`, cidr))
		everywhere := "0.0.0.0/0"
		if strings.Contains(cidr, ":") {
			everywhere = "::/0"
		}
		routes = append(routes, fmt.Sprintf(`{"dst": %q}`, everywhere))
	}
	text := fmt.Sprintf(`{"cniVersion": "0.4.0", "name": "podnet", "plugins": [
 {"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam-state",
  "ranges": [%s], "routes": [%s]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}
]}
`, strings.Join(ranges, ", "), strings.Join(routes, ", "))
	if old, err := os.ReadFile(file); err == nil && string(old) == text {
		return nil
	}
	if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the CNI configuration: %w", err)
	}
	return os.Rename(file+".new", file)
}
