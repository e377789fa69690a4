// Command images puts the built programs into container images, without a
// container engine: an archive for each, which docker, podman, containerd
// (ctr images import) and kind can load. An image holds one static program.
package main

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func main() {
	bin := flag.String("bin", "bin", "folder of the programs")
	out := flag.String("out", "dist", "folder for the archives")
	tag := flag.String("tag", "dev", "tag of the images")
	flag.Parse()
	for _, program := range []string{"controller", "speaker"} {
		if err := write(*bin, *out, program, *tag); err != nil {
			fmt.Fprintln(os.Stderr, "images:", err)
			os.Exit(1)
		}
	}
}

// write makes the archive of one program and reads it back to check it.
func write(bin, out, program, tag string) error {
	image, err := imageOf(filepath.Join(bin, program))
	if err != nil {
		return fmt.Errorf("make the image of %s: %w", program, err)
	}
	ref, err := name.NewTag("steelyard-" + program + ":" + tag)
	if err != nil {
		return fmt.Errorf("tag %q: %w", tag, err)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("make the folder of the archives: %w", err)
	}
	path := filepath.Join(out, "steelyard-"+program+".tar")
	if err := tarball.WriteToFile(path, ref, image); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	written, err := tarball.ImageFromPath(path, &ref)
	if err != nil {
		return fmt.Errorf("read %s back: %w", path, err)
	}
	if err := validate.Image(written); err != nil {
		return fmt.Errorf("check %s: %w", path, err)
	}
	fmt.Printf("%s   load it with: docker load -i %[1]s   or: kind load image-archive %[1]s\n", path)
	return nil
}

// imageOf returns an image that holds and runs the program. Equal programs give
// equal images: no time of the build is in it.
func imageOf(program string) (v1.Image, error) {
	layer, err := layerOf(program)
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, fmt.Errorf("add the program: %w", err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the image's configuration: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.Entrypoint = []string{"/" + filepath.Base(program)}
	return mutate.ConfigFile(image, config)
}

// layerOf returns a layer with one file, executable by everybody.
func layerOf(program string) (v1.Layer, error) {
	text, err := os.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("%w: run \"make build\" first", err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	err = w.WriteHeader(&tar.Header{Name: filepath.Base(program), Mode: 0o755, Size: int64(len(text))})
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", program, err)
	}
	if _, err := w.Write(text); err != nil {
		return nil, fmt.Errorf("pack %s: %w", program, err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack %s: %w", program, err)
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
}
