package charts

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

func TestMain(m *testing.M) {
	slog.SetLogLoggerLevel(slog.LevelWarn) // Helm tells of each symbolic link
	os.Exit(m.Run())
}

// objects are manifests by kind, namespace and name.
type objects map[string]map[string]any

// parse reads a stream of manifests.
func parse(t *testing.T, into objects, text string) {
	t.Helper()
	for doc := range strings.SplitSeq(text, "\n---\n") {
		var o map[string]any
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if len(o) == 0 {
			continue
		}
		meta := o["metadata"].(map[string]any)
		namespace, _ := meta["namespace"].(string)
		name := regexp.MustCompile(`^steelyard-values-[0-9a-f]{8}$`).ReplaceAllString(meta["name"].(string), "steelyard-values")
		key := o["kind"].(string) + " " + namespace + "/" + name
		if into[key] != nil {
			t.Errorf("%s is there twice", key)
		}
		into[key] = o
	}
}

// byHelm renders the chart as an installation does.
func byHelm(t *testing.T, values map[string]any) objects {
	t.Helper()
	rendered, err := Render("steelyard", values)
	if err != nil {
		t.Fatal(err)
	}
	out := objects{}
	for _, path := range slices.Sorted(maps.Keys(rendered)) {
		if strings.HasSuffix(path, ".yaml") {
			parse(t, out, rendered[path])
		}
	}
	return out
}

// byKustomize builds a folder of config/.
func byKustomize(t *testing.T, folder string) objects {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join("..", "config", folder))
	if err != nil {
		t.Fatal(err)
	}
	text, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	out := objects{}
	parse(t, out, string(text))
	return out
}

func TestWhatIsMadeFromTheChartIsFresh(t *testing.T) {
	files, err := Files("..")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range files {
		have, err := os.ReadFile(filepath.Join("..", path))
		if err != nil || string(have) != want {
			t.Errorf("%s is stale: edit charts/steelyard, run \"make generate\" and commit the result (-want +have)\n%s", path, cmp.Diff(want, string(have)))
		}
	}
}

// config/default and the chart install the same, but for two things: Helm makes
// the namespace itself, or a user does; and a chart's kinds outlive it.
func TestBothInstallTheSame(t *testing.T) {
	kustomize, helm := byKustomize(t, "default"), byHelm(t, nil)
	const namespace = "Namespace /" + Namespace
	if kustomize[namespace] == nil || helm[namespace] != nil {
		t.Errorf("want %s from kustomize alone", namespace)
	}
	delete(kustomize, namespace)
	kinds := 0
	for key, o := range helm {
		if !strings.HasPrefix(key, "CustomResourceDefinition") {
			continue
		}
		kinds++
		annotations := o["metadata"].(map[string]any)["annotations"].(map[string]any)
		if annotations["helm.sh/resource-policy"] != "keep" {
			t.Errorf("%s would go with the release, and the configuration with it", key)
		}
		delete(annotations, "helm.sh/resource-policy")
	}
	if files, err := filepath.Glob("../config/crd/steelyard.dev_*.yaml"); err != nil || kinds == 0 || kinds != len(files) {
		t.Errorf("the chart has %d kinds, config/crd has %d, %v", kinds, len(files), err)
	}
	if diff := cmp.Diff(kustomize, helm); diff != "" {
		t.Errorf("-kustomize +helm\n%s", diff)
	}
}

// The rack runs the programs itself, with the same kinds and roles.
func TestTheRackHasNothingOfItsOwn(t *testing.T) {
	all := byKustomize(t, "default")
	for key, o := range byKustomize(t, "rack") {
		if diff := cmp.Diff(all[key], o); diff != "" {
			t.Errorf("%s: -default +rack\n%s", key, diff)
		}
		delete(all, key)
	}
	for key := range all {
		if kind, _, _ := strings.Cut(key, " "); !slices.Contains([]string{"Deployment", "DaemonSet", "PodDisruptionBudget", "NetworkPolicy"}, kind) {
			t.Errorf("the rack lacks %s", key)
		}
	}
}

func TestLint(t *testing.T) {
	result := lint.RunAll("steelyard", nil, Namespace)
	for _, m := range result.Messages {
		if m.Severity > support.InfoSev {
			t.Error(m)
		}
	}
}

func TestEachValueIsDocumented(t *testing.T) {
	values, err := Values("steelyard")
	if err != nil || len(values) == 0 {
		t.Fatalf("%d values, %v", len(values), err)
	}
	for _, v := range values {
		if !strings.HasSuffix(v.Doc, ".") {
			t.Errorf("values.yaml: above %s want sentences that say what it means, have %q", v.Path, v.Doc)
		}
	}
}

// The programs have the flags that the manifests give them.
func TestFlagsAreThere(t *testing.T) {
	values := everyValue(t)
	helm := byHelm(t, values)
	for program, key := range map[string]string{"controller": "Deployment " + Namespace + "/steelyard-controller", "speaker": "DaemonSet " + Namespace + "/steelyard-speaker"} {
		source, err := os.ReadFile(filepath.Join("..", program, "main.go"))
		if err != nil {
			t.Fatal(err)
		}
		common, err := os.ReadFile(filepath.Join("..", "internal", "cluster", "metrics.go"))
		if err != nil {
			t.Fatal(err)
		}
		source = append(source, common...)
		args, _ := at(helm[key], "spec.template.spec.containers.0.args").([]any)
		if len(args) < 5 {
			t.Errorf("%s: want its flags, have %v", program, args)
		}
		for _, a := range args {
			name := regexp.MustCompile(`^--([a-z-]+)`).FindStringSubmatch(a.(string))
			if name == nil || !strings.Contains(string(source), `"`+name[1]+`", `) {
				t.Errorf("%s has no flag %s", program, a)
			}
		}
	}
}

func TestThePolicyIsLeftOutWhereTheAPIHasNone(t *testing.T) {
	const kind = "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy"
	for _, c := range []struct {
		name string
		apis common.VersionSet
		want bool
	}{
		{"no cluster is known", common.VersionSet{"v1", "admissionregistration.k8s.io/v1"}, true},
		{"a cluster has the kind", common.VersionSet{"v1", "v1/Pod", "admissionregistration.k8s.io/v1", kind}, true},
		{"a cluster lacks the kind", common.VersionSet{"v1", "v1/Pod", "admissionregistration.k8s.io/v1"}, false},
	} {
		rendered, err := RenderFor(&common.Capabilities{KubeVersion: common.DefaultCapabilities.KubeVersion, APIVersions: c.apis}, "steelyard", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, have := rendered["speaker/policy.yaml"]; have != c.want {
			t.Errorf("%s: want a policy %t, have %t", c.name, c.want, have)
		}
	}
}

func TestTheControllerIsReachableOnlyByNamedPeers(t *testing.T) {
	spec := byHelm(t, nil)[policy]["spec"].(map[string]any)
	if ingress, ok := spec["ingress"].([]any); !ok || len(ingress) != 0 {
		t.Errorf("by default these may: %v", spec["ingress"])
	}
}
