package migrate

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/steelyard-lb/steelyard/internal/printable"
)

// Write prints a plan as YAML, ready to apply. Everything for people is in comments:
// the steps, the notes, and the commands for Services. It prints nothing, and returns
// an error, unless every YAML reader finds exactly the objects of the plan in the
// text.
func (p Plan) Write(w io.Writer) error {
	text := p.text()
	if err := reread(text, p.Objects); err != nil {
		return fmt.Errorf("what would be printed is not what is meant, so nothing is: %w", err)
	}
	_, err := io.WriteString(w, text)
	return err
}

// text returns what Write prints.
func (p Plan) text() string {
	var b strings.Builder
	comment := func(format string, args ...any) {
		for line := range strings.SplitSeq(strings.TrimRight(fmt.Sprintf(format, args...), "\n"), "\n") {
			if len(line) > 4096 { // no name of Kubernetes makes one so long
				line = printable.Message(line)
			}
			b.WriteString(strings.TrimRight("# "+printable.Line(line), " ") + "\n")
		}
	}
	comment("%s", p.Summary())
	comment("\nSteps, in this order, keep the addresses in use:")
	for i, s := range p.Steps {
		comment("%2d. %s", i+1, strings.ReplaceAll(s, "\n", "\n      "))
	}
	for _, g := range []Severity{Blocking, NoEqual, Changed, Unneeded} {
		comment("\n%s", g.heading())
		none := true
		for _, n := range p.Notes {
			if n.Severity == g {
				none = false
				comment("- %s", n)
			}
		}
		if none {
			comment("- nothing")
		}
	}
	for _, o := range p.Objects {
		b.WriteString("---\n")
		comment("from %s", o.From)
		b.WriteString(o.text)
	}
	if len(p.Edits) > 0 {
		b.WriteString("---\n")
		comment("What \"--annotate\" does, as commands:")
		for _, e := range p.Edits {
			for _, c := range e.Commands() {
				comment("%s", c)
			}
		}
	}
	return b.String()
}

// document marshals one object as YAML. YAML writers print some runes that YAML
// readers take for a line end, and readers disagree on words without quotes. An
// object with such a text is written as JSON, which is valid YAML, with escapes for
// what cannot be seen. Some objects cannot be written.
func document(o Object) (string, error) {
	text, err := yaml.Marshal(o.Manifest) // which fails of some texts that it can't read itself
	if err == nil && reread(string(text), []Object{o}) == nil {
		return string(text), nil
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(o.Manifest); err != nil {
		return "", err
	}
	return escaped(b.String()), reread(escaped(b.String()), []Object{o})
}

// heading returns the heading of the notes of a severity.
func (g Severity) heading() string {
	switch g {
	case Blocking:
		return "BREAKS: mend this first, or an address in use is lost or is no longer announced, or an object is not taken:"
	case NoEqual:
		return "NO EQUAL: left out:"
	case Changed:
		return "CHANGED: carried over, but it is not the same:"
	}
	return "NOT NEEDED: nothing to carry over:"
}

// Count returns how many notes have a severity.
func (p Plan) Count(g Severity) int {
	n := 0
	for _, x := range p.Notes {
		if x.Severity == g {
			n++
		}
	}
	return n
}

// Summary summarizes the plan in one line.
func (p Plan) Summary() string {
	kept := "every address in use is kept (" + strconv.Itoa(p.Held) + ")"
	if n := p.Count(Blocking); n > 0 {
		kept = "NOT EVERYTHING is kept as it stands (see BREAKS)"
	} else if p.Held == 0 {
		kept = "no address is in use"
	}
	return fmt.Sprintf("%s, %s to annotate; %s; no equal: %d, changed: %d.", count(len(p.Objects), "object"), count(len(p.Edits), "Service"), kept, p.Count(NoEqual), p.Count(Changed))
}

// count returns a number with its noun.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}

// Commands returns the commands for an edit.
func (e Edit) Commands() []string {
	var out []string
	name, namespace := printable.Shell(e.Service.Name), printable.Shell(e.Service.Namespace)
	line := "kubectl annotate service " + name + " -n " + namespace
	for _, key := range annotations() {
		if v, ok := e.Annotations[key]; ok {
			line += fmt.Sprintf(" %s=%s", key, printable.Shell(v))
		}
	}
	if len(e.Annotations) > 0 {
		out = append(out, line)
	}
	if e.ClearIP {
		out = append(out, fmt.Sprintf("kubectl patch service %s -n %s --type merge -p '{\"spec\":{\"loadBalancerIP\":null}}'", name, namespace))
	}
	return out
}
