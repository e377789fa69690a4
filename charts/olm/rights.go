package olm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/steelyard-lb/steelyard/charts"
)

// rule is a PolicyRule.
type rule struct {
	APIGroups       []string `json:"apiGroups,omitempty"`
	Resources       []string `json:"resources,omitempty"`
	ResourceNames   []string `json:"resourceNames,omitempty"`
	NonResourceURLs []string `json:"nonResourceURLs,omitempty"`
	Verbs           []string `json:"verbs"`
}

// rights are what the operator may do: in the whole cluster, and in its namespace.
type rights struct{ cluster, own []rule }

// rights are those to make, change and remove the chart's objects, by name where RBAC
// can say it, and all that the chart's roles grant, since an account may grant only what
// it holds. Besides, the operator serves its own kind and keeps Helm's record.
func (s sources) rights() (rights, error) {
	made, err := s.objects()
	if err != nil {
		return rights{}, err
	}
	var r rights
	type resource struct{ group, plural string }
	names := map[bool]map[resource][]string{true: {}, false: {}}
	for _, o := range made {
		if o.APIGroup() == rbac && o.Kind == "ClusterRole" {
			r.cluster = append(r.cluster, o.Rules...)
		}
		if o.APIGroup() == rbac && o.Kind == "Role" {
			r.own = append(r.own, o.Rules...)
		}
		own, at := o.Metadata.Namespace != "", resource{o.APIGroup(), plural(o.Kind)}
		names[own][at] = append(names[own][at], o.Metadata.Name)
	}
	for own, list := range map[bool]*[]rule{true: &r.own, false: &r.cluster} {
		byName := func(a, b resource) int { return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.plural, b.plural)) }
		for _, at := range slices.SortedFunc(maps.Keys(names[own]), byName) {
			of := rule{APIGroups: []string{at.group}, Resources: []string{at.plural}}
			if at.plural == "jobs" { // whose names follow from what they apply; Helm waits for them
				of.Verbs = []string{"get", "list", "watch", "create", "delete"}
				*list = append(*list, of)
				continue
			}
			of.Verbs = []string{"create"} // RBAC can't name what is to be created
			named := of
			named.ResourceNames, named.Verbs = slices.Sorted(slices.Values(names[own][at])), []string{"get", "update", "patch", "delete"}
			*list = append(*list, of, named)
		}
	}
	kind := s.watch.plural()
	r.own = append(r.own,
		rule{APIGroups: []string{s.watch.Group}, Resources: []string{kind}, Verbs: []string{"get", "list", "watch", "update", "patch"}},
		rule{APIGroups: []string{s.watch.Group}, Resources: []string{kind + "/status", kind + "/finalizers"}, Verbs: []string{"get", "update", "patch"}},
		rule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get", "list", "watch", "create", "update", "delete"}},
		rule{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
		rule{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get"}}, // its own, which the chart's notes look at
		rule{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{operator}, Verbs: []string{"get", "update"}},
	)
	return r, nil
}

const rbac = "rbac.authorization.k8s.io"

// plural is the resource of a kind.
func plural(kind string) string {
	name := strings.ToLower(kind)
	switch {
	case strings.HasSuffix(name, "constraints"): // SecurityContextConstraints
		return name
	case strings.HasSuffix(name, "y"):
		return strings.TrimSuffix(name, "y") + "ies"
	}
	return name + "s"
}

// manifest is what rights depend on.
type manifest struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct{ Name, Namespace string }
	Rules      []rule `json:"rules"`
}

// APIGroup is the object's group; "": the core's.
func (m manifest) APIGroup() string {
	group, _, grouped := strings.Cut(m.APIVersion, "/")
	if !grouped {
		return ""
	}
	return group
}

// everything turns on each part of the chart.
func everything() map[string]any {
	on := map[string]any{"enabled": true}
	return map[string]any{
		"crds": map[string]any{"install": false}, "openshift": map[string]any{"scc": true}, "metrics": map[string]any{"secure": true},
		"podMonitor": on, "serviceMonitor": on, "prometheusRule": on, "dashboard": on, "pools": map[string]any{"lan": nil},
	}
}

// objects are all that the chart can make, in the order of its templates.
func (s sources) objects() ([]manifest, error) {
	rendered, err := charts.Render(s.folder, everything())
	if err != nil {
		return nil, err
	}
	var out []manifest
	for _, file := range slices.Sorted(maps.Keys(rendered)) {
		if !strings.HasSuffix(file, ".yaml") {
			continue
		}
		for text := range strings.SplitSeq(rendered[file], "\n---\n") {
			var o manifest
			if err := yaml.Unmarshal([]byte(text), &o); err != nil {
				return nil, fmt.Errorf("read what %s makes: %w", file, err)
			}
			out = append(out, o)
		}
	}
	return out, nil
}
