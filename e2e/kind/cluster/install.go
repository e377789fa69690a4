package cluster

import (
	"context"
	_ "embed" // a manifest
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

// Root finds the folder of this Go module, from the current one upwards.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "e2e", "kind", "cluster")); err == nil {
			return dir, nil
		} else if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return "", errors.New("run this in Steelyard's sources")
		}
	}
}

// neverPull has nodes use the images that they have also where a Pod would ask
// the registry for a newer one, as is the default for the tag latest.
//
//go:embed neverpull.yaml
var neverPull string

// pullNothing makes a cluster do without registries. Where its images were built
// here the nodes have what Pods run; else it is pulled once, and loaded.
func (c *Cluster) pullNothing(ctx context.Context) error {
	if c.Images == "published" {
		for _, args := range [][]string{{"pull", publishedAgnhost}, {"tag", publishedAgnhost, agnhost}} {
			if _, err := c.Engine.Docker(ctx, args...); err != nil {
				return err
			}
		}
		cmd := c.Engine.Command(ctx, c.Kind, "load", "docker-image", "--name="+name, agnhost)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("load %s: %w\n%s", agnhost, err, out)
		}
	}
	file := filepath.Join(state, "neverpull.yaml")
	if err := os.WriteFile(file, []byte(neverPull), 0o644); err != nil {
		return err
	}
	_, err := c.Run(ctx, "apply", "-f", file)
	return err
}

// Peers are the BGPPeer objects that make the nodes call the router.
func Peers() string { return lab.Options{}.Peers() }

// Load loads image archives into every node.
func (c *Cluster) Load(ctx context.Context, archives ...string) error {
	for _, a := range archives {
		cmd := c.Engine.Command(ctx, c.Kind, "load", "image-archive", "--name="+name, a)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("load %s: %w\n%s", a, err, out)
		}
	}
	return nil
}

// loadOurs loads what "make images" wrote.
func (c *Cluster) loadOurs(ctx context.Context) error {
	var archives []string
	for _, program := range []string{"controller", "speaker"} {
		archives = append(archives, filepath.Join(c.Root, "dist", "steelyard-"+program+"-"+runtime.GOARCH+".tar"))
	}
	return c.Load(ctx, archives...)
}

// Install loads our images, applies config/default, and waits until all of it runs.
func (c *Cluster) Install(ctx context.Context) error {
	if err := c.loadOurs(ctx); err != nil {
		return err
	}
	if _, err := c.Run(ctx, "apply", "-k", filepath.Join(c.Root, "config", "default")); err != nil {
		return err
	}
	return c.WaitInstalled(ctx)
}

// InstallChart does the same by the Helm chart.
func (c *Cluster) InstallChart(ctx context.Context) error {
	if err := c.loadOurs(ctx); err != nil {
		return err
	}
	if _, err := c.Run(ctx, "apply", "-f", filepath.Join(c.Root, "config", "rbac", "namespace.yaml")); err != nil {
		return err
	}
	if err := c.helm(ctx, "install", "steelyard", "./steelyard"); err != nil {
		return err
	}
	return c.WaitInstalled(ctx)
}

// Uninstall removes all that Install applied, with the configuration.
func (c *Cluster) Uninstall(ctx context.Context) error {
	_, err := c.Run(ctx, "delete", "--ignore-not-found", "--timeout=2m", "-k", filepath.Join(c.Root, "config", "default"))
	return err
}

// UninstallChart removes all that InstallChart installed, and the kinds, which
// Helm keeps.
func (c *Cluster) UninstallChart(ctx context.Context) error {
	if err := c.helm(ctx, "uninstall", "steelyard", "--wait"); err != nil {
		return err
	}
	return c.Uninstall(ctx)
}

// helm runs the Helm that the charts are tested with.
func (c *Cluster) helm(ctx context.Context, args ...string) error {
	args = append([]string{"go", "tool", "helm", "--namespace=steelyard-system", "--kubeconfig=" + c.Kubeconfig()}, args...)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = filepath.Join(c.Root, "charts")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// WaitInstalled waits until every replica of controller and speaker is ready.
func (c *Cluster) WaitInstalled(ctx context.Context) error {
	for _, workload := range []string{"deployment/steelyard-controller", "daemonset/steelyard-speaker"} {
		if _, err := c.Run(ctx, "--namespace=steelyard-system", "rollout", "status", "--timeout=3m", workload); err != nil {
			return err
		}
	}
	return nil
}
