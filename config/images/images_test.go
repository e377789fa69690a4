package main

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// made has the smallest of programs in place of the real ones.
func made(t *testing.T, arches ...string) options {
	t.Helper()
	dir := t.TempDir()
	o := options{
		bin: filepath.Join(dir, "bin"), out: filepath.Join(dir, "dist"), arches: arches,
		tag: "v1.2.3", version: "v1.2.3", revision: "abc", created: time.Unix(1700000000, 0).UTC(),
	}
	for _, arch := range o.arches {
		text := built(t, arch, "func main() {}")
		if err := os.MkdirAll(filepath.Join(o.bin, arch), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, p := range programs() {
			if err := os.WriteFile(filepath.Join(o.bin, arch, p.name), text, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, p := range programs() {
		o.programs = append(o.programs, p.name)
	}
	o.files = filepath.Join(dir, "files")
	annotations := filepath.Join(o.files, "metadata", "annotations.yaml")
	if err := errors.Join(os.MkdirAll(filepath.Dir(annotations), 0o755), os.WriteFile(annotations, []byte("annotations: {package: steelyard}\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	return o
}

// released are the architectures of a release, by the Makefile.
func released(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\nRELEASE_ARCHES = ")
	list, _, found := strings.Cut(rest, "\n")
	if !found || !strings.Contains(string(text), "\nrelease: ARCHES = $(RELEASE_ARCHES)\n") {
		t.Fatal("the Makefile does not say what a release is made for")
	}
	return strings.Fields(list)
}

// sums returns the SHA-256 of each file under a folder.
func sums(t *testing.T, folder string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		rel, relErr := filepath.Rel(folder, path)
		out[rel] = fmt.Sprintf("%x", sha256.Sum256(text))
		return errors.Join(err, relErr)
	})
	if err != nil || len(out) == 0 {
		t.Fatalf("%d files in %s, %v", len(out), folder, err)
	}
	return out
}

// Two builds, from copies of the sources in two places, give the same programs,
// images and bills of materials, bit for bit.
func TestTwoBuildsAreEqual(t *testing.T) {
	list, err := exec.Command("git", "-C", "../..", "ls-files", "-z").Output()
	if err != nil {
		t.Fatalf("list the sources: %v", err)
	}
	var all []map[string]string
	for _, place := range []string{"one", "another"} {
		dir := filepath.Join(t.TempDir(), place)
		for path := range strings.SplitSeq(strings.Trim(string(list), "\x00"), "\x00") {
			text, err := os.ReadFile(filepath.Join("../..", path))
			if err != nil { // a link to a folder, or not committed as removed
				continue
			}
			file := filepath.Join(dir, path)
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, text, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		build := exec.Command("make", "-C", dir, "images", "ARCHES="+runtime.GOARCH, "VERSION=v1.2.3", "REVISION=abc", "CREATED=1700000000")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("make images: %v\n%s", err, out)
		}
		all = append(all, sums(t, filepath.Join(dir, "dist")))
	}
	if diff := cmp.Diff(all[0], all[1]); diff != "" {
		t.Errorf("-one +another\n%s", diff)
	}
}

func TestImage(t *testing.T) {
	o := made(t, released(t)...)
	if err := o.writeAll(); err != nil {
		t.Fatal(err)
	}
	for _, p := range programs() {
		if p.none {
			continue
		}
		for _, arch := range o.arches {
			image, err := tarball.ImageFromPath(filepath.Join(o.out, "steelyard-"+p.name+"-"+arch+".tar"), nil)
			if err != nil {
				t.Fatal(err)
			}
			config, err := image.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if config.Platform().String() != "linux/"+strings.Replace(arch, "armv7", "arm/v7", 1) || config.Config.User != "65532:65532" || !config.Created.Equal(o.created) ||
				config.Config.Labels["org.opencontainers.image.version"] != "v1.2.3" || config.Config.Labels["org.opencontainers.image.revision"] != "abc" {
				t.Errorf("%s for %s: %+v", p.name, arch, config)
			}
			want := []string{p.name}
			if p.files {
				want = append(want, "metadata/annotations.yaml")
			}
			if diff := cmp.Diff(want, names(t, image)); diff != "" {
				t.Errorf("files of %s: -want +have\n%s", p.name, diff)
			}
		}
	}
}

// names lists the files in an image.
func names(t *testing.T, image v1.Image) []string {
	t.Helper()
	var out []string
	each(t, image, func(h *tar.Header, _ io.Reader) { out = append(out, h.Name) })
	return out
}

func each(t *testing.T, image v1.Image, see func(*tar.Header, io.Reader)) {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		text, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		defer text.Close()
		for r := tar.NewReader(text); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			see(h, r)
		}
	}
}

// A bundle has files and no program; its labels say where they are. What is packed
// after others is listed after them.
func TestTheBundleIsItsFiles(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	o := made(t, "amd64")
	o.push = strings.TrimPrefix(server.URL, "http://") + "/net"
	all := o.programs
	for _, o.programs = range [][]string{all[:1], {"bundle"}} {
		if err := o.writeAll(); err != nil {
			t.Fatal(err)
		}
		o.more = true
	}
	list, err := os.ReadFile(filepath.Join(o.out, "images.txt"))
	pushed := strings.Fields(string(list))
	if err != nil || len(pushed) != 2 || !strings.Contains(pushed[0], "/steelyard-controller:") || !strings.Contains(pushed[1], "/steelyard-bundle:") {
		t.Fatalf("images.txt lists %q, %v", pushed, err)
	}
	ref, err := name.ParseReference(pushed[1])
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil || config.Config.Labels["package"] != "steelyard" || len(config.Config.Entrypoint) > 0 {
		t.Errorf("have %+v, %v", config, err)
	}
	if diff := cmp.Diff([]string{"metadata/annotations.yaml"}, names(t, image)); diff != "" {
		t.Errorf("-want +have\n%s", diff)
	}
	o.programs = []string{"router"}
	if err := o.writeAll(); err == nil || !strings.Contains(err.Error(), `"router"`) {
		t.Errorf("want a refusal that names the program, have %v", err)
	}
}

// The release workflow signs each image, and attests where it comes from.
func TestEachImageIsSigned(t *testing.T) {
	text, err := os.ReadFile("../../.github/workflows/release.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs() {
		for _, want := range []string{
			`"$REGISTRY/steelyard-` + p.name + `@$`,
			"subject-name: ${{ env.REGISTRY }}/steelyard-" + p.name + "\n        subject-digest: ${{ steps.pushed.outputs." + p.name + " }}\n",
		} {
			if strings.Count(string(text), want) != 1 {
				t.Errorf("release.yaml has not once %q", want)
			}
		}
	}
}

// A registry gets one image of all architectures.
func TestPush(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	o := made(t, released(t)...)
	o.push = strings.TrimPrefix(server.URL, "http://") + "/net"
	if err := o.writeAll(); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(filepath.Join(o.out, "images.txt"))
	if err != nil {
		t.Fatal(err)
	}
	pushed := strings.Fields(string(list))
	if len(pushed) != len(programs()) || !strings.HasPrefix(pushed[0], o.push+"/steelyard-controller:v1.2.3@sha256:") || !strings.HasPrefix(pushed[1], o.push+"/steelyard-speaker:v1.2.3@sha256:") {
		t.Fatalf("images.txt lists %q", pushed)
	}
	ref, err := name.ParseReference(pushed[0])
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, m := range manifest.Manifests {
		have = append(have, m.Platform.String())
	}
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/ppc64le", "linux/s390x", "linux/riscv64"}, have); diff != "" {
		t.Errorf("-want +have\n%s", diff)
	}
}

// The bill names the modules that a program was linked from: here this test.
func TestBill(t *testing.T) {
	o := made(t, "amd64")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(o.out, 0o755), os.WriteFile(filepath.Join(o.bin, "amd64", "controller"), text, 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := o.bill(programs()[0], "amd64"); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(filepath.Join(o.out, "steelyard-controller-amd64.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(file, cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, c := range *bom.Components {
		found[c.Name] = c.Version
	}
	if found["github.com/google/go-containerregistry"] == "" || found["std"] != strings.TrimPrefix(runtime.Version(), "go") {
		t.Errorf("want Go %s and what this test uses among %v", runtime.Version(), found)
	}
	if bom.Metadata.Component.Version != "v1.2.3" || bom.SpecVersion != cdx.SpecVersion1_6 {
		t.Errorf("have %+v", bom.Metadata.Component)
	}
}
