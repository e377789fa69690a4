package cluster

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// Hosts are the names of the cluster's hosts, those of a rack: control is the
// node with the control plane, switch is where the engine runs.
func Hosts() []string {
	return []string{"switch", "router", "client", "outside", "control", "node1", "node2"}
}

// container is the name of a host's container.
func container(host string) string {
	switch host {
	case "control":
		return name + "-control-plane"
	case "node1":
		return name + "-worker"
	case "node2":
		return name + "-worker2"
	}
	return name + "-" + host
}

// Command is a command on a host. Its standard input is passed on.
func (c *Cluster) Command(ctx context.Context, host string, argv ...string) *exec.Cmd {
	var cmd *exec.Cmd
	if host == "switch" {
		cmd = c.engine.Command(ctx, argv...)
	} else {
		cmd = c.engine.Command(ctx, append([]string{"docker", "exec", "--interactive", container(host)}, argv...)...)
	}
	cmd.Env = append(cmd.Env, "KUBECONFIG="+c.Kubeconfig())
	return cmd
}

// Cable sets the switch's end of a host's cable up or down.
func (c *Cluster) Cable(ctx context.Context, host, state string) error {
	if !slices.Contains(Hosts()[1:], host) {
		return fmt.Errorf("no host %q has a cable: want one of %s", host, strings.Join(Hosts()[1:], ", "))
	}
	index, err := c.Command(ctx, host, "cat", "/sys/class/net/eth0/iflink").Output()
	if err != nil {
		return fmt.Errorf("find the cable of %s: %w", host, err)
	}
	links, err := c.Command(ctx, "switch", "ip", "-oneline", "link").Output()
	if err != nil {
		return fmt.Errorf("list the switch's ports: %w", err)
	}
	for line := range strings.Lines(string(links)) {
		f := strings.Fields(line)
		if len(f) > 1 && f[0] == strings.TrimSpace(string(index))+":" {
			port, _, _ := strings.Cut(strings.TrimSuffix(f[1], ":"), "@")
			if out, err := c.Command(ctx, "switch", "ip", "link", "set", port, state).CombinedOutput(); err != nil {
				return fmt.Errorf("set the port of %s %s: %w\n%s", host, state, err, out)
			}
			return nil
		}
	}
	return fmt.Errorf("the switch has no port with the cable of %s", host)
}
