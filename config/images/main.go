// Command images puts the built programs into container images, without a
// container engine: for each program and architecture an archive, which docker,
// podman, containerd (ctr images import) and kind can load, and a bill of
// materials (CycloneDX); for each program an OCI image layout with all
// architectures, or an image in a registry, whose references, with digests, are
// in images.txt. An image holds one static program, and equal programs give equal
// images. The operator's has files beside it, and a bundle's has nothing but files.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// options are the flags.
type options struct {
	bin      string
	files    string
	out      string
	programs []string
	more     bool
	arches   []string
	tag      string
	version  string
	revision string
	created  time.Time
	push     string
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "folder of the programs, those of an architecture in a folder of its name")
	names := flag.String("programs", "controller,speaker,ipam-file,ipam-dhcp", "comma list of what to pack: controller, speaker, ipam-file, ipam-dhcp, operator, bundle")
	flag.StringVar(&o.files, "files", "", "folder of the files that go into the image of operator or bundle")
	flag.BoolVar(&o.more, "append", false, "add to images.txt, which has the images that were pushed before")
	flag.StringVar(&o.out, "out", "dist", "folder for what is written")
	arches := flag.String("arches", "amd64,arm64", "comma list of architectures, as Go names them, and armv7")
	flag.StringVar(&o.tag, "tag", "dev", "tag of the images")
	flag.StringVar(&o.version, "version", "", "version of the programs, for the images' labels")
	flag.StringVar(&o.revision, "revision", "", "commit of the sources, likewise")
	created := flag.Int64("created", 0, "time that the images were created, in seconds since 1970: that of the commit, so that equal sources give equal images")
	flag.StringVar(&o.push, "push", "", "registry and path to push the images to, as ghcr.io/steelyard-lb; the credentials are those of docker login. Empty: push nothing")
	flag.Parse()
	o.programs = strings.Split(*names, ",")
	o.arches, o.created = strings.Split(*arches, ","), time.Unix(*created, 0).UTC()
	if err := o.writeAll(); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

// writeAll makes the images of all programs, and the list of those that were pushed.
func (o options) writeAll() error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return fmt.Errorf("make the folder of the images: %w", err)
	}
	var pushed strings.Builder
	for _, name := range o.programs {
		i := slices.IndexFunc(programs(), func(p program) bool { return p.name == name })
		if i < 0 {
			return fmt.Errorf("there is no program %q", name)
		}
		reference, err := o.write(programs()[i])
		if err != nil {
			return err
		}
		if reference != "" {
			fmt.Fprintln(&pushed, reference)
		}
	}
	if o.push == "" {
		return nil
	}
	how := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	if o.more {
		how = os.O_APPEND | os.O_WRONLY
	}
	list, err := os.OpenFile(filepath.Join(o.out, "images.txt"), how, 0o644)
	if err != nil {
		return fmt.Errorf("list the images: %w", err)
	}
	_, err = list.WriteString(pushed.String())
	if err := errors.Join(err, list.Close()); err != nil {
		return fmt.Errorf("list the images: %w", err)
	}
	return nil
}

// write makes all that there is of one program. It returns what was pushed, as
// REGISTRY/NAME:TAG@DIGEST; "": nothing was.
func (o options) write(p program) (string, error) {
	index := v1.ImageIndex(empty.Index)
	for _, arch := range o.arches {
		image, err := o.image(p, arch)
		if err != nil {
			return "", fmt.Errorf("make the image of %s for %s: %w", p.name, arch, err)
		}
		if !p.none {
			if err := errors.Join(o.archive(image, p, arch), o.bill(p, arch)); err != nil {
				return "", err
			}
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: platform(arch)},
		})
	}
	folder := filepath.Join(o.out, "oci", "steelyard-"+p.name)
	if err := os.RemoveAll(folder); err != nil {
		return "", fmt.Errorf("remove the old layout: %w", err)
	}
	if _, err := layout.Write(folder, index); err != nil {
		return "", fmt.Errorf("write the layout %s: %w", folder, err)
	}
	digest, err := index.Digest()
	if err != nil {
		return "", fmt.Errorf("sum up the image of %s: %w", p.name, err)
	}
	fmt.Printf("%s   %s, all architectures\n", folder, digest)
	if o.push == "" {
		return "", nil
	}
	ref, err := name.NewTag(strings.TrimSuffix(o.push, "/") + "/steelyard-" + p.name + ":" + o.tag)
	if err != nil {
		return "", fmt.Errorf("registry %q, tag %q: %w", o.push, o.tag, err)
	}
	if err := remote.WriteIndex(ref, index, remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return "", fmt.Errorf("push %s: %w", ref, err)
	}
	reference := fmt.Sprintf("%s@%s", ref, digest)
	fmt.Println("pushed " + reference)
	return reference, nil
}

// platform is an architecture as OCI's image index names it.
func platform(arch string) *v1.Platform {
	if of, variant, is := strings.Cut(arch, "v"); is && of == "arm" {
		return &v1.Platform{OS: "linux", Architecture: of, Variant: "v" + variant}
	}
	return &v1.Platform{OS: "linux", Architecture: arch}
}

// archive writes the archive of one image and reads it back to check it.
func (o options) archive(image v1.Image, p program, arch string) error {
	ref, err := name.NewTag("steelyard-" + p.name + ":" + o.tag)
	if err != nil {
		return fmt.Errorf("tag %q: %w", o.tag, err)
	}
	path := filepath.Join(o.out, "steelyard-"+p.name+"-"+arch+".tar")
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
