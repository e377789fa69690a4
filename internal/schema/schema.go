// Package schema says what an API server refuses of Steelyard's objects, without
// one: by the schemas and CEL rules of the CustomResourceDefinitions, run by the
// packages that the API server itself uses. What depends on several objects is
// not its business (package intent's it is).
package schema

import (
	"context"
	"fmt"
	"io/fs"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metavalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	labels "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	kind "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/steelyard-lb/steelyard/config/crd"
)

// Checker checks objects of all kinds of Steelyard.
type Checker struct {
	rules map[kind.GroupVersionKind]rules
}

// rules are those of one kind.
type rules struct {
	schema *structural.Structural
	values validation.SchemaValidator
	cel    *cel.Validator
}

// New returns a checker for the definitions of this version.
func New() (*Checker, error) {
	files, err := fs.Glob(crd.Files, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list the definitions: %w", err)
	}
	c := &Checker{rules: map[kind.GroupVersionKind]rules{}}
	for _, file := range files {
		text, err := fs.ReadFile(crd.Files, file)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		if err := c.add(text); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return c, nil
}

// add takes in a CustomResourceDefinition.
func (c *Checker) add(text []byte) error {
	var v1 apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(text, &v1); err != nil {
		return err
	}
	for i := range v1.Spec.Versions {
		version := &v1.Spec.Versions[i]
		var props apiextensions.JSONSchemaProps
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(version.Schema.OpenAPIV3Schema, &props, nil); err != nil {
			return err
		}
		s, err := structural.NewStructural(&props)
		if err != nil {
			return err
		}
		values, _, err := validation.NewSchemaValidator(&props)
		if err != nil {
			return err
		}
		c.rules[kind.GroupVersionKind{Group: v1.Spec.Group, Version: version.Name, Kind: v1.Spec.Names.Kind}] = rules{
			schema: s, values: values, cel: cel.NewValidator(s, true, celconfig.PerCallLimit),
		}
	}
	return nil
}

// Knows reports whether the checker has rules for that kind.
func (c *Checker) Knows(k kind.GroupVersionKind) bool {
	_, ok := c.rules[k]
	return ok
}

// Check returns what an API server would refuse about obj, which must be of a
// known kind and is not changed; and the fields that it would drop, since the
// kind has none of that name.
func (c *Checker) Check(obj *unstructured.Unstructured) (refused field.ErrorList, dropped []string) {
	r := c.rules[obj.GroupVersionKind()]
	content := runtime.DeepCopyJSON(obj.UnstructuredContent())
	delete(content, "status") // who applies an object can't write it
	dropped = pruning.PruneWithOptions(content, r.schema, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	defaulting.PruneNonNullableNullsWithoutDefaults(content, r.schema)
	defaulting.Default(content, r.schema)
	metadata := field.NewPath("metadata")
	switch name := obj.GetName(); {
	case name == "" && obj.GetGenerateName() == "":
		refused = append(refused, field.Required(metadata.Child("name"), "name or generateName is required"))
	case name != "":
		for _, text := range metavalidation.NameIsDNSSubdomain(name, false) {
			refused = append(refused, field.Invalid(metadata.Child("name"), name, text))
		}
	}
	refused = append(refused, labels.ValidateLabels(obj.GetLabels(), metadata.Child("labels"))...)
	refused = append(refused, metavalidation.ValidateAnnotations(obj.GetAnnotations(), metadata.Child("annotations"))...)
	refused = append(refused, validation.ValidateCustomResource(nil, content, r.values)...)
	refused = append(refused, listtype.ValidateListSetsAndMaps(nil, r.schema, content)...)
	if len(refused) > 0 {
		return refused, dropped // CEL rules rely on values of the right types
	}
	if r.cel != nil {
		refused, _ = r.cel.Validate(context.Background(), nil, r.schema, content, nil, celconfig.RuntimeCELCostBudget)
	}
	return refused, dropped
}
