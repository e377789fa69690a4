package e2e

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// clusterServiceVersion is what the Operator Lifecycle Manager installs by.
type clusterServiceVersion struct {
	Kind     string
	Metadata struct {
		Name        string
		Annotations map[string]string
	}
	Spec struct {
		Install struct {
			Spec struct {
				ClusterPermissions, Permissions []granted
				Deployments                     []struct {
					Name string
					Spec appsv1.DeploymentSpec
				}
			}
		}
	}
}

type granted struct {
	ServiceAccountName string
	Rules              []rbacv1.PolicyRule
}

// item is an object for kubectl.
type item = map[string]any

// olm applies the bundle image of the release $TO to a namespace, in the way of the
// Operator Lifecycle Manager: the kinds, and what the ClusterServiceVersion says of
// accounts, roles and Deployments. Its examples are in examples.json.
func (s *story) olm(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: olm NAMESPACE")
	}
	namespace := args[0]
	text, err := os.ReadFile(filepath.Join(ts.Getenv("RELEASES"), ts.Getenv("TO"), "images.txt"))
	ts.Check(err)
	all := []any{item{"apiVersion": "v1", "kind": "Namespace", "metadata": item{"name": namespace}}}
	var csv clusterServiceVersion
	for image := range strings.FieldsSeq(string(text)) {
		if !strings.HasPrefix(path.Base(image), "steelyard-bundle:") {
			continue
		}
		pulled(ts, image, func(h *tar.Header, text []byte) {
			switch dir, file := path.Split(h.Name); {
			case dir != "manifests/":
			case strings.HasSuffix(file, ".clusterserviceversion.yaml"):
				ts.Check(yaml.Unmarshal(text, &csv))
			default:
				var kind item
				ts.Check(yaml.Unmarshal(text, &kind))
				all = append(all, kind)
			}
		})
	}
	if csv.Kind == "" || len(all) < 2 {
		ts.Fatalf("the release has no bundle: %s", text)
	}
	s.applyAll(ts, append(all, csv.objects(namespace)...))
	examples := fmt.Sprintf(`{"apiVersion": "v1", "kind": "List", "items": %s}`, csv.Metadata.Annotations["alm-examples"])
	ts.Check(os.WriteFile(filepath.Join(ts.Getenv("WORK"), "examples.json"), []byte(examples), 0o644))
}

// objects are the accounts, their rights, and the Deployments.
func (c clusterServiceVersion) objects(namespace string) []any {
	meta := func(name string) item { return item{"name": name, "namespace": namespace} }
	var all []any
	grant := func(kind string, grants []granted) {
		for _, g := range grants {
			const api = "rbac.authorization.k8s.io"
			all = append(all,
				item{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta(g.ServiceAccountName)},
				item{"apiVersion": api + "/v1", "kind": kind, "metadata": meta(c.Metadata.Name), "rules": g.Rules},
				item{
					"apiVersion": api + "/v1", "kind": kind + "Binding", "metadata": meta(c.Metadata.Name),
					"roleRef":  item{"apiGroup": api, "kind": kind, "name": c.Metadata.Name},
					"subjects": []item{{"kind": "ServiceAccount", "name": g.ServiceAccountName, "namespace": namespace}},
				})
		}
	}
	grant("ClusterRole", c.Spec.Install.Spec.ClusterPermissions)
	grant("Role", c.Spec.Install.Spec.Permissions)
	for _, d := range c.Spec.Install.Spec.Deployments {
		all = append(all, item{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta(d.Name), "spec": d.Spec})
	}
	return all
}

// applyAll applies objects, in their order.
func (s *story) applyAll(ts *testscript.TestScript, all []any) {
	file := filepath.Join(ts.Getenv("WORK"), "objects.json")
	text, err := json.Marshal(item{"apiVersion": "v1", "kind": "List", "items": all})
	ts.Check(err)
	ts.Check(os.WriteFile(file, text, 0o644))
	line := s.line("kubectl", "apply", "--server-side", "-f", file)
	if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
		ts.Fatalf("apply the bundle: %v\n%s", err, out)
	}
}
