package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"go.yaml.in/yaml/v3"
	"golang.org/x/sys/unix"
)

// program is one of the programs that get an image.
type program struct {
	name string
	does string
	// capabilities come with the file: a user other than root gets them when it
	// runs it, if the container may have them.
	capabilities []uint
	// files tells that further files are in the image (option files).
	files bool
	// none tells that there is no program: the image only carries its files.
	none bool
}

func programs() []program {
	return []program{
		{name: "controller", does: "allocates addresses to Services"},
		{name: "speaker", does: "announces the addresses of Services by ARP, NDP and BGP", capabilities: []uint{unix.CAP_NET_RAW, unix.CAP_NET_ADMIN}},
		{name: "ipam-file", does: "manages the addresses of Services in a file, as the reference IPAM"},
		{name: "ipam-dhcp", does: "leases the addresses of Services from a DHCP server", capabilities: []uint{unix.CAP_NET_RAW}},
		{name: "operator", does: "installs Steelyard where the Operator Lifecycle Manager runs", files: true},
		{name: "bundle", does: "what the Operator Lifecycle Manager installs it from", files: true, none: true},
	}
}

// user runs the programs. Neither images nor nodes have a user of this number.
const user = "65532:65532"

// image returns an image that holds and runs a program. What depends on the
// time or the place of the build is not in it.
func (o options) image(p program, arch string) (v1.Image, error) {
	image := v1.Image(empty.Image)
	add := func(comment string, files ...file) error {
		layer, err := layerOf(files...)
		if err != nil {
			return err
		}
		history := v1.History{Created: v1.Time{Time: o.created}, CreatedBy: "make images", Comment: comment}
		if image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: history}); err != nil {
			return fmt.Errorf("add %s: %w", comment, err)
		}
		return nil
	}
	if path := filepath.Join(o.bin, arch, p.name); !p.none {
		if err := runs(path, arch); err != nil {
			return nil, err
		}
		if err := add("the program "+p.name, file{path: path, name: p.name, mode: 0o755, capabilities: p.capabilities}); err != nil {
			return nil, err
		}
	}
	if p.files {
		files, err := filesOf(o.files)
		if err != nil {
			return nil, err
		}
		if err := add("the files of "+p.name, files...); err != nil {
			return nil, err
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the image's configuration: %w", err)
	}
	config = config.DeepCopy()
	on := platform(arch)
	config.OS, config.Architecture, config.Variant, config.Created = on.OS, on.Architecture, on.Variant, v1.Time{Time: o.created}
	config.Config.Labels = map[string]string{
		"org.opencontainers.image.title":       "steelyard-" + p.name,
		"org.opencontainers.image.description": "Steelyard, a LoadBalancer for Kubernetes on bare metal: " + p.does,
		"org.opencontainers.image.source":      "https://github.com/steelyard-lb/steelyard",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     o.version,
		"org.opencontainers.image.revision":    o.revision,
	}
	if p.none {
		if err := o.label(config.Config.Labels); err != nil {
			return nil, err
		}
	} else {
		config.Config.Entrypoint, config.Config.User = []string{"/" + p.name}, user
	}
	return mutate.ConfigFile(image, config)
}

// runs returns why a program does not run on an architecture with nothing else in its image.
func runs(path, arch string) error {
	program, err := elf.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: run \"make images\", which builds it", err)
	} else if err != nil {
		return fmt.Errorf("read the program %s: %w", path, err)
	}
	defer func() { _ = program.Close() }() // it was only read
	machine := map[string]elf.Machine{
		"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "armv7": elf.EM_ARM, "ppc64le": elf.EM_PPC64, "s390x": elf.EM_S390, "riscv64": elf.EM_RISCV,
	}[arch]
	if program.Machine != machine || arch == "ppc64le" && program.Data != elf.ELFDATA2LSB {
		return fmt.Errorf("%s is for %s, and not for %s", path, program.Machine, arch)
	}
	if slices.ContainsFunc(program.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return fmt.Errorf("%s needs libraries, which its image does not have: build it with CGO_ENABLED=0", path)
	}
	return nil
}

// label adds the labels that a bundle's own annotations ask for.
func (o options) label(labels map[string]string) error {
	text, err := os.ReadFile(filepath.Join(o.files, "metadata", "annotations.yaml"))
	if err != nil {
		return fmt.Errorf("read the bundle's annotations: %w", err)
	}
	var bundle struct{ Annotations map[string]string }
	if err := yaml.Unmarshal(text, &bundle); err != nil {
		return fmt.Errorf("read the bundle's annotations: %w", err)
	}
	maps.Copy(labels, bundle.Annotations)
	return nil
}

// file is a file of an image, from one of this machine.
type file struct {
	path, name   string
	mode         int64
	capabilities []uint
}

// filesOf are those of a folder, by their paths in it.
func filesOf(folder string) ([]file, error) {
	var out []file
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(folder, path)
		out = append(out, file{path: path, name: name, mode: 0o644})
		return err
	})
	if err == nil && len(out) == 0 {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("find the files of an image in %q: %w", folder, err)
	}
	return out, nil
}

// layerOf returns a layer with files that all users may read, and run what is a program.
func layerOf(files ...file) (v1.Layer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		text, err := os.ReadFile(f.path)
		if err != nil {
			return nil, err
		}
		header := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(text)), Format: tar.FormatPAX}
		if len(f.capabilities) > 0 {
			header.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": string(fileCapabilities(f.capabilities))}
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.path, err)
		}
		if _, err := w.Write(text); err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack a layer: %w", err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithCompressedCaching)
}

// fileCapabilities writes permitted and effective capabilities as the kernel
// keeps them with a file (struct vfs_cap_data, revision 2, capabilities(7)).
func fileCapabilities(all []uint) []byte {
	const revision, effective = 0x02000000, 1
	var permitted [2]uint32
	for _, c := range all {
		permitted[c/32] |= 1 << (c % 32)
	}
	out := binary.LittleEndian.AppendUint32(nil, revision|effective)
	for _, p := range permitted {
		out = binary.LittleEndian.AppendUint32(out, p)
		out = binary.LittleEndian.AppendUint32(out, 0) // inheritable
	}
	return out
}
