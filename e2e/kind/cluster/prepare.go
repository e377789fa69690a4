package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/e2e/kind/engine"
	"github.com/steelyard-lb/steelyard/e2e/kind/images"
)

// chooseImages settles which images are used, and sees to it that the engine
// has them.
func (c *Cluster) chooseImages(ctx context.Context, b *images.Builder, log func(string, ...any)) error {
	if c.Images == "auto" {
		c.Images = "built"
		if !c.Engine.Own {
			log("asking the registries for %s …", publishedRouter)
			if _, err := c.Engine.Docker(ctx, "pull", "--quiet", publishedRouter); err == nil {
				c.Images = "published"
			} else {
				log("nothing can be pulled, so the images are built here: %v", err)
			}
		}
	}
	if c.Images == "published" {
		c.NodeImage, c.RouterImage, c.ClientImage = publishedNode, publishedRouter, publishedClient
		err := b.Programs(ctx)
		c.Kind, c.Kubectl = b.Kind(), b.Kubectl()
		return err
	}
	set, err := b.Build(ctx)
	if err != nil {
		return err
	}
	c.NodeImage, c.RouterImage, c.ClientImage = set.Node.Name, set.Router.Name, set.Client.Name
	c.Kind, c.Kubectl = b.Kind(), b.Kubectl()
	for _, a := range []images.Archive{set.Node, set.Router, set.Client} {
		if err := c.loadIntoEngine(ctx, a, log); err != nil {
			return err
		}
	}
	return nil
}

// Engine finds a container engine, or starts one: also where the cluster's
// addresses would meet those of the machine itself, for one that is started has a
// network namespace of its own.
func Engine(ctx context.Context, root string, log func(string, ...any)) (*engine.Engine, error) {
	found, err := engine.Find(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		log("no container engine runs: starting Docker's by hand, for this cluster")
	case err != nil || found.Own:
		return found, err
	default:
		addresses, err := net.InterfaceAddrs()
		if err != nil {
			return nil, fmt.Errorf("list this machine's addresses: %w", err)
		}
		met := slices.IndexFunc(addresses, meets)
		if met < 0 {
			return found, nil
		}
		log("this machine has %s, which the cluster would have as well: starting an engine in a namespace of its own", addresses[met])
	}
	return startEngine(ctx, root)
}

// meets tells whether an address of this machine is in one of the networks that
// a cluster makes.
func meets(a net.Addr) bool {
	p, err := netip.ParsePrefix(a.String())
	return err == nil && slices.ContainsFunc([]string{lanV4, lanV6, outsideV4, outsideV6}, func(network string) bool {
		return netip.MustParsePrefix(network).Overlaps(p)
	})
}

func startEngine(ctx context.Context, root string) (*engine.Engine, error) {
	b := &images.Builder{Root: root}
	bounded, err := b.Own(ctx, "kind/bounded")
	if err != nil {
		return nil, err
	}
	return engine.Start(ctx, bounded)
}

func (c *Cluster) loadIntoEngine(ctx context.Context, a images.Archive, log func(string, ...any)) error {
	if _, err := c.Engine.Docker(ctx, "image", "inspect", a.Name); err == nil {
		return nil
	}
	repository, _, _ := strings.Cut(a.Name, ":")
	old, err := c.Engine.Docker(ctx, "image", "ls", "--format={{.Repository}}:{{.Tag}}", repository)
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(old) {
		if _, err := c.Engine.Docker(ctx, "image", "rm", name); err != nil {
			return err
		}
	}
	log("loading %s into the engine …", a.Name)
	_, err = c.Engine.Docker(ctx, "load", "--quiet", "--input", a.Path)
	return err
}
