package charts

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

var prefix = flag.String("racks", "h", "what the name of the rack begins with, so that two runs on one machine don't meet")

// cluster is a rack without Steelyard, whose API server Helm installs to.
type cluster struct {
	t          *testing.T
	rack, helm string
}

// do runs a command where the API server is reached, and returns what it said.
func (c cluster) do(argv ...string) (string, error) {
	argv = append([]string{"exec", "--name", c.rack, "control", "--"}, argv...)
	out, err := exec.Command("../bin/rack", argv...).CombinedOutput()
	return string(out), err
}

// must is do, which must succeed.
func (c cluster) must(argv ...string) string {
	c.t.Helper()
	out, err := c.do(argv...)
	if err != nil {
		c.t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return out
}

// install runs helm install or upgrade. A rack runs no images: nothing is to be
// scheduled.
func (c cluster) install(verb, chart string, more ...string) (string, error) {
	return c.do(append([]string{c.helm, verb, "steelyard", chart, "--namespace", Namespace,
		"--set", "controller.replicas=0", "--set", "speaker.nodeSelector.rack=none"}, more...)...)
}

// left lists what there is of Steelyard but its kinds and what is in them.
func (c cluster) left() string {
	var found []string
	for line := range strings.Lines(c.must("kubectl", "get", "all,roles,rolebindings,serviceaccounts,secrets,networkpolicies,poddisruptionbudgets,clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings", "--all-namespaces", "-o", "name")) {
		if strings.Contains(line, "steelyard") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return strings.Join(found, " ")
}

func (c cluster) kinds() int {
	return strings.Count(c.must("kubectl", "get", "crd", "-o", "name"), ".steelyard.dev\n")
}

func newCluster(t *testing.T) cluster {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make a rack")
	}
	if _, err := os.Stat("../bin/rack"); err != nil {
		t.Skipf("%v: run \"make build\" first", err)
	}
	c := cluster{t: t, rack: *prefix + "elm", helm: filepath.Join(t.TempDir(), "helm")}
	if out, err := exec.Command("go", "build", "-o", c.helm, "helm.sh/helm/v4/cmd/helm").CombinedOutput(); err != nil {
		t.Fatalf("build Helm: %v\n%s", err, out)
	}
	down := func() {
		if out, err := exec.Command("../bin/rack", "down", "--name", c.rack).CombinedOutput(); err != nil {
			t.Errorf("rack down: %v\n%s", err, out)
		}
	}
	down() // what an aborted run left
	t.Cleanup(down)
	if out, err := exec.Command("../bin/rack", "up", "--name", c.rack, "--nodes", "1", "--router", "none", "--no-steelyard").CombinedOutput(); err != nil {
		t.Fatalf("rack up: %v\n%s", err, out)
	}
	return c
}

// older returns a copy of the chart whose kinds are marked as of an older version.
func older(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "steelyard")
	if out, err := exec.Command("cp", "-rL", "steelyard", dir).CombinedOutput(); err != nil {
		t.Fatalf("copy the chart: %v\n%s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "crd", "steelyard.dev_*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no kinds in %s: %v", dir, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		marked := strings.Replace(string(text), "\n  annotations:\n", "\n  annotations:\n    example.org/age: old\n", 1)
		if err := os.WriteFile(f, []byte(marked), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// everyValueFile has each value as in effects, but for a kind that is not there.
func everyValueFile(t *testing.T) string {
	t.Helper()
	values := everyValue(t)
	values["podMonitor"] = map[string]any{"enabled": false}
	text, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// What docs/how-to/upgrade.md and uninstall.md say of Helm, on a real API server.
func TestHelmInstallsUpgradesAndUninstalls(t *testing.T) {
	c := newCluster(t)
	c.must("kubectl", "create", "namespace", Namespace)
	out, err := c.install("install", older(t))
	if err != nil {
		t.Fatalf("install: %v\n%s", err, out)
	}
	if !strings.Contains(out, "kubectl label namespace "+Namespace+" pod-security.kubernetes.io/enforce=privileged") {
		t.Errorf("want a word on Pod security for a namespace without the label, have\n%s", out)
	}
	c.must("kubectl", "wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
	sample, err := filepath.Abs("../config/samples/layer2.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c.must("kubectl", "apply", "-f", sample)

	c.must("kubectl", "label", "namespace", Namespace, "pod-security.kubernetes.io/enforce=privileged")
	if out, err = c.install("upgrade", "steelyard"); err != nil {
		t.Fatalf("upgrade: %v\n%s", err, out)
	}
	if strings.Contains(out, "kubectl label namespace") {
		t.Errorf("want no word on Pod security where all is well, have\n%s", out)
	}
	if ages := c.must("kubectl", "get", "crd", "-o", `jsonpath={.items[*].metadata.annotations.example\.org/age}`); strings.TrimSpace(ages) != "" {
		t.Errorf("the upgrade left kinds of the older chart: %s", ages)
	}

	// The API server takes every value; kinds that are no longer the chart's are kept.
	kinds := c.kinds()
	if out, err = c.install("upgrade", "steelyard", "--values", everyValueFile(t)); err != nil {
		t.Errorf("upgrade with every value set: %v\n%s", err, out)
	}
	if c.kinds() != kinds {
		t.Errorf("crds.install=false: want the %d kinds kept, have %d", kinds, c.kinds())
	}

	c.must(c.helm, "uninstall", "steelyard", "--namespace", Namespace)
	if left := c.left(); left != "" {
		t.Errorf("an uninstall leaves %s", left)
	}
	if c.kinds() != kinds || kinds == 0 || !strings.Contains(c.must("kubectl", "get", "ipaddresspools", "-o", "name"), "/lan") {
		t.Errorf("want the %d kinds and the pool kept, have %d", kinds, c.kinds())
	}

	// A new installation carries on with them.
	if out, err := c.install("install", "steelyard"); err != nil {
		t.Fatalf("install again: %v\n%s", err, out)
	}
	c.must("sh", "-c", c.helm+" uninstall steelyard --namespace "+Namespace+` && kubectl get customresourcedefinitions -o name | grep '\.steelyard\.dev$' | xargs kubectl delete && kubectl delete namespace `+Namespace)
	if c.kinds() != 0 || c.left() != "" {
		t.Errorf("want nothing left, have %d kinds and %s", c.kinds(), c.left())
	}

	// Kinds that others applied are taken over when told so.
	config, err := filepath.Abs("../config/crd")
	if err != nil {
		t.Fatal(err)
	}
	c.must("kubectl", "apply", "-k", config)
	if out, err := c.install("install", "steelyard", "--create-namespace"); err == nil || !strings.Contains(out, "customresourcedefinitions") && !strings.Contains(out, "CustomResourceDefinition") {
		t.Errorf("want a refusal to take over kinds unasked, have %v\n%s", err, out)
	}
	if out, err := c.install("install", "steelyard", "--create-namespace", "--take-ownership"); err != nil {
		t.Errorf("install over kinds: %v\n%s", err, out)
	}
}
