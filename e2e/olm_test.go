package e2e

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/version"
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
		Version string
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

// olm applies the bundle image of a release to a namespace, in the way of the
// Operator Lifecycle Manager: the kinds, and what the ClusterServiceVersion says of
// accounts, roles and Deployments. Its examples are in examples.json. The bundle that the
// story has applied before is replaced: its roles go.
func (s *story) olm(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: olm NAMESPACE RELEASE")
	}
	namespace, release := args[0], args[1]
	csv, kinds := bundleOf(ts, release)
	if s.bundle.Kind != "" {
		ts.Check(csv.replaces(s.bundle))
	}
	all := []any{item{"apiVersion": "v1", "kind": "Namespace", "metadata": item{"name": namespace}}}
	s.applyAll(ts, slices.Concat(all, kinds, csv.objects(namespace)))
	if s.bundle.Kind != "" {
		for _, kinds := range []string{"clusterrolebindings,clusterroles", "rolebindings,roles"} {
			_, err := kubectlOn(s.stage, "", "delete", kinds, s.bundle.Metadata.Name, "--namespace", namespace)
			ts.Check(err)
		}
	}
	s.bundle = csv
	examples := fmt.Sprintf(`{"apiVersion": "v1", "kind": "List", "items": %s}`, csv.Metadata.Annotations["alm-examples"])
	ts.Check(os.WriteFile(filepath.Join(ts.Getenv("WORK"), "examples.json"), []byte(examples), 0o644))
}

// bundleOf pulls the bundle image of a release.
func bundleOf(ts *testscript.TestScript, release string) (csv clusterServiceVersion, kinds []any) {
	text, err := os.ReadFile(filepath.Join(ts.Getenv("RELEASES"), release, "images.txt"))
	ts.Check(err)
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
				kinds = append(kinds, kind)
			}
		})
	}
	if csv.Kind == "" || len(kinds) == 0 {
		ts.Fatalf("the release has no bundle: %s", text)
	}
	return csv, kinds
}

// replaces returns why the Lifecycle Manager would not put c in the place of an installed
// bundle: it does that within the range that c's annotation names.
func (c clusterServiceVersion) replaces(installed clusterServiceVersion) error {
	bound, ok := strings.CutPrefix(c.Metadata.Annotations["olm.skipRange"], "<")
	if !ok {
		return fmt.Errorf("%s has no range of versions that it replaces, as in <1.2.3", c.Metadata.Name)
	}
	below, err0 := version.ParseSemantic(bound)
	from, err1 := version.ParseSemantic(installed.Spec.Version)
	if err := errors.Join(err0, err1); err != nil {
		return fmt.Errorf("compare the versions of %s and %s: %w", c.Metadata.Name, installed.Metadata.Name, err)
	}
	if !from.LessThan(below) {
		return fmt.Errorf("%s replaces versions below %s, and not %s", c.Metadata.Name, bound, installed.Spec.Version)
	}
	return nil
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
