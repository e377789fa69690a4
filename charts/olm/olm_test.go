package olm

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/operator-framework/api/pkg/manifests"
	"github.com/operator-framework/api/pkg/validation"
	validator "github.com/operator-framework/api/pkg/validation/interfaces"
	"sigs.k8s.io/yaml"
)

const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func bundle() Bundle {
	var images string
	for _, program := range programs() {
		images += "registry.example.org/steelyard-lb/steelyard-" + program + ":v1.2.3" + digest + "\n"
	}
	return Bundle{Root: "../..", Tag: "v1.2.3", Arches: []string{"amd64", "armv7"}, Images: images, Created: time.Unix(1700000000, 0).UTC()}
}

// written makes a bundle, and returns its folder.
func written(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bundle")
	if err := bundle().Write(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// findings are what OLM's own validators, and those of its catalog, say of a bundle.
func findings(t *testing.T, dir string) []string {
	t.Helper()
	b, err := manifests.GetBundleFromDir(dir)
	if err != nil {
		return []string{err.Error()}
	}
	all := slices.Concat(validation.DefaultBundleValidators, validator.Validators{
		validation.OperatorHubV2Validator, validation.StandardCapabilitiesValidator, validation.StandardCategoriesValidator,
		validation.GoodPracticesValidator, validation.ObjectValidator,
	})
	objects := []any{b, b.CSV}
	for _, kind := range b.V1CRDs {
		objects = append(objects, kind)
	}
	var out []string
	for _, r := range all.Validate(objects...) {
		for _, e := range slices.Concat(r.Errors, r.Warnings) {
			if !expected(e.Error()) {
				out = append(out, e.Error())
			}
		}
	}
	return out
}

// expected are warnings that are none: what the programs write themselves has no
// example, and the validator takes EndpointSlices and others of v1 for those of v1beta1.
func expected(finding string) bool {
	for _, kind := range []string{"BGPSession", "L2Claim", "Speaker"} {
		if strings.Contains(finding, "Kind="+kind+": provided API should have an example annotation") {
			return true
		}
	}
	return strings.Contains(finding, "this bundle is using APIs which were deprecated and removed in v1.25")
}

func TestTheBundleIsValid(t *testing.T) {
	for _, finding := range findings(t, written(t)) {
		t.Error(finding)
	}
}

// The validators are not content with everything.
func TestAWrongBundleIsFound(t *testing.T) {
	const csv, kind, notes = "manifests/steelyard.clusterserviceversion.yaml", "manifests/operator.steelyard.dev_steelyards.yaml", "metadata/annotations.yaml"
	for _, c := range []struct{ name, file, old, new, says string }{
		{"a kind that is not listed", csv, "kind: Speaker", "kind: Other", "Other"},
		{"no install mode", csv, "supported: true", "supported: false", "InstallMode"},
		{"an unknown category", csv, "categories: Networking", "categories: Network", "Network"},
		{"an unknown capability", csv, "capabilities: Seamless Upgrades", "capabilities: All", "All"},
		{"an example of no kind", csv, `"kind": "Steelyard"`, `"kind": "Ironyard"`, "Ironyard"},
		{"a version of no number", csv, "version: 1.2.3", "version: one", "one"},
		{"a kind of no scope", kind, "scope: Namespaced", "scope: Everywhere", "Everywhere"},
		{"a channel that none expects", notes, "channels.v1: stable", "channels.v1: weekly", "weekly"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := written(t)
			text, err := os.ReadFile(filepath.Join(dir, c.file))
			if err != nil || !strings.Contains(string(text), c.old) {
				t.Fatalf("%s does not say %q, %v", c.file, c.old, err)
			}
			if err := os.WriteFile(filepath.Join(dir, c.file), []byte(strings.Replace(string(text), c.old, c.new, 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			if all := strings.Join(findings(t, dir), "\n"); !strings.Contains(all, c.says) {
				t.Errorf("want a finding that says %q, have %q", c.says, all)
			}
		})
	}
}

// Each template of the chart is among what the operator may make, and what a program
// may do it may do as well.
func TestTheOperatorMayMakeWhatTheChartMakes(t *testing.T) {
	s, err := bundle().sources()
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.objects()
	if err != nil {
		t.Fatal(err)
	}
	may, err := s.rights()
	if err != nil {
		t.Fatal(err)
	}
	templates := map[string]bool{}
	for _, o := range made {
		where := may.cluster
		if o.Metadata.Namespace != "" {
			where = may.own
		}
		for _, verb := range []string{"create", "get", "delete"} {
			if !allows(where, o.APIGroup(), plural(o.Kind), o.Metadata.Name, verb) {
				t.Errorf("the operator may not %s %s %s", verb, o.Kind, o.Metadata.Name)
			}
		}
		if o.Kind == "ClusterRole" {
			where = may.cluster
		}
		for _, granted := range o.Rules {
			if !slices.ContainsFunc(where, func(r rule) bool { return cmp.Equal(r, granted) }) {
				t.Errorf("the operator does not hold %v, which %s %s grants", granted, o.Kind, o.Metadata.Name)
			}
		}
		templates[o.Kind] = true
	}
	files, err := filepath.Glob("../steelyard/templates/*/*.yaml")
	more, moreErr := filepath.Glob("../steelyard/templates/*.yaml")
	if err != nil || moreErr != nil || len(files)+len(more) < 10 {
		t.Fatalf("%v %v %d templates", err, moreErr, len(files)+len(more))
	}
	for _, file := range slices.Concat(files, more) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if kind, is := strings.CutPrefix(line, "kind: "); is && !templates[strings.TrimSpace(kind)] {
				t.Errorf("%s of %s is not among what the operator is expected to make: everything() leaves it out", strings.TrimSpace(kind), file)
			}
		}
	}
	for _, r := range slices.Concat(may.cluster, may.own) {
		if slices.Contains(r.Verbs, "*") || slices.Contains(r.Resources, "*") || slices.Contains(r.Verbs, "bind") || slices.Contains(r.Verbs, "escalate") {
			t.Errorf("too much: %+v", r)
		}
	}
}

func allows(rules []rule, group, resource, name, verb string) bool {
	return slices.ContainsFunc(rules, func(r rule) bool {
		return slices.Contains(r.APIGroups, group) && slices.Contains(r.Resources, resource) && slices.Contains(r.Verbs, verb) &&
			(len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, name))
	})
}

// What runs is named by digest, in the one place and the other.
func TestTheBundleNamesItsImages(t *testing.T) {
	dir := written(t)
	var csv struct {
		Metadata struct{ Annotations, Labels map[string]string }
		Spec     struct {
			Description   string
			RelatedImages []struct{ Name, Image string }
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "manifests/steelyard.clusterserviceversion.yaml"))
	if err == nil {
		err = yaml.Unmarshal(text, &csv)
	}
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, i := range csv.Spec.RelatedImages {
		have = append(have, i.Image)
	}
	if diff := cmp.Diff(strings.Fields(bundle().Images), have); diff != "" {
		t.Errorf("-pushed +related\n%s", diff)
	}
	if want := "image: registry.example.org/steelyard-lb/steelyard-operator:v1.2.3" + digest; !strings.Contains(string(text), want) {
		t.Errorf("the Deployment does not say %s", want)
	}
	if csv.Metadata.Labels["operatorframework.io/arch.arm"] != "supported" {
		t.Errorf("labels %v", csv.Metadata.Labels)
	}
	if strings.Contains(csv.Spec.Description, "](docs/") || !strings.Contains(csv.Spec.Description, "/blob/v1.2.3/docs/") {
		t.Errorf("links that lead nowhere: %s", csv.Spec.Description)
	}
	var examples []struct{ Kind string }
	if err := json.Unmarshal([]byte(csv.Metadata.Annotations["alm-examples"]), &examples); err != nil || len(examples) < 2 || examples[0].Kind != "Steelyard" {
		t.Errorf("examples %v, %v", examples, err)
	}
}

func TestEqualSourcesGiveAnEqualBundle(t *testing.T) {
	one, err := bundle().files()
	if err != nil {
		t.Fatal(err)
	}
	another, err := bundle().files()
	if err != nil || !maps.EqualFunc(one, another, slices.Equal) {
		t.Errorf("they differ, %v", err)
	}
}

func TestABundleWantsEachImage(t *testing.T) {
	b := bundle()
	b.Images = strings.Replace(b.Images, "steelyard-operator:", "steelyard-other:", 1)
	if err := b.Write(t.TempDir()); err == nil || !strings.Contains(err.Error(), "operator") {
		t.Errorf("want a refusal that names the operator's image, have %v", err)
	}
}
