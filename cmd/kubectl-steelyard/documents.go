package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// documents reads all objects of files and folders, those of Lists one by one;
// "-" is standard input.
func (t *tool) documents(names []string) ([]unstructured.Unstructured, error) {
	var out []unstructured.Unstructured
	for _, name := range names {
		texts, err := t.contents(name)
		if err != nil {
			return nil, err
		}
		for _, text := range texts {
			objects, err := objectsOf(text)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", name, err)
			}
			out = append(out, objects...)
		}
	}
	return out, nil
}

// contents returns what is in a file, or in the YAML and JSON files of a folder.
func (t *tool) contents(name string) ([][]byte, error) {
	if name == "-" {
		text, err := io.ReadAll(t.In)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return [][]byte{text}, nil
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(t.folder, path)
	}
	files := []string{path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		files = nil
		for _, pattern := range []string{"*.yaml", "*.yml", "*.json"} {
			more, err := filepath.Glob(filepath.Join(path, pattern))
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", name, err)
			}
			files = append(files, more...)
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("%s holds no YAML or JSON file", name)
		}
	}
	var out [][]byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", strings.TrimPrefix(file, t.folder+"/"), errors.Unwrap(err))
		}
		out = append(out, text)
	}
	return out, nil
}

// objectsOf decodes one text.
func objectsOf(text []byte) ([]unstructured.Unstructured, error) {
	var out []unstructured.Unstructured
	for dec := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		var o unstructured.Unstructured
		err := dec.Decode(&o.Object)
		switch {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, err
		case len(o.Object) == 0:
			continue
		case o.IsList():
			list, err := o.ToList()
			if err != nil {
				return nil, err
			}
			out = append(out, list.Items...)
		default:
			out = append(out, o)
		}
	}
}
