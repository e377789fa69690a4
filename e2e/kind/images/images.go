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
	"slices"
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
	// Log is called before each step that takes time.
	Log func(string, ...any)

	cache               string
	kube, node, kind    string // folders of built programs
	kubernetes, version string // Kubernetes' version; the sum of all that is built from Go modules
}

// Build builds what isn't there yet, and removes what an older version built.
func (b *Builder) Build(ctx context.Context) (Set, error) {
	if err := b.allPrograms(ctx); err != nil {
		return Set{}, err
	}
	var s Set
	tools, err := b.debian(ctx, "tools", toolsPackages, toolsScript)
	if err != nil {
		return Set{}, err
	}
	// One image under two names: a router has FRR, and so has the client.
	hosts := recipe{layers: []layer{tools}, config: v1.Config{Cmd: []string{"sleep", "infinity"}}}
	s.Router, s.Client = b.archive("router", "hosts", hosts.key()), b.archive("client", "hosts", hosts.key())
	if err := b.write(s.Router.Path, map[string]recipe{s.Router.Name: hosts, s.Client.Name: hosts}); err != nil {
		return Set{}, err
	}
	debian, err := b.debian(ctx, "node", nodePackages, nodeScript)
	if err != nil {
		return Set{}, err
	}
	if s.Node, err = b.nodeImage(ctx, debian, tools); err != nil {
		return Set{}, err
	}
	return s, b.prune(s.Node.Path, s.Router.Path, debian.path, tools.path)
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

// Programs builds kind and kubectl, which also who pulls images needs.
func (b *Builder) Programs(ctx context.Context) error {
	return b.build(ctx, map[*string]programs.Set{&b.kind: programs.Kind(), &b.kube: programs.Newest().Only("kubectl")})
}

// allPrograms builds everything that comes from Go modules.
func (b *Builder) allPrograms(ctx context.Context) error {
	var runtime string // the same folder as kind's
	err := b.build(ctx, map[*string]programs.Set{&b.kind: programs.Kind(), &runtime: programs.Runtime(), &b.kube: programs.Newest(), &b.node: programs.Node()})
	_, b.kubernetes, _ = strings.Cut(filepath.Base(b.node), "-")
	b.version = sum(filepath.Base(b.node), filepath.Base(b.kind))
	return err
}

// build builds sets of programs, and fills in the folder of each.
func (b *Builder) build(ctx context.Context, sets map[*string]programs.Set) error {
	if err := b.openCache(); err != nil {
		return err
	}
	for dir, set := range sets {
		built, err := set.Build(ctx, filepath.Join(b.Root, "e2e"), b.Log)
		if err != nil {
			return err
		}
		*dir = built
	}
	return nil
}

// Kind returns the path of kind's own program, once Programs or Build is done.
func (b *Builder) Kind() string { return filepath.Join(b.kind, "kind") }

// Kubectl returns the path of kubectl, likewise.
func (b *Builder) Kubectl() string { return filepath.Join(b.kube, "kubectl") }

// Own builds a program of the module e2e, by its folder there, without C, and returns
// its path.
func (b *Builder) Own(ctx context.Context, pkg string) (string, error) {
	if err := b.openCache(); err != nil {
		return "", err
	}
	out := filepath.Join(b.cache, "own-"+filepath.Base(pkg))
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, "./"+pkg)
	cmd.Dir, cmd.Env = filepath.Join(b.Root, "e2e"), append(os.Environ(), "CGO_ENABLED=0")
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

// archive is the archive of an image whose contents a key stands for.
func (b *Builder) archive(image, file, key string) Archive {
	return Archive{Name: "steelyard-kind/" + image + ":" + key, Path: filepath.Join(b.cache, file+"-"+key+".tar")}
}

// write writes images into one archive, in which they share layers, unless it
// is there.
func (b *Builder) write(path string, recipes map[string]recipe) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	images := map[name.Tag]v1.Image{}
	for n, r := range recipes {
		tag, err := name.NewTag(n)
		if err != nil {
			return fmt.Errorf("name an image %q: %w", n, err)
		}
		if images[tag], err = r.image(); err != nil {
			return fmt.Errorf("make the image %s: %w", n, err)
		}
	}
	if err := tarball.MultiWriteToFile(path+".new", images); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(path+".new", path)
}

// prune removes every archive and layer of the cache but those to keep.
func (b *Builder) prune(keep ...string) error {
	all, err := filepath.Glob(filepath.Join(b.cache, "*.tar*"))
	if err != nil {
		return err
	}
	for _, path := range all {
		if slices.Contains(keep, path) {
			continue
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("clear the cache: %w", err)
		}
	}
	return nil
}

// sum sums up what something is built from.
func sum(parts ...string) string {
	s := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(s[:6])
}
