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
	// label marks what is ours and not kind's.
	label = "steelyard.dev/kind"
	// nodes is how many kind makes: one with the control plane, and workers.
	nodes = 3
	// Published images. The node's digest is that of kind's own release notes
	// (v0.33.0). The others have tags that do not move.
	publishedNode   = "kindest/node:v1.36.4@sha256:099e049362a1526b2db71494e1947aae99bd16290d7c895f2b7ea312e3cbfaed"
	publishedRouter = "quay.io/frrouting/frr:10.4.1"
	publishedClient = "nicolaka/netshoot:v0.14"
)

// connect makes the two networks. Docker gives nodes the lowest free addresses of
// the range, of which 11 to 13 are left.
func (c *Cluster) connect(ctx context.Context) error {
	lan := []string{"--subnet=192.0.2.0/24", "--gateway=192.0.2.254", "--ip-range=192.0.2.8/29",
		"--ipv6", "--subnet=2001:db8:2::/64", "--gateway=2001:db8:2::254", "--ip-range=2001:db8:2::10/124",
		"--aux-address=a=192.0.2.8", "--aux-address=b=192.0.2.9", "--aux-address=c=192.0.2.10", "--aux-address=d=2001:db8:2::10"}
	outside := []string{"--subnet=198.51.100.0/24", "--gateway=198.51.100.254", "--ipv6", "--subnet=2001:db8:51::/64", "--gateway=2001:db8:51::254"}
	for network, flags := range map[string][]string{name: lan, name + "-outside": outside} {
		args := append([]string{"network", "create", "--label=" + label}, flags...)
		if _, err := c.engine.Docker(ctx, append(args, network)...); err != nil {
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
	cmd := c.engine.Command(ctx, c.Kind, "create", "cluster", "--name="+name, "--image="+c.Node, "--config="+config,
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
		"networking: {ipFamily: dual, kubeProxyMode: %s, apiServerAddress: %q}\n", c.Proxy, c.engine.Address)
	if c.engine.CgroupV1 { // else a kubelet of 1.35 and later refuses to start
		b.WriteString("kubeadmConfigPatches:\n- |\n  kind: KubeletConfiguration\n  failCgroupV1: false\n")
	}
	b.WriteString("nodes:\n- role: control-plane\n" + strings.Repeat("- role: worker\n", nodes-1))
	return b.String()
}

// startHosts starts router, client and outside, each with its routes, and FRR
// on the router.
func (c *Cluster) startHosts(ctx context.Context) error {
	outside := name + "-outside"
	for _, h := range []struct{ name, image, network, v4, v6 string }{
		{"router", c.Router, name, "192.0.2.1", "2001:db8:2::1"},
		{"client", c.Client, name, "192.0.2.2", "2001:db8:2::2"},
		{"outside", c.Client, outside, "198.51.100.2", "2001:db8:51::2"},
	} {
		if _, err := c.engine.Docker(ctx, "run", "--detach", "--name="+name+"-"+h.name, "--hostname="+h.name, "--label="+label,
			"--network="+h.network, "--ip="+h.v4, "--ip6="+h.v6, "--cap-add=NET_ADMIN", "--cap-add=NET_RAW", "--cap-add=SYS_ADMIN",
			"--sysctl=net.ipv6.conf.all.disable_ipv6=0", "--sysctl=net.ipv4.ip_forward=1", "--sysctl=net.ipv6.conf.all.forwarding=1",
			"--sysctl=net.ipv4.fib_multipath_hash_policy=1", "--sysctl=net.ipv6.fib_multipath_hash_policy=1",
			"--entrypoint=sleep", h.image, "infinity"); err != nil {
			return err
		}
	}
	if _, err := c.engine.Docker(ctx, "network", "connect", "--ip=198.51.100.1", "--ip6=2001:db8:51::1", outside, name+"-router"); err != nil {
		return err
	}
	everywhere := []string{"default via %s", "-6 default via %s"}
	for host, routes := range map[string][]string{
		"client": everywhere, "outside": everywhere,
		"control": {"198.51.100.0/24 via %s", "-6 2001:db8:51::/64 via %s"},
		"node1":   {"198.51.100.0/24 via %s", "-6 2001:db8:51::/64 via %s"},
		"node2":   {"198.51.100.0/24 via %s", "-6 2001:db8:51::/64 via %s"},
	} {
		via := []string{"192.0.2.1", "2001:db8:2::1"}
		if host == "outside" {
			via = []string{"198.51.100.1", "2001:db8:51::1"}
		}
		for i, r := range routes {
			script := "ip route replace " + fmt.Sprintf(r, via[i])
			if six, ok := strings.CutPrefix(r, "-6 "); ok {
				script = "ip -6 route replace " + fmt.Sprintf(six, via[i])
			}
			if out, err := c.Command(ctx, host, "sh", "-c", script).CombinedOutput(); err != nil {
				return fmt.Errorf("set a route on %s: %w\n%s", host, err, out)
			}
		}
	}
	return c.startFRR(ctx)
}

// startFRR gives FRR the configuration that a rack's router has.
func (c *Cluster) startFRR(ctx context.Context) error {
	script := `cat > /etc/frr/frr.conf && printf 'zebra=yes\nbgpd=yes\nbfdd=yes\nvtysh_enable=yes\nzebra_options="-A 127.0.0.1 -s 90000000"\n` +
		`bgpd_options="-A 127.0.0.1"\nbfdd_options="-A 127.0.0.1"\n' > /etc/frr/daemons && touch /etc/frr/vtysh.conf && ` +
		`chown -R frr:frr /etc/frr && /usr/lib/frr/frrinit.sh start`
	cmd := c.Command(ctx, "router", "sh", "-c", script)
	cmd.Stdin = strings.NewReader(lab.FRR(nodes))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("start FRR: %w\n%s", err, out)
	}
	return nil
}
