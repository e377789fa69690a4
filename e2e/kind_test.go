package e2e

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var onKind = flag.Bool("kind", false, "tell the stories that are for kind's cluster (TestKind), and with -upstream run Kubernetes' own tests there: bin/kind-rack has made it and installed Steelyard")

// TestKind tells the stories of kind's cluster, one after the other.
func TestKind(t *testing.T) {
	if !*onKind {
		t.Skip("wants containers: \"make e2e-kind\" runs it")
	}
	k, err := openKind()
	if err != nil {
		t.Fatal(err)
	}
	k.open(t)
	t.Cleanup(func() { enough(t, k) })
	stories, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stories {
		if _, kind := descriptionsOf(t, s); kind {
			name := strings.TrimSuffix(filepath.Base(s), ".txtar")
			t.Run(name, func(t *testing.T) { runStory(t, k, s, name) })
		}
	}
}

// open lets the node with the control plane run Pods and announce, as a rack's do.
// What a run that was broken off has left does not matter.
func (k *kindStage) open(t *testing.T) {
	k.repair(t)
	const taint = "node-role.kubernetes.io/control-plane"
	tainted := []string{"taint", "node", "node3", "--overwrite", taint + "=:NoSchedule"}
	for _, args := range [][]string{tainted, {"taint", "node", "node3", taint + "-"}} {
		if _, err := kubectlOn(k, "", args...); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if _, err := kubectlOn(k, "", tainted...); err != nil {
			t.Error(err)
		}
	})
	if _, err := kubectlOn(k, "", "label", "node", "node3", "node.kubernetes.io/exclude-from-external-load-balancers-"); err != nil {
		t.Fatal(err)
	}
}

// enough checks that the programs' roles and the policy for speakers let them do all
// that they did.
func enough(t *testing.T, k *kindStage) {
	for _, program := range []string{"deployment/steelyard-controller", "daemonset/steelyard-speaker"} {
		logs, err := kubectlOn(k, "", "logs", "-n", "steelyard-system", program, "--all-pods", "--tail=-1")
		if err != nil {
			t.Error(err)
		}
		if strings.Contains(logs, denied) {
			t.Errorf("%s: the policy refused a speaker's write:\n%s", program, logs)
		}
		for _, m := range lacking.FindAllString(logs, -1) {
			t.Errorf("%s: a role lacks a verb: %s", program, m)
		}
	}
}

// finalize has the controller set the cleanup finalizer.
func (k *kindStage) finalize(t *testing.T) {
	for _, args := range [][]string{
		{"patch", "deployment", "steelyard-controller", "--type=json", `-p=[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--cleanup-finalizer"}]`},
		{"rollout", "status", "--timeout=2m", "deployment/steelyard-controller"},
	} {
		if _, err := kubectlOn(k, "", append([]string{"--namespace=steelyard-system"}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if _, err := kubectlOn(k, "", "--namespace=steelyard-system", "rollout", "undo", "deployment/steelyard-controller"); err != nil {
			t.Error(err)
		}
	})
}

// fromInside returns the path of a kubeconfig that holds on the cluster's hosts,
// where the API server has the address of its node.
func (k *kindStage) fromInside(t *testing.T) string {
	config, err := kubectlOn(k, "", "config", "view", "--raw", "--minify")
	if err != nil {
		t.Fatal(err)
	}
	server, err := kubectlOn(k, "", "config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(config, server, "https://"+k.meant("192.0.2.13")+":6443")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A story's names and addresses of nodes are not the cluster's, and may be those
// of another of its nodes.
func TestWordsOfAStory(t *testing.T) {
	actual := map[string]string{"node1": "steelyard-worker", "node2": "steelyard-worker2", "192.0.2.11": "192.0.2.12", "192.0.2.12": "192.0.2.11"}
	k := &kindStage{actual: actual, words: map[string]string{}}
	for word, a := range actual {
		k.words[a] = word
	}
	k.known, k.named = anyOf(k.words), anyOf(k.actual)
	for translated, meant := range map[string]string{
		"node1":                          "steelyard-worker",
		"node2.router-v4":                "steelyard-worker2.router-v4",
		"via 192.0.2.11, via 192.0.2.12": "via 192.0.2.12, via 192.0.2.11",
		"192.0.2.1 192.0.2.110 node10":   "192.0.2.1 192.0.2.110 node10",
		"steelyard-system/node1":         "steelyard-system/steelyard-worker",
	} {
		if got := k.meant(translated); got != meant {
			t.Errorf("%q means %q, want %q", translated, got, meant)
		}
		if got := k.translated(meant); got != translated {
			t.Errorf("%q is translated to %q, want %q", meant, got, translated)
		}
	}
}
