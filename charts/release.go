package charts

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/chart/v2/util"
)

// Release is what is known of a release before its chart and manifests are made.
type Release struct {
	Tag     string // v1.2.3
	Images  string // the list that "make images" has pushed: REGISTRY/steelyard-PROGRAM:TAG@DIGEST, one on each line
	Created time.Time
}

// adapters are the programs that a user installs beside the chart, if at all: each has a
// manifest in config/ipam, in which the user writes the pools first.
func adapters() []string { return []string{"ipam-dhcp", "ipam-file"} }

// Write writes into the folder out the chart as an archive, and for kubectl
// steelyard.yaml, which installs everything, crds.yaml, which has the kinds alone, and the
// adapters' manifests. The sources are in the folder root. Equal sources give equal files.
func (r Release) Write(root, out string) error {
	c, err := loader.LoadDir(filepath.Join(root, "charts", "steelyard"))
	if err != nil {
		return fmt.Errorf("load the chart: %w", err)
	}
	if err := r.stamp(c); err != nil {
		return err
	}
	archive, err := util.Save(c, out)
	if err != nil {
		return fmt.Errorf("pack the chart: %w", err)
	}
	rendered, err := Render(archive, nil)
	if err != nil {
		return err
	}
	namespace, err := os.ReadFile(filepath.Join(root, "config", "rbac", "namespace.yaml"))
	if err != nil {
		return fmt.Errorf("read the namespace: %w", err)
	}
	files, err := r.ofAdapters(filepath.Join(root, "config", "ipam"))
	if err != nil {
		return err
	}
	files["crds.yaml"], files["steelyard.yaml"] = rendered["crds.yaml"], manifest(string(namespace), rendered)
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(out, file), []byte(text), 0o644); err != nil {
			return fmt.Errorf("write the manifests: %w", err)
		}
	}
	return nil
}

// ofAdapters returns the manifests of a folder, with the images of the release.
func (r Release) ofAdapters(folder string) (map[string]string, error) {
	found, err := r.images()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, name := range adapters() {
		text, err := os.ReadFile(filepath.Join(folder, name+".yaml"))
		if err != nil {
			return nil, fmt.Errorf("read the manifest of an adapter: %w", err)
		}
		image := " steelyard-" + name + ":dev\n"
		if strings.Count(string(text), image) != 1 {
			return nil, fmt.Errorf("%s.yaml has the image%s not once", name, strings.TrimSuffix(image, "\n"))
		}
		out[name+".yaml"] = strings.Replace(string(text), image, " "+found.reference(name)+"\n", 1)
	}
	return out, nil
}

// manifest puts the programs after what they need.
func manifest(namespace string, rendered map[string]string) string {
	programs := []string{"controller/deployment.yaml", "speaker/daemonset.yaml"}
	files := slices.SortedFunc(maps.Keys(rendered), func(a, b string) int {
		return cmp.Or(cmp.Compare(slices.Index(programs, a), slices.Index(programs, b)), cmp.Compare(a, b))
	})
	all := []string{namespace}
	for _, file := range files {
		if filepath.Ext(file) == ".yaml" {
			all = append(all, rendered[file])
		}
	}
	return strings.Join(all, "---\n")
}

// stamp writes version, images and addresses of the release into the chart.
func (r Release) stamp(c *chart.Chart) error {
	version, ok := strings.CutPrefix(r.Tag, "v")
	if !ok {
		return fmt.Errorf("the tag %q is not like v1.2.3", r.Tag)
	}
	c.Metadata.Version, c.Metadata.AppVersion = version, r.Tag
	c.Metadata.Icon = r.ofTag(c.Metadata.Icon)
	for name, text := range c.Metadata.Annotations {
		c.Metadata.Annotations[name] = r.ofTag(text)
	}
	c.Metadata.Annotations["artifacthub.io/prerelease"] = fmt.Sprint(strings.Contains(version, "-"))
	found, err := r.images()
	if err != nil {
		return err
	}
	c.Metadata.Annotations["artifacthub.io/images"] = ""
	for _, program := range []string{"controller", "speaker"} {
		c.Metadata.Annotations["artifacthub.io/images"] += fmt.Sprintf("- name: %s\n  image: %s\n", program, found.reference(program))
	}
	i := slices.IndexFunc(c.Raw, func(f *common.File) bool { return f.Name == util.ValuesfileName })
	if i < 0 {
		return errors.New("the chart has no values")
	}
	text := string(c.Raw[i].Data)
	for name, value := range map[string]string{"registry": found.registry, "controllerDigest": found.digests["controller"], "speakerDigest": found.digests["speaker"]} {
		empty := "\n  " + name + ": \"\"\n"
		if strings.Count(text, empty) != 1 {
			return fmt.Errorf("values.yaml has image.%s not once, and empty", name)
		}
		text = strings.Replace(text, empty, fmt.Sprintf("\n  %s: %q\n", name, value), 1)
	}
	c.Raw[i].Data = []byte(text)
	c.StampModTimes(r.Created)
	return nil
}

// ofTag turns addresses of the branch main into those of the release.
func (r Release) ofTag(text string) string {
	for _, part := range []string{"steelyard-lb/steelyard/", "steelyard-lb/steelyard/blob/"} {
		text = strings.ReplaceAll(text, part+"main/", part+r.Tag+"/")
	}
	return text
}

// images are those of a release.
type images struct {
	tag, registry string
	digests       map[string]string // by program
}

// reference is the image of a program by registry, tag and digest.
func (i images) reference(program string) string {
	return i.registry + "/steelyard-" + program + ":" + i.tag + "@" + i.digests[program]
}

// images reads the list of the images.
func (r Release) images() (images, error) {
	out := images{tag: r.Tag, digests: map[string]string{}}
	for reference := range strings.FieldsSeq(r.Images) {
		before, name := path.Split(reference)
		before = strings.TrimSuffix(before, "/")
		program, digest, named := strings.Cut(strings.TrimPrefix(name, "steelyard-"), ":"+r.Tag+"@")
		if !named || out.registry != "" && out.registry != before {
			return out, fmt.Errorf("%q is not REGISTRY/steelyard-PROGRAM:%s@DIGEST, in the registry of the others", reference, r.Tag)
		}
		out.registry, out.digests[program] = before, digest
	}
	for _, program := range append([]string{"controller", "speaker"}, adapters()...) {
		if out.digests[program] == "" {
			return out, fmt.Errorf("want the image of %s, have %q", program, r.Images)
		}
	}
	return out, nil
}
