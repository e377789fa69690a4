package main

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"
)

// program is one of the programs that get an image.
type program struct {
	name string
	does string
	// capabilities come with the file: a user other than root gets them when it
	// runs it, if the container may have them.
	capabilities []uint
}

func programs() []program {
	return []program{
		{name: "controller", does: "allocates addresses to Services"},
		{name: "speaker", does: "announces the addresses of Services by ARP, NDP and BGP", capabilities: []uint{unix.CAP_NET_RAW, unix.CAP_NET_ADMIN}},
	}
}

// user runs the programs. Neither images nor nodes have a user of this number.
const user = "65532:65532"

// image returns an image that holds and runs a program. What depends on the
// time or the place of the build is not in it.
func (o options) image(p program, arch string) (v1.Image, error) {
	layer, err := layerOf(filepath.Join(o.bin, arch, p.name), p.capabilities)
	if err != nil {
		return nil, err
	}
	image, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer: layer, History: v1.History{Created: v1.Time{Time: o.created}, CreatedBy: "make images", Comment: "the program " + p.name},
	})
	if err != nil {
		return nil, fmt.Errorf("add the program: %w", err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the image's configuration: %w", err)
	}
	config = config.DeepCopy()
	runs := platform(arch)
	config.OS, config.Architecture, config.Variant, config.Created = runs.OS, runs.Architecture, runs.Variant, v1.Time{Time: o.created}
	config.Config.Entrypoint = []string{"/" + p.name}
	config.Config.User = user
	config.Config.Labels = map[string]string{
		"org.opencontainers.image.title":       "steelyard-" + p.name,
		"org.opencontainers.image.description": "Steelyard, a LoadBalancer for Kubernetes on bare metal: " + p.does,
		"org.opencontainers.image.source":      "https://github.com/steelyard-lb/steelyard",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     o.version,
		"org.opencontainers.image.revision":    o.revision,
	}
	return mutate.ConfigFile(image, config)
}

// layerOf returns a layer with one file, executable by all users.
func layerOf(path string, capabilities []uint) (v1.Layer, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: run \"make images\", which builds it", err)
	} else if err != nil {
		return nil, err
	}
	header := &tar.Header{Name: filepath.Base(path), Mode: 0o755, Size: int64(len(text)), Format: tar.FormatPAX}
	if len(capabilities) > 0 {
		header.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": string(fileCapabilities(capabilities))}
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(header); err != nil {
		return nil, fmt.Errorf("pack %s: %w", path, err)
	}
	if _, err := w.Write(text); err != nil {
		return nil, fmt.Errorf("pack %s: %w", path, err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack %s: %w", path, err)
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
