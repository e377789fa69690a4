// Package programs builds the Kubernetes programs that a rack runs, once for
// each version, from a Go module that pins them.
package programs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"
)

// program is one program to build from e2e/kube, and the time it took on
// two cores when nothing was in Go's build cache.
type program struct{ name, pkg, time string }

var all = []program{
	{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", "3 min"},
	{"kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager", "1 min"},
	{"kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", "10 s"},
	{"kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy", "10 s"},
	{"kubectl", "k8s.io/kubernetes/cmd/kubectl", "30 s"},
	{"agnhost", "k8s.io/kubernetes/test/images/agnhost", "10 s"},
	{"etcd", "go.etcd.io/etcd/server/v3", "10 s"},
}

// version finds the version of Kubernetes in the text of e2e/kube/go.mod.
var version = regexp.MustCompile(`(?m)^\s*(?:require )?k8s\.io/kubernetes (v\S+)`)

// Build returns the folder of the programs that the Go module in folder module
// pins, and builds those that are not there yet. It tells say of each build.
func Build(ctx context.Context, module string, say func(string, ...any)) (string, error) {
	text, err := os.ReadFile(filepath.Join(module, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("read the version of Kubernetes: %w", err)
	}
	found := version.FindSubmatch(text)
	if found == nil {
		return "", fmt.Errorf("found no k8s.io/kubernetes in %s", filepath.Join(module, "go.mod"))
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	dir := filepath.Join(cache, "steelyard", "kube-"+string(found[1]))
	if len(missing(dir)) == 0 {
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
	for _, p := range missing(dir) {
		say("building %s %s (once; about %s) …", p.name, found[1], p.time)
		if err := p.build(ctx, module, dir, string(found[1])); err != nil {
			return "", err
		}
	}
	return dir, nil
}

func missing(dir string) []program {
	var programs []program
	for _, p := range all {
		if _, err := os.Stat(filepath.Join(dir, p.name)); err != nil {
			programs = append(programs, p)
		}
	}
	return programs
}

// build builds under another name first, so that a broken build never counts.
func (p program) build(ctx context.Context, module, dir, version string) error {
	output := filepath.Join(dir, p.name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", output+".new",
		"-ldflags=-s -w -X k8s.io/component-base/version.gitVersion="+version, p.pkg)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s in %s: %w\n%s", p.pkg, module, err, out)
	}
	if err := os.Rename(output+".new", output); err != nil {
		return fmt.Errorf("keep the built %s: %w", p.name, err)
	}
	return nil
}
