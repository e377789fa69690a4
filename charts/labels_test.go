package charts

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// A context that is turned off is none, for Pod and container, also of the Job that applies the values' objects.
func TestSecurityContextsCanBeUnset(t *testing.T) {
	none := map[string]any{"podSecurityContext": false, "securityContext": false}
	helm := byHelm(t, map[string]any{"controller": none, "speaker": none, "pools": map[string]any{"lan": map[string]any{}}})
	for _, o := range []string{deployment, daemonSet, job} {
		if helm[o] == nil || at(helm[o], pod+"securityContext") != nil || at(helm[o], container+"securityContext") != nil {
			t.Errorf("%s: want no context, have %v and %v", o, at(helm[o], pod+"securityContext"), at(helm[o], container+"securityContext"))
		}
	}
}

// Every object of a release bears the labels that tools find it by, and keeps them where a user sets the same.
func TestObjectsHaveTheLabelsOfTheirRelease(t *testing.T) {
	values := everyValue(t)
	values["commonLabels"] = map[string]any{"app.kubernetes.io/name": "mine", "cost": "net"}
	delete(values, "crds")
	for _, off := range []string{"networkPolicy", "controller", "speaker"} {
		delete(values, off)
	}
	rendered, err := RenderRelease("steelyard", values)
	if err != nil {
		t.Fatal(err)
	}
	helm := objects{}
	for path, text := range rendered {
		if strings.HasSuffix(path, ".yaml") {
			parse(t, helm, text)
		}
	}
	for _, kind := range []string{deployment, daemonSet, budget, policy, constraints, job, monitor, byService, alerts, dashboard} {
		if helm[kind] == nil {
			t.Errorf("%s is not there", kind)
		}
	}
	for key, o := range helm {
		labels, _ := at(o, "metadata.labels").(map[string]any)
		for name, want := range map[string]any{
			"app.kubernetes.io/name": "steelyard", "app.kubernetes.io/instance": "steelyard", "app.kubernetes.io/version": "dev",
			"app.kubernetes.io/part-of": "steelyard", "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "steelyard-0.1.0", "cost": "net",
		} {
			if labels[name] != want {
				t.Errorf("%s: want the label %s: %v, have %v", key, name, want, labels)
			}
		}
	}
	// A new version of the chart alone replaces no Pod.
	for _, o := range []string{deployment, daemonSet} {
		for name := range at(helm[o], "spec.template.metadata.labels").(map[string]any) {
			if strings.HasSuffix(name, "/version") || name == "helm.sh/chart" {
				t.Errorf("the Pods of %s have the label %s", o, name)
			}
		}
	}
}

// What Artifact Hub shows of the chart names every kind, by its name and version.
func TestArtifactHubListsEachKind(t *testing.T) {
	var chart struct{ Annotations map[string]string }
	var listed []struct{ Kind, Version, Name, DisplayName, Description string }
	text, err := os.ReadFile("steelyard/Chart.yaml")
	if err == nil {
		err = yaml.Unmarshal(text, &chart)
	}
	if err == nil {
		err = yaml.UnmarshalStrict([]byte(chart.Annotations["artifacthub.io/crds"]), &listed)
	}
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../config/crd/steelyard.dev_*.yaml")
	if err != nil || len(files) == 0 || len(files) != len(listed) {
		t.Errorf("Chart.yaml lists %d kinds, there are %d, %v", len(listed), len(files), err)
	}
	for _, k := range listed {
		plural, group, _ := strings.Cut(k.Name, ".")
		file := filepath.Join("..", "config", "crd", group+"_"+plural+".yaml")
		text, err := os.ReadFile(file)
		if err != nil || !slices.Contains(files, file) || !strings.Contains(string(text), "\n    kind: "+k.Kind+"\n") || !strings.Contains(string(text), "\n    name: "+k.Version+"\n") {
			t.Errorf("%s %s %s is not in %s, %v", k.Name, k.Kind, k.Version, file, err)
		}
	}
}
