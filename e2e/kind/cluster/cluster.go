// Package cluster makes a Kubernetes cluster of kind's on this machine, with a
// router, a client and a host behind the router as containers beside its nodes.
// Its addresses are those of a rack (package lab): 192.0.2.0/24 and
// 2001:db8:2::/64 for nodes (.11 to .13, in no order), router (.1) and client
// (.2); 198.51.100.0/24 and 2001:db8:51::/64 behind the router. There is one such
// cluster on a machine.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/e2e/kind/engine"
	"github.com/steelyard-lb/steelyard/e2e/kind/images"
)

const (
	// name is the cluster's, its network's, and the first part of its containers'.
	name = "steelyard"
	// state holds what a running cluster is known by.
	state = "/run/steelyard-kind-cluster"
)

// Options say what to make.
type Options struct {
	// Root is the folder of this Go module.
	Root string
	// Images are published (pulled from others' registries), built (here), or
	// auto: pulled where an engine runs that can; empty means auto.
	Images string
	// Workers is how many nodes to make beside that of the control plane, 1 to 4;
	// 0 means 2.
	Workers int
	// Proxy is the mode of kube-proxy: nftables or iptables; empty means nftables.
	Proxy string
}

// Cluster is a cluster that is up, or was left half up.
type Cluster struct {
	Options
	// Kubectl is the path of a kubectl of the cluster's version.
	Kubectl string
	// Kind is the path of kind's own program.
	Kind string
	// NodeImage, RouterImage and ClientImage are what the containers run.
	NodeImage, RouterImage, ClientImage string
	// Engine is the one that the containers run in.
	Engine *engine.Engine
}

// Up makes a cluster, and an engine if none runs. Lines about each step go to
// progress. When it fails, what was made stays for a look, until Down.
func Up(ctx context.Context, o Options, progress io.Writer) (*Cluster, error) {
	start := time.Now()
	log := func(format string, args ...any) {
		fmt.Fprintf(progress, "%6.1fs  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("only root may make a cluster")
	}
	if _, err := os.Stat(state); err == nil {
		return nil, errors.New("there is a cluster already: \"kind-rack down\" removes it")
	}
	c := &Cluster{Options: o}
	err := c.complete()
	if err != nil {
		return nil, err
	}
	b := &images.Builder{Root: o.Root, Log: log}
	if c.Engine, err = Engine(ctx, o.Root, log); err != nil {
		return nil, err
	}
	if err := c.save(); err != nil { // now Down can
		return nil, err
	}
	if err := c.chooseImages(ctx, b, log); err != nil {
		return nil, err
	}
	if err := c.save(); err != nil {
		return nil, err
	}
	if err := c.connect(ctx); err != nil {
		return nil, err
	}
	log("creating the cluster with kind …")
	if err := c.create(ctx, progress); err != nil {
		return nil, err
	}
	log("starting the router (FRR), a client, and a host behind the router")
	if err := c.startHosts(ctx); err != nil {
		return nil, err
	}
	if err := c.waitReady(ctx); err != nil {
		return nil, err
	}
	if err := c.pullNothing(ctx); err != nil {
		return nil, err
	}
	log("the cluster is ready: export KUBECONFIG=%s", c.Kubeconfig())
	return c, nil
}

// complete fills in what was left out, and checks the rest.
func (o *Options) complete() error {
	if o.Images == "" {
		o.Images = "auto"
	}
	if o.Proxy == "" {
		o.Proxy = "nftables"
	}
	if o.Workers == 0 {
		o.Workers = 2
	}
	switch {
	case !slices.Contains([]string{"auto", "published", "built"}, o.Images):
		return fmt.Errorf("images %q: want published, built or auto", o.Images)
	case !slices.Contains([]string{"nftables", "iptables"}, o.Proxy):
		return fmt.Errorf("proxy %q: want nftables or iptables", o.Proxy)
	case o.Workers < 1 || o.Workers > maxWorkers:
		return fmt.Errorf("%d workers: want 1 to %d", o.Workers, maxWorkers)
	}
	return nil
}

// Open finds the cluster of this machine. It does not ask the engine: a busy one is slow
// to answer.
func Open() (*Cluster, error) {
	text, err := os.ReadFile(filepath.Join(state, "cluster.json"))
	if err != nil {
		return nil, fmt.Errorf("there is no cluster (\"kind-rack up\" makes one): %w", err)
	}
	c := &Cluster{}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("read the cluster's state: %w", err)
	}
	return c, nil
}

func (c *Cluster) save() error {
	if err := os.MkdirAll(state, 0o755); err != nil {
		return fmt.Errorf("make the cluster's folder: %w", err)
	}
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(state, "cluster.json"), text, 0o644)
}

// Down removes the cluster and all containers beside it, and ends the engine if
// it was started for it. It also does so after a crash at any point: an engine of
// ours that has died is started once more, for only it knows its containers.
func Down(ctx context.Context, root string) error {
	e, err := engine.Find(ctx)
	if engine.Left() && (err != nil || !e.Own) {
		e, err = startEngine(ctx, root)
	}
	if err == nil {
		err = removeAll(ctx, e)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil // nothing can be there
	}
	return errors.Join(err, engine.Stop(), os.RemoveAll(state))
}

// removeAll removes the containers, their volumes and their networks.
func removeAll(ctx context.Context, e *engine.Engine) error {
	for _, filter := range []string{"label=io.x-k8s.kind.cluster=" + name, "label=" + label} {
		ids, err := e.Docker(ctx, "ps", "--all", "--quiet", "--filter", filter)
		if err != nil {
			return err
		}
		if all := strings.Fields(ids); len(all) > 0 {
			if _, err := e.Docker(ctx, append([]string{"rm", "--force", "--volumes"}, all...)...); err != nil {
				return err
			}
		}
	}
	ids, err := e.Docker(ctx, "network", "ls", "--quiet", "--filter", "label="+label)
	if err != nil {
		return err
	}
	for _, id := range strings.Fields(ids) {
		if _, err := e.Docker(ctx, "network", "rm", id); err != nil {
			return err
		}
	}
	return nil
}

// Kubeconfig is the path of the administrator's.
func (c *Cluster) Kubeconfig() string { return filepath.Join(state, "kubeconfig") }

// Run runs kubectl, and returns what it wrote.
func (c *Cluster) Run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.Kubectl, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig())
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// waitReady waits until Pods can run on each node.
func (c *Cluster) waitReady(ctx context.Context) error {
	for _, args := range [][]string{
		{"wait", "--for=condition=Ready", "--timeout=3m", "node", "--all"},
		{"--namespace=kube-system", "rollout", "status", "--timeout=3m", "deployment/coredns"},
	} {
		if _, err := c.Run(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}
