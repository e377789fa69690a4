package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

// TestDocs runs what the README and the pages of docs tell a reader to run, page by
// page, from top to bottom (page_test.go tells how blocks are marked). The cluster
// has kinds of other products that are named as ours are; no page does them harm.
func TestDocs(t *testing.T) {
	t.Parallel()
	byRack := map[description][]page{}
	var order []description
	for _, p := range pages(t) {
		if !p.runs() {
			continue
		}
		if byRack[p.rack] == nil {
			order = append(order, p.rack)
		}
		byRack[p.rack] = append(byRack[p.rack], p)
	}
	for _, d := range order {
		name := strings.ReplaceAll(strings.ReplaceAll(string(d), "--", ""), " ", "-")
		if d == "" {
			name = itsOwn
		}
		t.Run(name, func(t *testing.T) {
			inLane(t)
			rack := readersRack(t, d)
			if d != "" {
				installOthers(t, rack)
			}
			for _, p := range byRack[d] {
				t.Run(p.title(), func(t *testing.T) { runPage(t, rack, p) })
			}
		})
	}
}

// readersRack returns the name of a rack for pages, apart from those of stories,
// which may run at the same time. It starts the rack, unless its pages do so.
func readersRack(t *testing.T, d description) string {
	name := *prefix + "d" + strings.TrimPrefix(d.name(), *prefix)
	run(t, nil, "rack", "down", "--name", name) // what an aborted run left
	if !*keep {
		t.Cleanup(func() { run(t, nil, "rack", "down", "--name", name) })
	}
	if d != "" {
		run(t, nil, "rack", append([]string{"up", "--name", name}, strings.Fields(string(d))...)...)
	}
	return name
}

// runs tells whether the page has anything to try.
func (p page) runs() bool {
	for _, b := range p.blocks {
		if b.skip == "" && b.language != "text" {
			return true
		}
	}
	return false
}

// reader is a user who follows a page: a folder, an environment, a rack.
type reader struct {
	rack, folder string
	env          []string
}

func runPage(t *testing.T, rack string, p page) {
	r := reader{rack: rack, folder: t.TempDir()}
	namespace := "docs-" + strings.ReplaceAll(strings.ToLower(p.title()), "/", "-")
	if p.rack == "" {
		run(t, nil, "rack", "down", "--name", rack) // what another page left
	} else {
		if _, err := kubectl(t, rack, "", "create", "namespace", namespace); err != nil {
			t.Fatal(err)
		}
		makeOthers(t, rack, namespace)
		t.Cleanup(func() {
			checkOthers(t, rack, namespace)
			if t.Failed() {
				logRackState(t, rack)
			}
			tidy(t, rackStage(rack), namespace)
		})
	}
	r.settle(t, p, namespace)
	for _, b := range p.blocks {
		switch {
		case b.skip != "":
			t.Logf("%s:%d: not run: %s", p.path, b.line, b.skip)
		case b.file != "":
			if err := os.WriteFile(filepath.Join(r.folder, b.file), []byte(b.text), 0o644); err != nil {
				t.Fatal(err)
			}
		case b.language == "yaml":
			if out, err := kubectl(t, rack, b.text, "apply", "--dry-run=server", "-f", "-"); err != nil {
				t.Errorf("%s:%d: the API server refuses these objects: %v %s", p.path, b.line, err, out)
			}
		case b.language == "sh":
			for _, s := range b.steps() {
				if err := r.follow(t, b, s); err != nil {
					t.Fatalf("%s:%d: %v", p.path, b.line, err)
				}
			}
		}
	}
}

// settle puts into the reader's folder what the pages count on: bin and config as
// in a checkout, and programs that find the rack.
func (r *reader) settle(t *testing.T, p page, namespace string) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	tools := t.TempDir()
	scripts := map[string]string{
		"vtysh": fmt.Sprintf("exec /usr/bin/vtysh -N %s-router \"$@\"", r.rack),
		"birdc": fmt.Sprintf("exec /usr/sbin/birdc -s /run/steelyard-rack/%s/bird.ctl \"$@\"", r.rack),
	}
	if p.rack != "" {
		l, err := lab.Open(r.rack)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(l.Kubeconfig())
		if err != nil {
			t.Fatal(err)
		}
		config := filepath.Join(tools, "kubeconfig")
		if err := os.WriteFile(config, text, 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, nil, "rack", "exec", "--name", r.rack, "control", "--", "kubectl", "config", "set-context", "--current", "--kubeconfig", config, "--namespace", namespace)
		scripts["kubectl"] = fmt.Sprintf("exec %s exec --name %s control -- env KUBECONFIG=%s kubectl \"$@\"", programPath("rack"), r.rack, config)
	}
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(tools, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"bin", "config"} {
		if err := os.Symlink(filepath.Join(root, name), filepath.Join(r.folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	r.env = append(os.Environ(), "RACK="+r.rack, "TOOLS="+tools, "PATH="+tools+":"+filepath.Join(root, "bin")+":"+os.Getenv("PATH"))
}

// once are commands that change something: they are run once. Others are
// repeated until they print what they should, as a reader would.
var once = regexp.MustCompile(`^(bin/rack |)kubectl .*\b(apply|create|delete|replace|label|annotate|patch|scale|taint|set|rollout|run|expose|cordon|uncordon|wait|move|drain|undrain|rebalance)\b|^bin/rack (up|down|cut|join|kill|start|delay|build|probe)\b`)

// follow runs one command as the page has it.
func (r *reader) follow(t *testing.T, b block, s step) error {
	start := time.Now()
	for {
		output, err := r.run(b, s)
		line, miss := s.missing(output)
		switch {
		case (err != nil) == b.fails && !miss:
			t.Logf("after %.1fs: %s", time.Since(start).Seconds(), s.command)
			return nil
		case !once.MatchString(s.command) && time.Since(start) < timeout:
			time.Sleep(100 * time.Millisecond)
			continue
		case (err != nil) != b.fails:
			return fmt.Errorf("%s\nended with %v; it printed\n%s", s.command, err, output)
		}
		return fmt.Errorf("%s\ndid not print\n%s\nbut\n%s", s.command, line, output)
	}
}

func (r *reader) run(b block, s step) (string, error) {
	limit := 30 * time.Second
	if once.MatchString(s.command) {
		limit = 15 * time.Minute // the first rack of a machine builds Kubernetes
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", s.command)
	if b.on != "" {
		// A host finds the reader's programs before its own.
		cmd = exec.CommandContext(ctx, programPath("rack"), "exec", "--name", r.rack, b.on, "--",
			"bash", "-c", `PATH="$TOOLS:$PATH"; `+s.command)
	}
	cmd.Dir, cmd.Env = r.folder, r.env
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestLinks follows the links of the pages to files and headings of the repository.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`(?:\]\(|src="|srcset=")([^)"\s]+)[)"]`)
	files := []string{"../DESIGN.md", "../CONTRIBUTING.md"}
	for _, p := range pages(t) {
		files = append(files, p.path)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			target := filepath.Join(filepath.Dir(file), path)
			if path == "" {
				target = file
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which is not there", file, m[1])
			} else if anchor != "" && !hasHeading(t, target, anchor) {
				t.Errorf("%s links to %s, and there is no such heading", file, m[1])
			}
		}
	}
}

// hasHeading tells whether a file has a heading with that anchor, as GitHub makes
// them: small letters and digits, dashes for spaces, nothing else.
func hasHeading(t *testing.T, file, anchor string) bool {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	drop := regexp.MustCompile(`[^\p{L}\p{N}\- _]`)
	for line := range strings.Lines(string(text)) {
		title := strings.TrimLeft(strings.TrimSpace(line), "#")
		if strings.HasPrefix(line, "#") && strings.ReplaceAll(drop.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), ""), " ", "-") == anchor {
			return true
		}
	}
	return false
}
