package intent_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

func TestSuccessorKeepsTheHostPart(t *testing.T) {
	for _, c := range []struct {
		name, old, next string
		addr, want      string
	}{
		{"a prefix of the same length", "192.0.2.0/24", "198.51.100.0/24", "192.0.2.77", "198.51.100.77"},
		{"of IPv6", `"2001:db8:1::/64"`, `"2001:db8:2::/64"`, "2001:db8:1::dead:beef:1", "2001:db8:2::dead:beef:1"},
		{"a range of the same size", "192.0.2.100-192.0.2.109", "198.51.100.5-198.51.100.14", "192.0.2.103", "198.51.100.8"},
		{"a smaller one has none", "192.0.2.0/24", "198.51.100.0/25", "192.0.2.7", "invalid IP"},
		{"nor a larger one", "192.0.2.0/25", "198.51.100.0/24", "192.0.2.7", "invalid IP"},
		{"ranges are paired by their places, each family by itself", `192.0.2.0/28, "2001:db8:1::/64", 192.0.2.64/28`, `"2001:db8:2::/64", 198.51.100.0/28, 198.51.100.64/28`, "192.0.2.65", "198.51.100.65"},
		{"a place that the other pool does not have", "192.0.2.0/28, 192.0.2.64/28", "198.51.100.0/28", "192.0.2.65", "invalid IP"},
		{"an address of another pool", "192.0.2.0/28", "198.51.100.0/28", "203.0.113.1", "invalid IP"},
		{"the other family", "192.0.2.0/28", `"2001:db8:2::/124"`, "192.0.2.1", "invalid IP"},
	} {
		config := intent.Parse(parse(t, fmt.Sprintf("IPAddressPool old {addresses: [%s], replacedBy: new}\nIPAddressPool new {addresses: [%s]}", c.old, c.next)))
		if have := config.Successor(netip.MustParseAddr(c.addr)); have.String() != c.want {
			t.Errorf("%s: %s has %s, want %s", c.name, c.addr, have, c.want)
		}
	}
	excluded := intent.Parse(parse(t, "IPAddressPool old {addresses: [192.0.2.0/28], replacedBy: new}\nIPAddressPool new {addresses: [198.51.100.0/28], exclude: [198.51.100.3]}"))
	if a := excluded.Successor(netip.MustParseAddr("192.0.2.3")); a.IsValid() {
		t.Errorf("an address that is excluded: %s", a)
	}
}

func TestRenumberFollowsThePhase(t *testing.T) {
	for _, c := range []struct{ name, renumbering, annotations, want string }{
		{"planned", "{phase: Planned}", "", "[] [] []"},
		{"not begun", "{}", "", "[] [] []"},
		{"started: beside", "{phase: Started}", "", "[192.0.2.3] [] [198.51.100.3]"},
		{"switched: beside", "{phase: Switched}", "", "[192.0.2.3] [] [198.51.100.3]"},
		{"finished: it leaves", "{phase: Finished}", "", "[] [192.0.2.3] [198.51.100.3]"},
		{"who switches has the old one alone", "{phase: Started}", "renumbering", "[] [] []"},
		{"and then the new one alone", "{phase: Switched}", "renumbering", "[] [192.0.2.3] [198.51.100.3]"},
	} {
		config := intent.Parse(parse(t, "IPAddressPool old {addresses: [192.0.2.0/28], replacedBy: new, renumbering: "+c.renumbering+"}\nIPAddressPool new {addresses: [198.51.100.0/28]}"))
		svc := &corev1.Service{}
		if c.annotations != "" {
			svc.Annotations = map[string]string{v1beta1.AnnotationRenumbering: v1beta1.RenumberingSwitch}
		}
		r := &ipam.Request{Has: []netip.Addr{netip.MustParseAddr("192.0.2.3"), netip.MustParseAddr("203.0.113.9")}}
		out := config.Renumber(r, svc)
		if have := fmt.Sprint(out.Beside, out.Leaves, out.Prefers); have != c.want {
			t.Errorf("%s: %s, want %s", c.name, have, c.want)
		}
		if moves := slices.Equal(out.Successors[ipam.IPv4], []string{"new"}); moves != strings.Contains(c.want, "198") || (out != r) != moves {
			t.Errorf("%s: from the pool %v", c.name, out.Successors)
		}
		r.Want = r.Has[:1]
		if config.Renumber(r, svc) != r {
			t.Errorf("%s: who asks for the old address is moved", c.name)
		}
		r.Want, r.Reserved = nil, r.Has[:1]
		if config.Renumber(r, svc) != r {
			t.Errorf("%s: a Service for which the old address is reserved is moved", c.name)
		}
	}
}

func TestAPoolIsNotReplacedByOneThatIsNotThere(t *testing.T) {
	for text, want := range map[string]string{
		"IPAddressPool old {addresses: [192.0.2.0/28], replacedBy: new, renumbering: {phase: Started}}": `spec.replacedBy: there is no IPAddressPool "new": no Service moves`,
		"IPAddressPool old {addresses: [192.0.2.0/28], replacedBy: mid, renumbering: {phase: Started}}\nIPAddressPool mid {addresses: [192.0.2.16/28], replacedBy: last, renumbering: {phase: Started}}\nIPAddressPool last {addresses: [192.0.2.32/28]}": `spec.replacedBy: IPAddressPool "mid" is being replaced itself: no Service moves`,
	} {
		config := intent.Parse(parse(t, text))
		if f := config.Validations[intent.Ref{Kind: "IPAddressPool", Name: "old"}].Accepted; f.Reason != "" || f.Message != want {
			t.Errorf("%s: %+v", text, f)
		}
		r := &ipam.Request{Has: []netip.Addr{netip.MustParseAddr("192.0.2.3")}}
		if config.Renumber(r, &corev1.Service{}) != r {
			t.Errorf("%s: a Service moves", text)
		}
	}
}
