package e2e

import (
	"strings"
	"testing"
)

func TestWhatWasRefused(t *testing.T) {
	for line, want := range map[string]string{
		`err="pools.steelyard.dev is forbidden: User \"system:serviceaccount:steelyard-system:steelyard-speaker\" cannot watch resource \"pools\" in API group \"steelyard.dev\" at the cluster scope - error`: " system:serviceaccount:steelyard-system:steelyard-speaker watch pools  steelyard.dev ",
		`User "system:serviceaccount:steelyard-system:x" cannot patch resource "services/status" in API group "" in the namespace "default"`:                                                                   " system:serviceaccount:steelyard-system:x patch services status  default",
		`secrets \"the-key\" is forbidden: User \"system:serviceaccount:steelyard-system:x\" cannot get resource \"secrets\" in API group \"\" in the namespace \"home\""`:                                     "the-key system:serviceaccount:steelyard-system:x get secrets   home",
		`User "system:admin" cannot watch resource "pools" in API group "steelyard.dev" at the cluster scope`:                                                                                                  "",
	} {
		if got := strings.Join(lacking.FindStringSubmatch(line), " "); !strings.HasSuffix(got, want) || (got == "") != (want == "") {
			t.Errorf("%s\nread as %q, want %q", line, got, want)
		}
	}
}
