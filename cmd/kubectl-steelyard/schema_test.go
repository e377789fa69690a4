package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/internal/doctor"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/migrate"
	"github.com/steelyard-lb/steelyard/internal/reference"
	"github.com/steelyard-lb/steelyard/internal/world"
)

const (
	schemaFile = "../../docs/reference/plugin-answers.schema.json"
	schemaPage = "../../docs/reference/plugin-answers.md"
)

// answers are all answers, with the commands that give them.
func answers() []struct {
	commands string
	answer   answer
} {
	return []struct {
		commands string
		answer   answer
	}{
		{"`status`", overview{}}, {"`explain` of a Service", explanation{}}, {"`explain` of another object or an address", objectExplanation{}},
		{"`services`", serviceList{}}, {"`claims`", claimList{}}, {"`sessions`", sessionList{}}, {"`routes`", routeList{}}, {"`history`", remembered{}}, {"`doctor`", examined{}}, {"`export`", export{}}, {"`version`", versionsAnswer{}},
		{"`simulate`", forecast{}}, {"`lint`", report{}}, {"`migrate`", plan{}}, {"`migrate --annotate`", annotated{}},
		{"`move`", moved{}}, {"`rebalance`", rebalanced{}}, {"`drain` and `undrain`", drains{}}, {"`renumber`", renumbering{}}, {"`reserve`, `pin` and `release`", reservations{}},
	}
}

// TestTheReferenceOfAnswers keeps the schema of the answers and its page true to the types.
func TestTheReferenceOfAnswers(t *testing.T) {
	docs := comments(t)
	root := &jsonschema.Schema{
		Schema: "https://json-schema.org/draft/2020-12/schema", Title: "Answers of kubectl steelyard (" + answersVersion + ")",
		Defs: map[string]*jsonschema.Schema{},
	}
	var page strings.Builder
	page.WriteString(`# Answers of the plugin as data

Made by "make generate" from the plugin's types; don't edit it. With ` + "`-o json`" + ` (or ` + "`yaml`" + `) each answer of [kubectl steelyard](plugin.md) is one object
of ` + "`" + answersVersion + "`" + `. The [JSON schema](plugin-answers.schema.json) is that of this very version: later ones may add fields. The ` + "`apiVersion`" + `
changes when a field goes or changes its meaning.

All have ` + "`apiVersion`, `kind` and `verdict`" + `: ` + "`OK` (exit code 0) or `Attention`" + ` (2). Times are RFC 3339. A list that is not there is empty.
`)
	for _, x := range answers() {
		kind := x.answer.kind()
		s := schemaOf(t, x.answer, docs)
		root.Defs[kind] = s
		root.OneOf = append(root.OneOf, &jsonschema.Schema{Ref: "#/$defs/" + kind})
		fmt.Fprintf(&page, "\n## %s\n\nThe answer of %s.\n\n| field | type | meaning |\n|---|---|---|\n", kind, x.commands)
		eachField(s, "", func(path, kind, text string, required bool) {
			if !slices.Contains([]string{"apiVersion", "kind", "verdict"}, path) {
				if !required {
					kind += ", optional"
				}
				fmt.Fprintf(&page, "| `%s` | %s | %s |\n", path, kind, strings.ReplaceAll(text, "|", "\\|"))
			}
		})
	}
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	reference.File(t, schemaFile, append(text, '\n'))
	reference.File(t, schemaPage, []byte(page.String()))
}

// schemaOf returns the schema of an answer in its envelope, as strict as its type is.
func schemaOf(t *testing.T, a answer, docs map[string]string) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.ForType(reflect.TypeOf(a), &jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[metav1.Time]():      {Type: "string", Format: "date-time"},
		reflect.TypeFor[json.Number]():      {Type: "number"},
		reflect.TypeFor[doctor.Result]():    enum(doctor.OK, doctor.Warning, doctor.Fault, doctor.Unknown),
		reflect.TypeFor[severity]():         enum(refusedBy, notProgrammed),
		reflect.TypeFor[migrate.Severity](): enum(migrate.Blocking.String(), migrate.NoEqual.String(), migrate.Changed.String(), migrate.Unneeded.String()),
		reflect.TypeFor[ipam.Key]():         keySchema(t),
		reflect.TypeFor[world.Effect]():     {Type: "string"},
	}})
	if err != nil {
		t.Fatalf("%T: %v", a, err)
	}
	neverNull(s)
	describe(s, reflect.TypeOf(a), docs)
	kind := any(a.kind())
	for name, value := range map[string]*jsonschema.Schema{
		"apiVersion": enum(answersVersion), "kind": {Type: "string", Const: &kind}, "verdict": enum(resultOK, resultAttention),
	} {
		s.Properties[name] = value
	}
	s.Required = append([]string{"apiVersion", "kind", "verdict"}, s.Required...)
	s.PropertyOrder = append([]string{"apiVersion", "kind", "verdict"}, s.PropertyOrder...)
	return s
}

func enum[T ~string](values ...T) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "string"}
	for _, v := range values {
		s.Enum = append(s.Enum, string(v))
	}
	return s
}

// keySchema is that of a key, as it is encoded.
func keySchema(t *testing.T) *jsonschema.Schema {
	text, err := json.Marshal(ipam.Key{Namespace: "n", Name: "s"})
	if err != nil || string(text) != `{"Namespace":"n","Name":"s"}` {
		t.Fatalf("%s %v", text, err)
	}
	of := &jsonschema.Schema{Type: "string"}
	return &jsonschema.Schema{Type: "object", Properties: map[string]*jsonschema.Schema{"Namespace": of, "Name": {Type: "string"}}, Required: []string{"Namespace", "Name"}}
}

// neverNull has no list or map be null: an empty one is there, or its field is not.
func neverNull(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	if len(s.Types) == 2 && s.Types[0] == "null" {
		s.Type, s.Types = s.Types[1], nil
	}
	for _, p := range s.Properties {
		neverNull(p)
	}
	neverNull(s.Items)
	neverNull(s.AdditionalProperties)
}

// describe gives fields the comments of the types.
func describe(s *jsonschema.Schema, of reflect.Type, docs map[string]string) {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice || of.Kind() == reflect.Map {
		if of.Kind() == reflect.Map && s.AdditionalProperties != nil {
			s = s.AdditionalProperties
		} else if of.Kind() == reflect.Slice && s.Items != nil {
			s = s.Items
		}
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct {
		return
	}
	for i := range of.NumField() {
		f := of.Field(i)
		if f.Anonymous {
			describe(s, f.Type, docs)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if p := s.Properties[name]; p != nil && f.IsExported() {
			p.Description = docs[of.Name()+"."+f.Name]
			describe(p, f.Type, docs)
		}
	}
}

// comments returns the comments on the fields of the types that answers consist of.
func comments(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, folder := range []string{".", "../../internal/doctor", "../../internal/migrate", "../../internal/world"} {
		files, err := filepath.Glob(folder + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				spec, ok := n.(*ast.TypeSpec)
				if !ok {
					return true
				}
				of, ok := spec.Type.(*ast.StructType)
				if !ok {
					return true
				}
				for _, field := range of.Fields.List {
					for _, name := range field.Names {
						out[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(cmp.Or(field.Comment.Text(), field.Doc.Text())), " ")
					}
				}
				return true
			})
		}
	}
	return out
}

// eachField calls back for each field, and those within it.
func eachField(s *jsonschema.Schema, path string, each func(path, kind, text string, required bool)) {
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p, at, kind := s.Properties[name], path+name, ""
		for {
			switch {
			case p.Items != nil:
				at, kind, p = at+"[]", kind+"list of ", p.Items
				continue
			case p.Type == "object" && p.AdditionalProperties != nil && p.AdditionalProperties.Not == nil:
				at, kind, p = at+".*", kind+"map to ", p.AdditionalProperties
				continue
			}
			break
		}
		own := cmp.Or(map[string]string{"date-time": "time"}[p.Format], p.Type, "any")
		each(at, kind+own, cmp.Or(s.Properties[name].Description, p.Description), slices.Contains(s.Required, name))
		eachField(p, at+".", each)
	}
}

// TestEveryAnswerHasASchema holds that answers names each type with a kind.
func TestEveryAnswerHasASchema(t *testing.T) {
	known := map[string]bool{}
	for _, x := range answers() {
		known[reflect.TypeOf(x.answer).Name()] = true
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func \((?:\w+ )?(\w+)\) kind\(\) string`).FindAllStringSubmatch(string(text), -1) {
			if !known[m[1]] && !strings.HasSuffix(path, "_test.go") {
				t.Errorf("%s: the answer %s has no schema", path, m[1])
			}
		}
	}
}

// checker is the schema in the repository.
var checker = sync.OnceValues(func() (*jsonschema.Resolved, error) {
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		return nil, err
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, err
	}
	return s.Resolve(nil)
})

// check returns what is wrong with an encoded answer, by the schema in the repository.
func check(text []byte) (kind string, err error) {
	schema, err := checker()
	if err != nil {
		return "", err
	}
	var v map[string]any
	if err := json.Unmarshal(text, &v); err != nil {
		return "", err
	}
	kind, _ = v["kind"].(string)
	of := schema.Schema().Defs[kind]
	if of == nil {
		return kind, fmt.Errorf("there is no kind %q", kind)
	}
	one, err := of.CloneSchemas().Resolve(nil) // its errors say more than those of oneOf
	if err != nil {
		return kind, err
	}
	return kind, one.Validate(v)
}

// TestTheSchemaRefuses holds that it is no schema that takes anything.
func TestTheSchemaRefuses(t *testing.T) {
	const head = `"apiVersion": "plugin.steelyard.dev/v1beta1", "kind": "SessionReport", "verdict": `
	for text, good := range map[string]bool{
		`{` + head + `"OK", "sessions": []}`: true,
		`{` + head + `"Attention", "sessions": [{"node": "a", "peer": "b", "router": "", "state": "", "routes": 3, "since": "2026-01-02T12:00:00Z"}]}`: true,
		`{` + head + `"Fine", "sessions": []}`:          false,
		`{` + head + `"OK"}`:                            false,
		`{` + head + `"OK", "sessions": null}`:          false,
		`{` + head + `"OK", "sessions": [], "more": 1}`: false,
		`{` + head + `"OK", "sessions": [{"node": "a", "peer": "b", "router": "", "state": "", "routes": "3"}]}`: false,
		`{"apiVersion": "plugin.steelyard.dev/v1", "kind": "SessionReport", "verdict": "OK", "sessions": []}`:    false,
		`{"apiVersion": "plugin.steelyard.dev/v1beta1", "kind": "Nothing", "verdict": "OK", "sessions": []}`:     false,
	} {
		if _, err := check([]byte(text)); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}
