package images

import (
	"context"
	_ "embed" // the list of images
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

//go:embed images.txt
var moreImages string

// podImages writes the images of all Pods of a new cluster into one archive, and
// returns its path.
func (b *Builder) podImages(ctx context.Context, tools layer) (string, error) {
	names, err := b.podNames(ctx)
	if err != nil {
		return "", err
	}
	podnet, err := b.Own(ctx, "e2e/kind/podnet")
	if err != nil {
		return "", err
	}
	pause, err := b.pause(ctx)
	if err != nil {
		return "", err
	}
	key, err := b.key(nil, podnet, tools.key, fmt.Sprint(names))
	if err != nil {
		return "", err
	}
	archive := filepath.Join(b.cache, "pods-"+key+".tar")
	if _, err := os.Stat(archive); err == nil {
		return archive, nil
	}
	b.Say("packing %d images of Pods …", len(names))
	recipes := map[string]recipe{}
	for _, p := range []struct {
		name, from string
		layers     []layer
	}{
		{"kube-apiserver", b.kube, nil}, {"kube-controller-manager", b.kube, nil}, {"kube-scheduler", b.kube, nil}, {"etcd", b.kube, nil},
		{"kube-proxy", b.kube, []layer{tools}}, {"agnhost", b.kube, []layer{tools}}, {"coredns", b.kind, nil},
		{"podnet", filepath.Dir(podnet), []layer{tools}}, {"pause", filepath.Dir(pause), nil},
	} {
		if recipes[p.name], err = b.podRecipe(p.name, p.from, p.layers, key); err != nil {
			return "", err
		}
	}
	images := map[string]v1.Image{}
	for name, program := range names {
		r, ok := recipes[program]
		if !ok {
			return "", fmt.Errorf("no program %s is built for the image %s", program, name)
		}
		if images[name], err = r.image(); err != nil {
			return "", fmt.Errorf("make the image %s: %w", name, err)
		}
	}
	return archive, write(archive, images)
}

// podRecipe is an image that runs one program. It stands in the root, where an
// image's entry point or a script looks for it, and in the PATH.
func (b *Builder) podRecipe(name, from string, layers []layer, key string) (recipe, error) {
	file := filepath.Join(from, name)
	if name == "podnet" || name == "pause" {
		file = filepath.Join(from, "own-"+name)
	}
	entries := []entry{program("/usr/local/bin/"+name, file), {name: "/" + name, link: "usr/local/bin/" + name}}
	config := v1.Config{Entrypoint: []string{"/" + name}, Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}}
	if name == "agnhost" {
		config.Cmd = []string{"pause"}
		entries = append(entries, entry{name: "/agnhost-2", link: "agnhost"}, entry{name: "/uploads/"})
	}
	l, err := b.files(sum(key, name), entries)
	if err != nil {
		return recipe{}, err
	}
	return recipe{layers: append(layers, l), config: config}, nil
}

// podNames tells which program each image runs: those that kubeadm wants, those
// of images.txt, and the Pods' network.
func (b *Builder) podNames(ctx context.Context) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(b.node, "kubeadm"), "config", "images", "list", "--kubernetes-version", b.kubernetes)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("ask kubeadm for its images: %w", err)
	}
	names := map[string]string{"steelyard.dev/podnet:built": "podnet"}
	for _, name := range strings.Fields(string(out)) {
		program, _, _ := strings.Cut(path.Base(name), ":")
		names[name] = program
	}
	for line := range strings.Lines(moreImages) {
		if f := strings.Fields(line); len(f) == 2 && f[0] != "#" {
			names[f[0]] = f[1]
		}
	}
	return names, nil
}

// pause compiles the program that holds a Pod's namespaces, which Kubernetes has in C.
func (b *Builder) pause(ctx context.Context) (string, error) {
	module, err := b.module(ctx, "kube", "k8s.io/kubernetes")
	if err != nil {
		return "", err
	}
	out := filepath.Join(b.cache, "own-pause")
	source := filepath.Join(module, "build", "pause", "linux", "pause.c")
	cmd := exec.CommandContext(ctx, "gcc", "-Os", "-Wall", "-static", "-DVERSION="+b.kubernetes, "-o", out, source)
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile %s: %w\n%s", source, err, text)
	}
	return out, nil
}
