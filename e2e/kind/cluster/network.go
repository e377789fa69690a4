package cluster

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

const (
	// The networks: that of nodes, router and client, and that behind the router.
	lanV4, lanV6         = "192.0.2.0/24", "2001:db8:2::/64"
	outsideV4, outsideV6 = "198.51.100.0/24", "2001:db8:51::/64"
	// label marks what is ours and not kind's.
	label = "steelyard.dev/kind"
	// maxWorkers is how many the range of the nodes' addresses has room for.
	maxWorkers = 4
	// Published images. The node's digest is from kind's release notes (v0.33.0);
	// the two others are those by which other projects pin these tags.
	publishedNode   = "kindest/node:v1.36.4@sha256:099e049362a1526b2db71494e1947aae99bd16290d7c895f2b7ea312e3cbfaed"
	publishedRouter = "quay.io/frrouting/frr:10.4.1@sha256:97a281a1473cae1f762ceab87cbcc53a2e102053877421e8b4606422aae45442"
	publishedClient = "nicolaka/netshoot:v0.14@sha256:7f08c4aff13ff61a35d30e30c5c1ea8396eac6ab4ce19fd02d5a4b3b5d0d09a2"
	// agnhost is what Pods run, under the name that samples and stories have
	// for it. It is pinned by its tag, which Kubernetes never moves.
	publishedAgnhost, agnhost = "registry.k8s.io/e2e-test-images/agnhost:2.63.0", "agnhost:latest"
)

// connect makes the two networks. Docker gives nodes the lowest free addresses of
// the range, which are left from 11 on.
func (c *Cluster) connect(ctx context.Context) error {
	lan := []string{"--subnet=" + lanV4, "--gateway=192.0.2.254", "--ip-range=192.0.2.8/29",
		"--ipv6", "--subnet=" + lanV6, "--gateway=2001:db8:2::254", "--ip-range=2001:db8:2::10/124",
		"--aux-address=a=192.0.2.8", "--aux-address=b=192.0.2.9", "--aux-address=c=192.0.2.10", "--aux-address=d=2001:db8:2::10"}
	outside := []string{"--subnet=" + outsideV4, "--gateway=198.51.100.254", "--ipv6", "--subnet=" + outsideV6, "--gateway=2001:db8:51::254"}
	for network, flags := range map[string][]string{name: lan, name + "-outside": outside} {
		args := append([]string{"network", "create", "--label=" + label}, flags...)
		if _, err := c.Engine.Docker(ctx, append(args, network)...); err != nil {
			return err
		}
	}
	return nil
}

// create has kind make the nodes.
func (c *Cluster) create(ctx context.Context, progress io.Writer) error {
	config := filepath.Join(state, "kind.yaml")
	if err := os.WriteFile(config, []byte(c.kindConfig()), 0o644); err != nil {
		return err
	}
	cmd := c.Engine.Command(ctx, c.Kind, "create", "cluster", "--name="+name, "--image="+c.NodeImage, "--config="+config,
		"--kubeconfig="+c.Kubeconfig(), "--retain")
	cmd.Env = append(cmd.Env, "KIND_EXPERIMENTAL_DOCKER_NETWORK="+name)
	cmd.Stdout, cmd.Stderr = progress, progress
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("kind create cluster: %w", err)
	}
	return nil
}

func (c *Cluster) kindConfig() string {
	var b strings.Builder
	fmt.Fprintf(&b, "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"+
		"networking: {ipFamily: dual, kubeProxyMode: %s, apiServerAddress: %q}\n", c.Proxy, c.Engine.Address)
	if c.Engine.CgroupV1 { // else a kubelet of 1.35 and later refuses to start
		b.WriteString("kubeadmConfigPatches:\n- |\n  kind: KubeletConfiguration\n  failCgroupV1: false\n")
	}
	b.WriteString("nodes:\n- role: control-plane\n" + strings.Repeat("- role: worker\n", c.Workers))
	return b.String()
}

// startHosts starts router, client and outside, each with its routes, and FRR
// on the router.
func (c *Cluster) startHosts(ctx context.Context) error {
	outside := name + "-outside"
	for _, h := range []struct{ name, image, network, v4, v6 string }{
		{"router", c.RouterImage, name, "192.0.2.1", "2001:db8:2::1"},
		{"client", c.ClientImage, name, "192.0.2.2", "2001:db8:2::2"},
		{"outside", c.ClientImage, outside, "198.51.100.2", "2001:db8:51::2"},
	} {
		if _, err := c.Engine.Docker(ctx, "run", "--detach", "--name="+name+"-"+h.name, "--hostname="+h.name, "--label="+label,
			"--network="+h.network, "--ip="+h.v4, "--ip6="+h.v6, "--cap-add=NET_ADMIN", "--cap-add=NET_RAW", "--cap-add=SYS_ADMIN",
			"--sysctl=net.ipv6.conf.all.disable_ipv6=0", "--sysctl=net.ipv4.ip_forward=1", "--sysctl=net.ipv6.conf.all.forwarding=1",
			"--sysctl=net.ipv4.fib_multipath_hash_policy=1", "--sysctl=net.ipv6.fib_multipath_hash_policy=1",
			"--entrypoint=sleep", h.image, "infinity"); err != nil {
			return err
		}
	}
	if _, err := c.Engine.Docker(ctx, "network", "connect", "--ip=198.51.100.1", "--ip6=2001:db8:51::1", outside, name+"-router"); err != nil {
		return err
	}
	if err := c.setRoutes(ctx); err != nil {
		return err
	}
	if err := c.namePorts(ctx); err != nil {
		return err
	}
	return c.startFRR(ctx)
}

// setRoutes has all hosts but the router go through it: nodes to the outside only,
// since what people on this machine ask of the API server is answered by the
// engine's machine.
func (c *Cluster) setRoutes(ctx context.Context) error {
	for _, host := range c.Hosts()[2:] {
		to, v4, v6 := []string{outsideV4, outsideV6}, "192.0.2.1", "2001:db8:2::1"
		switch host {
		case "client":
			to = []string{"default", "default"}
		case "outside":
			to, v4, v6 = []string{"default", "default"}, "198.51.100.1", "2001:db8:51::1"
		}
		script := fmt.Sprintf("ip route replace %s via %s && ip -6 route replace %s via %s", to[0], v4, to[1], v6)
		if out, err := c.Command(ctx, host, "sh", "-c", script).CombinedOutput(); err != nil {
			return fmt.Errorf("set the routes of %s: %w\n%s", host, err, out)
		}
	}
	return nil
}

// startFRR gives FRR the configuration that a rack's router has.
func (c *Cluster) startFRR(ctx context.Context) error {
	script := `cat > /etc/frr/frr.conf && printf 'zebra=yes\nbgpd=yes\nbfdd=yes\nvtysh_enable=yes\nzebra_options="-A 127.0.0.1 -s 90000000"\n` +
		`bgpd_options="-A 127.0.0.1"\nbfdd_options="-A 127.0.0.1"\n' > /etc/frr/daemons && touch /etc/frr/vtysh.conf && ` +
		`chown -R frr:frr /etc/frr && /usr/lib/frr/frrinit.sh start`
	cmd := c.Command(ctx, "router", "sh", "-c", script)
	cmd.Stdin = strings.NewReader(lab.FRR(1 + c.Workers))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("start FRR: %w\n%s", err, out)
	}
	return nil
}
