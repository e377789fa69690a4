package migrate_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/steelyard-lb/steelyard/internal/migrate"
)

// Every line end that some reader of YAML knows, what terminals obey, and what
// only looks like something else.
var hostile = []string{
	"x\rapiVersion: rbac.authorization.k8s.io/v1\rkind: ClusterRoleBinding\rmetadata: {name: mallory}\r#",
	"x\u0085---\u0085apiVersion: v1\u0085kind: Secret\u0085#", "x\u2028---\u2028kind: Pod\u2028", "x\u2029kind: Pod", "x\n---\nkind: Pod\n", "\v\f\x00\x07\x1b[2J\x9b",
	"\u202egnp.exe", "\ufeff", "\U000e0001", "'; rm -rf / #", "$(reboot)`reboot`", "a: b", "- a", "# a", "{a", "[a", "&a", "*a", "!a", "|", ">", "%a", "@a", "`a", "--- a", "...", "?",
	"yes", "~", "null", "0o7", "0x1F", "1e3", ".inf", "2020-01-01", "1:20", "=", "<<", "", " ", " a ", "fe80::1%x\rkind: y", "::ffff:192.0.2.1", "0.0.0.0/0", strings.Repeat("a", 1_500), strings.Repeat("\x01", 3_000), "\\u2028",
}

// marker is a password, which must never be printed.
const marker = "open-sesame-7"

// bases are the objects of each peer that are changed: those of testdata.
func bases(t testing.TB) map[migrate.Product][]*unstructured.Unstructured {
	out := map[migrate.Product][]*unstructured.Unstructured{}
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for part := range strings.SplitSeq(string(fileOf(archive, "in.yaml").Data), "\n---\n") {
			o := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(part), &o.Object); err != nil {
				t.Fatal(err)
			}
			out[peerOf(file)] = append(out[peerOf(file)], o)
		}
	}
	return out
}

// chooser draws numbers from what the fuzzer gives.
type chooser struct{ left []byte }

func (c *chooser) of(n int) int {
	if len(c.left) == 0 || n < 2 {
		return 0
	}
	b := int(c.left[0])
	if c.left = c.left[1:]; n > 256 && len(c.left) > 0 {
		b, c.left = b<<8|int(c.left[0]), c.left[1:]
	}
	return b % n
}

// text is a hostile text, or the fuzzer's own.
func (c *chooser) text(own string) string {
	if n := c.of(len(hostile) + 8); n < len(hostile) {
		return hostile[n]
	}
	return own
}

// fieldRef is a value, or a name, somewhere in an object, and how to change it.
type fieldRef struct {
	path string
	set  func(any)
}

// fieldRefs returns all values of v that may be changed.
func fieldRefs(path string, v any) []fieldRef {
	var out []fieldRef
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if path == "" && (k == "kind" || k == "apiVersion") {
				continue // or it is not read
			}
			out = append(out, fieldRef{path + "." + k, func(x any) { v[k] = x }}, fieldRef{path + ".key", func(x any) {
				if s, ok := x.(string); ok {
					v[s] = v[k]
				}
			}})
			out = append(out, fieldRefs(path+"."+k, v[k])...)
		}
	case []any:
		for i := range v {
			out = append(out, fieldRef{path + "[]", func(x any) { v[i] = x }})
			out = append(out, fieldRefs(path+"[]", v[i])...)
		}
	}
	return out
}

// asked are the annotations of Services that peers read.
var asked = []string{
	"metallb.io/address-pool", "metallb.io/loadBalancerIPs", "metallb.io/allow-shared-ip", "metallb.universe.tf/x", "purelb.io/service-group", "purelb.io/addresses", "purelb.io/allow-shared-ip",
	"eip.openelb.kubesphere.io/v1alpha2", "lb.kubesphere.io/v1alpha1", "lbipam.cilium.io/ips", "lbipam.cilium.io/sharing-key", "lbipam.cilium.io/x", "kube-vip.io/loadbalancerIPs", "kube-vip.io/x",
	"steelyard.dev/allow-shared-ip", "purelb.io/allocated-from",
}

// change changes some values of an object.
func change(c *chooser, o map[string]any, own string) {
	for range c.of(5) {
		all := fieldRefs("", o)
		s := all[c.of(len(all))]
		if strings.Contains(strings.ToLower(s.path), "pass") {
			continue // see secrets
		}
		switch c.of(12) {
		case 0:
			s.set(nil)
		case 1:
			s.set([]any{c.text(own), map[string]any{c.text(own): c.text(own)}})
		case 2:
			s.set(map[string]any{c.text(own): c.text(own), "name": c.text(own)})
		case 3:
			s.set(float64(c.of(70_000) - 5))
		case 4:
			s.set(c.of(2) == 0)
		case 5:
			s.set(1e18)
		default:
			s.set(c.text(own))
		}
	}
	if o["kind"] == "Service" {
		notes := map[string]any{}
		for range c.of(4) {
			notes[asked[c.of(len(asked))]] = c.text(own)
		}
		if m, ok := o["metadata"].(map[string]any); ok && len(notes) > 0 {
			m["annotations"] = notes
		}
	}
}

// secrets sets all passwords that stand in an object.
func secrets(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			if k == "password" || k == "authPassword" {
				v[k] = marker
			}
			if v["name"] == "bgp_peerpass" {
				v["value"] = marker
			}
			secrets(v[k])
		}
	case []any:
		for _, x := range v {
			secrets(x)
		}
	}
}

// FuzzWhatIsPrinted changes the objects of testdata at random, and reads what is
// printed: it must be what was meant for every reader.
func FuzzWhatIsPrinted(f *testing.F) {
	all := bases(f)
	for p := range migrate.Products() {
		for i := range hostile {
			f.Add(byte(p), []byte{3, byte(i), 7, byte(i), 4, byte(7 * i), 9, byte(i), 3, byte(5 * i), 11, byte(i), 1, 2, 3, byte(i)}, hostile[i])
		}
	}
	f.Fuzz(func(t *testing.T, p byte, choices []byte, own string) {
		tryOne(t, all, migrate.Products()[int(p)%len(migrate.Products())], &chooser{choices}, own)
	})
}

// TestWhatIsPrintedAtRandom does the same without looking at what is covered,
// which is faster: MIGRATE_CLUSTERS=1000000 tries so many more.
func TestWhatIsPrintedAtRandom(t *testing.T) {
	n := 500
	if more := os.Getenv("MIGRATE_CLUSTERS"); more != "" {
		var err error
		if n, err = strconv.Atoi(more); err != nil {
			t.Fatal(err)
		}
	}
	all := bases(t)
	for i := range n {
		rng := rand.New(rand.NewSource(int64(i)))
		choices := make([]byte, 100)
		rng.Read(choices)
		product := migrate.Products()[rng.Intn(len(migrate.Products()))]
		tryOne(t, all, product, &chooser{choices}, string([]rune{rune(rng.Intn(0x300)), rune(rng.Intn(0x3000)), rune(rng.Intn(0x110000))}))
		if t.Failed() {
			t.Fatalf("number %d, of %s", i, product)
		}
	}
}

// tryOne changes some objects of a peer, and reads what is printed.
func tryOne(t *testing.T, all map[migrate.Product][]*unstructured.Unstructured, product migrate.Product, c *chooser, own string) {
	base := all[product]
	var text strings.Builder
	for range 1 + c.of(3) {
		o := base[c.of(len(base))].DeepCopy().Object
		change(c, o, own)
		secrets(o)
		data, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "---\n%s\n", data)
	}
	source, ok := sourceOf(t, text.String())
	if !ok {
		return // no cluster holds this
	}
	source.Pin = c.of(2) == 0
	plan, err := migrate.Convert(product, source)
	if err != nil {
		return // it says which namespace it must know
	}
	printed(t, source, plan)
}

// sourceOf sorts objects as the plugin does; false: one of them can't be read.
func sourceOf(t *testing.T, text string) (migrate.Source, bool) {
	s := migrate.Source{Rules: rules(t), Namespace: "steelyard-system", Namespaces: map[string]map[string]string{}}
	for part := range strings.SplitSeq(text, "---\n") {
		if part == "" {
			continue
		}
		o := unstructured.Unstructured{}
		if err := json.Unmarshal([]byte(part), &o.Object); err != nil {
			return s, false
		}
		if err := sorted(&s, o); err != nil {
			return s, false
		}
	}
	return s, true
}

// printed fails unless a plan is printed as it must be.
func printed(t *testing.T, source migrate.Source, plan migrate.Plan) {
	t.Helper()
	var b strings.Builder
	if err := plan.Write(&b); err != nil {
		t.Fatalf("it is not printed: %v", err)
	}
	text := b.String()
	for _, r := range text {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Fatalf("it holds %q:\n%s", r, text)
		}
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") && len(line) > 8_000 {
			t.Fatalf("a line has %d bytes: %s", len(line), line)
		}
	}
	bodies := bodiesOf(t, text)
	if len(bodies) != len(plan.Objects) {
		t.Fatalf("%d documents, want %d:\n%s", len(bodies), len(plan.Objects), text)
	}
	for i, o := range plan.Objects {
		var have map[string]any
		if err := yaml.Unmarshal([]byte(bodies[i]), &have); err != nil {
			t.Fatal(err)
		}
		if want := throughJSON(t, o.Manifest); !reflect.DeepEqual(have, want) {
			t.Fatalf("printed %v, meant %v", have, want)
		}
		allowed(t, source, plan, o)
	}
	data, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text+string(data), marker) {
		t.Fatalf("it holds a password:\n%s", text)
	}
	for _, s := range plan.Steps {
		for line := range strings.Lines(s) {
			harmless(t, line)
		}
	}
	for _, e := range plan.Edits {
		for _, line := range e.Commands() {
			harmless(t, line)
		}
	}
}

// bodiesOf splits a text at everything that a reader takes for the end of a line, and
// returns what is no comment of each document that is more than that.
func bodiesOf(t *testing.T, text string) []string {
	t.Helper()
	var out []string
	body := ""
	flush := func() {
		if body != "" {
			out = append(out, body)
		}
		body = ""
	}
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune("\n\r\v\f\u0085\u2028\u2029", r) }) {
		switch {
		case line == "---":
			flush()
		case strings.HasPrefix(line, "#"):
		default:
			body += line + "\n"
		}
	}
	flush()
	return out
}

// allowed fails unless an object is of our kinds, in our namespace, and taken by
// the API server or said not to be.
func allowed(t *testing.T, source migrate.Source, plan migrate.Plan, o migrate.Object) {
	t.Helper()
	obj := &unstructured.Unstructured{Object: o.Manifest}
	switch {
	case obj.GetAPIVersion() == "v1" && obj.GetKind() == "Secret" && obj.GetNamespace() == source.Namespace:
		return
	case !source.Rules.Knows(obj.GroupVersionKind()) || obj.GetNamespace() != "":
		t.Fatalf("there is a %s %s/%s", obj.GroupVersionKind(), obj.GetNamespace(), obj.GetName())
	}
	refused, dropped := source.Rules.Check(obj)
	if len(refused)+len(dropped) == 0 {
		return
	}
	if !slices.ContainsFunc(plan.Notes, func(n migrate.Note) bool {
		return n.Severity == migrate.Blocking && strings.HasPrefix(n.Object, obj.GetKind()+" ") && strings.Contains(n.Reason, "the API server refuses it")
	}) {
		t.Fatalf("%s %s is refused (%v, %v), and no note says so", obj.GetKind(), obj.GetName(), refused, dropped)
	}
}

// harmless fails if a line that is a command has, outside quotation marks, what a
// shell would run by itself.
func harmless(t *testing.T, line string) {
	t.Helper()
	if !strings.HasPrefix(line, "kubectl ") && !strings.HasPrefix(line, "  kubectl ") && !strings.HasPrefix(line, "helm ") {
		return
	}
	line = strings.ReplaceAll(strings.TrimRight(line, "\n"), `\'`, "")
	outside := ""
	for i, part := range strings.Split(line, "'") {
		if i%2 == 0 {
			outside += part
		}
	}
	if strings.Count(line, "'")%2 != 0 {
		t.Fatalf("a quotation has no end: %s", line)
	}
	for _, ours := range []string{"; kubectl get l2claims.steelyard.dev,bgpsessions.steelyard.dev; kubectl steelyard doctor", " && kubectl apply -f THIS-FILE", " | base64 -d |", "     # "} {
		outside = strings.Replace(outside, ours, "", 1)
	}
	if strings.ContainsAny(outside, ";&|$`<>()\"\\#*?[]~!{}\n") {
		t.Fatalf("a shell would run more than one command: %s (outside quotation marks: %s)", line, outside)
	}
}

func throughJSON(t *testing.T, v any) any {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
