package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// readKinds reads the definitions of all kinds, those that people write first.
func readKinds(dir string) ([]apiextensionsv1.CustomResourceDefinition, error) {
	files, err := filepath.Glob(filepath.Join(dir, "steelyard.dev_*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, errors.Join(fmt.Errorf("found no kinds in %s", dir), err)
	}
	var out []apiextensionsv1.CustomResourceDefinition
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("read a kind: %w", err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(text, &crd); err != nil {
			return nil, fmt.Errorf("decode %s: %w", f, err)
		}
		out = append(out, crd)
	}
	slices.SortStableFunc(out, func(a, b apiextensionsv1.CustomResourceDefinition) int {
		return cmp.Compare(place(a.Spec.Names.Kind), place(b.Spec.Names.Kind))
	})
	return out, nil
}

// place is that of a kind on the page; a new one comes last.
func place(kind string) int {
	order := []string{"IPAddressPool", "L2Advertisement", "BGPAdvertisement", "BGPPeer", "BFDProfile", "Community", "L2Claim", "BGPSession", "Speaker"}
	if i := slices.Index(order, kind); i >= 0 {
		return i
	}
	return len(order)
}

// kindsPage is the page of all kinds.
func kindsPage(kinds []apiextensionsv1.CustomResourceDefinition) string {
	var b strings.Builder
	b.WriteString(`# Kinds and fields

Made by "make generate" from the API types; don't edit it. The same is in the cluster: ` + "`kubectl explain ipaddresspools.spec --api-version=steelyard.dev/v1beta1`" + `.

All kinds are of group ` + "`steelyard.dev`, version `v1beta1`" + `, and cluster-scoped. ` + "`kubectl get steelyard`" + ` lists all objects. What one object
alone can get wrong is refused when it is written, with the message in italics. What depends on other objects shows as a condition
` + "`Accepted: False` or `ResolvedRefs: False`" + ` on the object at fault ([which](reasons.md)). L2Claims, BGPSessions and Speakers are written by the programs.

`)
	for _, k := range kinds {
		fmt.Fprintf(&b, "- [%s](#%s)\n", k.Spec.Names.Kind, strings.ToLower(k.Spec.Names.Kind))
	}
	for _, k := range kinds {
		schema := k.Spec.Versions[0].Schema.OpenAPIV3Schema
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", k.Spec.Names.Kind, oneLine(schema.Description))
		if short := k.Spec.Names.ShortNames; len(short) > 0 {
			fmt.Fprintf(&b, "\nShort name: `%s`.\n", strings.Join(short, "`, `"))
		}
		b.WriteString(rules(*schema, "\n"))
		b.WriteString("\n| field | type | default | meaning |\n|---|---|---|---|\n")
		for _, part := range []string{"spec", "status"} {
			if p, ok := schema.Properties[part]; ok {
				fields(&b, part, p)
			}
		}
	}
	return b.String()
}

// fields writes a line for each field below a path, and its fields after it.
func fields(b *strings.Builder, path string, s apiextensionsv1.JSONSchemaProps) {
	if text := rules(s, ""); text != "" && !strings.Contains(path, ".") {
		fmt.Fprintf(b, "| `%s` | object | | %s |\n", path, cell(text))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		f := s.Properties[name]
		meaning := oneLine(f.Description)
		item := f
		if f.Items != nil && f.Items.Schema != nil {
			item = *f.Items.Schema
		}
		meaning += rules(f, " ")
		if f.Items != nil {
			meaning += rules(item, " ")
		}
		required := ""
		if slices.Contains(s.Required, name) {
			required = "required"
		}
		fmt.Fprintf(b, "| `%s.%s` | %s | %s | %s |\n", path, name, cell(typeOf(f)), cell(cmp.Or(defaultOf(f), required)), cell(meaning))
		if !known(name, item) {
			child := path + "." + name
			if f.Items != nil {
				child += "[]"
			}
			fields(b, child, item)
		}
	}
}

// known tells whether Kubernetes' own documents explain the fields of a field.
func known(name string, s apiextensionsv1.JSONSchemaProps) bool {
	return name == "conditions" || isSelector(s)
}

func isSelector(s apiextensionsv1.JSONSchemaProps) bool {
	_, labels := s.Properties["matchLabels"]
	_, expressions := s.Properties["matchExpressions"]
	return labels && expressions
}

// typeOf names the type of a field, with its bounds.
func typeOf(s apiextensionsv1.JSONSchemaProps) string {
	switch {
	case isSelector(s):
		return "label selector"
	case s.Type == "array" && s.Items != nil && s.Items.Schema != nil:
		return "list of " + typeOf(*s.Items.Schema)
	case len(s.Enum) > 0:
		var all []string
		for _, v := range s.Enum {
			all = append(all, jsonOf(v))
		}
		return strings.Join(all, ", ")
	case s.Minimum != nil && s.Maximum != nil:
		return fmt.Sprintf("%s, %.0f to %.0f", s.Type, *s.Minimum, *s.Maximum)
	case s.Format == "date-time":
		return "time"
	}
	return s.Type
}

func defaultOf(s apiextensionsv1.JSONSchemaProps) string {
	if s.Default == nil || s.Type == "object" {
		return ""
	}
	return jsonOf(*s.Default)
}

func jsonOf(v apiextensionsv1.JSON) string {
	var text string
	if json.Unmarshal(v.Raw, &text) == nil {
		return "`" + text + "`"
	}
	return "`" + string(v.Raw) + "`"
}

// rules are the messages of what is refused, each after the prefix.
func rules(s apiextensionsv1.JSONSchemaProps, prefix string) string {
	var b strings.Builder
	for _, r := range s.XValidations {
		if r.Message != "" {
			fmt.Fprintf(&b, "%s*%s.*%s", prefix, strings.ReplaceAll(oneLine(r.Message), "*", `\*`), strings.TrimLeft(prefix, " "))
		}
	}
	return b.String()
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// cell keeps a text within its cell of a table.
func cell(s string) string { return strings.ReplaceAll(oneLine(s), "|", `\|`) }
