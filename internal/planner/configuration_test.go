package planner

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// reasonsOf are those of all conditions, in their order.
func reasonsOf(conditions []metav1.Condition) string {
	var out []string
	for _, c := range conditions {
		out = append(out, c.Reason)
	}
	return strings.Join(out, " ")
}

func TestStatuses(t *testing.T) {
	pool, peer := *aPool("lan", "10.0.0.1-10.0.0.4"), func(name string) v1beta1.BGPPeer {
		return v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.BGPPeerSpec{PeerAddress: "10.9.0.1", PeerASN: 64512, MyASN: 64513}}
	}
	c := readyMade(intent.Objects{
		Pools: []v1beta1.IPAddressPool{pool, *aPool("late", "10.0.0.4")},
		Peers: []v1beta1.BGPPeer{peer("tor"), peer("young")},
	})
	sessions := []v1beta1.BGPSession{
		{Status: v1beta1.BGPSessionStatus{Node: "a", Peer: "tor", State: "Established"}}, {Status: v1beta1.BGPSessionStatus{Node: "b", Peer: "tor", State: "Active"}},
		{Status: v1beta1.BGPSessionStatus{Node: "a", Peer: "young", DuplicateOf: "tor"}},
	}
	plan := new(Planner).Plan(Snapshot{Configured: c}).Summary()
	have := map[string]string{}
	for _, x := range Statuses(c, Reports{Sessions: sessions}, plan) {
		switch o := x.After.(type) {
		case *v1beta1.IPAddressPool:
			have[o.Name] = reasonsOf(o.Status.Conditions)
			if o.Status.IPv4 != nil {
				have[o.Name] += ", of " + o.Status.IPv4.Capacity
			}
		case *v1beta1.BGPPeer:
			have[o.Name] = fmt.Sprint(reasonsOf(o.Status.Conditions), ", ", o.Status.Sessions.Established, " of ", o.Status.Sessions.Total)
		}
	}
	want := map[string]string{
		"lan": "Programmed Accepted, of 4", "late": "NotAccepted Overlaps",
		"tor":   "Programmed Accepted ResolvedRefs SessionsDown, 1 of 2",
		"young": "NotAccepted Overlaps ResolvedRefs NoSessionEstablished, 0 of 1",
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
	// It comes to rest: the second time it is said who had an address before.
	for range 2 {
		for _, x := range Statuses(c, Reports{Sessions: sessions}, plan) {
			for i := range c.Objects.Pools {
				if o, is := x.After.(*v1beta1.IPAddressPool); is && c.Objects.Pools[i].Name == o.Name {
					c.Objects.Pools[i] = *o
				}
			}
			for i := range c.Objects.Peers {
				if o, is := x.After.(*v1beta1.BGPPeer); is && c.Objects.Peers[i].Name == o.Name {
					c.Objects.Peers[i] = *o
				}
			}
		}
		c = readyMade(c.Objects)
	}
	if again := Statuses(c, Reports{Sessions: sessions}, plan); len(again) > 0 {
		t.Errorf("%d objects are written again:\n%s", len(again), cmp.Diff(again[0].Before, again[0].After))
	}
}

func TestAnAdvertisementTellsWhatItComesTo(t *testing.T) {
	c := readyMade(intent.Objects{
		L2:  []v1beta1.L2Advertisement{{ObjectMeta: metav1.ObjectMeta{Name: "lan"}}, {ObjectMeta: metav1.ObjectMeta{Name: "known"}, Status: v1beta1.AdvertisementStatus{Announced: &v1beta1.AdvertisementCount{}}}},
		BGP: []v1beta1.BGPAdvertisement{{ObjectMeta: metav1.ObjectMeta{Name: "tor"}, Spec: v1beta1.BGPAdvertisementSpec{Selection: v1beta1.Selection{IPAddressPools: []string{"none"}}}}},
	})
	r := Reports{Programmed: map[intent.Ref]v1beta1.AdvertisementCount{{Kind: "L2Advertisement", Name: "lan"}: {Addresses: 3, Nodes: 1}, {Kind: "BGPAdvertisement", Name: "tor"}: {Addresses: 1, Nodes: 2}}}
	have := map[string]string{}
	for _, x := range Statuses(c, r, &Summary{}) {
		s := v1beta1.AdvertisementStatus{}
		switch o := x.After.(type) {
		case *v1beta1.L2Advertisement:
			s = o.Status
		case *v1beta1.BGPAdvertisement:
			s = o.Status
		}
		have[x.After.GetName()] = fmt.Sprintf("%d/%d %s: %s", s.Announced.Addresses, s.Announced.Nodes, s.Conditions[0].Reason, s.Conditions[0].Message)
	}
	want := map[string]string{
		"lan":   "3/1 Programmed: 3 addresses are announced because of it, by 1 node",
		"known": "0/0 Programmed: no address is announced because of it",
		"tor":   `1/2 RefsNotResolved: spec.ipAddressPools: there is no IPAddressPool "none"; the others that it names are announced`,
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
}

func TestOrphans(t *testing.T) {
	claim := func(address string) v1beta1.L2Claim {
		return v1beta1.L2Claim{ObjectMeta: metav1.ObjectMeta{Name: address}, Spec: v1beta1.L2ClaimSpec{Address: v1beta1.IPAddress(address)}}
	}
	going := claim("10.0.0.9")
	going.DeletionTimestamp = &metav1.Time{}
	addr := netip.MustParseAddr
	plan := &Summary{Holders: map[netip.Addr]bool{addr("10.0.0.1"): true}}
	var have []string
	for _, c := range plan.Orphans([]v1beta1.L2Claim{claim("10.0.0.1"), claim("10.0.0.2"), claim("10.0.0.3"), claim("nonsense"), going}, map[netip.Addr]bool{addr("10.0.0.2"): true}) {
		have = append(have, c.Name)
	}
	if diff := cmp.Diff([]string{"10.0.0.3", "nonsense"}, have); diff != "" {
		t.Error(diff)
	}
}

// A configuration object has an event for each condition that turns.
func TestTurned(t *testing.T) {
	peer := func(conditions ...metav1.Condition) *v1beta1.BGPPeer {
		return &v1beta1.BGPPeer{Status: v1beta1.BGPPeerStatus{Conditions: conditions}}
	}
	is := func(kind, reason string) metav1.Condition {
		status := metav1.ConditionFalse
		if kind == reason {
			status = metav1.ConditionTrue
		}
		return metav1.Condition{Type: kind, Status: status, Reason: reason}
	}
	good := []metav1.Condition{is("Programmed", "Programmed"), is("Accepted", "Accepted"), is("ResolvedRefs", "ResolvedRefs"), is("Established", "Established")}
	bad := []metav1.Condition{is("Programmed", "NotAccepted"), is("Accepted", "Invalid"), is("ResolvedRefs", "NotFound"), is("Established", "NoSessions")}
	down := []metav1.Condition{is("Programmed", "NoSessionEstablished"), is("Accepted", "Accepted"), is("ResolvedRefs", "ResolvedRefs"), is("Established", "NoSessionEstablished")}
	for _, c := range []struct {
		name          string
		before, after []metav1.Condition
		want          string
	}{
		{"a new one that is good", nil, good, "Normal Programmed"},
		{"a new one that is not", nil, bad, "Warning Invalid, Warning NotFound, Warning NoSessions"},
		{"no session is up any more", good, down, "Warning NoSessionEstablished"},
		{"all are up again", down, good, "Normal Programmed, Normal Established"},
		{"it is mended", bad, good, "Normal Programmed, Normal Accepted, Normal ResolvedRefs, Normal Established"},
		{"nothing turns", good, good, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, e := range (StatusChange{Before: peer(c.before...), After: peer(c.after...)}).Turned() {
				got = append(got, e.Type+" "+e.Reason)
				if e.Message == "" {
					t.Errorf("an event %s without a message", e.Reason)
				}
			}
			if text := strings.Join(got, ", "); text != c.want {
				t.Errorf("%s, want %s", text, c.want)
			}
		})
	}
}
