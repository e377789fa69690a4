package intent_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/stories"
)

// TestStories runs the stories of testdata. A story is its name after "#",
// objects, "=>", and what is made of them. An object is a line, the older
// first: its kind, its name (and labels in brackets), its spec in YAML; of a
// Secret the whole object. What a pool had before stands behind "had", and its prefix, with those before it, behind
// "under". Selectors are not printed; other tests try them.
func TestStories(t *testing.T) { stories.Run(t, "testdata/stories/*.txt", report) }

// neighbors are sound objects that live beside those of every story.
const neighbors = `
IPAddressPool zz-pool {addresses: [198.51.100.0/24, "2001:db8:ffff::/64"]}
L2Advertisement zz-l2 {ipAddressPools: [zz-pool], interfaces: [eth0]}
Community zz-community {communities: [{name: zz-alias, value: "65535:65281"}]}
BGPPeer zz-peer {myASN: 64512, peerASN: 64513, peerAddress: 198.51.100.1}
BGPAdvertisement zz-bgp {ipAddressPools: [zz-pool], peers: [zz-peer], communities: [zz-alias], aggregationLength: 24}
`

// The labels and annotations of the Node "full"; the Node "empty" has none.
var (
	fullLabels      = map[string]string{"example.com/router": "10.9.0.7", "example.com/asn": "64607", "example.com/word": "left"}
	fullAnnotations = map[string]string{"example.com/router": "2001:db8::7", "example.com/id": "10.0.0.7", "example.com/far": "224.0.0.1", "example.com/near": "fe80::1"}
)

func report(t *testing.T, reported, want string) {
	objects := parse(t, reported)
	if diff := gocmp.Diff(want, outcome(intent.Parse(objects))); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
	if diff := gocmp.Diff(want, outcome(intent.Parse(shuffled(objects)))); diff != "" {
		t.Errorf("another order, another end:\n%s", diff)
	}
	alone := linesOf("zz-", outcome(intent.Parse(parse(t, neighbors))))
	beside := linesOf("zz-", outcome(intent.Parse(parse(t, reported+neighbors))))
	if diff := gocmp.Diff(alone, beside); diff != "" || len(alone) != 4 {
		t.Errorf("the story harms its neighbors:\n%s", diff)
	}
}

// linesOf returns the lines about objects whose name has this prefix, but for what
// there is to know about others.
func linesOf(prefix, text string) []string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		if words := strings.Fields(line); len(words) > 1 && strings.HasPrefix(words[1], prefix) && words[2] != v1beta1.ReasonAccepted+":" {
			out = append(out, line)
		}
	}
	return out
}

// parse reads objects; each is a second younger than the one before.
func parse(t *testing.T, text string) intent.Objects {
	t.Helper()
	o := intent.Objects{Secrets: map[string]*corev1.Secret{}}
	age := time.Unix(0, 0)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		kind, rest, _ := strings.Cut(line, " ")
		name, spec, _ := strings.Cut(rest, " ")
		name, label, _ := strings.Cut(strings.TrimSuffix(name, "]"), "[")
		age = age.Add(time.Second)
		m := metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(age)}
		if k, v, ok := strings.Cut(label, "="); ok {
			m.Labels = map[string]string{k: v}
		}
		read := func(into any) {
			t.Helper()
			if err := yaml.UnmarshalStrict([]byte(cmp.Or(spec, "{}")), into); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
		switch kind {
		case "IPAddressPool":
			x := v1beta1.IPAddressPool{ObjectMeta: m}
			var had, under string
			if spec, under, _ = strings.Cut(spec, " under "); under != "" {
				x.Status.Prefix = prefixStatus(strings.Split(under, ", "))
			}
			if spec, had, _ = strings.Cut(spec, " had "); had != "" {
				x.Status.Accepted = strings.Split(had, ", ")
			}
			read(&x.Spec)
			o.Pools = append(o.Pools, x)
		case "L2Advertisement":
			x := v1beta1.L2Advertisement{ObjectMeta: m}
			read(&x.Spec)
			o.L2 = append(o.L2, x)
		case "BGPAdvertisement":
			x := v1beta1.BGPAdvertisement{ObjectMeta: m}
			read(&x.Spec)
			o.BGP = append(o.BGP, x)
		case "BGPPeer":
			x := v1beta1.BGPPeer{ObjectMeta: m}
			read(&x.Spec)
			o.Peers = append(o.Peers, x)
		case "BFDProfile":
			x := v1beta1.BFDProfile{ObjectMeta: m}
			read(&x.Spec)
			o.Profiles = append(o.Profiles, x)
		case "Community":
			x := v1beta1.Community{ObjectMeta: m}
			read(&x.Spec)
			o.Communities = append(o.Communities, x)
		case "AddressReservation":
			x := v1beta1.AddressReservation{ObjectMeta: m}
			read(&x.Spec)
			o.Reservations = append(o.Reservations, x)
		case "AddressQuota":
			x := v1beta1.AddressQuota{ObjectMeta: m}
			read(&x.Spec)
			o.Quotas = append(o.Quotas, x)
		case "Secret":
			x := corev1.Secret{}
			read(&x)
			x.ObjectMeta = m
			x.Data = map[string][]byte{}
			for k, v := range x.StringData { // as the API server does
				x.Data[k] = []byte(v)
			}
			o.Secrets[name] = &x
		default:
			t.Fatalf("can't read %q", line)
		}
	}
	return o
}

// prefixStatus has the first as the current prefix, and the others as previous ones.
func prefixStatus(all []string) *v1beta1.PrefixStatus {
	out := &v1beta1.PrefixStatus{Current: all[0]}
	for _, p := range all[1:] {
		out.Previous = append(out.Previous, v1beta1.PreviousPrefix{Prefix: p, Until: metav1.NewTime(time.Unix(9999, 0))})
	}
	return out
}

func shuffled(o intent.Objects) intent.Objects {
	rng := rand.New(rand.NewSource(1))
	o.Pools = stories.Shuffle(o.Pools, rng)
	o.L2 = stories.Shuffle(o.L2, rng)
	o.BGP = stories.Shuffle(o.BGP, rng)
	o.Peers = stories.Shuffle(o.Peers, rng)
	o.Profiles = stories.Shuffle(o.Profiles, rng)
	o.Communities = stories.Shuffle(o.Communities, rng)
	o.Reservations = stories.Shuffle(o.Reservations, rng)
	o.Quotas = stories.Shuffle(o.Quotas, rng)
	return o
}

// outcome prints what is good, and then what there is to say.
func outcome(c intent.Config) string {
	var lines []string
	for _, p := range c.Pools {
		lines = append(lines, strings.TrimSpace("pool "+p.Name+" "+poolText(p.Pool)))
	}
	for _, ad := range c.L2 {
		lines = append(lines, fmt.Sprintf("l2 %s pools %s only %v except %v prefer %v", ad.Name, names(ad.Pools), ad.Links.Only, ad.Links.Except, weights(ad.Prefer)))
	}
	for _, ad := range c.BGP {
		attributes := strings.TrimPrefix(ad.Attributes.String(), "invalid Prefix")
		lines = append(lines, fmt.Sprintf("bgp %s pools %s peers %s length %d/%d%s", ad.Name, names(ad.Pools), names(ad.Peers), ad.Length4, ad.Length6, attributes))
	}
	for _, n := range c.Neighbors {
		lines = append(lines, "peer "+n.Peer.Name+" "+peerText(n.Peer))
		if n.PerNode != nil {
			lines = append(lines, "peer "+n.Peer.Name+" on full "+peerText(n.On(fullLabels, fullAnnotations)), "peer "+n.Peer.Name+" on empty "+peerText(n.On(nil, nil)))
		}
	}
	for _, r := range c.Reservations {
		lines = append(lines, fmt.Sprintf("reserved by %s %v", r.Name, r.Addrs))
	}
	namespaces := map[string]map[string]string{"shop": {"tenant": "shop"}, "shop-test": {"tenant": "shop"}, "mail": nil}
	bound := c.BindQuotas(namespaces, c.Reserved(time.Time{}, nil, intent.Choosing{}))
	for _, ns := range slices.Sorted(maps.Keys(namespaces)) {
		for _, q := range bound.Of(ns) {
			lines = append(lines, fmt.Sprintf("quota %s in %s: %s, %d reserved", q.Name, ns, q.Text, q.Reserved))
		}
	}
	slices.Sort(lines)
	var said []string
	for ref, v := range c.Validations {
		for _, f := range []intent.Finding{v.Accepted, v.Refs} {
			if f.Reason != "" || f.Message != "" {
				said = append(said, fmt.Sprintf("%s %s %s: %s", ref.Kind, ref.Name, cmp.Or(f.Reason, v1beta1.ReasonAccepted), f.Message))
			}
		}
		if len(v.NoEffect) > 0 {
			said = append(said, fmt.Sprintf("%s %s without effect: %s", ref.Kind, ref.Name, strings.Join(v.NoEffect, ", ")))
		}
	}
	slices.Sort(said)
	return strings.Join(append(lines, said...), "\n")
}

func poolText(p ipam.Pool) string {
	var out []string
	for _, r := range p.Ranges {
		out = append(out, fmt.Sprintf("%s-%s", r.First, r.Last))
	}
	for _, f := range []struct {
		word string
		set  bool
	}{{"manual", !p.AutoAssign}, {"avoid-buggy", p.AvoidBuggy}, {"frozen", p.Frozen}, {"pinned", p.Selective}, {"across", p.CrossNamespace}} {
		if f.set {
			out = append(out, f.word)
		}
	}
	for _, r := range p.Former {
		out = append(out, fmt.Sprintf("before %s-%s", r.First, r.Last))
	}
	for _, r := range p.Overlapping {
		out = append(out, fmt.Sprintf("overlapping %s-%s", r.First, r.Last))
	}
	if p.Priority != 0 {
		out = append(out, fmt.Sprintf("priority %d", p.Priority))
	}
	return strings.Join(out, " ")
}

func names(set map[string]bool) string {
	if set == nil {
		return "all"
	}
	out := []string{}
	for n := range set {
		out = append(out, n)
	}
	slices.Sort(out)
	return fmt.Sprint(out)
}

func weights(in []announce.Preference) []int {
	out := []int{}
	for _, p := range in {
		out = append(out, p.Weight)
	}
	return out
}

// peerText tells what differs from an ordinary peer.
func peerText(p announce.Peer) string {
	out := fmt.Sprintf("%s:%d as %d>%d%s", p.Addr, p.Port, p.LocalASN, p.PeerASN, p.ASN)
	if p.HoldTime != 90*time.Second || p.KeepaliveTime != 30*time.Second {
		out += fmt.Sprintf(" hold %s keepalive %s", p.HoldTime, p.KeepaliveTime)
	}
	for _, f := range []struct {
		word string
		set  bool
		is   any
	}{
		{"connect", p.ConnectTime != 0, p.ConnectTime}, {"source", p.SourceAddr.IsValid(), p.SourceAddr},
		{"router-id", p.RouterID.IsValid(), p.RouterID}, {"password", p.Password != "", p.Password},
		{"ttl", p.MultiHopTTL != 0, p.MultiHopTTL}, {"min-ttl", p.MinTTL != 0, p.MinTTL}, {"dual-stack", p.DualStack, ""},
		{"interface", p.Interface != "", p.Interface}, {"device", p.Device != "", p.Device}, {"graceful", p.Graceful, ""},
		{"bfd", p.BFD.Multiplier != 0, strings.Replace(fmt.Sprint(p.BFD), " []}", "}", 1)}, {"restart", p.RestartTime != 0, p.RestartTime}, {"gateway", p.Gateway != announce.Gateway{}, p.Gateway},
		{"from", p.Source != announce.Source{}, p.Source}, {"next-hop", p.NextHopV4.IsValid(), p.NextHopV4}, {"next-hop6", p.NextHopV6.IsValid(), p.NextHopV6},
		{"problem:", p.Problem != "", p.Problem},
	} {
		if f.set {
			out += strings.TrimRight(fmt.Sprintf(" %s %v", f.word, f.is), " ")
		}
	}
	return out
}
