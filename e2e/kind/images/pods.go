package images

import (
	"cmp"
	"context"
	_ "embed" // the list of images
	"fmt"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

//go:embed images.txt
var moreImages string

// control are the programs that run only where the control plane does.
const control = "kube-apiserver kube-controller-manager kube-scheduler etcd"

// podImage is an image that runs one program.
type podImage struct{ name, program, args string }

// podImages are the images of all Pods of a new cluster.
type podImages struct {
	all []podImage
	// programs are the paths of programs that are no module's tools.
	programs map[string]string
	// tools is what some programs call.
	tools layer
	// key sums up everything.
	key string
}

// pods says what the images of Pods are made of.
func (b *Builder) pods(ctx context.Context, tools layer) (podImages, error) {
	all, err := b.podNames(ctx)
	if err != nil {
		return podImages{}, err
	}
	podnet, err := b.Own(ctx, "kind/podnet")
	if err != nil {
		return podImages{}, err
	}
	pause, err := b.pause(ctx)
	if err != nil {
		return podImages{}, err
	}
	p := podImages{all: all, tools: tools, programs: map[string]string{"podnet": podnet, "pause": pause, "coredns": filepath.Join(b.kind, "coredns")}}
	p.key, err = b.key(nil, podnet, tools.key, fmt.Sprint(all))
	return p, err
}

// recipes makes the layers of the images: of those of the control plane, or of
// the others.
func (p podImages) recipes(b *Builder, ofControl bool) (map[string]recipe, error) {
	recipes := map[string]recipe{}
	for _, i := range p.all {
		if strings.Contains(control, i.program) != ofControl {
			continue
		}
		from := cmp.Or(p.programs[i.program], filepath.Join(b.kube, i.program))
		entries := []entry{program("/usr/local/bin/"+i.program, from), {name: "/" + i.program, link: "usr/local/bin/" + i.program}}
		r := recipe{config: v1.Config{Entrypoint: []string{"/" + i.program}, Env: []string{searchPath}, Cmd: strings.Fields(i.args)}}
		switch i.program {
		case "agnhost": // with what Kubernetes' tests look for in it
			entries = append(entries, entry{name: "/agnhost-2", link: "agnhost"}, entry{name: "/uploads/"})
			fallthrough
		case "kube-proxy", "podnet":
			r.layers = []layer{p.tools}
		}
		l, err := b.files(sum(p.key, i.program), entries)
		if err != nil {
			return nil, err
		}
		r.layers = append(r.layers, l)
		recipes[i.name] = r
	}
	return recipes, nil
}

// podNames are the images that kubeadm wants, those of images.txt, and the Pods'
// network.
func (b *Builder) podNames(ctx context.Context) ([]podImage, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(b.node, "kubeadm"), "config", "images", "list", "--kubernetes-version", b.kubernetes)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("ask kubeadm for its images: %w", err)
	}
	images := []podImage{{name: "steelyard.dev/podnet:built", program: "podnet"}}
	for _, name := range strings.Fields(string(out)) {
		program, _, _ := strings.Cut(path.Base(name), ":")
		images = append(images, podImage{name: name, program: program})
	}
	for line := range strings.Lines(moreImages) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] != "#" {
			images = append(images, podImage{f[0], f[1], strings.Join(f[2:], " ")})
		}
	}
	return images, nil
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
