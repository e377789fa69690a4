// Package images builds the container images that a kind cluster needs, where
// none can be pulled: kind's node image with everything that its Pods run, and
// those of a router and of a client beside it. All comes from Debian's packages
// and from Go modules that are pinned in folder e2e. No container engine is
// needed to build them.
//
// What is built is kept under the sum of what it was built from. The versions of
// Debian's packages are those of the day on which their layer was built.
package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/steelyard-lb/steelyard/e2e/lab/programs"
)

// Archive is an image in a file that "docker load" reads.
type Archive struct {
	// Name is the image's, with a tag that stands for its contents.
	Name string
	Path string
}

// Set is what a cluster needs.
type Set struct {
	// Node is kind's node image; Router has FRR, Client what people test a
	// network with.
	Node, Router, Client Archive
}

// Builder builds images. All fields are needed.
type Builder struct {
	// Root is the folder of this Go module.
	Root string
	// Say is told of each step that takes time.
	Say func(string, ...any)

	cache               string
	kube, node, kind    string // folders of built programs
	kubernetes, version string // Kubernetes' version; the sum of all that is built from Go modules
}

// Build builds what isn't there yet.
func (b *Builder) Build(ctx context.Context) (Set, error) {
	if err := b.openCache(); err != nil {
		return Set{}, err
	}
	if err := b.Programs(ctx); err != nil {
		return Set{}, err
	}
	tools, err := b.debian(ctx, "tools", toolsPackages, toolsScript)
	if err != nil {
		return Set{}, err
	}
	var s Set
	for _, one := range []struct {
		archive *Archive
		name    string
		config  v1.Config
	}{
		{&s.Router, "router", v1.Config{Cmd: []string{"sleep", "infinity"}}},
		{&s.Client, "client", v1.Config{Cmd: []string{"sleep", "infinity"}}},
	} {
		if *one.archive, err = b.archive(one.name, recipe{layers: []layer{tools}, config: one.config}); err != nil {
			return Set{}, err
		}
	}
	s.Node, err = b.nodeImage(ctx, tools)
	return s, err
}

func (b *Builder) openCache() error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return fmt.Errorf("find the cache folder: %w", err)
	}
	b.cache = filepath.Join(cache, "steelyard", "kind")
	if err := os.MkdirAll(b.cache, 0o755); err != nil {
		return fmt.Errorf("make the cache folder: %w", err)
	}
	return nil
}

// Programs builds only what comes from Go modules: Kind and Kubectl.
func (b *Builder) Programs(ctx context.Context) (err error) {
	e2e := filepath.Join(b.Root, "e2e")
	for _, one := range []struct {
		dir *string
		set programs.Set
	}{{&b.kube, programs.Kubernetes()}, {&b.node, programs.Node()}, {&b.kind, programs.Kind()}} {
		if *one.dir, err = one.set.Build(ctx, e2e, b.Say); err != nil {
			return err
		}
	}
	_, b.kubernetes, _ = strings.Cut(filepath.Base(b.node), "-")
	b.version = sum(filepath.Base(b.kube), filepath.Base(b.node), filepath.Base(b.kind))
	return nil
}

// Kind returns the path of kind's own program, once Build is done.
func (b *Builder) Kind() string { return filepath.Join(b.kind, "kind") }

// Kubectl returns the path of kubectl, likewise.
func (b *Builder) Kubectl() string { return filepath.Join(b.kube, "kubectl") }

// Own builds a program of this repository, by its folder, without C, and returns
// its path.
func (b *Builder) Own(ctx context.Context, pkg string) (string, error) {
	if err := b.openCache(); err != nil {
		return "", err
	}
	out := filepath.Join(b.cache, "own-"+filepath.Base(pkg))
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, "./"+pkg)
	cmd.Dir, cmd.Env = b.Root, append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, text)
	}
	return out, nil
}

// module returns the folder of a Go module that folder e2e/NAME pins.
func (b *Builder) module(ctx context.Context, in, path string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", path)
	cmd.Dir = filepath.Join(b.Root, "e2e", in)
	out, err := cmd.Output()
	if err != nil || len(out) == 0 {
		return "", fmt.Errorf("find the sources of %s: %w", path, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// archive writes an image under a name that ends in the sum of its parts.
func (b *Builder) archive(kind string, r recipe) (Archive, error) {
	key := r.key()
	a := Archive{Name: "steelyard-kind/" + kind + ":" + key, Path: filepath.Join(b.cache, kind+"-"+key+".tar")}
	if _, err := os.Stat(a.Path); err == nil {
		return a, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return a, err
	}
	image, err := r.image()
	if err != nil {
		return a, fmt.Errorf("make the image %s: %w", a.Name, err)
	}
	return a, write(a.Path, map[string]v1.Image{a.Name: image})
}

// write writes images into one archive, in which they share layers.
func write(path string, images map[string]v1.Image) error {
	tags := map[name.Tag]v1.Image{}
	for n, image := range images {
		tag, err := name.NewTag(n)
		if err != nil {
			return fmt.Errorf("name an image %q: %w", n, err)
		}
		tags[tag] = image
	}
	if err := tarball.MultiWriteToFile(path+".new", tags); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(path+".new", path)
}

// sum sums up what something is built from.
func sum(parts ...string) string {
	s := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(s[:6])
}
