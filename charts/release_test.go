package charts

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

const (
	controllerImage = "registry.example.org/steelyard-lb/steelyard-controller:v1.2.3@" + digest
	speakerImage    = "registry.example.org/steelyard-lb/steelyard-speaker:v1.2.3@sha256:fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
	adapterImages   = "registry.example.org/steelyard-lb/steelyard-ipam-file:v1.2.3@sha256:01 registry.example.org/steelyard-lb/steelyard-ipam-dhcp:v1.2.3@sha256:02"
)

// released makes the files of a release, and returns their folder.
func released(t *testing.T) string {
	t.Helper()
	out := t.TempDir()
	r := Release{Tag: "v1.2.3", Images: controllerImage + "\n" + speakerImage + "\n" + adapterImages + "\n", Created: time.Unix(1700000000, 0).UTC()}
	if err := r.Write("..", out); err != nil {
		t.Fatal(err)
	}
	return out
}

// What a user installs of a release names its own images, each by registry, tag and
// digest, and its own documents.
func TestAReleaseNamesItsOwnImages(t *testing.T) {
	dir := released(t)
	manifest, err := os.ReadFile(filepath.Join(dir, "steelyard.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	have := objects{}
	parse(t, have, string(manifest))
	fromChart, err := Render(filepath.Join(dir, "steelyard-1.2.3.tgz"), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := objects{}
	for path, text := range fromChart {
		if strings.HasSuffix(path, ".yaml") {
			parse(t, want, text)
		}
	}
	parse(t, want, byFile(t, "../config/rbac/namespace.yaml"))
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("-chart +steelyard.yaml\n%s", diff)
	}
	for object, image := range map[string]string{deployment: controllerImage, daemonSet: speakerImage} {
		if got := at(have[object], container+"image"); got != image {
			t.Errorf("%s: want %s, have %v", object, image, got)
		}
	}
	if notes := fromChart["NOTES.txt"]; strings.Contains(notes, "checkout") || !strings.Contains(notes, "/blob/v1.2.3/docs/how-to/uninstall.md") {
		t.Errorf("the notes of a release: %s", notes)
	}
	// Another tag is another image: the digest is not its.
	fromChart, err = Render(filepath.Join(dir, "steelyard-1.2.3.tgz"), map[string]any{"image": map[string]any{"registry": "", "tag": "mine"}})
	if err != nil || !strings.Contains(fromChart["speaker/daemonset.yaml"], "image: steelyard-speaker:mine\n") {
		t.Errorf("%v: %s", err, fromChart["speaker/daemonset.yaml"])
	}
	c, err := loader.LoadFile(filepath.Join(dir, "steelyard-1.2.3.tgz"))
	if err != nil {
		t.Fatal(err)
	}
	text := c.Metadata.Icon
	for _, annotation := range c.Metadata.Annotations {
		text += annotation
	}
	for _, f := range c.Raw {
		if bytes.Contains(f.Data, []byte("dev@")) || f.Name == "Chart.yaml" && bytes.Contains(f.Data, []byte("appVersion: dev")) {
			t.Errorf("%s of the archive is that of a checkout", f.Name)
		}
	}
	if c.Metadata.Version != "1.2.3" || c.Metadata.AppVersion != "v1.2.3" || strings.Contains(text, "/main/") || !strings.Contains(text, speakerImage) {
		t.Errorf("version %s, appVersion %s; %s", c.Metadata.Version, c.Metadata.AppVersion, text)
	}
	crds := byFile(t, filepath.Join(dir, "crds.yaml"))
	kinds := 0
	for _, f := range c.Files {
		if strings.HasPrefix(f.Name, "crd/steelyard.dev_") {
			kinds++
		}
	}
	if have := strings.Count(crds, "\nkind: CustomResourceDefinition\n"); have != kinds || kinds == 0 {
		t.Errorf("crds.yaml has %d kinds, the chart %d", have, kinds)
	}
}

// The adapters' manifests are those of config/ipam, but for the image.
func TestAdaptersAreOfTheRelease(t *testing.T) {
	dir := released(t)
	files, err := filepath.Glob("../config/ipam/*.yaml")
	if err != nil || len(files) != len(adapters()) {
		t.Fatalf("%d adapters have the manifests %v, %v", len(adapters()), files, err)
	}
	for image := range strings.FieldsSeq(adapterImages) {
		name, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(image), "steelyard-"), ":")
		have := byFile(t, filepath.Join(dir, name+".yaml"))
		want := strings.Replace(byFile(t, "../config/ipam/"+name+".yaml"), "image: steelyard-"+name+":dev\n", "image: "+image+"\n", 1)
		if diff := cmp.Diff(want, have); diff != "" || !strings.Contains(have, image) {
			t.Errorf("%s: -want +have\n%s", name, diff)
		}
	}
}

// The programs come after what they need, and the namespace before all.
func TestTheManifestIsInOrder(t *testing.T) {
	manifest := "\n" + byFile(t, filepath.Join(released(t), "steelyard.yaml"))
	at := func(where func(string, string) int, kind string) int { return where(manifest, "\nkind: "+kind+"\n") }
	for _, kind := range []string{"CustomResourceDefinition", "ServiceAccount", "ClusterRoleBinding", "ValidatingAdmissionPolicyBinding"} {
		if last := at(strings.LastIndex, kind); last < at(strings.Index, "Namespace") || last > at(strings.Index, "Deployment") || last > at(strings.Index, "DaemonSet") {
			t.Errorf("%s comes before the namespace, or after the programs", kind)
		}
	}
}

func byFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEqualSourcesGiveAnEqualRelease(t *testing.T) {
	one, another := released(t), released(t)
	for _, file := range []string{"steelyard-1.2.3.tgz", "steelyard.yaml", "crds.yaml", "ipam-dhcp.yaml", "ipam-file.yaml"} {
		if byFile(t, filepath.Join(one, file)) != byFile(t, filepath.Join(another, file)) {
			t.Errorf("%s differs", file)
		}
	}
}

func TestAReleaseWantsItsImages(t *testing.T) {
	for _, c := range []struct{ name, tag, images, says string }{
		{"a tag without v", "1.2.3", controllerImage + "\n" + speakerImage, "like v1.2.3"},
		{"one image alone", "v1.2.3", controllerImage, "the image of speaker"},
		{"no adapters", "v1.2.3", controllerImage + "\n" + speakerImage, "the image of ipam-dhcp"},
		{"an image of another tag", "v1.2.4", controllerImage + "\n" + speakerImage, "is not REGISTRY"},
		{"images of two registries", "v1.2.3", controllerImage + "\n" + strings.Replace(speakerImage, "/steelyard-lb/", "/other/", 1), "of the others"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Release{Tag: c.tag, Images: c.images}.Write("..", t.TempDir())
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("want a refusal that says %q, have %v", c.says, err)
			}
		})
	}
}
