package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// apiCase is one document of testdata/api, and what the API server must do with it.
type apiCase struct {
	sentence string
	refused  bool
	says     string   // what the message of a refusal must contain
	becomes  []string // path=value pairs that the stored object must have
	document string
	before   string // for an update, the document of the object that it changes
}

// firstLine is how a document begins, as in
//
//	# accepted: the usual holdTime is 90s; becomes: .spec.holdTime=90s, .spec.peerPort=179
//	# refused update: an address never changes; says: delete the claim
//
// An update changes the object of the last document before it that is none.
const firstLine = `^# (accepted|refused)( update)?: (.+?)(?:; (says|becomes): (.+))?$`

func apiCases(t *testing.T, file string) []apiCase {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(firstLine)
	var cases []apiCase
	var created string
	for i, document := range strings.Split(string(text), "\n---\n") {
		line, _, _ := strings.Cut(document, "\n")
		m := form.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("%s: document %d starts with %q, which tells no case", file, i+1, line)
		}
		c := apiCase{sentence: m[3], refused: m[1] == "refused", document: document}
		switch {
		case c.refused && m[4] == "says":
			c.says = m[5]
		case !c.refused && m[4] == "becomes":
			c.becomes = strings.Split(m[5], ", ")
		case c.refused || m[4] != "":
			t.Fatalf("%s: document %d: what is refused says something, what is accepted becomes something: %q", file, i+1, line)
		}
		if m[2] == "" {
			created = document
		} else if c.before = created; created == "" {
			t.Fatalf("%s: document %d updates nothing", file, i+1)
		}
		cases = append(cases, c)
	}
	return cases
}

func apiFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/api/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	return files
}

func kindOf(file string) string { return strings.TrimSuffix(filepath.Base(file), ".yaml") }

// TestAPI has a real API server judge each document of testdata/api.
func TestAPI(t *testing.T) {
	rack := sharedRack(t)
	slots := make(chan struct{}, 4)
	for _, file := range apiFiles(t) {
		t.Run(kindOf(file), func(t *testing.T) {
			for _, c := range apiCases(t, file) {
				t.Run(c.sentence, func(t *testing.T) {
					// What updates goes first, and alone: its object is really there.
					if c.before == "" {
						t.Parallel()
						slots <- struct{}{}
						defer func() { <-slots }()
					}
					c.try(t, rack)
				})
			}
		})
	}
}

// try sends the document to the API server, which stores none that is not to be updated.
func (c apiCase) try(t *testing.T, rack string) {
	verb := "create"
	if c.before != "" {
		verb = "replace"
		t.Cleanup(func() { remove(t, rack, c.before) })
		if _, err := kubectl(t, rack, c.before, "create", "-f", "-"); err != nil {
			t.Fatalf("create the object to update: %v", err)
		}
	}
	out, err := kubectl(t, rack, c.document, verb, "--dry-run=server", "-o", "json", "-f", "-")
	switch {
	case c.refused && err == nil:
		t.Errorf("accepted, and not refused with %q:\n%s", c.says, c.document)
	case c.refused && !strings.Contains(err.Error(), c.says):
		t.Errorf("refused, but not with %q:\n%v", c.says, err)
	case !c.refused && err != nil:
		t.Errorf("refused, and not accepted: %v\n%s", err, c.document)
	case !c.refused:
		c.check(t, out)
	}
}

// check compares the stored object with what the document must become.
func (c apiCase) check(t *testing.T, stored string) {
	for _, pair := range c.becomes {
		path, want, _ := strings.Cut(pair, "=")
		var at any
		d := json.NewDecoder(strings.NewReader(stored))
		d.UseNumber() // 4294967295 is not to become 4.294967295e+09
		if err := d.Decode(&at); err != nil {
			t.Fatalf("read the stored object: %v\n%s", err, stored)
		}
		for field := range strings.SplitSeq(strings.TrimPrefix(path, "."), ".") {
			fields, _ := at.(map[string]any)
			at = fields[field]
		}
		if got := fmt.Sprint(at); got != want {
			t.Errorf("%s became %s, want %s", path, got, want)
		}
	}
}

// remove deletes the object of a document, which a finalizer may hold.
func remove(t *testing.T, rack, document string) {
	// It may be gone already, or go with its finalizer; the deletion tells.
	_, freed := kubectl(t, rack, document, "patch", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`, "-f", "-")
	if _, err := kubectl(t, rack, document, "delete", "--ignore-not-found", "--timeout=30s", "-f", "-"); err != nil {
		t.Errorf("remove the object: %v (free it: %v)", err, freed)
	}
}

// rule is a CEL rule of a schema, and the kind it belongs to.
type rule struct{ kind, message string }

// TestEachRuleIsTried looks for a refused case of each CEL rule, by its message.
func TestEachRuleIsTried(t *testing.T) {
	refusals := map[string][]apiCase{}
	for _, file := range apiFiles(t) {
		refusals[kindOf(file)] = slices.DeleteFunc(apiCases(t, file), func(c apiCase) bool { return !c.refused })
	}
	rules := apiRules(t)
	if len(rules) == 0 {
		t.Fatal("no rules in config/crd")
	}
	for _, r := range rules {
		if !slices.ContainsFunc(refusals[r.kind], func(c apiCase) bool { return strings.Contains(r.message, c.says) }) {
			t.Errorf("testdata/api/%s.yaml has no case that is refused with %q", r.kind, r.message)
		}
	}
}

// apiRules returns the rules of all CustomResourceDefinitions. One whose message
// is an expression must have that message's fixed words as its message too.
func apiRules(t *testing.T) []rule {
	t.Helper()
	files, err := filepath.Glob("../config/crd/steelyard.dev_*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules []rule
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd struct {
			Spec struct {
				Names    struct{ Singular string }
				Versions []struct{ Schema any }
			}
		}
		if err := yaml.Unmarshal(text, &crd); err != nil {
			t.Fatalf("read %s: %v", file, err)
		}
		for _, v := range crd.Spec.Versions {
			for _, m := range messages(v.Schema) {
				rules = append(rules, rule{crd.Spec.Names.Singular, m})
			}
		}
	}
	return rules
}

// messages returns the messages of the rules in a schema, at any depth.
func messages(schema any) []string {
	var out []string
	switch s := schema.(type) {
	case []any:
		for _, v := range s {
			out = append(out, messages(v)...)
		}
	case map[string]any:
		for key, v := range s {
			list, ok := v.([]any)
			if key != "x-kubernetes-validations" || !ok {
				out = append(out, messages(v)...)
				continue
			}
			for _, r := range list {
				fields, _ := r.(map[string]any)
				out = append(out, fmt.Sprint(fields["message"]))
			}
		}
	}
	return out
}
