package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

// remains lists what there is of a rack: namespaces, processes in them, files.
func remains(t *testing.T, name string) []string {
	t.Helper()
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, name+"-") {
			found = append(found, "namespace "+strings.TrimSpace(line))
		}
	}
	for _, pattern := range []string{"/run/steelyard-rack/" + name, "/run/netns/" + name + "-*", "/etc/netns/" + name + "-*", "/var/run/frr/" + name + "-*", "/etc/frr/" + name + "-*"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, files...)
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commands {
		text, err := os.ReadFile(c)
		if err == nil && strings.Contains(string(text), "/run/steelyard-rack/"+name+"/") {
			found = append(found, "process "+strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return found
}

// gone waits until nothing is left of a rack.
func gone(t *testing.T, name string) {
	t.Helper()
	var left []string
	for range 50 {
		if left = remains(t, name); len(left) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("rack %s is down and left behind:\n%s", name, strings.Join(left, "\n"))
}

// Two racks run side by side; taking one down leaves the other alone, and
// leaves nothing behind, also after a crash.
func TestRacksSideBySide(t *testing.T) {
	for _, name := range []string{"sa", "sb"} {
		run(t, nil, "rack", "down", "--name", name)
	}
	run(t, nil, "rack", "up", "--name", "sa", "--nodes", "1", "--router", "frr", "--no-steelyard")
	t.Cleanup(func() { run(t, nil, "rack", "down", "--name", "sa") })
	run(t, nil, "rack", "up", "--name", "sb", "--nodes", "1", "--no-steelyard")
	t.Cleanup(func() { run(t, nil, "rack", "down", "--name", "sb") })
	if out, err := exec.Command(programPath("rack"), "up", "--name", "sa").CombinedOutput(); err == nil || !strings.Contains(string(out), "already up") {
		t.Errorf("a second rack of one name: want a refusal, got %v:\n%s", err, out)
	}
	run(t, nil, "rack", "kubectl", "--name", "sa", "run", "web", "--image=agnhost")
	run(t, nil, "rack", "kubectl", "--name", "sa", "wait", "--for=condition=Ready", "pod/web", "--timeout=60s")

	// A crash: the rack's own programs die at once, and its records are lost.
	r, err := lab.Open("sa")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"kubelet", "kube-apiserver", "etcd"} {
		if err := r.Kill("control", p, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	if err := os.RemoveAll("/run/steelyard-rack/sa/processes"); err != nil {
		t.Fatal(err)
	}
	run(t, nil, "rack", "down", "--name", "sa")
	gone(t, "sa")
	run(t, nil, "rack", "down", "--name", "sa") // twice does no harm

	if out, err := kubectl(t, "sb", "", "get", "nodes", "-o", "name"); err != nil || out != "node/node1\n" {
		t.Errorf("the other rack: want it to go on working, got %q, %v", out, err)
	}
	run(t, nil, "rack", "down", "--name", "sb")
	gone(t, "sb")
}

// What a person types wrongly is answered with what there is.
func TestRackAnswersMistakes(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"an unknown command", []string{"pu"}, `no command "pu"`},
		{"a rack that is not there", []string{"exec", "--name", "nope", "client", "--", "true"}, "no rack is named nope"},
		{"a router that is none", []string{"up", "--name", "mis", "--router", "cisco"}, "want bird, frr or none"},
		{"a name that can't be one", []string{"up", "--name", "My-Rack"}, "rack name"},
		{"too many words", []string{"cut", "--name", "mis", "node1", "node2"}, "want:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := exec.Command(programPath("rack"), c.args...).CombinedOutput()
			if err == nil || !strings.Contains(string(out), c.want) {
				t.Errorf("want a failure that says %q, got %v:\n%s", c.want, err, out)
			}
		})
	}
}
