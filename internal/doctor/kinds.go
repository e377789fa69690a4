package doctor

import (
	"fmt"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// OldKind returns our kind and the first of its fields that a
// CustomResourceDefinition lacks; "": it lacks none. A definition that lacks one is
// of an older version, and the API server drops what is written to the field.
func OldKind(crd *unstructured.Unstructured) string {
	kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
	group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil || group != v1beta1.Group {
		return ""
	}
	known, ok := scheme.KnownTypes(v1beta1.GroupVersion())[kind]
	if !ok {
		return ""
	}
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	for _, v := range versions {
		m, ok := v.(map[string]any)
		if !ok || m["name"] != v1beta1.GroupVersion().Version {
			continue
		}
		schema, _, _ := unstructured.NestedMap(m, "schema", "openAPIV3Schema")
		if field := lacking(known, schema, ""); field != "" {
			return fmt.Sprintf("%s lacks %s", kind, field)
		}
		return ""
	}
	return fmt.Sprintf("%s is not served as %s", kind, v1beta1.GroupVersion().Version)
}

// lacking returns the first field of a type that a schema does not have; "": it has
// all. An open schema has every field.
func lacking(t reflect.Type, schema map[string]any, path string) string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		if items, ok := schema["items"].(map[string]any); ok && t.Kind() == reflect.Slice {
			schema = items
		}
		t = t.Elem()
	}
	properties, ok := schema["properties"].(map[string]any)
	if t.Kind() != reflect.Struct || !ok || !strings.HasPrefix(t.PkgPath(), reflect.TypeFor[v1beta1.Speaker]().PkgPath()) {
		return ""
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			if field := lacking(f.Type, schema, path); field != "" {
				return field
			}
			continue
		}
		of, ok := properties[name].(map[string]any)
		if !ok {
			return path + name
		}
		if field := lacking(f.Type, of, path+name+"."); field != "" {
			return field
		}
	}
	return ""
}
