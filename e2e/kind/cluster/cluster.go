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
	// Published takes the images that others publish, from their registries,
	// in place of those that are built here.
	Published bool
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
	// Node, Router and Client are the images.
	Node, Router, Client string
	// OwnEngine tells that the engine was started for this cluster.
	OwnEngine bool

	engine *engine.Engine
}

// Up makes a cluster, and an engine if none runs. Lines about each step go to
// progress. When it fails, what was made stays for a look, until Down.
func Up(ctx context.Context, o Options, progress io.Writer) (*Cluster, error) {
	start := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(progress, "%6.1fs  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
	if _, err := os.Stat(state); err == nil {
		return nil, errors.New("there is a cluster already: \"kind-rack down\" removes it")
	}
	c := &Cluster{Options: o}
	if c.Proxy == "" {
		c.Proxy = "nftables"
	}
	b := &images.Builder{Root: o.Root, Say: say}
	archives, err := c.chooseImages(ctx, b)
	if err != nil {
		return nil, err
	}
	if err := c.findEngine(ctx, b, say); err != nil {
		return nil, err
	}
	if err := c.save(); err != nil {
		return nil, err
	}
	for _, a := range archives {
		if err := c.loadIntoEngine(ctx, a, say); err != nil {
			return nil, err
		}
	}
	if err := c.connect(ctx); err != nil {
		return nil, err
	}
	say("creating the cluster with kind …")
	if err := c.create(ctx, progress); err != nil {
		return nil, err
	}
	say("starting the router (FRR), a client, and a host behind the router")
	if err := c.startHosts(ctx); err != nil {
		return nil, err
	}
	if err := c.waitReady(ctx); err != nil {
		return nil, err
	}
	if err := c.pullNothing(ctx); err != nil {
		return nil, err
	}
	say("the cluster is ready: export KUBECONFIG=%s", c.Kubeconfig())
	return c, nil
}

// chooseImages fills in the images' names, and returns the archives of those that
// were built.
func (c *Cluster) chooseImages(ctx context.Context, b *images.Builder) ([]images.Archive, error) {
	if c.Published {
		if err := b.Programs(ctx); err != nil {
			return nil, err
		}
		c.Node, c.Router, c.Client = publishedNode, publishedRouter, publishedClient
		c.Kind, c.Kubectl = b.Kind(), b.Kubectl()
		return nil, nil
	}
	set, err := b.Build(ctx)
	if err != nil {
		return nil, err
	}
	c.Node, c.Router, c.Client = set.Node.Name, set.Router.Name, set.Client.Name
	c.Kind, c.Kubectl = b.Kind(), b.Kubectl()
	return []images.Archive{set.Node, set.Router, set.Client}, nil
}

func (c *Cluster) findEngine(ctx context.Context, b *images.Builder, say func(string, ...any)) error {
	found, err := engine.Find(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		say("no container engine runs: starting Docker's by hand, for this cluster")
		bounded, err := b.Own(ctx, "e2e/kind/bounded")
		if err != nil {
			return err
		}
		if found, err = engine.Start(ctx, bounded); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	c.engine, c.OwnEngine = found, found.Own
	return nil
}

func (c *Cluster) loadIntoEngine(ctx context.Context, a images.Archive, say func(string, ...any)) error {
	if _, err := c.engine.Docker(ctx, "image", "inspect", a.Name); err == nil {
		return nil
	}
	repository, _, _ := strings.Cut(a.Name, ":")
	old, err := c.engine.Docker(ctx, "image", "ls", "--format={{.Repository}}:{{.Tag}}", repository)
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(old) {
		if _, err := c.engine.Docker(ctx, "image", "rm", name); err != nil {
			return err
		}
	}
	say("loading %s into the engine …", a.Name)
	_, err = c.engine.Docker(ctx, "load", "--quiet", "--input", a.Path)
	return err
}

// Open finds the cluster of this machine.
func Open(ctx context.Context) (*Cluster, error) {
	text, err := os.ReadFile(filepath.Join(state, "cluster.json"))
	if err != nil {
		return nil, fmt.Errorf("there is no cluster (\"kind-rack up\" makes one): %w", err)
	}
	c := &Cluster{}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("read the cluster's state: %w", err)
	}
	c.engine, err = engine.Find(ctx)
	return c, err
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
// it was started for it. It does so after a crash at any point, too.
func Down(ctx context.Context) error {
	e, err := engine.Find(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		e, err = &engine.Engine{Own: true}, nil // what is left of one that crashed
	} else if err == nil {
		err = removeAll(ctx, e)
	}
	return errors.Join(err, e.Stop(), os.RemoveAll(state))
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
