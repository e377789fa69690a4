package images

import (
	"context"
	_ "embed" // the files of the node image
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// searchPath is where programs stand in every image.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

var (
	//go:embed podnet.yaml
	podnetManifest string
	//go:embed storage.yaml
	storageManifest string
	//go:embed kind-images@.service
	importService string
)

// nodeImage makes kind's node image: Debian, kind's own files, the programs of a
// node, and the images of the Pods. tools is what some of these Pods call.
func (b *Builder) nodeImage(ctx context.Context, debian, tools layer) (Archive, error) {
	bounded, err := b.Own(ctx, "kind/bounded")
	if err != nil {
		return Archive{}, err
	}
	own, err := b.nodeFiles(ctx)
	if err != nil {
		return Archive{}, err
	}
	pods, err := b.pods(ctx, tools)
	if err != nil {
		return Archive{}, err
	}
	key, err := b.key(own, bounded, debian.key, pods.key)
	if err != nil {
		return Archive{}, err
	}
	archive := b.archive("node", "node", key)
	if _, err := os.Stat(archive.Path); err == nil {
		return archive, nil
	}
	b.Log("packing the images of Pods …")
	for _, name := range []string{"pods", "control"} {
		file := filepath.Join(b.cache, name+"-"+key+".tar")
		recipes, err := pods.recipes(b, name == "control")
		if err != nil {
			return Archive{}, err
		}
		if err := b.write(file, recipes); err != nil {
			return Archive{}, err
		}
		own = append(own, entry{name: "/kind/images/" + name + ".tar", from: file})
	}
	b.Log("packing the node image …")
	programs, err := b.files(key, append(b.nodePrograms(bounded), own...))
	if err != nil {
		return Archive{}, err
	}
	return archive, b.write(archive.Path, map[string]recipe{archive.Name: {layers: []layer{debian, programs}, config: v1.Config{
		Entrypoint: []string{"/usr/local/bin/entrypoint", "/sbin/init"},
		Env:        []string{searchPath, "container=docker"},
		StopSignal: "SIGRTMIN+3", // systemd's
	}}})
}

// nodePrograms are all programs of a node; bounded takes the place of runc.
func (b *Builder) nodePrograms(bounded string) []entry {
	programs := []entry{program("/usr/local/sbin/runc", bounded), program("/usr/local/libexec/runc", filepath.Join(b.kind, "runc")), program("/usr/bin/kubectl", b.Kubectl())}
	for folder, names := range map[string][]string{
		"/usr/local/bin/": {"containerd", "containerd-shim-runc-v2", "ctr", "crictl"}, "/opt/cni/bin/": {"host-local", "loopback", "portmap", "ptp"},
	} {
		for _, n := range names {
			programs = append(programs, program(folder+n, filepath.Join(b.kind, n)))
		}
	}
	for _, n := range []string{"kubeadm", "kubelet"} {
		programs = append(programs, program("/usr/bin/"+n, filepath.Join(b.node, n)))
	}
	return programs
}

// key sums up small files by their text, the programs by their version, and
// own programs by their contents.
func (b *Builder) key(entries []entry, own string, more ...string) (string, error) {
	text, err := os.ReadFile(own)
	if err != nil {
		return "", err
	}
	parts := append(more, b.version, string(text))
	for _, e := range entries {
		parts = append(parts, e.name, e.link, e.text, fmt.Sprint(e.mode))
	}
	return sum(parts...), nil
}

// nodeFiles are all files of a node that are no programs: kind's own, from the
// module, and those that kind's build would write.
func (b *Builder) nodeFiles(ctx context.Context) ([]entry, error) {
	module, err := b.module(ctx, "node", "sigs.k8s.io/kind")
	if err != nil {
		return nil, err
	}
	base, err := kindFiles(filepath.Join(module, "images", "base", "files"))
	if err != nil {
		return nil, err
	}
	spec, err := b.podSpec(ctx)
	if err != nil {
		return nil, err
	}
	const units, wanted = "/etc/systemd/system/", "/etc/systemd/system/multi-user.target.wants/"
	files := append(base, []entry{
		{name: "/kind/version", text: b.kubernetes},
		{name: "/kind/manifests/default-cni.yaml", text: podnetManifest},
		{name: "/kind/manifests/default-storage.yaml", text: storageManifest},
		{name: "/etc/containerd/cri-base.json", text: spec},
		{name: "/etc/kubernetes/manifests/"},
		{name: units + "kind-images@.service", text: importService},
		// kind gives a node with the control plane such a name.
		{name: units + "kind-images@control.service.d/10-host.conf", text: "[Unit]\nConditionHost=*-control-plane*\n"},
	}...)
	for _, unit := range []string{"containerd.service", "kubelet.service", "undo-mount-hacks.service"} {
		files = append(files, entry{name: wanted + unit, link: units + unit})
	}
	for _, archive := range []string{"pods", "control"} {
		files = append(files, entry{name: wanted + "kind-images@" + archive + ".service", link: units + "kind-images@.service"})
	}
	return files, nil
}

// kindFiles are the files that kind's Dockerfile copies; scripts are executable.
func kindFiles(root string) (files []entry, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name := strings.TrimPrefix(path, root)
		if strings.HasSuffix(name, "/clean-install") { // only for building
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		e := entry{name: name, text: string(text), mode: 0o644}
		if strings.Contains(filepath.Dir(name), "/bin") {
			e.mode = 0o755
		}
		files = append(files, e)
		return nil
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s is empty", root)
	}
	return files, err
}

// podSpec is what containerd starts each container's specification from: its
// default, without limits that a node may not be able to give, and with kind's
// hook that hides the machine's serial numbers.
func (b *Builder) podSpec(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(b.kind, "ctr"), "oci", "spec").Output()
	if err != nil {
		return "", fmt.Errorf("ask containerd for its default specification: %w", err)
	}
	var spec map[string]any
	if err := json.Unmarshal(out, &spec); err != nil {
		return "", fmt.Errorf("read containerd's default specification: %w", err)
	}
	if process, ok := spec["process"].(map[string]any); ok {
		delete(process, "rlimits")
	}
	spec["hooks"] = map[string]any{"createContainer": []any{map[string]any{"path": "/kind/bin/mount-product-files.sh"}}}
	text, err := json.Marshal(spec)
	return string(text), err
}
