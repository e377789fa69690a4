package migrate

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	yamlnodes "go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubectlyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// reread parses a text like the programs that may apply it, and returns an error
// unless all of them find exactly the wanted objects, in this order. If readers split
// a text differently, an attacker can hide an object for one reader in a comment for
// another.
func reread(text string, want []Object) error {
	if !allPrintable(text) {
		return errors.New("it holds a character that can't be seen")
	}
	for name, read := range map[string]func(string) ([]any, error){"kubectl": asKubectl, "a parser of the whole stream": asStream} {
		have, err := read(text)
		if err != nil {
			return fmt.Errorf("read as %s does: %w", name, err)
		}
		if err := same(have, want); err != nil {
			return fmt.Errorf("read as %s does: %w", name, err)
		}
	}
	return nil
}

// asKubectl splits a text where kubectl splits it, and parses each part strictly.
func asKubectl(text string) ([]any, error) {
	var out []any
	for r := kubectlyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text))); ; {
		part, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, err
		}
		data, err := yaml.YAMLToJSONStrict(part)
		if err != nil {
			return nil, err
		}
		var content any
		if err := json.Unmarshal(data, &content); err != nil {
			return nil, err
		}
		if content == nil {
			continue // only comments
		}
		if err := known(part); err != nil {
			return nil, err
		}
		out = append(out, content)
	}
}

// known rejects an object of a kind that Write does not print, and unknown fields.
func known(part []byte) error {
	var of struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := yaml.Unmarshal(part, &of); err != nil {
		return err
	}
	into := map[string]any{
		"v1 Secret": &corev1.Secret{},
	}
	for kind, object := range map[string]any{
		"IPAddressPool": &v1beta1.IPAddressPool{}, "L2Advertisement": &v1beta1.L2Advertisement{}, "BGPAdvertisement": &v1beta1.BGPAdvertisement{},
		"BGPPeer": &v1beta1.BGPPeer{}, "BFDProfile": &v1beta1.BFDProfile{}, "Community": &v1beta1.Community{},
	} {
		into[v1beta1.GroupVersion().String()+" "+kind] = object
	}
	object := into[of.APIVersion+" "+of.Kind]
	if object == nil {
		return fmt.Errorf("there is an object of apiVersion %q, kind %q", of.APIVersion, of.Kind)
	}
	return yaml.UnmarshalStrict(part, object)
}

// asStream lets a YAML parser split the text into documents.
func asStream(text string) ([]any, error) {
	var out []any
	for dec := yamlnodes.NewDecoder(strings.NewReader(text)); ; {
		var content any
		if err := dec.Decode(&content); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, err
		}
		if content != nil {
			out = append(out, content)
		}
	}
}

// same compares what was read with what was meant.
func same(have []any, want []Object) error {
	if len(have) != len(want) {
		return fmt.Errorf("it holds %d objects, not %d", len(have), len(want))
	}
	there := map[string]bool{}
	for i := range want {
		obj := unstructured.Unstructured{Object: want[i].Manifest}
		name := nameOf(&obj)
		if there[name] {
			return fmt.Errorf("there are two of %s: one would take the other's place", printable.Word(name))
		}
		there[name] = true
		a, err := normal(have[i])
		if err != nil {
			return err
		}
		b, err := normal(want[i].Manifest)
		if err != nil {
			return err
		}
		if !reflect.DeepEqual(a, b) {
			return fmt.Errorf("object %d is another than what was made from %s", i+1, want[i].From)
		}
	}
	return nil
}

// normal converts all numbers to one type.
func normal(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out any
	return out, json.Unmarshal(text, &out)
}
