package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// page is a Markdown file of docs, read for what in it can be tried. Its fenced
// blocks are marked by what stands after their opening fence:
//
//	sh              commands, each after "$ ", and lines of what each prints; a "…"
//	                stands for any text, or none. Each has a shell of its own, in
//	                one folder
//	sh on=client    the same, on a host of the rack
//	sh fails        the same; each command must fail
//	yaml file=NAME  a file of that folder
//	yaml            objects, which the API server must accept; they are not made
//	text            not for a machine
//
// Anything else, and what no rack can run, must say why: skip="the reason". The
// first line of a page may ask for a rack:
//
//	<!-- rack: --router frr --proxy nftables -->
//
// or for none, because its commands bring up one: <!-- rack: its own -->
type page struct {
	path   string
	rack   description // its own: the empty description
	blocks []block
}

// block is a fenced block.
type block struct {
	line     int
	language string
	// on, file and skip are attributes; fails has no value.
	on, file, skip string
	fails          bool
	text           string
}

// step is a command of a block, with what it is said to print.
type step struct {
	command string
	prints  []string
}

const itsOwn = "its own"

var (
	attribute  = regexp.MustCompile(`^(\w+)(?:=(?:"([^"]*)"|(\S+)))?\s*`)
	rackOfPage = regexp.MustCompile(`^<!-- rack: (.+) -->\n`)
)

// readPage reads a page, and refuses a block that would never be run.
func readPage(path, text string) (page, error) {
	p := page{path: path, rack: "--router bird --proxy nftables"}
	if m := rackOfPage.FindStringSubmatch(text); m != nil {
		p.rack = description(strings.TrimSuffix(m[1], itsOwn))
	}
	var open *block
	before := ""
	for i, line := range strings.Split(text, "\n") {
		info, fence := strings.CutPrefix(strings.TrimLeft(line, " "), "```")
		switch {
		case fence && open != nil:
			if err := open.check(); err != nil {
				return page{}, fmt.Errorf("%s:%d: %w", path, open.line, err)
			}
			p.blocks, open = append(p.blocks, *open), nil
		case fence:
			b, err := readInfo(info)
			if err != nil {
				return page{}, fmt.Errorf("%s:%d: %w", path, i+1, err)
			}
			b.line, open = i+1, &b
		case open != nil:
			open.text += line + "\n"
		case strings.HasPrefix(line, "    ") && strings.TrimSpace(before) == "":
			return page{}, fmt.Errorf("%s:%d: an indented block can't tell whether it is run: fence it", path, i+1)
		}
		before = line
	}
	if open != nil {
		return page{}, fmt.Errorf("%s:%d: the block has no end", path, open.line)
	}
	return p, nil
}

// readInfo reads what stands after an opening fence.
func readInfo(info string) (block, error) {
	language, rest, _ := strings.Cut(strings.TrimSpace(info), " ")
	b := block{language: language}
	for rest = strings.TrimSpace(rest); rest != ""; {
		m := attribute.FindStringSubmatch(rest)
		if m == nil {
			return b, fmt.Errorf("can't read %q of the fence", rest)
		}
		rest = rest[len(m[0]):]
		switch value := m[2] + m[3]; m[1] {
		case "on":
			b.on = value
		case "file":
			b.file = value
		case "skip":
			if b.skip = value; value == "" {
				return b, fmt.Errorf("skip needs a reason")
			}
		case "fails":
			b.fails = true
		default:
			return b, fmt.Errorf("a fence knows no %q", m[1])
		}
	}
	return b, nil
}

// check refuses a block that would be passed over in silence.
func (b block) check() error {
	commands := regexp.MustCompile(`(?m)^\$ `).MatchString(b.text)
	switch {
	case b.skip != "" || b.language == "yaml":
		return nil
	case b.language == "sh" && commands:
		return nil
	case b.language == "sh":
		return fmt.Errorf(`no command begins with "$ "`)
	case b.language == "text" && commands:
		return fmt.Errorf(`commands in a block that is never run: make it sh, with skip="why" if a rack can't run them`)
	case b.language == "text" || b.file != "":
		return nil
	}
	return fmt.Errorf(`a block of %q is never run: give it file=NAME and use the file, or skip="why"`, b.language)
}

// steps are the commands of a block of sh. A line that ends with a backslash goes
// on in the next.
func (b block) steps() []step {
	var out []step
	more := false
	for line := range strings.Lines(b.text) {
		line = strings.TrimRight(line, "\n")
		command, ok := strings.CutPrefix(line, "$ ")
		switch {
		case more:
			out[len(out)-1].command += "\n" + line
		case ok:
			out = append(out, step{command: command})
		case strings.TrimSpace(line) != "" && len(out) > 0:
			out[len(out)-1].prints = append(out[len(out)-1].prints, line)
		}
		more = (ok || more) && strings.HasSuffix(line, `\`)
	}
	return out
}

// missing returns the first line that was to be printed and was not, in the order
// of the lines; further lines between them do no harm. Spaces count as one.
func (s step) missing(output string) (string, bool) {
	lines := strings.Split(output, "\n")
	for _, want := range s.prints {
		text, open := strings.CutSuffix(strings.Join(strings.Fields(want), " "), " …")
		parts := strings.Split(text, "…")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		end := "$"
		if open {
			end = "( .*)?$"
		}
		pattern := regexp.MustCompile("^" + strings.Join(parts, ".*") + end)
		for len(lines) > 0 && !pattern.MatchString(strings.Join(strings.Fields(lines[0]), " ")) {
			lines = lines[1:]
		}
		if len(lines) == 0 {
			return want, true
		}
		if strings.TrimSpace(want) != "…" {
			lines = lines[1:]
		}
	}
	return "", false
}

// pages reads every page of docs, and the README.
func pages(t *testing.T) []page {
	t.Helper()
	files := []string{"../README.md"}
	err := filepath.WalkDir("../docs", func(path string, d os.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) == 1 {
		t.Fatalf("no pages: %v", err)
	}
	var out []page
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		p, err := readPage(path, string(text))
		if err != nil {
			t.Error(err)
		}
		out = append(out, p)
	}
	return out
}

// title names a page in tests: README, how-to/layer2.
func (p page) title() string {
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(p.path, "../"), "docs/"), ".md")
}

func TestReadingAPage(t *testing.T) {
	t.Parallel()
	fence := "```"
	text := "<!-- rack: --router frr --proxy nftables -->\n# Title\n\n" +
		fence + "yaml file=pool.yaml\nkind: A\n" + fence + "\n" +
		"- a list\n\n  " + fence + "sh on=client fails\n$ curl \\\n    x\na  …  c\n$ true\n" + fence + "\n" +
		fence + "sh skip=\"a vendor's router\"\nconf t\n" + fence + "\n"
	got, err := readPage("p.md", text)
	if err != nil {
		t.Fatal(err)
	}
	want := []block{
		{line: 4, language: "yaml", file: "pool.yaml", text: "kind: A\n"},
		{line: 9, language: "sh", on: "client", fails: true, text: "$ curl \\\n    x\na  …  c\n$ true\n"},
		{line: 15, language: "sh", skip: "a vendor's router", text: "conf t\n"},
	}
	if d := cmp.Diff(want, got.blocks, cmp.AllowUnexported(block{})); d != "" {
		t.Error(d)
	}
	if got.rack != "--router frr --proxy nftables" {
		t.Errorf("its rack is %q", got.rack)
	}
	steps := []step{{command: "curl \\\n    x", prints: []string{"a  …  c"}}, {command: "true"}}
	if d := cmp.Diff(steps, want[1].steps(), cmp.AllowUnexported(step{})); d != "" {
		t.Error(d)
	}
}

func TestABlockThatIsNeverRunIsRefused(t *testing.T) {
	for _, c := range []struct{ name, info, text, want string }{
		{"commands without a prompt", "sh", "kubectl get pods", `"$ "`},
		{"commands shown as text", "text", "$ kubectl get pods", "never run"},
		{"a language that is not run", "junos", "set protocols bgp", "never run"},
		{"a reason that is none", `sh skip=""`, "$ true", "reason"},
		{"a misspelled attribute", `sh skp="x"`, "$ true", `no "skp"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := readPage("p.md", "```"+c.info+"\n"+c.text+"\n```\n")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a refusal that says %q", err, c.want)
			}
		})
	}
	if _, err := readPage("p.md", "text\n\n    make demo\n"); err == nil {
		t.Error("an indented block is accepted")
	}
}

func TestWhatIsPrinted(t *testing.T) {
	s := step{prints: []string{"NAME   IP   …", "web    192.0.2.…", "…", "last"}}
	if line, miss := s.missing("NAME IP\nother x\nweb  192.0.2.100\nlast\n"); miss {
		t.Errorf("%q is said to be missing", line)
	}
	if line, miss := s.missing("NAME IP\nlast\nweb 192.0.2.100\n"); !miss || line != "last" {
		t.Errorf("out of order: %q, %v", line, miss)
	}
	if line, _ := s.missing("NAME IP\nweb 192x0x2x1\nlast"); line != "web    192.0.2.…" {
		t.Errorf("a dot is taken for any letter: %q", line)
	}
}
