package doctor_test

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/steelyard-lb/steelyard/internal/doctor"
)

// TestOurOwnKindsAreNotOld looks at the kinds as they are installed, and at what
// they would be without one of their fields.
func TestOurOwnKindsAreNotOld(t *testing.T) {
	files, err := filepath.Glob("../../config/crd/steelyard.dev_*.yaml")
	if err != nil || len(files) < 9 {
		t.Fatalf("%d kinds: %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd unstructured.Unstructured
		if err := yaml.Unmarshal(text, &crd.Object); err != nil {
			t.Fatal(err)
		}
		if old := doctor.OldKind(&crd); old != "" {
			t.Errorf("%s: %s", file, old)
		}
		version := crd.Object["spec"].(map[string]any)["versions"].([]any)[0].(map[string]any)
		if filepath.Base(file) == "steelyard.dev_speakers.yaml" {
			unstructured.RemoveNestedField(version, "schema", "openAPIV3Schema", "properties", "status", "properties", "links", "items", "properties", "mac")
			if old := doctor.OldKind(&crd); old != "Speaker lacks status.links.mac" {
				t.Error(old)
			}
		}
		version["name"] = "v1alpha1"
		if old := doctor.OldKind(&crd); old == "" {
			t.Errorf("%s: another version is not found out", file)
		}
	}
}
