package charts

import (
	"fmt"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"
)

// rule is one of a role, or of what a policy looks at.
type rule struct {
	APIGroups, Resources, Verbs, Operations []string
}

// rulesAt returns the rules at a path of an object.
func rulesAt(t *testing.T, o map[string]any, path string) []rule {
	t.Helper()
	text, err := yaml.Marshal(at(o, path))
	if err != nil {
		t.Fatal(err)
	}
	var out []rule
	if err := yaml.Unmarshal(text, &out); err != nil || len(out) == 0 {
		t.Fatalf("no rules at %s: %v", path, err)
	}
	return out
}

// What a speaker's roles let it write is looked at by the policy: a new right must
// not be for every node's objects.
func TestThePolicyLooksAtAllThatASpeakerMayWrite(t *testing.T) {
	helm := byHelm(t, nil)
	looks := map[string]bool{}
	for _, r := range rulesAt(t, helm["ValidatingAdmissionPolicy /steelyard-speaker"], "spec.matchConstraints.resourceRules") {
		for _, resource := range r.Resources {
			for _, operation := range r.Operations {
				looks[fmt.Sprint(r.APIGroups, resource, operation)] = true
			}
		}
	}
	operations := map[string][]string{"create": {"CREATE"}, "update": {"UPDATE"}, "patch": {"CREATE", "UPDATE"}, "delete": {"DELETE"}, "deletecollection": {"DELETE"}}
	reads := []string{"get", "list", "watch"}
	writes := 0
	for _, role := range []string{"ClusterRole /steelyard-speaker", "Role " + Namespace + "/steelyard-speaker"} {
		for _, r := range rulesAt(t, helm[role], "rules") {
			for _, verb := range r.Verbs {
				if operations[verb] == nil && !slices.Contains(reads, verb) {
					t.Errorf("%s: what does %q write?", role, verb)
				}
				for _, resource := range r.Resources {
					for _, operation := range operations[verb] {
						writes++
						if !looks[fmt.Sprint(r.APIGroups, resource, operation)] {
							t.Errorf("%s may %s %v %s, and the policy does not look at it (%s)", role, verb, r.APIGroups, resource, operation)
						}
					}
				}
			}
		}
	}
	if writes == 0 {
		t.Error("the roles let a speaker write nothing")
	}
}
