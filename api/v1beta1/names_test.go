package v1beta1_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

func TestNamesOfBGPSessions(t *testing.T) {
	if got := v1beta1.SessionName("node1", "tor"); got != "node1.tor" {
		t.Error(got)
	}
	seen := map[string]bool{}
	for n := range 254 {
		node := strings.Repeat("n", 1+n%253)
		for _, peer := range []string{"p", strings.Repeat("p", 253), strings.Repeat("p", 252) + "q", strings.Repeat("p.", 126) + "p"} {
			name := v1beta1.SessionName(node, peer)
			if faults := validation.IsDNS1123Subdomain(name); faults != nil {
				t.Fatalf("%s: %v", name, faults)
			}
			seen[name] = true
		}
	}
	if len(seen) != 253*4 {
		t.Errorf("%d names of %d sessions", len(seen), 253*4)
	}
}
