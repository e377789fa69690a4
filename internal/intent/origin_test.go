package intent_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
)

// saying is a Service whose condition Allocated says that.
func allocated(status metav1.ConditionStatus, message string) *corev1.Service {
	svc := &corev1.Service{}
	svc.Annotations = map[string]string{v1beta1.AnnotationPool: "evil"}
	svc.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionAllocated, Status: status, Message: message}}
	return svc
}

func TestOriginsAreReadAsTheyWereWritten(t *testing.T) {
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	until := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, want := range [][]intent.Origin{
		{{Addr: four, Pool: "p"}},
		{{Addr: four, Pool: "p"}, {Addr: six, Pool: "with.dots-and-9"}},
		{{Addr: six, Pool: "p", Until: until}, {Addr: four, Pool: "q"}},
		{{Addr: six, Pool: "p", Until: until}, {Addr: four, Pool: "p", Until: until}},
		{{Addr: four, Pool: "p"}, {Addr: four.Next(), Pool: "p"}, {Addr: six, Pool: "p"}, {Addr: six.Next(), Pool: "p"}},
		{{Addr: four, Pool: "p", Until: until}, {Addr: four.Next(), Pool: "p", Until: until}, {Addr: four.Prev(), Pool: "p"}},
		{{Addr: four, Pool: "p", Node: "a"}, {Addr: four.Next(), Pool: "p", Node: "b"}, {Addr: four.Prev(), Pool: "q", Node: "b"}},
		most(),
	} {
		text := intent.OriginsText(want)
		if len(text) > printable.MaxMessage {
			t.Errorf("%d bytes are more than a condition has room for: %s", len(text), text)
		}
		for _, tail := range []string{"", "; no node announces it", "; annotation steelyard.dev/x means nothing", ", 10.6.6.6 of IPAddressPool evil"} {
			if diff := cmp.Diff(want, intent.Origins(allocated(metav1.ConditionTrue, text+tail)), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("%s%s: want -, have +:\n%s", text, tail, diff)
			}
		}
	}
}

// most are as many addresses as a Service may have, of a pool that is gone.
func most() (out []intent.Origin) {
	for _, a := range []netip.Addr{netip.MustParseAddr("192.168.100.200"), netip.MustParseAddr("2001:db8:1000:1000:1000:1000:1000:1000")} {
		for range v1beta1.MaxAddresses {
			out = append(out, intent.Origin{Addr: a, Pool: "a-pool-with-quite-a-long-name", Until: time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)})
			a = a.Next()
		}
	}
	return out
}

func TestWhatIsNoOriginIsNotTakenForOne(t *testing.T) {
	for _, message := range []string{
		"", "every IPv4 address is taken", `no Service has 10.6.6.6 of IPAddressPool "evil"`, ` 10.6.6.6 of IPAddressPool "evil"`,
		`10.6.6.6 of IPAddressPool ""`, `10.6.6 of IPAddressPool "evil"`, `10.6.6.6 of IPAddressPool "evil" (which is gone: kept until 9)`[:20],
		`a of IPAddressPool "b"`, `10.6.6.6 of IPAddressPool "e\"vil"`,
	} {
		if got := intent.Origins(allocated(metav1.ConditionTrue, message)); len(got) > 0 {
			t.Errorf("%q says %v", message, got)
		}
	}
	if got := intent.Origins(allocated(metav1.ConditionFalse, `10.6.6.6 of IPAddressPool "evil"`)); len(got) > 0 {
		t.Errorf("a Service without an address has %v", got)
	}
	if got := intent.Origins(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{v1beta1.AnnotationPool: "evil"}}}); len(got) > 0 {
		t.Errorf("an annotation says %v", got)
	}
}

func TestAnAddressOfAPoolThatIsGoneIsAnnouncedAsBefore(t *testing.T) {
	svc := allocated(metav1.ConditionTrue, `10.0.0.1 of IPAddressPool "gone", 2001:db8::1 of IPAddressPool "p"`)
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "10.0.0.1"}, {IP: "2001:db8::1"}, {IP: "10.0.0.2"}}
	p := *read[v1beta1.IPAddressPool](t, `{metadata: {name: p}, spec: {addresses: [10.0.1.0/28]}}`)
	short := int32(24)
	c := intent.Parse(intent.Objects{
		Pools: []v1beta1.IPAddressPool{p},
		L2: []v1beta1.L2Advertisement{
			{ObjectMeta: metav1.ObjectMeta{Name: "all"}},
			{ObjectMeta: metav1.ObjectMeta{Name: "named"}, Spec: v1beta1.L2AdvertisementSpec{Selection: v1beta1.Selection{IPAddressPools: []string{"p", "gone"}}}},
			{ObjectMeta: metav1.ObjectMeta{Name: "other"}, Spec: v1beta1.L2AdvertisementSpec{Selection: v1beta1.Selection{IPAddressPools: []string{"p"}}}},
		},
		BGP: []v1beta1.BGPAdvertisement{
			{ObjectMeta: metav1.ObjectMeta{Name: "whole"}},
			{ObjectMeta: metav1.ObjectMeta{Name: "aggregate"}, Spec: v1beta1.BGPAdvertisementSpec{AggregationLength: &short}},
		},
	})
	var got []string
	for _, a := range c.Announced(svc, nil, nil).Addrs {
		line := fmt.Sprintf("%s of %q:", a.Addr, a.Pool)
		for _, ad := range c.L2 {
			if ad.Covers(a.Pool, nil) {
				line += " " + ad.Name
			}
		}
		for _, ad := range c.BGP {
			if ad.Covers(a.Pool, nil) {
				line += " " + ad.Name
			}
		}
		got = append(got, line)
		if a.Bits != a.Addr.BitLen() {
			t.Errorf("%s can be in a prefix of %d bits, though no object knows what lies beside it", a.Addr, a.Bits)
		}
	}
	// The pool of the second is there, and holds it no more; of the third nothing is known.
	want := []string{`10.0.0.1 of "gone": all named aggregate whole`, `2001:db8::1 of "":`, `10.0.0.2 of "":`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
}

func TestWhatAPoolsStatusCanHoldOfWhatIsKept(t *testing.T) {
	var all []ipam.Kept
	until := time.Unix(1900000000, 0).UTC()
	for i := range 3000 { // one namespace has much more than the other two
		ns := "churn"
		if i%100 == 0 {
			ns = []string{"shop", "bank"}[i/100%2]
		}
		all = append(all, ipam.Kept{
			Addr: netip.AddrFrom4([4]byte{10, 0, byte(i / 256), byte(i)}), For: ipam.Key{Namespace: ns, Name: fmt.Sprint("s", i)},
			Until: until.Add(time.Duration(i) * time.Second), Peak: 7,
		})
	}
	status := intent.KeptStatus(all)
	if len(status) != v1beta1.MaxKept {
		t.Fatalf("%d entries", len(status))
	}
	back := intent.Kept([]v1beta1.IPAddressPool{{Status: v1beta1.IPAddressPoolStatus{Kept: status}}}, until.Add(-1))
	if diff := cmp.Diff(ipam.Bounded(all, v1beta1.MaxKept), back, cmpopts.EquateComparable(netip.Addr{}), cmpopts.SortSlices(func(a, b ipam.Kept) bool { return a.Compare(b) < 0 })); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
	for _, k := range all {
		if k.For.Namespace != "churn" && !slices.Contains(back, k) {
			t.Errorf("%s is pushed out", k)
		}
	}
	if got := intent.Kept([]v1beta1.IPAddressPool{{Status: v1beta1.IPAddressPoolStatus{Kept: status}}}, until.Add(3000*time.Second)); len(got) > 0 {
		t.Errorf("%d are kept when their time has ended", len(got))
	}
}

func TestWhatIsKeptAndCantBeReadIsLeftOut(t *testing.T) {
	good := v1beta1.KeptAddress{Address: "10.0.0.1", Service: "n/s", Until: metav1.NewTime(time.Unix(2000000000, 0))}
	noAddr, noName := good, good
	noAddr.Address, noName.Service = "web", "web"
	got := intent.Kept([]v1beta1.IPAddressPool{{Status: v1beta1.IPAddressPoolStatus{Kept: []v1beta1.KeptAddress{noAddr, noName, good}}}}, time.Unix(0, 0))
	if len(got) != 1 || got[0].For.Name != "s" {
		t.Errorf("%v", got)
	}
}

func TestGraceTimes(t *testing.T) {
	for in, want := range map[v1beta1.Duration]time.Duration{
		"": 5 * time.Minute, "0s": 0, "90s": 90 * time.Second, "24h": 24 * time.Hour, "25h": 5 * time.Minute, "-1s": 5 * time.Minute, "x": 5 * time.Minute,
	} {
		p := *read[v1beta1.IPAddressPool](t, `{metadata: {name: p}, spec: {addresses: [10.0.1.0/28]}}`)
		p.Spec.GraceTime = in
		if got := intent.Parse(intent.Objects{Pools: []v1beta1.IPAddressPool{p}}).Pools[0].Grace; got != want {
			t.Errorf("%q is %s", in, got)
		}
	}
}

func TestHowShortAPrefixMayBe(t *testing.T) {
	p := *read[v1beta1.IPAddressPool](t, `{metadata: {name: p}, spec: {
		addresses: [10.0.0.0/24, 10.0.1.0-10.0.1.127, 10.0.2.3-10.0.2.9, "2001:db8::/64", "2001:db8:1::1-2001:db8:1::8"], exclude: [10.0.0.7]}}`)
	short := int32(24)
	c := intent.Parse(intent.Objects{
		Pools: []v1beta1.IPAddressPool{p},
		BGP:   []v1beta1.BGPAdvertisement{{ObjectMeta: metav1.ObjectMeta{Name: "net"}, Spec: v1beta1.BGPAdvertisementSpec{AggregationLength: &short}}},
	})
	for addr, want := range map[string]int{
		"10.0.0.1": 24, "10.0.1.127": 25, "10.0.2.3": 32, "10.0.2.4": 30, "10.0.2.9": 31,
		"2001:db8::7": 64, "2001:db8:1::1": 128, "2001:db8:1::5": 126,
	} {
		if got := c.AddressOf(&corev1.Service{}, netip.MustParseAddr(addr)); got.Bits != want || got.Pool != "p" {
			t.Errorf("%s: %+v, want /%d", addr, got, want)
		}
	}
}
