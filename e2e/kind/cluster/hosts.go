package cluster

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// Hosts are the names of the cluster's hosts, as a rack has them: control is the
// node with the control plane, switch is where the engine runs.
func (c *Cluster) Hosts() []string {
	hosts := []string{"switch", "router", "client", "outside", "control"}
	for i := range c.Workers {
		hosts = append(hosts, fmt.Sprintf("node%d", i+1))
	}
	return hosts
}

// container is the name of a host's container, which for a node is kind's, and
// also the Node's.
func container(host string) string {
	number, isNode := strings.CutPrefix(host, "node")
	switch {
	case host == "control":
		return name + "-control-plane"
	case number == "1" && isNode:
		return name + "-worker"
	case isNode:
		return name + "-worker" + number
	}
	return name + "-" + host
}

// Node is the name of the Node that a host is.
func (c *Cluster) Node(host string) string { return container(host) }

// Command is a command on a host. Its standard input is passed on.
func (c *Cluster) Command(ctx context.Context, host string, argv ...string) *exec.Cmd {
	var cmd *exec.Cmd
	if host == "switch" {
		cmd = c.Engine.Command(ctx, argv...)
	} else {
		cmd = c.Engine.Command(ctx, append([]string{"docker", "exec", "--interactive", container(host)}, argv...)...)
	}
	cmd.Env = append(cmd.Env, "KUBECONFIG="+c.Kubeconfig())
	return cmd
}

// Cable sets the switch's end of a host's cable up or down.
func (c *Cluster) Cable(ctx context.Context, host, state string) error {
	if !slices.Contains(c.Hosts()[1:], host) {
		return fmt.Errorf("no host %q has a cable: want one of %s", host, strings.Join(c.Hosts()[1:], ", "))
	}
	port, err := c.port(ctx, host)
	if err != nil {
		return err
	}
	if out, err := c.Command(ctx, "switch", "ip", "link", "set", port, state).CombinedOutput(); err != nil {
		return fmt.Errorf("set the port of %s %s: %w\n%s", host, state, err, out)
	}
	return nil
}

// namePorts gives each port of the switch the names of the host that hangs on it,
// beside Docker's, for commands like bridge(8).
func (c *Cluster) namePorts(ctx context.Context) error {
	for _, host := range c.Hosts()[1:] {
		port, err := c.port(ctx, host)
		if err != nil {
			return err
		}
		line := []string{"ip", "link", "property", "add", "dev", port, "altname", host, "altname", container(host)}
		if out, err := c.Command(ctx, "switch", line...).CombinedOutput(); err != nil {
			return fmt.Errorf("name the port of %s: %w\n%s", host, err, out)
		}
	}
	return nil
}

// port finds the switch's end of a host's cable.
func (c *Cluster) port(ctx context.Context, host string) (string, error) {
	index, err := c.Command(ctx, host, "cat", "/sys/class/net/eth0/iflink").Output()
	if err != nil {
		return "", fmt.Errorf("find the cable of %s: %w", host, err)
	}
	links, err := c.Command(ctx, "switch", "ip", "-oneline", "link").Output()
	if err != nil {
		return "", fmt.Errorf("list the switch's ports: %w", err)
	}
	for line := range strings.Lines(string(links)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == strings.TrimSpace(string(index))+":" {
			port, _, _ := strings.Cut(strings.TrimSuffix(f[1], ":"), "@")
			return port, nil
		}
	}
	return "", fmt.Errorf("the switch has no port with the cable of %s", host)
}
