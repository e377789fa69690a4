package images

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layer is a layer of an image in a file: a plain tar, since nothing here
// crosses a network and compressing is what would take longest.
type layer struct {
	// key is the sum of what it was built from.
	key, path string
	digest    v1.Hash
	size      int64
}

// Digest, DiffID, Compressed, Uncompressed, Size and MediaType make it a v1.Layer.
func (l layer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l layer) DiffID() (v1.Hash, error)             { return l.digest, nil }
func (l layer) Compressed() (io.ReadCloser, error)   { return os.Open(l.path) }
func (l layer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.path) }
func (l layer) Size() (int64, error)                 { return l.size, nil }
func (l layer) MediaType() (types.MediaType, error)  { return types.DockerUncompressedLayer, nil }

// openLayer returns the layer that a file holds.
func openLayer(key, path string) (layer, error) {
	f, err := os.Open(path)
	if err != nil {
		return layer{}, err
	}
	defer f.Close()
	digest := sha256.New()
	size, err := io.Copy(digest, f)
	if err != nil {
		return layer{}, fmt.Errorf("sum up %s: %w", path, err)
	}
	hash := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(digest.Sum(nil))}
	return layer{key: key, path: path, digest: hash, size: size}, nil
}

// entry is one file of a layer: a copy of the file from, or a link to link, or
// else text; a name that ends in a slash is a folder.
type entry struct {
	name, from, link, text string
	mode                   int64 // 0 means 0644, or 0755 for a folder
}

// program is an entry for an executable.
func program(name, from string) entry { return entry{name: name, from: from, mode: 0o755} }

// files makes a layer of some files. Each name stands in the layer as it is
// given, without the first slash.
func (b *Builder) files(key string, entries []entry) (layer, error) {
	path := filepath.Join(b.cache, "layer-"+key+".tar")
	if l, err := openLayer(key, path); err == nil {
		return l, nil
	}
	out, err := os.Create(path + ".new")
	if err != nil {
		return layer{}, err
	}
	defer out.Close()
	t := tar.NewWriter(out)
	for _, e := range entries {
		if err := e.write(t); err != nil {
			return layer{}, fmt.Errorf("put %s into a layer: %w", e.name, err)
		}
	}
	if err := t.Close(); err != nil {
		return layer{}, err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return layer{}, err
	}
	return openLayer(key, path)
}

func (e entry) write(t *tar.Writer) error {
	h := &tar.Header{Name: e.name[1:], Mode: e.mode, Typeflag: tar.TypeReg, Size: int64(len(e.text)), Linkname: e.link}
	if h.Mode == 0 {
		h.Mode = 0o644
	}
	switch {
	case e.name[len(e.name)-1] == '/':
		h.Typeflag, h.Mode = tar.TypeDir, 0o755
	case e.link != "":
		h.Typeflag = tar.TypeSymlink
	case e.from != "":
		f, err := os.Open(e.from)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		h.Size = info.Size()
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		_, err = io.Copy(t, f)
		return err
	}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.WriteString(t, e.text)
	return err
}

// recipe is what an image is made of.
type recipe struct {
	layers []layer
	config v1.Config
}

// key sums up the recipe.
func (r recipe) key() string {
	parts := []string{fmt.Sprintf("%+v", r.config)}
	for _, l := range r.layers {
		parts = append(parts, l.key)
	}
	return sum(parts...)
}

// image is the image for this machine's architecture.
func (r recipe) image() (v1.Image, error) {
	image := v1.Image(empty.Image)
	for _, l := range r.layers {
		var err error
		if image, err = mutate.AppendLayers(image, l); err != nil {
			return nil, err
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config = "linux", runtime.GOARCH, r.config
	return mutate.ConfigFile(image, config)
}
