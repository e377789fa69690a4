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

// mustInstall is install, which must succeed, also where the namespace is not there yet.
func (c cluster) mustInstall(verb, chart string, more ...string) {
	c.t.Helper()
	if out, err := c.install(verb, chart, append(more, "--create-namespace")...); err != nil {
		c.t.Fatalf("%s: %v\n%s", verb, err, out)
	}
}

// removeKinds is what docs/how-to/uninstall.md says, for a shell.
const removeKinds = `kubectl get customresourcedefinitions -o name | grep '\.steelyard\.dev$' | xargs kubectl delete`

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

// everyValueFile has each value as in effects, but for kinds that are not there, and for what a
// Job of another image would apply.
func everyValueFile(t *testing.T) string {
	t.Helper()
	values := everyValue(t)
	for _, ofOthers := range []string{"podMonitor", "serviceMonitor", "prometheusRule"} {
		delete(values, ofOthers)
	}
	for _, applied := range []string{"pools", "advertisements", "peers", "bfdProfiles", "communities", "openshift"} {
		delete(values, applied)
	}
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

// Pools in the values of one installation, on an API server that does not know their kind.
func TestConfigurationFromValues(t *testing.T) {
	c := newCluster(t)
	pools := func() string {
		return c.must("kubectl", "get", "ipaddresspools,l2advertisements", "-o", `jsonpath={range .items[*]}{.kind} {.metadata.name} {.spec.addresses}{"\n"}{end}`)
	}
	const lan, other = `pools.lan={"addresses":["192.0.2.100-192.0.2.200"]}`, `pools.other={"addresses":["198.51.100.0/28"]}`
	want := func(step, want string) {
		t.Helper()
		if have := pools(); have != want {
			t.Errorf("%s: want\n%s, have\n%s", step, want, have)
		}
	}
	if out, err := c.install("install", "steelyard", "--create-namespace", "--set-json", lan, "--set-json", other, "--set-json", `advertisements.layer2.lan={}`); err != nil {
		t.Fatalf("install: %v\n%s\n%s", err, out, c.must("kubectl", "get", "pods,jobs,events", "-n", Namespace, "-o", "wide"))
	}
	want("install", "IPAddressPool lan [\"192.0.2.100-192.0.2.200\"]\nIPAddressPool other [\"198.51.100.0/28\"]\nL2Advertisement lan \n")
	uid := c.must("kubectl", "get", "ipaddresspool", "lan", "-o", "jsonpath={.metadata.uid}")
	byHand := filepath.Join(t.TempDir(), "hand.yaml")
	text := "apiVersion: steelyard.dev/v1beta1\nkind: IPAddressPool\nmetadata: {name: hand}\nspec: {addresses: [203.0.113.0/24]}\n"
	if err := os.WriteFile(byHand, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c.must("kubectl", "apply", "-f", byHand)

	// An upgrade changes a pool in place, deletes what is no longer in the values, and no other.
	if out, err := c.install("upgrade", "steelyard", "--set-json", `pools.lan={"addresses":["192.0.2.100-192.0.2.220"]}`); err != nil {
		t.Fatalf("upgrade: %v\n%s", err, out)
	}
	want("upgrade", "IPAddressPool hand [\"203.0.113.0/24\"]\nIPAddressPool lan [\"192.0.2.100-192.0.2.220\"]\n")
	if now := c.must("kubectl", "get", "ipaddresspool", "lan", "-o", "jsonpath={.metadata.uid}"); now != uid {
		t.Error("the upgrade has made the pool again")
	}

	// What another client made is not taken over.
	if out, err := c.install("upgrade", "steelyard", "--timeout", "20s", "--set-json", lan, "--set-json", `pools.hand={"addresses":["203.0.113.0/25"]}`); err == nil {
		t.Errorf("a pool that was made by hand was changed: %s", out)
	}
	want("refused", "IPAddressPool hand [\"203.0.113.0/24\"]\nIPAddressPool lan [\"192.0.2.100-192.0.2.200\"]\n")

	if out, err := c.install("upgrade", "steelyard"); err != nil {
		t.Fatalf("upgrade without pools: %v\n%s", err, out)
	}
	want("without values", "IPAddressPool hand [\"203.0.113.0/24\"]\n")

	// Without Helm's hooks, on a cluster without the kinds.
	c.must("sh", "-c", c.helm+" uninstall steelyard --namespace "+Namespace+" && "+removeKinds)
	template := c.helm + " template steelyard steelyard --namespace " + Namespace + " --set controller.replicas=0 --set speaker.nodeSelector.rack=none --set-json '" + lan + "' | kubectl apply --namespace " + Namespace + " -f -"
	c.must("kubectl", "delete", "job", "--namespace", Namespace, "--all")
	c.must("sh", "-c", template)
	c.must("kubectl", "wait", "job", "--namespace", Namespace, "--all", "--for=condition=Complete", "--timeout=60s")
	want("helm template", "IPAddressPool lan [\"192.0.2.100-192.0.2.200\"]\n")
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
	c.mustInstall("install", "steelyard")
	c.must("sh", "-c", c.helm+" uninstall steelyard --namespace "+Namespace+" && "+removeKinds+" && kubectl delete namespace "+Namespace)
	if c.kinds() != 0 || c.left() != "" {
		t.Errorf("want nothing left, have %d kinds and %s", c.kinds(), c.left())
	}

	// Under another name, in another namespace, the kinds that the former release left are taken over with one flag.
	c.mustInstall("install", "steelyard")
	c.must(c.helm, "uninstall", "steelyard", "--namespace", Namespace)
	elsewhere := []string{c.helm, "install", "edge", "steelyard", "--namespace", "edge", "--create-namespace", "--set", "controller.replicas=0", "--set", "speaker.nodeSelector.rack=none"}
	if out, err := c.do(elsewhere...); err == nil || !strings.Contains(out, "release-name") {
		t.Errorf("want a refusal that names the former release, have %v\n%s", err, out)
	}
	c.must(append(elsewhere, "--take-ownership")...)
	if c.kinds() != kinds || !strings.Contains(c.must("kubectl", "get", "clusterrolebinding", "steelyard-controller", "-o", "yaml"), "namespace: edge") {
		t.Errorf("want Steelyard in the namespace edge with %d kinds, have %d", kinds, c.kinds())
	}
	c.must("sh", "-c", c.helm+" uninstall edge --namespace edge && "+removeKinds+" && kubectl delete namespace edge "+Namespace)

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
