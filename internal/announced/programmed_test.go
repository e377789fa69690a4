package announced

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/health"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// TestAdvertisementsCountWhatIsAnnounced has an address on the local network and by BGP, where one of two
// sessions is up, one of a Local Service, and one that no node answers for.
func TestAdvertisementsCountWhatIsAnnounced(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	o := &health.Objects{Now: now, Namespace: "steelyard-system", Leases: []coordinationv1.Lease{}}
	s := announce.Snapshot{}
	for _, name := range []string{"a", "b"} {
		renewed := metav1.NewMicroTime(now)
		o.Leases = append(o.Leases, coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "steelyard-system", Name: intent.LeaseName(name)}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &name, LeaseDurationSeconds: new(int32(3)), RenewTime: &renewed}})
		o.Speakers = append(o.Speakers, v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: name}})
		state := map[string]string{"a": health.Established, "b": "Active"}[name]
		o.Sessions = append(o.Sessions, v1beta1.BGPSession{Status: v1beta1.BGPSessionStatus{Node: name, Peer: "tor", State: state}})
		s.Nodes = append(s.Nodes, announce.Node{Name: name, Live: true, Links: []announce.Link{{Name: "eth0", Up: true}}})
	}
	address := func(text string) announce.Address {
		return announce.Address{Addr: netip.MustParseAddr(text), Pool: "p"}
	}
	s.Services = []announce.Service{
		{Key: ipam.Key{Name: "one"}, Addrs: []announce.Address{address("192.0.2.1")}},
		{Key: ipam.Key{Name: "sharer"}, Addrs: []announce.Address{address("192.0.2.1")}},
		{Key: ipam.Key{Name: "local"}, Local: true, ReadyOn4: map[string]bool{"b": true}, Addrs: []announce.Address{address("192.0.2.2")}},
		{Key: ipam.Key{Name: "silent"}, Addrs: []announce.Address{address("192.0.2.3")}},
	}
	for addr, node := range map[string]string{"192.0.2.1": "a", "192.0.2.2": "b"} {
		c := v1beta1.L2Claim{Spec: v1beta1.L2ClaimSpec{Address: v1beta1.IPAddress(addr), Node: node}}
		c.Status.Node, c.Status.Conditions = node, []metav1.Condition{{Type: v1beta1.ConditionAnnounced, Status: metav1.ConditionTrue}}
		o.Claims = append(o.Claims, c)
	}
	s.L2 = []announce.L2Advertisement{{Name: "lan"}, {Name: "other", Links: announce.Links{Only: []string{"eth1"}}}}
	s.BGP = []announce.BGPAdvertisement{{Name: "tor", Length4: 32, Length6: 128}}
	s.Neighbors = []announce.Neighbor{{Peer: announce.Peer{Name: "tor", Addr: netip.MustParseAddr("192.0.2.9")}}}
	_, have := Evaluate(s, nil, o)
	want := Programmed{
		{Kind: "L2Advertisement", Name: "lan"}:   {Addresses: 2, Nodes: 2},
		{Kind: "L2Advertisement", Name: "other"}: {},
		{Kind: "BGPAdvertisement", Name: "tor"}:  {Addresses: 2, Nodes: 1},
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("want -, have +:\n%s", diff)
	}
}

// TestABurstCostsFewWrites has 2,000 addresses come in 20 seconds, with a look each half second.
func TestABurstCostsFewWrites(t *testing.T) {
	ad, now := intent.Ref{Kind: "L2Advertisement", Name: "lan"}, time.Unix(0, 0)
	var shown *v1beta1.AdvertisementCount
	var settler CountSettler
	writes := 0
	look := func(addresses int32) time.Duration {
		due, again := settler.Due(now, map[intent.Ref]*v1beta1.AdvertisementCount{ad: shown}, Programmed{ad: {Addresses: addresses, Nodes: 3}})
		if c, is := due[ad]; is {
			shown, writes = &c, writes+1
		}
		return again
	}
	for i := range int32(40) {
		look(50 * (i + 1))
		now = now.Add(500 * time.Millisecond)
	}
	for again := look(2000); again > 0; again = look(2000) {
		now = now.Add(again)
	}
	if shown == nil || shown.Addresses != 2000 || writes > 3 {
		t.Errorf("%d writes, the last %v", writes, shown)
	}
	if look(2000); writes > 3 {
		t.Error("it is written again")
	}
	before := writes
	for range 100 { // an address that comes and goes, back before it counts
		look(2001)
		now = now.Add(500 * time.Millisecond)
		look(2000)
		now = now.Add(500 * time.Millisecond)
	}
	if writes != before {
		t.Errorf("%d writes of an address that comes and goes", writes-before)
	}
	// A count that is due stays so until a status shows it.
	look(1999)
	now = now.Add(2 * time.Second)
	for range 3 {
		due, _ := settler.Due(now, map[intent.Ref]*v1beta1.AdvertisementCount{ad: shown}, Programmed{ad: {Addresses: 1999, Nodes: 3}})
		if due[ad].Addresses != 1999 {
			t.Errorf("%v", due)
		}
		now = now.Add(time.Second)
	}
}
