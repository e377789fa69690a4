// Package olm makes the bundle by which the Operator Lifecycle Manager installs
// Steelyard. A bundle installs Deployments alone, so its program is an operator, the
// Helm operator, that installs the chart for an object of kind Steelyard
// (config/operator). What the bundle says is read from the chart, the kinds and the
// README.
package olm

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"sigs.k8s.io/yaml"
)

// Bundle is what is known of a release before its bundle is made.
type Bundle struct {
	Root    string   // folder of the sources
	Tag     string   // v1.2.3
	Arches  []string // of the images, as the Makefile names them
	Images  string   // what was pushed: REGISTRY/steelyard-PROGRAM:TAG@DIGEST, one on each line
	Created time.Time
}

// object is anything that is written as YAML.
type object = map[string]any

// Write writes the bundle into a folder, which it replaces. Equal sources give equal
// files.
func (b Bundle) Write(out string) error {
	files, err := b.files()
	if err != nil {
		return err
	}
	if err := os.RemoveAll(out); err != nil {
		return fmt.Errorf("remove the old bundle: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file := filepath.Join(out, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, files[name], 0o644)); err != nil {
			return fmt.Errorf("write the bundle: %w", err)
		}
	}
	return nil
}

// files returns the bundle's files by their path in it.
func (b Bundle) files() (map[string][]byte, error) {
	s, err := b.sources()
	if err != nil {
		return nil, err
	}
	kind, err := s.steelyard()
	if err != nil {
		return nil, err
	}
	csv, err := s.csv()
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	written := object{
		"manifests/steelyard.clusterserviceversion.yaml":                csv,
		"manifests/" + s.watch.Group + "_" + s.watch.plural() + ".yaml": kind,
		"metadata/annotations.yaml":                                     object{"annotations": s.annotations()},
	}
	for name, content := range written {
		if out[name], err = yaml.Marshal(content); err != nil {
			return nil, fmt.Errorf("encode %s: %w", name, err)
		}
	}
	for name, text := range s.kinds {
		out["manifests/"+name] = text
	}
	return out, nil
}

// annotations are those of the bundle, and the labels of its image.
func (s sources) annotations() map[string]string {
	const prefix = "operators.operatorframework.io.bundle."
	channel := "stable"
	if strings.Contains(s.Tag, "-") {
		channel = "candidate"
	}
	return map[string]string{
		prefix + "mediatype.v1":       "registry+v1",
		prefix + "manifests.v1":       "manifests/",
		prefix + "metadata.v1":        "metadata/",
		prefix + "package.v1":         "steelyard",
		prefix + "channels.v1":        channel,
		prefix + "channel.default.v1": "stable",
	}
}

// watch is whom the operator serves (config/operator/watches.yaml).
type watch struct{ Group, Version, Kind string }

func (w watch) plural() string { return strings.ToLower(w.Kind) + "s" }

// sources is all that a bundle is made of.
type sources struct {
	Bundle
	folder     string            // of the chart
	kinds      map[string][]byte // files of config/crd
	icon       []byte
	readme     string
	watch      watch
	metadata   *chart.Metadata
	references map[string]string // of the images, by program
}

// sources reads them.
func (b Bundle) sources() (sources, error) {
	s := sources{Bundle: b, folder: filepath.Join(b.Root, "charts", "steelyard"), kinds: map[string][]byte{}, references: map[string]string{}}
	c, err := loader.LoadDir(s.folder)
	if err != nil {
		return s, fmt.Errorf("load the chart: %w", err)
	}
	s.metadata = c.Metadata
	var watches []watch
	read := func(elements ...string) []byte {
		text, readErr := os.ReadFile(filepath.Join(append([]string{b.Root}, elements...)...))
		err = errors.Join(err, readErr)
		return text
	}
	s.icon = read("docs", "pictures", path.Base(s.metadata.Icon))
	s.readme = string(read("README.md"))
	err = errors.Join(err, yaml.Unmarshal(read("config", "operator", "watches.yaml"), &watches))
	files, globErr := filepath.Glob(filepath.Join(b.Root, "config", "crd", "steelyard.dev_*.yaml"))
	for _, file := range files {
		s.kinds[filepath.Base(file)] = read("config", "crd", filepath.Base(file))
	}
	if err := errors.Join(err, globErr); err != nil {
		return s, fmt.Errorf("read what the bundle is made of: %w", err)
	}
	if len(watches) != 1 || len(s.kinds) == 0 {
		return s, fmt.Errorf("want one watch and some kinds, have %d and %d", len(watches), len(s.kinds))
	}
	s.watch = watches[0]
	return s, s.find()
}

// find finds the images of the programs.
func (s sources) find() error {
	for reference := range strings.FieldsSeq(s.Images) {
		if name, _, tagged := strings.Cut(path.Base(reference), ":"+s.Tag+"@sha256:"); tagged {
			s.references[strings.TrimPrefix(name, "steelyard-")] = reference
		}
	}
	for _, program := range programs() {
		if s.references[program] == "" {
			return fmt.Errorf("want the image %s:%s with its digest, have %q", program, s.Tag, s.Images)
		}
	}
	return nil
}

// programs are those whose images an installation needs.
func programs() []string { return []string{"controller", "operator", "speaker"} }
