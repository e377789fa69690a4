package programs

import (
	"os"
	"strings"
	"testing"
)

func TestKubernetesVersionIsFoundInItsModule(t *testing.T) {
	text, err := os.ReadFile("../../kube/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if v := version.FindSubmatch(text); v == nil || !strings.HasPrefix(string(v[1]), "v1.") {
		t.Errorf("found %q in e2e/kube/go.mod, want v1.…", v)
	}
	for _, p := range all {
		if !strings.Contains(string(text), "\t"+p.pkg+"\n") {
			t.Errorf("e2e/kube/go.mod lists no tool %s", p.pkg)
		}
	}
}
