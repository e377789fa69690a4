package olm

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/steelyard-lb/steelyard/charts"
)

// operator names the Deployment, its ServiceAccount and its Lease.
const operator = "steelyard-operator"

const repository = "https://github.com/steelyard-lb/steelyard"

// csv is the ClusterServiceVersion: what is shown of Steelyard, and how its operator
// is installed. Its namespace is the one it watches, so that its rights there suffice.
func (s sources) csv() (object, error) {
	owned, err := s.owned()
	if err != nil {
		return nil, err
	}
	examples, err := s.examples()
	if err != nil {
		return nil, err
	}
	description, err := s.about()
	if err != nil {
		return nil, err
	}
	may, err := s.rights()
	if err != nil {
		return nil, err
	}
	version := strings.TrimPrefix(s.Tag, "v")
	var modes []object
	for _, mode := range []string{"OwnNamespace", "SingleNamespace", "MultiNamespace", "AllNamespaces"} {
		modes = append(modes, object{"type": mode, "supported": mode == "OwnNamespace"})
	}
	var images []object
	for _, program := range programs() {
		images = append(images, object{"name": program, "image": s.references[program]})
	}
	runs := map[string]string{"operatorframework.io/os.linux": "supported"}
	for _, arch := range s.Arches {
		runs["operatorframework.io/arch."+strings.TrimSuffix(arch, "v7")] = "supported"
	}
	grant := func(rules []rule) []object {
		return []object{{"serviceAccountName": operator, "rules": rules}}
	}
	return object{
		"apiVersion": "operators.coreos.com/v1alpha1",
		"kind":       "ClusterServiceVersion",
		"metadata":   object{"name": s.metadata.Name + ".v" + version, "labels": runs, "annotations": s.shown(version, examples)},
		"spec": object{
			"displayName": "Steelyard", "version": version, "maturity": "beta",
			"description":    description,
			"keywords":       s.metadata.Keywords,
			"provider":       object{"name": "The Steelyard authors", "url": repository},
			"links":          []object{{"name": "Documentation", "url": s.page("docs/README.md")}, {"name": "Changes", "url": s.page("CHANGELOG.md")}},
			"icon":           []object{{"base64data": base64.StdEncoding.EncodeToString(s.icon), "mediatype": "image/svg+xml"}},
			"minKubeVersion": strings.TrimSuffix(strings.TrimPrefix(s.metadata.KubeVersion, ">="), "-0"),
			"installModes":   modes,
			"relatedImages":  images,
			"install": object{"strategy": "deployment", "spec": object{
				"clusterPermissions": grant(may.cluster),
				"permissions":        grant(may.own),
				"deployments":        []object{{"name": operator, "spec": s.deployment()}},
			}},
			"customresourcedefinitions": object{"owned": owned},
		},
	}, nil
}

// page is the address of a document of this version.
func (s sources) page(path string) string { return repository + "/blob/" + s.Tag + "/" + path }

// shown is the ClusterServiceVersion's annotations. A version replaces every one before
// it, whichever is installed.
func (s sources) shown(version, examples string) map[string]string {
	namespace := object{
		"apiVersion": "v1", "kind": "Namespace",
		"metadata": object{"name": charts.Namespace, "labels": object{"pod-security.kubernetes.io/enforce": "privileged", "security.openshift.io/scc.podSecurityLabelSync": "false"}},
	}
	template, err := json.Marshal(namespace)
	if err != nil {
		panic(err) // strings alone
	}
	return map[string]string{
		"alm-examples":   examples,
		"capabilities":   "Seamless Upgrades",
		"categories":     "Networking",
		"certified":      "false",
		"containerImage": s.references["operator"],
		"createdAt":      s.Created.Format(time.RFC3339),
		"description":    s.metadata.Description,
		"repository":     repository,
		"support":        "The Steelyard authors",
		"olm.skipRange":  "<" + version,
		"operatorframework.io/suggested-namespace":          charts.Namespace,
		"operatorframework.io/suggested-namespace-template": string(template),
		"operators.operatorframework.io/internal-objects":   `["l2claims.steelyard.dev","bgpsessions.steelyard.dev","speakers.steelyard.dev"]`,
		"features.operators.openshift.io/disconnected":      "true",
		"features.operators.openshift.io/fips-compliant":    "false",
		"features.operators.openshift.io/proxy-aware":       "false",
		"features.operators.openshift.io/tls-profiles":      "false",
		"features.operators.openshift.io/token-auth-aws":    "false",
		"features.operators.openshift.io/token-auth-azure":  "false",
		"features.operators.openshift.io/token-auth-gcp":    "false",
	}
}

// owned are the kinds, as Artifact Hub shows those of the chart, and the operator's.
func (s sources) owned() ([]object, error) {
	var listed []struct{ Kind, Version, Name, DisplayName, Description string }
	if err := yaml.Unmarshal([]byte(s.metadata.Annotations["artifacthub.io/crds"]), &listed); err != nil {
		return nil, fmt.Errorf("read which kinds the chart lists: %w", err)
	}
	w := s.watch
	out := []object{{"kind": w.Kind, "version": w.Version, "name": w.plural() + "." + w.Group, "displayName": w.Kind, "description": aboutSteelyard}}
	for _, k := range listed {
		out = append(out, object{"kind": k.Kind, "version": k.Version, "name": k.Name, "displayName": k.DisplayName, "description": k.Description})
	}
	return out, nil
}

// examples are those that Artifact Hub shows of the chart, and before them a Steelyard
// that makes the pools and L2Advertisements among them.
func (s sources) examples() (string, error) {
	var listed []struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Metadata   map[string]any `json:"metadata"`
		Spec       any            `json:"spec"`
	}
	if err := yaml.Unmarshal([]byte(s.metadata.Annotations["artifacthub.io/crdsExamples"]), &listed); err != nil {
		return "", fmt.Errorf("read the chart's examples: %w", err)
	}
	pools, layer2 := object{}, object{}
	for _, e := range listed {
		switch name := fmt.Sprint(e.Metadata["name"]); e.Kind {
		case "IPAddressPool":
			pools[name] = e.Spec
		case "L2Advertisement":
			layer2[name] = e.Spec
		}
	}
	w := s.watch
	all := []any{object{
		"apiVersion": w.Group + "/" + w.Version, "kind": w.Kind, "metadata": object{"name": s.metadata.Name, "namespace": charts.Namespace},
		"spec": object{"pools": pools, "advertisements": object{"layer2": layer2}},
	}}
	for _, e := range listed {
		all = append(all, e)
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encode the examples: %w", err)
	}
	return string(text), nil
}

// relative finds the links of a document to others beside it.
var relative = regexp.MustCompile(`\]\(([^):]+)\)`)

// about is what the README says first, and its features.
func (s sources) about() (string, error) {
	_, rest, titled := strings.Cut(s.readme, "# Steelyard\n")
	first, rest, started := strings.Cut(rest, "\n![")
	_, rest, listed := strings.Cut(rest, "\n## Features\n")
	features, _, ended := strings.Cut(rest, "\n## ")
	if !titled || !started || !listed || !ended {
		return "", errors.New("the README does not begin with what Steelyard is and a picture, or has no section Features")
	}
	how := "\n## Install\n\nMake a Steelyard in the operator's namespace; its spec is the values of the chart, such as pools " +
		"([with OLM](docs/how-to/olm.md)). There is one of a cluster.\n"
	text := strings.TrimSpace(first) + "\n" + how + "\n## Features\n" + features
	return relative.ReplaceAllString(text, "]("+s.page("")+"$1)"), nil
}

// deployment is the operator's. Two of them never act at a time: they share a Lease.
func (s sources) deployment() object {
	labels := object{"app.kubernetes.io/name": s.metadata.Name, "app.kubernetes.io/component": "operator"}
	probe := func(path string) object {
		return object{"httpGet": object{"path": path, "port": 8081}}
	}
	return object{
		"replicas": 1,
		"selector": object{"matchLabels": labels},
		"template": object{
			"metadata": object{"labels": labels},
			"spec": object{
				"serviceAccountName": operator,
				"securityContext":    object{"runAsNonRoot": true, "seccompProfile": object{"type": "RuntimeDefault"}},
				"containers": []object{{
					"name":  "operator",
					"image": s.references["operator"],
					"args": []string{"run", "--watches-file=watches.yaml", "--leader-elect", "--leader-election-id=" + operator,
						"--metrics-bind-address=0", "--health-probe-bind-address=:8081"},
					// It serves its own namespace; OLM's choice can be no other.
					"env":            []object{{"name": "WATCH_NAMESPACE", "valueFrom": object{"fieldRef": object{"fieldPath": "metadata.namespace"}}}},
					"livenessProbe":  probe("/healthz"),
					"readinessProbe": probe("/readyz"),
					"resources":      object{"requests": object{"cpu": "10m", "memory": "64Mi"}},
					"securityContext": object{
						"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": object{"drop": []string{"ALL"}},
					},
				}},
			},
		},
	}
}
