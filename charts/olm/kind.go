package olm

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/steelyard-lb/steelyard/charts"
)

// steelyard is the kind whose spec is the chart's values.
func (s sources) steelyard() (object, error) {
	spec, err := s.spec()
	if err != nil {
		return nil, err
	}
	column := func(name, kind, path string) object {
		return object{"name": name, "type": kind, "jsonPath": path}
	}
	w := s.watch
	return object{
		"apiVersion": "apiextensions.k8s.io/v1",
		"kind":       "CustomResourceDefinition",
		"metadata":   object{"name": w.plural() + "." + w.Group},
		"spec": object{
			"group": w.Group,
			"names": object{"kind": w.Kind, "listKind": w.Kind + "List", "plural": w.plural(), "singular": strings.ToLower(w.Kind)},
			"scope": "Namespaced",
			"versions": []any{object{
				"name": w.Version, "served": true, "storage": true,
				"subresources": object{"status": object{}},
				"additionalPrinterColumns": []any{
					column("Deployed", "string", `.status.conditions[?(@.type=="Deployed")].status`),
					column("Failed", "string", `.status.conditions[?(@.type=="ReleaseFailed")].status`),
					column("Age", "date", ".metadata.creationTimestamp"),
				},
				"schema": object{"openAPIV3Schema": object{
					"type":        "object",
					"description": aboutSteelyard,
					"properties": object{
						"apiVersion": object{"type": "string"},
						"kind":       object{"type": "string"},
						"metadata":   object{"type": "object"},
						"spec":       spec,
						"status":     object{"type": "object", "x-kubernetes-preserve-unknown-fields": true, "description": "What the operator did: conditions, and the release."},
					},
				}},
			}},
		},
	}, nil
}

const aboutSteelyard = "An installation of Steelyard: controller and speakers, with the chart's values in its spec. A cluster has one."

// spec is the schema of the chart's values, with the comments of values.yaml, as a
// kind may have it. It says less: the chart itself refuses what is left out here.
func (s sources) spec() (object, error) {
	text, err := os.ReadFile(filepath.Join(s.folder, "values.schema.json"))
	var whole object
	if err == nil {
		err = json.Unmarshal(text, &whole)
	}
	if err != nil {
		return nil, fmt.Errorf("read the schema of the chart's values: %w", err)
	}
	definitions, _ := whole["definitions"].(object)
	out := structural(whole, definitions)
	out["description"] = "Values of the chart; all have a default."
	values, err := charts.Values(s.folder)
	if err != nil {
		return nil, err
	}
	for _, v := range values {
		at := out
		for step := range strings.SplitSeq(v.Path, ".") {
			properties, _ := at["properties"].(object)
			if at, _ = properties[step].(object); at == nil {
				return nil, fmt.Errorf("the schema of the chart's values does not know %s", v.Path)
			}
		}
		if v.Doc != "" {
			at["description"] = v.Doc
		}
	}
	return out, nil
}

// structural turns a JSON schema into one that a kind may have.
func structural(in, definitions object) object {
	if name, is := strings.CutPrefix(fmt.Sprint(in["$ref"]), "#/definitions/"); is {
		in, _ = definitions[name].(object)
	}
	out := object{}
	for _, same := range []string{"type", "enum", "pattern", "minimum", "maximum", "minLength", "minItems"} {
		if value, has := in[same]; has {
			out[same] = value
		}
	}
	if types, several := in["type"].([]any); several { // of something and null
		out["type"], out["nullable"] = types[0], true
	}
	if in["enum"] != nil {
		out["type"] = "string"
	}
	if items, has := in["items"].(object); has {
		out["items"] = structural(items, definitions)
	}
	switch properties, has := in["properties"].(object); {
	case in["oneOf"] != nil:
		out["x-kubernetes-preserve-unknown-fields"], out["nullable"] = true, true
	case has:
		of := object{}
		for name, property := range properties {
			of[name] = structural(property.(object), definitions)
		}
		out["properties"] = of
	case out["type"] == "object":
		if of, limited := in["additionalProperties"].(object); limited {
			out["additionalProperties"] = structural(of, definitions)
		} else {
			out["x-kubernetes-preserve-unknown-fields"] = true
		}
	}
	return out
}
