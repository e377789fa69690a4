package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

// stage is where stories run: a rack, or a cluster of kind's. Both have
// hosts of the same names and addresses.
type stage interface {
	// line is a command line for this machine. The verbs are kubectl; steelyard,
	// kubectl's plugin; exec HOST -- COMMAND; probe, with a host and flags; and
	// what else the stage's own program can do with its hosts.
	line(verb string, args ...string) []string
	// translated replaces a cluster's names in the output of a command by those of stories,
	// and meant a story's names by those of the cluster.
	translated(string) string
	meant(string) string
	// repair undoes what a story has done to the hosts.
	repair(t *testing.T)
	// logState logs the state of everything when a story has failed.
	logState(t *testing.T)
}

// onHost prepares a command on a host.
func onHost(ctx context.Context, s stage, host string, argv ...string) *exec.Cmd {
	line := s.line("exec", append([]string{host, "--"}, argv...)...)
	return exec.CommandContext(ctx, line[0], line[1:]...)
}

// rackStage is a rack, by its name. A story speaks its words.
type rackStage string

func (r rackStage) line(verb string, args ...string) []string {
	if verb == "steelyard" {
		return r.line("exec", slices.Concat([]string{"control", "--", programPath("kubectl-steelyard")}, args)...)
	}
	return slices.Concat([]string{programPath("rack"), verb, "--name", string(r)}, args)
}

func (r rackStage) translated(text string) string { return text }

func (r rackStage) meant(text string) string { return text }

func (r rackStage) repair(t *testing.T) {
	rack, err := lab.Open(string(r))
	if err != nil {
		t.Fatal(err)
	}
	repair(t, rack)
}

func (r rackStage) logState(t *testing.T) { logRackState(t, string(r)) }

// kindStage is the cluster of bin/kind-rack. Its nodes have names of kind's and
// addresses in any order: node1 and node2 of a story are the workers by name, and
// node3 is the node with the control plane, which is host control as well.
type kindStage struct {
	kubeconfig   string
	processes    map[string]string // by host: the id of one in its network
	words        map[string]string // of a story, by those of the cluster
	actual       map[string]string // the other way round
	known, named *regexp.Regexp    // match the keys of words, of actual
}

// openKind finds the cluster.
func openKind() (*kindStage, error) {
	k := &kindStage{processes: map[string]string{}, words: map[string]string{}, actual: map[string]string{}}
	path, err := k.kind("kubeconfig")
	if err != nil {
		return nil, err
	}
	k.kubeconfig = strings.TrimSpace(path)
	const fields = `jsonpath={range .items[*]}{.metadata.name}{" "}{.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}`
	nodes, err := k.kind("kubectl", "get", "nodes", "--sort-by=.metadata.name", "-o", fields)
	if err != nil {
		return nil, err
	}
	containers := map[string]string{"router": "steelyard-router", "client": "steelyard-client", "outside": "steelyard-outside"}
	worker := 0
	for line := range strings.Lines(nodes) {
		f, n := strings.Fields(line), 3
		if strings.HasSuffix(f[0], "-control-plane") {
			containers["control"] = f[0]
		} else {
			worker++
			n = worker
		}
		host := fmt.Sprintf("node%d", n)
		containers[host], k.words[f[0]], k.actual[host] = f[0], host, f[0]
		for i, format := range []string{"192.0.2.%d", "2001:db8:2::%d"} { // as on a rack
			as := fmt.Sprintf(format, 10+n)
			k.words[f[i+1]], k.actual[as] = as, f[i+1]
		}
	}
	for host, container := range containers {
		id, err := k.kind("exec", "switch", "--", "docker", "inspect", "--format", "{{.State.Pid}}", container)
		if err != nil {
			return nil, err
		}
		k.processes[host] = strings.TrimSpace(id)
	}
	k.known, k.named = anyOf(k.words), anyOf(k.actual)
	return k, nil
}

// anyOf matches the keys as whole words, the longest first.
func anyOf(words map[string]string) *regexp.Regexp {
	var keys []string
	for w := range words {
		keys = append(keys, regexp.QuoteMeta(w))
	}
	slices.SortFunc(keys, func(a, b string) int { return len(b) - len(a) })
	return regexp.MustCompile(`\b(?:` + strings.Join(keys, "|") + `)\b`)
}

func (k *kindStage) kind(args ...string) (string, error) {
	out, err := exec.Command(programPath("kind-rack"), args...).Output()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		err = fmt.Errorf("%w: %s", err, failed.Stderr)
	}
	if err != nil {
		return "", fmt.Errorf("kind-rack %s: %w", strings.Join(args, " "), err)
	}
	return string(out), nil
}

// line enters the network of a container and no more: the programs are this
// machine's, as on a rack.
func (k *kindStage) line(verb string, args ...string) []string {
	args = slices.Clone(args)
	for i := range args {
		args[i] = k.meant(args[i])
	}
	switch verb {
	case "cut", "join":
		args[0] = cable(k.translated(args[0]))
	case "kill", "start":
		if args[1] == "controller" {
			return k.line("kubectl", controllers(map[string]string{"kill": "0", "start": "2"}[verb])...)
		}
	case "steelyard":
		return slices.Concat([]string{"env", "KUBECONFIG=" + k.kubeconfig, programPath("kubectl-steelyard")}, args)
	case "exec":
		if args[2] == "vtysh" { // the router's own; racks name the daemon
			return slices.Concat([]string{programPath("kind-rack"), "exec", args[0], "--", "vtysh"}, args[5:])
		}
		if process, ok := k.processes[k.translated(args[0])]; ok {
			return slices.Concat([]string{"nsenter", "--target", process, "--net", "--"}, args[2:])
		}
	case "probe":
		for i, a := range args {
			if process, ok := k.processes[k.translated(a)]; ok {
				return slices.Concat([]string{"nsenter", "--target", process, "--net", "--", programPath("rack"), "dial"}, args[:i], args[i+1:])
			}
		}
	}
	return slices.Concat([]string{programPath("kind-rack"), verb}, args)
}

// cable names the host of a cable as kind-rack does.
func cable(host string) string { return strings.ReplaceAll(host, "node3", "control") }

func (k *kindStage) translated(text string) string {
	return k.known.ReplaceAllStringFunc(text, func(w string) string { return k.words[w] })
}

func (k *kindStage) meant(text string) string {
	return k.named.ReplaceAllStringFunc(text, func(w string) string { return k.actual[w] })
}

func (k *kindStage) repair(t *testing.T) {
	for host := range k.processes {
		if out, err := exec.Command(programPath("kind-rack"), "join", cable(host)).CombinedOutput(); err != nil {
			t.Errorf("kind-rack join %s: %v\n%s", host, err, out)
		}
	}
	_, err0 := kubectlOn(k, "", "uncordon", "node1", "node2", "node3")
	_, err1 := kubectlOn(k, "", controllers("2")...)
	if err := errors.Join(err0, err1); err != nil {
		t.Error(err)
	}
}

// controllers are kubectl's arguments that leave that many replicas.
func controllers(replicas string) []string {
	return []string{"--namespace=steelyard-system", "scale", "deployment/steelyard-controller", "--replicas=" + replicas}
}

func (k *kindStage) logState(t *testing.T) {
	for _, args := range append(telling(), []string{"logs", "-n", "steelyard-system", "-l", "app.kubernetes.io/component=controller", "--tail=60", "--prefix"},
		[]string{"logs", "-n", "steelyard-system", "-l", "app.kubernetes.io/component=speaker", "--tail=60", "--prefix"}) {
		out, err := kubectlOn(k, "", args...)
		t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// rewrite puts the files of a story into the words of the cluster.
func rewrite(s stage, folder string) error {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(s.meant(string(text))), 0o644); err != nil {
			return err
		}
	}
	return nil
}
