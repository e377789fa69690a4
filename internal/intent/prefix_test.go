package intent_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// wan is a pool that follows a prefix in a ConfigMap.
const wan = `IPAddressPool wan {addresses: ["::1:0/112"], source: {type: Prefix, prefix: {configMap: {name: wan}, overlap: 1h}}}`

func TestAPrefixFollowsItsConfigMap(t *testing.T) {
	const other = "\nIPAddressPool other {addresses: [\"2001:db8:9::1:0/120\"]}"
	for _, c := range []struct {
		name, text string // of the key prefix
		under      string // what the status has
		want       string // current prefix and those before
		reason     string // "": PrefixKnown
		says       string
	}{
		{"the first one", "2001:db8:1::/56", "", "2001:db8:1::/56", "", `2001:db8:1::/56, of key "prefix" of ConfigMap "wan"`},
		{"spaces around it", " 2001:db8:1::/56\n", "", "2001:db8:1::/56", "", `2001:db8:1::/56, of key`},
		{"unique local addresses are good", "fd00:1::/48", "", "fd00:1::/48", "", `fd00:1::/48, of key`},
		{"the same", "2001:db8:1::/64", "2001:db8:1::/64", "2001:db8:1::/64", "", `2001:db8:1::/64, of key`},
		{"another one", "2001:db8:2::/64", "2001:db8:1::/64", "2001:db8:2::/64 2001:db8:1::/64 4600", "", `; addresses of 2001:db8:1::/64 stay until 1970-01-01T01:16:40Z`},
		{"a third one", "2001:db8:3::/64", "2001:db8:2::/64, 2001:db8:1::/64", "2001:db8:3::/64 2001:db8:2::/64 4600 2001:db8:1::/64 9999", "", ""},
		{"the one before is back", "2001:db8:1::/64", "2001:db8:2::/64, 2001:db8:1::/64", "2001:db8:1::/64 2001:db8:2::/64 4600", "", ""},
		{"no more than four are kept", "2001:db8:6::/64", "2001:db8:5::/64, 2001:db8:4::/64, 2001:db8:3::/64, 2001:db8:2::/64, 2001:db8:1::/64",
			"2001:db8:6::/64 2001:db8:5::/64 4600 2001:db8:4::/64 9999 2001:db8:3::/64 9999 2001:db8:2::/64 9999", "", ""},

		{"no ConfigMap", "-", "2001:db8:1::/64", "2001:db8:1::/64", "NotFound", `spec.source.prefix.configMap: there is no ConfigMap "wan" in Steelyard's namespace; until then the pool goes on with 2001:db8:1::/64`},
		{"nor before", "-", "", "", "NotFound", `; until then the pool has no addresses`},
		{"no key", "", "2001:db8:1::/64", "2001:db8:1::/64", "NotFound", `ConfigMap "wan" has no key "prefix"; until`},
		{"words", "soon", "2001:db8:1::/64", "2001:db8:1::/64", "Invalid", `key "prefix" of ConfigMap "wan": "soon" is no IPv6 prefix, such as 2001:db8:1::/56; until`},
		{"hostile words", "\x1b[2J\n" + strings.Repeat("x", 200), "", "", "Invalid", `"\x1b[2J\nxxx`},
		{"IPv4", "192.0.2.0/24", "2001:db8:1::/64", "2001:db8:1::/64", "Invalid", `192.0.2.0/24 is a prefix of IPv4; it must be one of IPv6`},
		{"IPv4 in the form of IPv6", "::ffff:192.0.2.0/120", "", "", "Invalid", `is no IPv6 prefix`},
		{"an address", "2001:db8:1::1", "", "", "Invalid", `2001:db8:1::1 has no length: write 2001:db8:1::1/64, if it is that`},
		{"host bits", "2001:db8:1::1/64", "", "", "Invalid", `2001:db8:1::1/64 has host bits set: write 2001:db8:1::/64`},
		{"too long", "2001:db8:1::/112", "2001:db8:1::/64", "2001:db8:1::/64", "Invalid", `2001:db8:1::/112 of key "prefix" of ConfigMap "wan" is too long for spec.addresses[0]: the host part ::1:ffff needs 17 bits, so that a prefix may have 111 at most`},
		{"multicast", "ff0e::/64", "", "", "Invalid", `ff0e::/64 has ff0e::-ff0e::ffff:ffff:ffff:ffff, which are multicast addresses, where no Service can be reached`},
		{"link-local", "fe80::/64", "2001:db8:1::/64", "2001:db8:1::/64", "Invalid", `link-local addresses`},
		{"everything", "::/0", "", "", "Invalid", `::/0 has ::-::1`},
		{"another pool's", "2001:db8:9::/64", "2001:db8:1::/64", "2001:db8:1::/64", "Overlaps", `2001:db8:9::/64 of key "prefix" of ConfigMap "wan": 2001:db8:9::1:0-2001:db8:9::1:ff also lies in IPAddressPool "other", which keeps it; take it out of one of the two; until then the pool goes on with 2001:db8:1::/64`},
	} {
		text := wan
		if c.under != "" {
			text += " under " + c.under
		}
		o := parse(t, text+other)
		config := intent.Parse(o)
		facts := intent.PrefixFacts{}
		if c.text != "-" {
			facts.ConfigMaps = []corev1.ConfigMap{{ObjectMeta: metav1.ObjectMeta{Name: "wan"}, Data: map[string]string{"prefix": c.text}}}
		}
		if c.text == "" {
			facts.ConfigMaps[0].Data = nil
		}
		before := o.Pools[0].DeepCopy()
		status, f := config.NextPrefix(&o.Pools[0], facts, time.Unix(1000, 0))
		if have := prefixText(status); have != c.want || f.Reason != c.reason || !strings.Contains(f.Message, c.says) {
			t.Errorf("%s: %q %s: %s; want %q %s: %s", c.name, have, f.Reason, f.Message, c.want, c.reason, c.says)
		}
		if diff := gocmp.Diff(before, &o.Pools[0]); diff != "" {
			t.Errorf("%s: the object of the cache is changed: %s", c.name, diff)
		}
		if status == nil {
			continue
		}
		o.Pools[0].Status.Prefix = status
		if again, _ := config.NextPrefix(&o.Pools[0], facts, time.Unix(1000, 0)); prefixText(again) != c.want {
			t.Errorf("%s: decided again: %q, want %q", c.name, prefixText(again), c.want)
		}
	}
}

// prefixText is the current prefix, and those before, each with its end in seconds.
func prefixText(s *v1beta1.PrefixStatus) string {
	if s == nil {
		return ""
	}
	out := s.Current
	for _, p := range s.Previous {
		out += fmt.Sprintf(" %s %d", p.Prefix, p.Until.Unix())
	}
	return out
}

func TestPrefixesBeforeEnd(t *testing.T) {
	o := parse(t, wan+" under 2001:db8:2::/64, 2001:db8:1::/64")
	config := intent.Parse(o)
	if end := intent.PrefixesEnd(o.Pools); end.Unix() != 9999 {
		t.Errorf("the next one ends at %v", end)
	}
	facts := intent.PrefixFacts{}
	for at, want := range map[int64]int{9998: 1, 9999: 0} {
		if status, _ := config.NextPrefix(&o.Pools[0], facts, time.Unix(at, 0)); len(status.Previous) != want { // also while its source is away
			t.Errorf("at %d: %v", at, status)
		}
	}
	o.Pools[0].Spec.Source.Prefix.Overlap = "0s"
	facts.ConfigMaps = []corev1.ConfigMap{{ObjectMeta: metav1.ObjectMeta{Name: "wan"}, Data: map[string]string{"prefix": "2001:db8:3::/64"}}}
	if status, _ := config.NextPrefix(&o.Pools[0], facts, time.Unix(10000, 0)); status.Current != "2001:db8:3::/64" || len(status.Previous) != 0 {
		t.Errorf("without an overlap %v", status)
	}
}

func TestAPrefixFollowsALink(t *testing.T) {
	const a, b = "2001:db8:1::/64", "2001:db8:2::/64"
	for _, c := range []struct {
		name    string
		nodes   []string // subnets of eth0, by spaces, those that are deprecated with a minus; not Ready: "dead"
		current string
		want    string // the prefix, or the reason
		says    string
	}{
		{"all nodes have one", []string{a, a, a}, "", a, `link "eth0" on 3 of 3 nodes`},
		{"most have another one than before", []string{a, b, b}, a, b, "on 2 of 3 nodes"},
		{"few have", []string{a, a, b}, a, a, ""},
		{"as many as have the one before", []string{a, b}, a, a, ""},
		{"the lowest of two", []string{a + " " + b, a + " " + b}, "", a, ""},
		{"of two that all have that of before stays", []string{a + " " + b, a + " " + b}, b, b, ""},
		{"one that is deprecated does not count", []string{"-" + a + " " + b, "-" + a + " " + b}, a, b, ""},
		{"nor unique local, link-local and IPv4 ones", []string{"fd00::/64 fe80::/64 192.0.2.0/24"}, "", "NotFound", `no node has a subnet in 2000::/3 on its link "eth0" that is not deprecated, of 1 that are selected`},
		{"nor nodes whose speakers do not run", []string{"dead " + a, "dead " + a, b}, a, b, "on 1 of 1 nodes"},
		{"only those within count", []string{"2001:db8:0:1::/64 2001:db8:ff:1::/64 within 2001:db8:ff::/48"}, "", "2001:db8:ff:1::/64", ""},
		{"no node is left", []string{"dead " + a}, a, "NoNodeSelected", "no node is selected whose speaker runs; until then the pool goes on with " + a},
	} {
		text := `IPAddressPool wan {addresses: ["::1:0/112"], source: {type: Prefix, prefix: {link: {interface: eth0, nodeSelectors: [{matchLabels: {wan: "true"}}]}}}}`
		if c.current != "" {
			text += " under " + c.current
		}
		o := parse(t, text)
		facts := intent.PrefixFacts{Nodes: map[string]map[string]string{"no": nil}}
		speaker := func(name string, ready metav1.ConditionStatus, link v1beta1.SpeakerLink) {
			facts.Speakers = append(facts.Speakers, v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1beta1.SpeakerStatus{
				Links:      []v1beta1.SpeakerLink{{Name: "eth1", Prefixes: []string{"2001:db8:7::/64"}}, link},
				Conditions: []metav1.Condition{{Type: v1beta1.ConditionReady, Status: ready}},
			}})
		}
		speaker("no", "True", v1beta1.SpeakerLink{Name: "eth0", Prefixes: []string{"2001:db8:8::/64"}})   // not selected
		speaker("gone", "True", v1beta1.SpeakerLink{Name: "eth0", Prefixes: []string{"2001:db8:8::/64"}}) // without a Node
		for i, subnets := range c.nodes {
			if list, within, limited := strings.Cut(subnets, " within "); limited {
				subnets, o.Pools[0].Spec.Source.Prefix.Link.Within = list, within
			}
			link, ready := v1beta1.SpeakerLink{Name: "eth0"}, metav1.ConditionTrue
			for _, p := range strings.Fields(subnets) {
				switch {
				case p == "dead":
					ready = metav1.ConditionUnknown
					continue
				case strings.HasPrefix(p, "-"):
					p = p[1:]
					link.Deprecated = append(link.Deprecated, p)
				}
				link.Prefixes = append(link.Prefixes, p)
			}
			name := fmt.Sprint("node", i)
			facts.Nodes[name] = map[string]string{"wan": "true"}
			speaker(name, ready, link)
		}
		config := intent.Parse(o)
		status, f := config.NextPrefix(&o.Pools[0], facts, time.Unix(1000, 0))
		have := f.Reason
		if have == "" {
			have = status.Current
		}
		if have != c.want || !strings.Contains(f.Message, c.says) {
			t.Errorf("%s: %s: %s; want %s: %s", c.name, have, f.Message, c.want, c.says)
		}
	}
}

// What a Service has moves with the prefix, and what it asks for by its host part as well.
func TestServicesMoveUnderAnotherPrefix(t *testing.T) {
	addrs := func(text string) (out []netip.Addr) {
		for _, a := range strings.Fields(text) {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	const now, before = "2001:db8:2::1:5", "2001:db8:1::1:5"
	for _, c := range []struct {
		name, has, wants string
		switches         bool
		want             string // what it wants, keeps beside, leaves and prefers
	}{
		{"an address of now stays", now, "", false, "[] [] [] []"},
		{"one of before stays beside that of now", before, "", false, "[] [" + before + "] [] [" + now + "]"},
		{"also once it has both", now + " " + before, "", false, "[] [" + before + "] [] [" + now + "]"},
		{"who switches leaves it", before, "", true, "[] [] [" + before + "] [" + now + "]"},
		{"who asks for it keeps it", before, before, false, "[" + before + "] [] [] []"},
		{"a host part is the address of now", "", "::1:5", false, "[" + now + "] [] [] []"},
		{"and keeps that of before beside it", before, "::1:5", false, "[" + now + " " + before + "] [] [] []"},
		{"but of another host part", "2001:db8:1::1:6", "::1:5", false, "[" + now + "] [2001:db8:1::1:6] [] [2001:db8:2::1:6]"},
		{"unless it switches", before, "::1:5", true, "[" + now + "] [] [" + before + "] [" + now + "]"},
		{"a host part that no pool lists stays what it is", "", "::2:5", false, "[::2:5] [] [] []"},
		{"an excluded one of now is not preferred", "2001:db8:1::1:9", "", false, "[] [2001:db8:1::1:9] [] []"},
	} {
		config := intent.Parse(parse(t, `IPAddressPool wan {addresses: ["::1:0/112"], source: {type: Prefix, prefix: {configMap: {name: wan}}}} under 2001:db8:2::/64, 2001:db8:1::/64`+
			"\n"+`IPAddressPool wan2 {addresses: ["::1:0/112"], source: {type: Prefix, prefix: {configMap: {name: wan2}}}} under 2001:db8:3::/64`))
		if strings.Contains(c.name, "excluded") {
			config = intent.Parse(parse(t, `IPAddressPool wan {addresses: ["::1:0/112"], source: {type: Prefix, prefix: {configMap: {name: wan}}}} under 2001:db8:2::/64, 2001:db8:1::/64`+
				"\n"+`IPAddressPool own {addresses: ["2001:db8:2::1:9"]}`+" had 2001:db8:2::1:9"))
		}
		svc := &corev1.Service{}
		if c.switches {
			svc.Annotations = map[string]string{v1beta1.AnnotationRenumbering: v1beta1.RenumberingSwitch}
		}
		r := &ipam.Request{Has: addrs(c.has), Want: addrs(c.wants)}
		untouched := fmt.Sprintf("%+v", *r)
		out := config.Renumber(r, svc)
		if have := fmt.Sprint(out.Want, out.Beside, out.Leaves, out.Prefers); have != c.want {
			t.Errorf("%s: %s, want %s", c.name, have, c.want)
		}
		if moves := len(out.Beside)+len(out.Leaves) > 0; moves != slices.Equal(out.Successors[ipam.IPv6], []string{"wan"}) {
			t.Errorf("%s: from the pool %v", c.name, out.Successors)
		}
		if have := fmt.Sprintf("%+v", *r); have != untouched {
			t.Errorf("%s: the request itself is changed: %s", c.name, have)
		}
	}
}

func TestAPoolWithoutItsPrefixYetTakesNothing(t *testing.T) {
	config := intent.Parse(parse(t, wan))
	origins := []intent.Origin{{Addr: netip.MustParseAddr("2001:db8:1::1:5"), Pool: "wan"}}
	if gone := config.Gone(origins); len(gone) != 1 {
		t.Errorf("a Service loses what it got from the pool: %v", gone)
	}
	config = intent.Parse(parse(t, wan+" under 2001:db8:2::/64"))
	if gone := config.Gone(origins); len(gone) != 0 {
		t.Errorf("a Service keeps what is of no prefix of the pool: %v", gone)
	}
}

func TestWhatLastsIsTheHostPart(t *testing.T) {
	config := intent.Parse(parse(t, wan+" under 2001:db8:2::/64, 2001:db8:1::/64\nIPAddressPool other {addresses: [\"2001:db8:9::/64\", 192.0.2.0/24]}"))
	var addrs []netip.Addr
	for _, a := range []string{"2001:db8:2::1:5", "2001:db8:1::1:5", "192.0.2.7", "2001:db8:9::1:5", "2001:db8:7::1:5"} {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	if have := fmt.Sprint(config.Lasting(addrs)); have != "[::1:5 192.0.2.7 2001:db8:9::1:5 2001:db8:7::1:5]" {
		t.Error(have)
	}
}
