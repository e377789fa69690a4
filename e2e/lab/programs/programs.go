// Package programs builds the programs that a rack runs and that are not ours,
// once for each version, from Go modules that pin them.
package programs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Set is the programs that one Go module of folder e2e pins.
type Set struct {
	// folder is the module's, in e2e; pin is the module whose version the
	// programs have; stamp is the variable that tells a program its version.
	// Programs of several modules have no pin: what go.sum pins is their version.
	folder, pin, stamp string
	programs           []program
}

// program is one program to build, and the time it took on two cores when
// nothing was in Go's build cache. tags are Go's, with commas; one that is
// written in C needs a compiler as well. One of test is a package's tests.
type program struct {
	name, pkg, time string
	tags            string
	c, test         bool
}

// Versions are the versions of Kubernetes that a rack can run beside the one of e2e/kube. The first
// is the oldest that Steelyard supports.
func Versions() []string { return []string{"1.31", "1.32", "1.33", "1.34", "1.35", "1.37"} }

// Kubernetes is what every rack runs: the version of e2e/kube, or one of Versions.
func Kubernetes(version string) (Set, error) {
	if version != "" && !slices.Contains(Versions(), version) {
		return Set{}, fmt.Errorf("no programs of Kubernetes %q: want %s, or none for the version of e2e/kube", version, strings.Join(Versions(), ", "))
	}
	folder := "kube" + strings.ReplaceAll(version, ".", "")
	return Set{folder, "k8s.io/kubernetes", "k8s.io/component-base/version.gitVersion", []program{
		{name: "kube-apiserver", pkg: "k8s.io/kubernetes/cmd/kube-apiserver", time: "3 min"},
		{name: "kube-controller-manager", pkg: "k8s.io/kubernetes/cmd/kube-controller-manager", time: "1 min"},
		{name: "kube-scheduler", pkg: "k8s.io/kubernetes/cmd/kube-scheduler", time: "10 s"},
		{name: "kube-proxy", pkg: "k8s.io/kubernetes/cmd/kube-proxy", time: "10 s"},
		{name: "kubectl", pkg: "k8s.io/kubernetes/cmd/kubectl", time: "30 s"},
		{name: "agnhost", pkg: "k8s.io/kubernetes/test/images/agnhost", time: "10 s"},
		{name: "etcd", pkg: "go.etcd.io/etcd/server/v3", time: "10 s"},
	}}, nil
}

// Newest is Kubernetes in the version of e2e/kube.
func Newest() Set {
	s, _ := Kubernetes("") // it is known
	return s
}

// Tests are Kubernetes' own, for a cluster that is there.
func Tests() Set {
	return Set{"kube", "k8s.io/kubernetes", "k8s.io/component-base/version.gitVersion", []program{
		{name: "e2e.test", pkg: "k8s.io/kubernetes/test/e2e", time: "4 min", test: true},
	}}
}

// Node is what runs on a node that is more than a network namespace: Kubernetes'
// part of it.
func Node() Set {
	return Set{"kube", "k8s.io/kubernetes", "k8s.io/component-base/version.gitVersion", []program{
		{name: "kubeadm", pkg: "k8s.io/kubernetes/cmd/kubeadm", time: "30 s"},
		{name: "kubelet", pkg: "k8s.io/kubernetes/cmd/kubelet", time: "2 min"},
	}}
}

// Kind is kind itself.
func Kind() Set {
	return Set{folder: "node", programs: []program{{name: "kind", pkg: "sigs.k8s.io/kind", time: "10 s"}}}
}

// Runtime is what kind's node image has beside Kubernetes.
func Runtime() Set {
	const containerd, plugins = "github.com/containerd/containerd/v2/cmd/", "github.com/containernetworking/plugins/plugins/"
	const less = "no_btrfs,no_zfs" // file systems that nodes don't use
	return Set{folder: "node", programs: []program{
		{name: "containerd", pkg: containerd + "containerd", time: "1 min", tags: less},
		{name: "containerd-shim-runc-v2", pkg: containerd + "containerd-shim-runc-v2", time: "5 s", tags: less},
		{name: "ctr", pkg: containerd + "ctr", time: "10 s", tags: less},
		{name: "runc", pkg: "github.com/opencontainers/runc", time: "10 s", tags: "seccomp", c: true},
		{name: "crictl", pkg: "sigs.k8s.io/cri-tools/cmd/crictl", time: "20 s"},
		{name: "host-local", pkg: plugins + "ipam/host-local", time: "5 s"},
		{name: "loopback", pkg: plugins + "main/loopback", time: "5 s"},
		{name: "ptp", pkg: plugins + "main/ptp", time: "5 s"},
		{name: "portmap", pkg: plugins + "meta/portmap", time: "5 s"},
		{name: "coredns", pkg: "github.com/coredns/coredns", time: "1 min"},
	}}
}

// Only is the set without its other programs.
func (s Set) Only(name string) Set {
	s.programs = slices.DeleteFunc(slices.Clone(s.programs), func(p program) bool { return p.name != name })
	return s
}

// images are the programs that Pods run beside agnhost: each by the name of its
// image, built when it is asked for.
func images() map[string]Set {
	return map[string]Set{
		"traefik": {"traefik", "github.com/traefik/traefik/v3", "github.com/traefik/traefik/v3/pkg/version.Version", []program{
			{name: "traefik", pkg: "github.com/traefik/traefik/v3/cmd/traefik", time: "5 min"},
		}},
		"kube-router": {"kuberouter", "github.com/cloudnativelabs/kube-router/v2", "github.com/cloudnativelabs/kube-router/v2/pkg/version.Version", []program{
			{name: "kube-router", pkg: "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router", time: "5 min"},
		}},
		"flannel": {"flannel", "github.com/flannel-io/flannel", "github.com/flannel-io/flannel/pkg/version.Version", []program{
			{name: "flannel", pkg: "github.com/flannel-io/flannel", time: "3 min", c: true},
		}},
		"calico-node": {"calico", "github.com/projectcalico/calico", "github.com/projectcalico/calico/node/buildinfo.GitVersion", []program{
			{name: "calico-node", pkg: "github.com/projectcalico/calico/node/cmd/calico-node", time: "5 min"},
		}},
	}
}

// Image finds the programs of an image, whose name may have a registry, a tag
// and a digest: docker.io/library/traefik:v3.
func Image(image string) (Set, bool) {
	set, ok := images()[ImageName(image)]
	return set, ok
}

// ImageName is what is left of an image's name without registry, tag and digest.
func ImageName(image string) string {
	image, _, _ = strings.Cut(image, "@")
	name, _, _ := strings.Cut(path.Base(image), ":")
	return name
}

// Paths tells where the program of each image is, or will be once it is built.
// e2e is the folder of that name, cache the folder that holds what Build returns.
func Paths(e2e, cache string) (map[string]string, error) {
	out := map[string]string{}
	for name, set := range images() {
		version, err := set.version(e2e)
		if err != nil {
			return nil, err
		}
		out[name] = filepath.Join(cache, set.folder+"-"+version, name)
	}
	return out, nil
}

// version reads the version of the programs from their Go module.
func (s Set) version(e2e string) (string, error) {
	if s.pin == "" {
		return s.sum(e2e)
	}
	file := filepath.Join(e2e, s.folder, "go.mod")
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the version of %s: %w", s.pin, err)
	}
	line := regexp.MustCompile(`(?m)^\s*(?:require )?` + regexp.QuoteMeta(s.pin) + ` (v\S+)`)
	found := line.FindSubmatch(text)
	if found == nil {
		return "", fmt.Errorf("found no %s in %s", s.pin, file)
	}
	return string(found[1]), nil
}

// sum sums up what the module pins.
func (s Set) sum(e2e string) (string, error) {
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(e2e, s.folder, name))
		if err != nil {
			return "", fmt.Errorf("read what %s pins: %w", s.folder, err)
		}
		sum.Write(text)
	}
	return hex.EncodeToString(sum.Sum(nil)[:6]), nil
}

// Build returns the folder of the programs, and builds those that are not there
// yet. It tells say of each build. e2e is the folder of that name.
func (s Set) Build(ctx context.Context, e2e string, log func(string, ...any)) (string, error) {
	version, err := s.version(e2e)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	dir := filepath.Join(cache, "steelyard", s.folder+"-"+version)
	if len(s.missing(dir)) == 0 {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder: %w", err)
	}
	// Two builders at once would only make each other slow; the second waits
	// here and then finds everything done.
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", fmt.Errorf("open the lock of the cache: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock the cache: %w", err)
	}
	for _, p := range s.missing(dir) {
		log("building %s %s (once; about %s) …", p.name, version, p.time)
		if err := s.build(ctx, p, filepath.Join(e2e, s.folder), filepath.Join(dir, p.name), version); err != nil {
			return "", err
		}
	}
	return dir, nil
}

func (s Set) missing(dir string) []program {
	var programs []program
	for _, p := range s.programs {
		if _, err := os.Stat(filepath.Join(dir, p.name)); err != nil {
			programs = append(programs, p)
		}
	}
	return programs
}

// build builds under another name first, so that a broken build never counts.
func (s Set) build(ctx context.Context, p program, module, output, version string) error {
	link, cgo := "-ldflags=-s -w", "CGO_ENABLED=0"
	if s.stamp != "" {
		link += " -X " + s.stamp + "=" + version
	}
	if p.c {
		cgo = "CGO_ENABLED=1"
	}
	build := []string{"build"}
	if p.test {
		build = []string{"test", "-c"}
	}
	cmd := exec.CommandContext(ctx, "go", append(build, "-trimpath", "-o", output+".new", "-tags", p.tags, link, p.pkg)...)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s in %s: %w\n%s", p.pkg, module, err, out)
	}
	if err := os.Rename(output+".new", output); err != nil {
		return fmt.Errorf("keep the built %s: %w", p.name, err)
	}
	return nil
}
