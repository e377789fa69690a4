package main

import (
	"context"
	"flag"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/e2e/kind/cluster"
)

var onCluster = flag.Bool("cluster", false, "run the tests that need a cluster, which \"kind-rack up\" makes")

// kind opens the cluster of this machine.
func kind(t *testing.T) *cluster.Cluster {
	t.Helper()
	if !*onCluster {
		t.Skip("needs a cluster: \"make e2e-kind\" makes one and runs this")
	}
	c, err := cluster.Open()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// must runs kubectl.
func must(t *testing.T, c *cluster.Cluster, args ...string) string {
	t.Helper()
	out, err := c.Run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// eventually repeats until a command's output holds want.
func eventually(t *testing.T, want string, command func(context.Context) *exec.Cmd) {
	t.Helper()
	var out []byte
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		out, err = command(ctx).CombinedOutput()
		cancel()
		if err == nil && strings.Contains(string(out), want) {
			return
		}
	}
	t.Fatalf("never %q: %v\n%s", want, err, out)
}

// TestSteelyardServes installs Steelyard in both ways, one after the other, and
// reaches a Service from the nodes' own network, where a node answers ARP and
// NDP, and another one from behind the router, which learns it by BGP.
func TestSteelyardServes(t *testing.T) {
	c := kind(t)
	for _, way := range []struct {
		name               string
		install, uninstall func(context.Context) error
	}{
		{"by the manifests", c.Install, c.Uninstall},
		{"by the chart", c.InstallChart, c.UninstallChart},
	} {
		t.Run(way.name, func(t *testing.T) {
			if err := way.install(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, file := range []string{"layer2", "bgp", "service"} {
				must(t, c, "apply", "-f", filepath.Join(c.Root, "config", "samples", file+".yaml"))
			}
			must(t, c, "expose", "deployment", "web", "--name=routed", "--port=80", "--target-port=8080", "--type=LoadBalancer",
				`--overrides={"metadata":{"annotations":{"steelyard.dev/address-pool":"routed"}},"spec":{"ipFamilyPolicy":"PreferDualStack"}}`)
			for service, host := range map[string]string{"web": "client", "routed": "outside"} {
				for _, address := range addresses(t, c, service) {
					eventually(t, "web-", func(ctx context.Context) *exec.Cmd {
						return c.Command(ctx, host, "curl", "--silent", "--show-error", "--max-time", "5", "http://"+address+"/hostname")
					})
				}
			}
			must(t, c, "delete", "service/routed")
			for _, file := range []string{"service", "bgp", "layer2"} {
				must(t, c, "delete", "--ignore-not-found", "-f", filepath.Join(c.Root, "config", "samples", file+".yaml"))
			}
			if err := way.uninstall(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// addresses waits until a Service has an address of each family, and returns
// them as a URL has them.
func addresses(t *testing.T, c *cluster.Cluster, service string) []string {
	t.Helper()
	must(t, c, "wait", "--timeout=1m", "--for=jsonpath={.status.loadBalancer.ingress[1].ip}", "service/"+service)
	var all []string
	for _, a := range strings.Fields(must(t, c, "get", "service", service, "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}")) {
		if strings.Contains(a, ":") {
			a = fmt.Sprintf("[%s]", a)
		}
		all = append(all, a)
	}
	return all
}
