package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

var (
	upstream = flag.Bool("upstream", false, "run Kubernetes' own LoadBalancer tests (TestUpstream), on a rack, or with -kind or -cluster there")
	cluster  = flag.String("cluster", "", "kubeconfig of a cluster for -upstream: with Steelyard, its --cleanup-finalizer, and what testdata/upstream/cluster.yaml gives")
	through  = flag.String("through", "", "what goes before a command so that it runs where the addresses of -cluster are reached, as \"nsenter --target 1 --net\"")
)

// upstreamRack has a router, so that clients are not in the nodes' subnet, and
// Kubernetes' own range of NodePorts, which a test knows by heart. Two nodes are
// the least that no test skips; a rolling update takes a minute for each.
const upstreamRack description = "--router bird --nodes 2 --node-ports 30000-32767 --controller-flag --cleanup-finalizer"

// together is how many of the tests run at once; they mostly wait.
const together = 6

// TestUpstream runs every [sig-network] LoadBalancers test of the pinned
// Kubernetes, each in a process of its own. Where one skips itself it says why.
func TestUpstream(t *testing.T) {
	if !*upstream {
		t.Skip("takes 10 minutes: \"make e2e-upstream\" runs it")
	}
	u := newUpstream(t)
	specs := u.specs(t)
	if len(specs) == 0 {
		t.Fatal("the suite has no such tests")
	}
	var mu sync.Mutex
	var results []string
	t.Cleanup(func() {
		slices.Sort(results)
		fmt.Printf("Kubernetes' own tests: %d\n%s\n", len(results), strings.Join(results, "\n"))
	})
	free := make(chan struct{}, together)
	for _, s := range specs {
		t.Run(s.name(), func(t *testing.T) {
			t.Parallel()
			free <- struct{}{}
			defer func() { <-free }()
			outcome := u.run(t, s)
			mu.Lock()
			results = append(results, fmt.Sprintf("%-7s %s%s", outcome.State, s.text(), outcome.because()))
			mu.Unlock()
			if outcome.State == "skipped" {
				t.Skip(outcome.Failure.Message)
			}
		})
	}
}

// spec is a test of the suite, and how it ended, as the suite's report has it.
type spec struct {
	ContainerHierarchyTexts    []string
	LeafNodeType, LeafNodeText string
	State                      string
	Failure                    struct{ Message string }
	CapturedGinkgoWriterOutput string
	CapturedStdOutErr          string
}

func (s spec) text() string {
	return strings.Join(append(slices.Clone(s.ContainerHierarchyTexts), s.LeafNodeText), " ")
}

// name is the text without labels, for a subtest.
func (s spec) name() string {
	return strings.Join(strings.Fields(regexp.MustCompile(`\[[^]]*\]`).ReplaceAllString(s.text(), "")), "-")
}

func (s spec) because() string {
	if s.Failure.Message == "" {
		return ""
	}
	return ": " + s.Failure.Message
}

// suite is Kubernetes' tests and the cluster that they run on.
type suite struct {
	programs string // folder of e2e.test and kubectl
	config   string // path of a kubeconfig
	command  func(argv ...string) *exec.Cmd
}

func newUpstream(t *testing.T) *suite {
	u := &suite{}
	var err error
	if u.programs, err = lab.BuildTests(t.Context(), os.Stdout); err != nil {
		t.Fatal(err)
	}
	switch {
	case *cluster != "":
		u.config = *cluster
		u.command = func(argv ...string) *exec.Cmd {
			all := append(strings.Fields(*through), argv...)
			return exec.Command(all[0], all[1:]...)
		}
	case *onKind:
		k, err := openKind()
		if err != nil {
			t.Fatal(err)
		}
		u.config = k.fromInside(t)
		u.command = func(argv ...string) *exec.Cmd { return onHost(context.Background(), k, "outside", argv...) }
		k.finalize(t)
		u.configure(t, "kind-rack", "peers")
	default:
		rack := startRack(t, *prefix+"up", upstreamRack)
		r, err := lab.Open(rack)
		if err != nil {
			t.Fatal(err)
		}
		u.config = r.Kubeconfig()
		u.command = func(argv ...string) *exec.Cmd {
			return onHost(context.Background(), rackStage(rack), "outside", argv...)
		}
		u.configure(t, "rack", "peers", "--name", rack)
	}
	u.pack(t)
	return u
}

// configure gives the cluster the pools for the tests, and the peers that a
// program prints. They are gone afterwards.
func (u *suite) configure(t *testing.T, program string, args ...string) {
	peers := run(t, nil, program, args...)
	for _, objects := range []struct{ file, text string }{{"-", peers}, {filepath.Join("testdata", "upstream", "cluster.yaml"), ""}} {
		u.kubectl(t, objects.text, "apply", "-f", objects.file)
		t.Cleanup(func() { u.kubectl(t, objects.text, "delete", "--ignore-not-found", "-f", objects.file) })
	}
}

// pack has the scheduler put the Pods of a test onto one node if it may. Layer 2
// reaches one node's Pods where the policy is Local; a test wants to reach several.
func (u *suite) pack(t *testing.T) {
	nodes := strings.Fields(u.kubectl(t, "", "get", "nodes", "-l", "!node-role.kubernetes.io/control-plane", "-o", "jsonpath={.items[*].metadata.name}"))
	if len(nodes) < 2 {
		t.Fatalf("want two worker nodes, have %v", nodes)
	}
	const taint = "e2e.steelyard.dev/second=:PreferNoSchedule"
	for _, node := range nodes[1:] {
		u.kubectl(t, "", "taint", "--overwrite", "nodes", node, taint)
		t.Cleanup(func() { u.kubectl(t, "", "taint", "nodes", node, taint+"-") })
	}
}

func (u *suite) kubectl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := u.command(append([]string{filepath.Join(u.programs, "kubectl"), "--kubeconfig", u.config}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// specs asks the suite for its tests.
func (u *suite) specs(t *testing.T) []spec {
	return u.ginkgo(t, `\[sig-network\] LoadBalancers`, "--ginkgo.dry-run")
}

// run runs one test; it fails t if that fails or was not run.
func (u *suite) run(t *testing.T, s spec) spec {
	done := u.ginkgo(t, regexp.QuoteMeta(s.text()))
	if len(done) != 1 {
		t.Fatalf("want one test, have %d", len(done))
	}
	if state := done[0].State; state != "passed" && state != "skipped" {
		t.Errorf("%s: %s\n%s%s", state, done[0].Failure.Message, done[0].CapturedGinkgoWriterOutput, done[0].CapturedStdOutErr)
	}
	return done[0]
}

// ginkgo runs e2e.test and returns what it says of the tests that match focus.
func (u *suite) ginkgo(t *testing.T, focus string, flags ...string) []spec {
	t.Helper()
	report := filepath.Join(t.TempDir(), "report.json")
	args := append([]string{filepath.Join(u.programs, "e2e.test"), "--kubeconfig", u.config, "--kubectl-path", filepath.Join(u.programs, "kubectl"),
		"--provider", "skeleton", "--ginkgo.focus", focus, "--ginkgo.no-color", "--ginkgo.timeout", "40m", "--ginkgo.json-report", report}, flags...)
	start := time.Now()
	out, failed := u.command(args...).CombinedOutput()
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("e2e.test left no report: %v, %v\n%s", failed, err, out)
	}
	var suites []struct{ SpecReports []spec }
	if err := json.Unmarshal(text, &suites); err != nil {
		t.Fatalf("decode the report of e2e.test: %v", err)
	}
	matches := regexp.MustCompile(focus)
	var found []spec
	for _, s := range suites {
		for _, r := range s.SpecReports {
			if r.LeafNodeType == "It" && matches.MatchString(r.text()) {
				found = append(found, r)
			} else if r.State == "failed" { // what comes before all tests, or after
				t.Errorf("%s: %s", r.LeafNodeType, r.Failure.Message)
			}
		}
	}
	t.Logf("after %.0fs", time.Since(start).Seconds())
	return found
}
