package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	yamlnodes "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// document is one object of a file.
type document struct {
	*unstructured.Unstructured
	file string
	line int // where it begins
	node *yamlnodes.Node
	skip int // lines before the node's first
}

// place names a field of the document as FILE:LINE; that of the nearest field
// around it that is there. The field is written as in errors of the API server.
func (d document) place(path string) string {
	line, node := d.line, d.node
	for _, name := range fields(path) {
		next, at := child(node, name)
		if next == nil {
			break
		}
		node, line = next, at+d.skip
	}
	if line == 0 {
		return d.file // it is no file's
	}
	return fmt.Sprintf("%s:%d", d.file, line)
}

// fields takes a path such as spec.addresses[0] or metadata.annotations[a/b] apart.
func fields(path string) []string {
	var out []string
	for path != "" {
		if key, rest, ok := strings.Cut(strings.TrimPrefix(path, "["), "]"); strings.HasPrefix(path, "[") && ok {
			out, path = append(out, key), strings.TrimPrefix(rest, ".")
			continue
		}
		i := strings.IndexAny(path, ".[")
		if i < 0 {
			return append(out, path)
		}
		out = append(out, path[:i])
		path = strings.TrimPrefix(path[i:], ".")
	}
	return out
}

// child returns a field or an item of a node, and its line; nil: it has none.
func child(n *yamlnodes.Node, name string) (*yamlnodes.Node, int) {
	switch {
	case n == nil:
	case n.Kind == yamlnodes.DocumentNode && len(n.Content) > 0:
		return child(n.Content[0], name)
	case n.Kind == yamlnodes.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == name {
				return n.Content[i+1], n.Content[i].Line
			}
		}
	case n.Kind == yamlnodes.SequenceNode:
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i], n.Content[i].Line
		}
	}
	return nil, 0
}

// fault is a file, or a part of it, that can't be read.
type fault struct {
	place string
	err   error
}

func (f fault) Error() string { return f.place + ": " + f.err.Error() }

// documents reads the objects of files: YAML or JSON, "-" is standard input, of a
// directory all files that end in .yaml, .yml or .json. Beside what can't be
// read stands what can.
func (t *tool) documents(names []string) ([]document, error) {
	var out []document
	var errs []error
	for _, name := range names {
		files, err := t.expand(name)
		errs = append(errs, err)
		for _, file := range files {
			text, err := t.read(file)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			docs, err := parse(file, text)
			out, errs = append(out, docs...), append(errs, err)
		}
	}
	return out, errors.Join(errs...)
}

// objects reads the objects of files as documents does, without their places.
func (t *tool) objects(names []string) ([]unstructured.Unstructured, error) {
	docs, err := t.documents(names)
	out := make([]unstructured.Unstructured, len(docs))
	for i, d := range docs {
		out[i] = *d.Unstructured
	}
	return out, err
}

// path is where a file is.
func (t *tool) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(t.folder, name)
}

// expand returns the files that a name stands for.
func (t *tool) expand(name string) ([]string, error) {
	if name == "-" {
		return []string{name}, nil
	}
	info, err := os.Stat(t.path(name))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, errors.Unwrap(err))
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	var out []string
	err = fs.WalkDir(os.DirFS(t.path(name)), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) {
			out = append(out, filepath.Join(name, path))
		}
		return err
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	case len(out) == 0:
		return nil, fmt.Errorf("%s holds no YAML or JSON file", name)
	}
	return out, nil
}

func (t *tool) read(file string) ([]byte, error) {
	if file == "-" {
		text, err := io.ReadAll(t.In)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return text, nil
	}
	text, err := os.ReadFile(t.path(file))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return text, nil
}

// parse takes a file apart. A document that can't be read does not keep the
// others from being read.
func parse(file string, text []byte) ([]document, error) {
	if file == "-" {
		file = "(stdin)"
	}
	var out []document
	var errs []error
	var lines [][]byte
	start := 0 // lines before the first of lines
	flush := func(next int) {
		docs, err := parseOne(file, start, lines)
		out, errs = append(out, docs...), append(errs, err)
		lines, start = nil, next
	}
	for i, line := range bytes.SplitAfter(text, []byte("\n")) {
		if bytes.HasPrefix(line, []byte("---")) {
			flush(i + 1)
			continue
		}
		lines = append(lines, line)
	}
	flush(0)
	return out, errors.Join(errs...)
}

// parseOne reads one document, which may be a list.
func parseOne(file string, skip int, lines [][]byte) ([]document, error) {
	text := bytes.Join(lines, nil)
	var root yamlnodes.Node
	if err := yamlnodes.Unmarshal(text, &root); err != nil {
		return nil, fault{file, fmt.Errorf("in the document after line %d: %w", skip, err)}
	}
	if len(root.Content) == 0 {
		return nil, nil // only comments
	}
	first := root.Content[0].Line + skip
	data, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, fault{fmt.Sprintf("%s:%d", file, first), err}
	}
	var content map[string]any
	if err := json.Unmarshal(data, &content); err != nil {
		return nil, fault{fmt.Sprintf("%s:%d", file, first), errors.New("this is not an object")}
	}
	items, isList := content["items"].([]any)
	if !isList {
		return documentOf(file, first, skip, &root, data)
	}
	var out []document
	var errs []error
	nodes, _ := child(&root, "items")
	for i := range items {
		node, line := child(nodes, strconv.Itoa(i))
		data, err := json.Marshal(items[i])
		if err != nil {
			return nil, err
		}
		docs, err := documentOf(file, line+skip, skip, node, data)
		out, errs = append(out, docs...), append(errs, err)
	}
	return out, errors.Join(errs...)
}

func documentOf(file string, line, skip int, node *yamlnodes.Node, data []byte) ([]document, error) {
	obj := &unstructured.Unstructured{}
	if err := obj.UnmarshalJSON(data); err != nil {
		return nil, fault{fmt.Sprintf("%s:%d", file, line), errors.New("this is no object of Kubernetes: it needs apiVersion and kind")}
	}
	return []document{{obj, file, line, node, skip}}, nil
}
