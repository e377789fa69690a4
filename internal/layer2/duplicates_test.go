package layer2

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/neighbor"
)

// peerMAC is the MAC of another node's speaker.
const peerMAC = "02:00:00:00:00:0c"

func TestWhoIsADuplicateOwner(t *testing.T) {
	theirs := announce.Claim{Addr: netip.MustParseAddr(vip4), ProxyReplies: []announce.ProxyReply{{Link: "n0", MAC: [6]byte(mac(nodeMAC))}}}
	for _, c := range []struct {
		name  string
		claim announce.Claim
		frame []byte
		want  bool
	}{
		{"a node that announces an address of ours", announce.Claim{Addr: netip.MustParseAddr(vip4)}, question{mac: peerMAC, source: vip4}.arp(), true},
		{"a node that answers for one", announce.Claim{Addr: netip.MustParseAddr(vip4)}, question{mac: peerMAC, source: vip4, target: "192.0.2.1", edit: set(21, 2)}.arp(), true},
		{"not a node that asks for it", announce.Claim{Addr: netip.MustParseAddr(vip4)}, question{mac: peerMAC}.arp(), false},
		{"not a foreign host", announce.Claim{Addr: netip.MustParseAddr(vip4)}, foreignSays(vip4), false},
		{"not who stands in for us, and tells our MAC", announce.Claim{Addr: netip.MustParseAddr(vip4)}, question{mac: nodeMAC, source: vip4}.arp(), false},
		{"not the successor of an address in handover", theirs, question{mac: peerMAC, source: vip4}.arp(), false},
		{"not a node with an address that is not claimed here", announce.Claim{Addr: netip.MustParseAddr("192.0.2.110")}, question{mac: peerMAC, source: vip4}.arp(), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			onFake(t, Options{Defend: true}, ipv4, func(t *testing.T, a *Announcer, f *fakeWire) {
				a.SetSpeakers([][6]byte{[6]byte(mac(peerMAC)), [6]byte(mac(nodeMAC))})
				a.Set([]announce.Claim{c.claim})
				f.lately(5 * time.Second)
				f.in <- c.frame
				f.lately(time.Millisecond)
				got := a.DuplicateOwners(time.Now())
				if (len(got) == 1) != c.want || (len(a.duplicateHeard) == 1) != c.want || (a.Stats()[0].DuplicateOwners == 1) != c.want {
					t.Errorf("duplicate owners: %v; told: %d, counted %d; want one: %t", got, len(a.duplicateHeard), a.Stats()[0].DuplicateOwners, c.want)
				}
				if len(got) == 1 && (got[0].Addr.String() != vip4 || net.HardwareAddr(got[0].MAC[:]).String() != peerMAC) {
					t.Errorf("duplicate owner %+v", got[0])
				}
			})
		})
	}
}

func TestDuplicateOwnerOfIPv6(t *testing.T) {
	onFake(t, Options{}, ipv6, func(t *testing.T, a *Announcer, f *fakeWire) {
		a.SetSpeakers([][6]byte{[6]byte(mac(peerMAC))})
		a.Set(claimsFor(vip6))
		f.lately(5 * time.Second)
		f.in <- neighbor.NDP().Announce(netip.MustParseAddr(vip6), neighbor.Station{MAC: mac(peerMAC)})[0]
		f.lately(time.Millisecond)
		if got := a.DuplicateOwners(time.Now()); len(got) != 1 || got[0].Addr.String() != vip6 {
			t.Errorf("duplicate owners: %v", got)
		}
	})
}

// Any host can speak in the name of a speaker's MAC: only who has the key is believed,
// and each announcement once.
func TestDuplicateOwnerMustProve(t *testing.T) {
	keys := [][]byte{[]byte("key")}
	for _, fam := range []family{ipv4, ipv6} {
		t.Run(string(fam), func(t *testing.T) {
			onFake(t, Options{}, fam, func(t *testing.T, a *Announcer, f *fakeWire) {
				vip, proto := vip4, neighbor.ARP()
				if fam == ipv6 {
					vip, proto = vip6, neighbor.NDP()
				}
				addr, station := netip.MustParseAddr(vip), neighbor.Station{MAC: mac(peerMAC)}
				says := func(key string) []byte {
					if key != "" {
						station.Proof = neighbor.Prove([]byte(key), station.MAC, addr, time.Now())
					}
					return proto.Announce(addr, station)[0]
				}
				a.SetSpeakers([][6]byte{[6]byte(mac(peerMAC))})
				a.SetKeys(keys)
				a.Set(claimsFor(vip))
				f.lately(5 * time.Second)
				for range 10 { // forged, once a second
					f.in <- says("")
					f.in <- says("another key")
					f.lately(time.Second)
				}
				if got := a.DuplicateOwners(time.Now()); len(got) > 0 || len(a.duplicateHeard) > 0 || a.Stats()[0].Unproven != 20 {
					t.Errorf("forged: %v, %+v", got, a.Stats()[0])
				}
				frame := says("key")
				f.in <- frame
				f.lately(time.Millisecond)
				if got := a.DuplicateOwners(time.Now()); len(got) != 1 || len(a.duplicateHeard) == 0 {
					t.Errorf("proven: %v", got)
				}
				<-a.duplicateHeard
				for range 90 { // the same, again and again
					f.lately(time.Second)
					f.in <- frame
				}
				f.lately(time.Millisecond)
				if got := a.DuplicateOwners(time.Now()); len(got) > 0 || len(a.duplicateHeard) > 0 {
					t.Errorf("recorded, and sent again: %v", got)
				}
			})
		})
	}
}

// What one speaker announces another believes.
func TestAnnouncementsAreProven(t *testing.T) {
	onFake(t, Options{}, ipv4, func(t *testing.T, a *Announcer, f *fakeWire) {
		a.SetKeys([][]byte{[]byte("key")})
		proven, all := 0, 0
		f.hear = func(frame []byte) {
			all++
			if m, ok := neighbor.ARP().Read(frame); ok {
				if _, ok := m.Proven([][]byte{[]byte("old"), []byte("key")}, time.Now()); ok {
					proven++
				}
			}
		}
		a.Set(claimsFor(vip4))
		f.lately(5 * time.Second)
		if all != arpFrames || proven != all {
			t.Errorf("%d of %d frames are proven", proven, all)
		}
	})
}

// A claim's next round is announced as if it were new; the others are not.
func TestAnotherRoundIsAnnounced(t *testing.T) {
	onFake(t, Options{}, ipv4, func(t *testing.T, a *Announcer, f *fakeWire) {
		claims := claimsFor(vip4, "192.0.2.110")
		a.Set(claims)
		f.lately(5 * time.Second)
		claims[0].Generation = 7
		a.Set(claims)
		expect(t, "another round", "5s "+announce1+"\n5s "+announce2+"\n5.1s "+announce1+"\n5.1s "+announce2, f.lately(300*time.Millisecond))
		f.lately(5 * time.Second)
		a.Set(claims)
		expect(t, "the same round", "", f.lately(time.Second))
	})
}

func TestWireDuplicateOwner(t *testing.T) {
	onWire(t, func(w *rig) {
		tap := w.tap("c0", neighbor.ARP())
		w.SetSpeakers([][6]byte{[6]byte(mac(clientMAC))})
		w.Set(claimsFor(vip4))
		w.until("the address is announced", func() bool { return w.sum(ipv4).Announced > 0 })
		tap.send(neighbor.ARP().Announce(netip.MustParseAddr(vip4), neighbor.Station{MAC: mac(clientMAC)})[0])
		w.until("the duplicate owner was heard", func() bool { return len(w.DuplicateOwners(time.Now())) == 1 && w.sum(ipv4).DuplicateOwners == 1 })
	})
}
