// Package charts renders the Helm chart and generates from it what must not be
// written twice: the manifests under config/ that kustomize installs, and the table
// of values in the chart's README. It is a Go module of its own because Helm has many
// dependencies.
package charts

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
)

// Namespace is where the manifests of config/ install to.
const Namespace = "steelyard-system"

// Render renders the chart in a folder with values that override the defaults. It
// returns the text of each template by its path under templates.
func Render(folder string, values map[string]any) (map[string]string, error) {
	return RenderFor(nil, folder, values)
}

// RenderFor is Render for a cluster with the capabilities caps; nil: for no
// particular cluster. The objects are those of no release of Helm's.
func RenderFor(caps *common.Capabilities, folder string, values map[string]any) (map[string]string, error) {
	return render(folder, values, caps, "")
}

// RenderRelease is Render by Helm: the objects have the labels of a release.
func RenderRelease(folder string, values map[string]any) (map[string]string, error) {
	return render(folder, values, nil, "Helm")
}

// render renders a chart in a folder or an archive. service is what installs it.
func render(path string, values map[string]any, caps *common.Capabilities, service string) (map[string]string, error) {
	chart, err := loader.Load(path)
	if err != nil {
		return nil, fmt.Errorf("load the chart %s: %w", path, err)
	}
	release := common.ReleaseOptions{Name: "steelyard", Namespace: Namespace, Revision: 1, IsInstall: true}
	complete, err := util.ToRenderValues(chart, values, release, caps)
	if err != nil {
		return nil, fmt.Errorf("complete the values: %w", err)
	}
	complete["Release"].(map[string]any)["Service"] = service
	rendered, err := engine.Engine{Strict: true}.RenderWithContext(context.Background(), chart, complete)
	if err != nil {
		return nil, fmt.Errorf("render the chart: %w", err)
	}
	out := map[string]string{}
	for path, text := range rendered {
		if text = strings.TrimSpace(text); text != "" {
			out[strings.TrimPrefix(path, "steelyard/templates/")] = text + "\n"
		}
	}
	return out, nil
}

// made maps files under config/ to their templates.
func made() map[string]string {
	return map[string]string{
		"rbac/controller.yaml":          "controller/rbac.yaml",
		"rbac/speaker.yaml":             "speaker/rbac.yaml",
		"rbac/policy.yaml":              "speaker/policy.yaml",
		"rbac/deletion.yaml":            "controller/policy.yaml",
		"controller/deployment.yaml":    "controller/deployment.yaml",
		"controller/disruption.yaml":    "controller/disruption.yaml",
		"controller/networkpolicy.yaml": "controller/networkpolicy.yaml",
		"speaker/daemonset.yaml":        "speaker/daemonset.yaml",
	}
}

// secureMetrics returns the roles for --metrics-secure. config/default does not have
// them; users who want them apply them.
func secureMetrics(chart string) (string, error) {
	rendered, err := Render(chart, map[string]any{"metrics": map[string]any{"secure": true}})
	if err != nil {
		return "", err
	}
	return "# The roles for --metrics-secure. Made from charts/steelyard/templates/metrics.yaml by \"make generate\".\n" + rendered["metrics.yaml"], nil
}

// Files returns all files that are generated from the chart, by their path below
// root.
func Files(root string) (map[string]string, error) {
	chart := filepath.Join(root, "charts", "steelyard")
	rendered, err := Render(chart, nil)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for file, template := range made() {
		text, ok := rendered[template]
		if !ok {
			return nil, fmt.Errorf("the chart has no template %s, or it says nothing", template)
		}
		out["config/"+file] = "# Made from charts/steelyard/templates/" + template + " by \"make generate\".\n" + text
	}
	if out["config/rbac/metrics.yaml"], err = secureMetrics(chart); err != nil {
		return nil, err
	}
	readme, err := withTable(chart)
	if err != nil {
		return nil, err
	}
	out["charts/steelyard/README.md"] = readme
	return out, nil
}

// The table is between these lines of the README.
const (
	begin = "<!-- values: made from values.yaml by \"make generate\" -->\n"
	end   = "<!-- end of values -->\n"
)

// withTable returns the README of a chart with a new table of its values.
func withTable(chart string) (string, error) {
	text, err := os.ReadFile(filepath.Join(chart, "README.md"))
	if err != nil {
		return "", fmt.Errorf("read the chart's README: %w", err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	_, after, ends := strings.Cut(rest, end)
	if !found || !ends {
		return "", fmt.Errorf("the chart's README must have the lines %q and %q", begin, end)
	}
	values, err := Values(chart)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(before + begin + "\n| value | default | meaning |\n|---|---|---|\n")
	for _, v := range values {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", v.Path, v.Default, strings.ReplaceAll(v.Doc, "|", `\|`))
	}
	b.WriteString("\n" + end + after)
	return b.String(), nil
}

// Value is an entry of values.yaml that a user may set.
type Value struct {
	Path    string // as controller.replicas
	Default string // on one line
	Doc     string // the comment above it; "": there is none
}

// Values returns the values of a chart in the order of the file.
func Values(chart string) ([]Value, error) {
	text, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return nil, fmt.Errorf("read the chart's values: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("decode the chart's values: %w", err)
	}
	var out []Value
	top := doc.Content[0].Content
	for i := 0; i < len(top); i += 2 {
		key, value := top[i], top[i+1]
		// A block without a comment of its own is a group.
		if value.Kind != yaml.MappingNode || value.Style == yaml.FlowStyle {
			out = append(out, entry("", key, value))
			continue
		}
		for j := 0; j < len(value.Content); j += 2 {
			out = append(out, entry(key.Value+".", value.Content[j], value.Content[j+1]))
		}
	}
	return out, nil
}

func entry(group string, key, value *yaml.Node) Value {
	doc := strings.Join(strings.Fields(strings.ReplaceAll(key.HeadComment, "#", "")), " ")
	return Value{Path: group + key.Value, Default: line(value), Doc: doc}
}

// line returns a value on one line, in the syntax of values.yaml.
func line(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		var parts []string
		for i := 0; i < len(n.Content); i += 2 {
			parts = append(parts, n.Content[i].Value+": "+line(n.Content[i+1]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case yaml.SequenceNode:
		var parts []string
		for _, c := range n.Content {
			parts = append(parts, line(c))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	if n.Style == yaml.DoubleQuotedStyle {
		return `"` + n.Value + `"`
	}
	return n.Value
}

// Write writes the generated files that differ, and returns their paths.
func Write(root string) ([]string, error) {
	files, err := Files(root)
	if err != nil {
		return nil, err
	}
	var written []string
	for _, path := range slices.Sorted(maps.Keys(files)) {
		file := filepath.Join(root, path)
		if old, err := os.ReadFile(file); err == nil && string(old) == files[path] {
			continue
		}
		if err := os.WriteFile(file, []byte(files[path]), 0o644); err != nil {
			return nil, fmt.Errorf("write what is made from the chart: %w", err)
		}
		written = append(written, path)
	}
	return written, nil
}
