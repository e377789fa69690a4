// Package e2e tries the built programs on racks: stories of what a user sees
// (testdata/*.txtar), and the rules of the API on a real API server
// (testdata/api).
package e2e

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

var prefix = flag.String("racks", "t", "what the names of the racks begin with, so that two runs on one machine don't meet")

var ofKubernetes = flag.String("kubernetes", "", "the version of Kubernetes on the racks, such as 1.31; empty: the newest")

var keep = flag.Bool("keep", false, "leave the racks up for a look; \"bin/rack down --all\" removes them")

// TestMain makes sure of root and of the built programs before anything runs.
func TestMain(m *testing.M) {
	flag.Parse()
	if os.Geteuid() != 0 {
		fmt.Println("SKIP: every test here needs root, for network namespaces")
		os.Exit(0)
	}
	for _, program := range []string{"rack", "controller", "speaker", "kubectl-steelyard"} {
		if _, err := os.Stat(programPath(program)); err != nil {
			fmt.Printf("FAIL: %v: run \"make build\" first\n", err)
			os.Exit(1)
		}
	}
	if err := flag.Set("test.parallel", strconv.Itoa(places)); err != nil {
		fmt.Println("FAIL:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func programPath(name string) string {
	path, err := filepath.Abs(filepath.Join("..", "bin", name))
	if err != nil {
		panic(err)
	}
	return path
}

// description is the rack that a story wants, as its first line tells:
//
//	# rack: --router frr --proxy iptables
type description string

// name returns a rack name that is the same for equal descriptions.
func (d description) name() string {
	letters := regexp.MustCompile(`--[\w-]+ (?:--)?(\w)`).FindAllStringSubmatch(string(d), -1)
	name := *prefix
	for _, l := range letters {
		name += l[1]
	}
	return name
}

// descriptionsOf returns where a story runs, one stage for each of the lines
// that it starts with: a rack, or "# kind" for the cluster of bin/kind-rack.
func descriptionsOf(t *testing.T, story string) (racks []description, kind bool) {
	t.Helper()
	text, err := os.ReadFile(story)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		d, rack := strings.CutPrefix(line, "# rack:")
		kind = kind || line == "# kind"
		if rack {
			racks = append(racks, description(strings.TrimSpace(d)))
		} else if line != "# kind" {
			break
		}
	}
	if len(racks) == 0 && !kind {
		t.Fatalf("%s: the first line must describe the rack, as in %q, or be %q", story, "# rack: --router bird --proxy nftables", "# kind")
	}
	return racks, kind
}

// TestStories runs every story, those of one rack one after the other.
func TestStories(t *testing.T) {
	t.Parallel()
	stories, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(stories) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	byRack := map[description][]string{}
	var order []description
	for _, s := range stories {
		racks, _ := descriptionsOf(t, s)
		for _, d := range racks {
			if byRack[d] == nil {
				order = append(order, d)
			}
			byRack[d] = append(byRack[d], s)
		}
	}
	if len(order)+len(stories)/storiesOfARack > places/2 {
		t.Fatalf("%d stories on %d kinds of racks: raise places", len(stories), len(order))
	}
	for _, d := range order {
		// Too many for one rack run on several of one description.
		for part, stories := range slices.Collect(slices.Chunk(byRack[d], storiesOfARack)) {
			t.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(strings.ReplaceAll(string(d), "--", ""), " ", "-"), part+1), func(t *testing.T) {
				inLane(t)
				chain, rack := t, "" // none while -run selects none of its stories
				for _, s := range stories {
					name := strings.TrimSuffix(filepath.Base(s), ".txtar")
					t.Run(name, func(t *testing.T) {
						if rack == "" {
							rack = fmt.Sprintf("%s%d", d.name(), part+1)
							startRackFor(chain, t, rack, d)
						}
						runStory(t, rackStage(rack), s, name)
					})
				}
			})
		}
	}
}

// storiesOfARack limits how many stories run one after the other: the
// longest chain decides when all are done.
const storiesOfARack = 7

// sharedRack returns the name of a rack of the usual kind.
func sharedRack(t *testing.T) string { return rackFor(t, "--router bird --proxy nftables") }

// rackFor starts a rack, which is gone when the test has ended, and returns its name.
func rackFor(t *testing.T, d description) string {
	t.Helper()
	return startRack(t, d.name(), d)
}

func startRack(t *testing.T, name string, d description) string {
	t.Helper()
	startRackFor(t, t, name, d)
	return name
}

// startRackFor starts a rack in test t, which is gone when test all has ended.
func startRackFor(all, t *testing.T, name string, d description) {
	t.Helper()
	start := time.Now()
	run(t, nil, "rack", "down", "--name", name) // what an aborted run left
	out := run(t, nil, "rack", append([]string{"up", "--name", name, "--kubernetes", *ofKubernetes}, strings.Fields(string(d))...)...)
	t.Logf("rack %s is up after %.1fs", name, time.Since(start).Seconds())
	if testing.Verbose() {
		t.Log(out)
	}
	if !*keep {
		all.Cleanup(func() {
			sufficient(all, name)
			run(all, nil, "rack", "down", "--name", name)
		})
	}
}

// lacking is what the API server answers when a role lacks a verb: user, verb,
// resource, subresource, group, namespace, after the name of the object, if it
// was one.
var lacking = regexp.MustCompile(`(?:"([\w.-]+)\\*" is forbidden: )?User \W*(system:serviceaccount:steelyard-system:[\w-]+)\W* cannot (\w+) resource \W*(\w+)/?(\w*)\W* in API group \W*?([\w.]*)\W* (?:at the cluster scope|in the namespace \W*([\w-]+))`)

// denied is what the API server answers when the policy for speakers refuses a write.
const denied = "ValidatingAdmissionPolicy 'steelyard-speaker'"

// sufficient checks that the programs' roles and the policy for speakers, which are
// those that config/ installs, let them do all that they did on a rack.
func sufficient(t *testing.T, rack string) {
	t.Helper()
	r, err := lab.Open(rack)
	if err != nil {
		t.Error(err)
		return
	}
	logs, err := r.Logs("", "")
	if err != nil {
		t.Error(err)
	}
	for _, file := range logs {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
		}
		if _, reason, found := strings.Cut(string(text), denied); found {
			reason, _, _ = strings.Cut(reason, "\n")
			t.Errorf("%s: the policy refused a speaker's write: %s", file, reason)
		}
		for _, m := range lacking.FindAllStringSubmatch(string(text), -1) {
			if !may(t, rack, m) {
				t.Errorf("%s: a role lacks a verb: %s", file, m[0])
				break
			}
		}
	}
}

// may asks whether what was refused is granted: an API server that has just
// started refuses everything for a moment.
func may(t *testing.T, rack string, refused []string) bool {
	t.Helper()
	name, user, verb, resource, sub, group, namespace := refused[1], refused[2], refused[3], refused[4], refused[5], refused[6], refused[7]
	args := []string{"auth", "can-i", verb, strings.TrimSuffix(strings.TrimSuffix(resource+"."+group, ".")+"/"+name, "/"), "--as=" + user}
	if sub != "" {
		args = append(args, "--subresource="+sub)
	}
	if namespace != "" {
		args = append(args, "--namespace="+namespace)
	} else {
		args = append(args, "--all-namespaces")
	}
	answer, err := kubectl(t, rack, "", args...)
	if err != nil && strings.TrimSpace(answer) != "no" {
		t.Error(err)
	}
	return strings.TrimSpace(answer) == "yes"
}

// run runs a program of bin/ and fails the test if it fails.
func run(t *testing.T, stdin []byte, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(programPath(program), args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// kubectl runs the real kubectl against a rack; err holds what it wrote to
// standard error.
func kubectl(t *testing.T, rack, stdin string, args ...string) (string, error) {
	t.Helper()
	return kubectlOn(rackStage(rack), stdin, args...)
}

func kubectlOn(on stage, stdin string, args ...string) (string, error) {
	line := on.line("kubectl", args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%w: %s", err, stderr.String())
	}
	return stdout.String(), nil
}

// runStory runs one story in a namespace of its own, and puts the rack in
// order afterwards.
func runStory(t *testing.T, on stage, file, name string) {
	namespace := "story-" + strings.ReplaceAll(name, "_", "-")
	// What a run that was broken off has left, and one that has only just ended.
	_, err0 := kubectlOn(on, "", "delete", "namespace", namespace, "--ignore-not-found", "--timeout=60s")
	_, err1 := kubectlOn(on, "", "create", "namespace", namespace)
	if err := errors.Join(err0, err1); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			on.logState(t)
		}
		tidy(t, on, namespace)
	})
	s := &story{stage: on, namespace: namespace}
	testscript.Run(t, testscript.Params{
		Files: []string{file},
		Setup: func(e *testscript.Env) error {
			config, err := filepath.Abs("../config")
			e.Vars = append(e.Vars, "CONFIG="+config)
			if rack, ok := on.(rackStage); ok {
				e.Vars = append(e.Vars, "RACK="+string(rack))
			}
			programs, err1 := builtVariables()
			e.Vars = append(e.Vars, programs...)
			return errors.Join(err, err1, rewrite(on, e.WorkDir))
		},
		Condition: isBuilt,
		Cmds:      s.commands(),
	})
}

// telling are the questions whose answers tell how a cluster is.
func telling() [][]string {
	return [][]string{
		{"get", "services,pods,endpointslices", "-A", "-o", "wide"},
		{"get", "steelyard", "-o", "wide"},
		{"get", "leases", "-n", "steelyard-system", "-o", "wide"},
		{"get", "events", "-A", "--sort-by=.lastTimestamp"},
	}
}

// tellState shows what the objects say when a story has failed.
func logRackState(t *testing.T, rack string) {
	for _, args := range telling() {
		out, err := kubectl(t, rack, "", args...)
		t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	out, err := exec.Command(programPath("rack"), "ps", "--name", rack).CombinedOutput()
	t.Logf("rack ps: %v\n%s", err, out)
	out, err = exec.Command("sh", "-c", programPath("rack")+" logs --name "+rack+" | grep -E 'level=|^==' | tail -n 150").CombinedOutput()
	t.Logf("what the programs logged last: %v\n%s", err, out)
}

// tidy removes what a story left: its objects, pulled cables, dead programs.
func tidy(t *testing.T, on stage, namespace string) {
	if *keep && t.Failed() {
		return
	}
	on.repair(t)
	explained(t, on)
	// What the next story could meet goes first; the namespace may take its time.
	keepNothing(t, on)
	_, err0 := kubectlOn(on, "", "delete", "deployments,services,pods", "--all", "--namespace", namespace, "--grace-period=1", "--timeout=60s")
	_, err1 := kubectlOn(on, "", "delete", "namespace", namespace, "--wait=false")
	_, err2 := kubectlOn(on, "", "delete", "ipaddresspools.steelyard.dev,l2advertisements.steelyard.dev,bgpadvertisements.steelyard.dev,bgppeers.steelyard.dev,bfdprofiles.steelyard.dev,communities.steelyard.dev,addressreservations.steelyard.dev,addressquotas.steelyard.dev", "--all", "--timeout=30s")
	_, err4 := kubectlOn(on, "", "delete", "validatingadmissionpolicies,validatingadmissionpolicybindings", "--selector", "app.kubernetes.io/name!=steelyard", "--timeout=30s")
	_, err3 := kubectlOn(on, "", "label", "nodes", "--all", "node.kubernetes.io/exclude-from-external-load-balancers-")
	if err := errors.Join(err0, err1, err2, err3, err4); err != nil {
		t.Error(err)
	}
}

// keepNothing has no pool keep an address for a Service that is deleted: the next
// story may use that.
func keepNothing(t *testing.T, on stage) {
	pools, err := kubectlOn(on, "", "get", "ipaddresspools.steelyard.dev", "-o", "name")
	for _, pool := range strings.Fields(pools) {
		if err == nil {
			_, err = kubectlOn(on, "", "patch", pool, "--type=merge", "--patch", `{"spec":{"graceTime":"0s"}}`)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// repair plugs in every cable and starts what a story has killed.
func repair(t *testing.T, r *lab.Rack) {
	for _, h := range r.Hosts() {
		if h.Name == "switch" || h.Name == "outside" {
			continue // they hang on no port of the switch
		}
		if err := r.Join(h.Name); err != nil {
			t.Error(err)
		}
	}
	processes, err := r.Processes()
	if err != nil {
		t.Error(err)
	}
	for _, p := range processes {
		if p.State() == "stopped" {
			err = r.Kill(p.Host, p.Name, syscall.SIGCONT)
		} else if p.State() == "dead" {
			err = r.Start(p.Host, p.Name)
		}
		if err != nil {
			t.Error(err)
		}
	}
}
