package layer2

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/neighbor"
)

const (
	announce1 = "ARP request to ff:ff:ff:ff:ff:ff from 02:00:00:00:00:0a: 192.0.2.100 is at 02:00:00:00:00:0a; for 192.0.2.100 at 00:00:00:00:00:00"
	announce2 = "ARP reply to ff:ff:ff:ff:ff:ff from 02:00:00:00:00:0a: 192.0.2.100 is at 02:00:00:00:00:0a; for 192.0.2.100 at 02:00:00:00:00:0a"
)

// arpFrames is how many frames announce a new address by ARP in its first 5 seconds.
const arpFrames = 8

// claimsFor claims addresses on all links.
func claimsFor(addrs ...string) []announce.Claim {
	var claims []announce.Claim
	for _, a := range addrs {
		claims = append(claims, announce.Claim{Addr: netip.MustParseAddr(a)})
	}
	return claims
}

func TestWireExchanges(t *testing.T) {
	onWire(t, func(w *rig) {
		arp, ndp := w.tap("c0", neighbor.ARP()), w.tap("c0", neighbor.NDP())
		w.Set(exchangeClaims())
		// Announcements look like some of the answers, so let them pass.
		w.until("all announcements are made", func() bool {
			return w.sum(ipv4).Announced == arpFrames && w.sum(ipv6).Announced == 3
		})
		arpMark, ndpMark := question{source: "192.0.2.9"}.arp(), question{source: "2001:db8::9"}.ndp()
		for _, c := range []struct {
			tap
			exchanges []exchange
			mark      []byte
			marked    string
		}{
			{arp, arpExchanges(), arpMark, fmt.Sprintf(arpAnswer, "192.0.2.9")},
			{ndp, ndpExchanges(), ndpMark, fmt.Sprintf(ndpAnswer, clientMAC, "2001:db8::9", true)},
		} {
			drain(c.tap)
			testExchanges(w.T, c.exchanges, func(t *testing.T, f []byte) []byte { return c.ask(t, f, c.mark, c.marked) })
		}
	})
}

// ask sends a question and then one that is surely answered, so that silence
// is known for sure. It returns the first answer, undescribed.
func (t tap) ask(tt *testing.T, question, mark []byte, marked string) []byte {
	t.send(question)
	t.send(mark)
	var answer []byte
	for {
		f := t.frame(timeout)
		switch text := describe(f); {
		case f == nil:
			tt.Fatal("no answer to a question that is surely answered")
		case text == marked:
			return answer
		case answer != nil:
			tt.Errorf("a second answer: %s", text)
		}
		answer = f
	}
}

func TestWireKernelLearnsFromAnnouncement(t *testing.T) {
	onWire(t, func(w *rig) {
		w.SetKeys([][]byte{[]byte("key")}) // the proofs are where no other host looks
		for _, vip := range []string{vip4, vip6} {
			w.onClient("ip", "neigh", "replace", vip, "lladdr", "02:00:00:00:00:99", "dev", "c0", "nud", "stale")
		}
		w.Set(claimsFor(vip4, vip6))
		for _, vip := range []string{vip4, vip6} {
			w.until("the client's kernel learnt where "+vip+" is", func() bool {
				return strings.Contains(w.onClient("ip", "neigh", "show", vip), nodeMAC)
			})
		}
		if w.sum(ipv4).Answers+w.sum(ipv6).Answers != 0 {
			w.Errorf("%+v: some host asked, so this proves nothing about announcements", w.Stats())
		}
	})
}

func TestWireKernelResolvesAndProbes(t *testing.T) {
	onWire(t, func(w *rig) {
		w.Set(claimsFor(vip4, vip6))
		w.until("both protocols speak", func() bool { return w.sum(ipv4).Announced > 0 && w.sum(ipv6).Announced > 0 })
		out := w.onClient("arping", "-c", "1", "-w", "5", "-I", "c0", vip4)
		if !strings.Contains(strings.ToLower(out), nodeMAC) {
			w.Errorf("arping says:\n%s", out)
		}
		for _, vip := range []string{vip4, vip6} {
			state := func() string { return w.onClient("ip", "neigh", "show", vip) }
			w.until("the client's kernel resolved "+vip, func() bool {
				// Any packet will do; the node's kernel drops it.
				w.onClient("bash", "-c", "echo x > /dev/udp/"+vip+"/9")
				return strings.Contains(state(), nodeMAC)
			})
			// RFC 4861 7.3.3, and RFC 1122 2.3.2.1 for ARP: a unicast probe that is
			// answered makes the entry REACHABLE; an announcement never does.
			w.until("the client's unicast probe for "+vip+" was answered", func() bool {
				switch s := state(); {
				case strings.Contains(s, "REACHABLE"):
					return true
				case !strings.Contains(s, "PROBE"):
					w.onClient("ip", "neigh", "replace", vip, "lladdr", nodeMAC, "dev", "c0", "nud", "probe")
				}
				return false
			})
		}
	})
}

func TestWireCableCutAndRejoined(t *testing.T) {
	onWire(t, func(w *rig) {
		tap := w.tap("c0", neighbor.ARP())
		w.Set(claimsFor(vip4))
		tap.expect("a new claim", announce1)
		w.onClient("ip", "link", "set", "c0", "down")
		w.until("the link is seen down", func() bool { return !w.up("n0") })
		drain(tap)
		select { // the pending signal says that the link came up or went down
		case <-w.Changed():
		default:
			w.Error("Changed says nothing")
		}
		w.onClient("ip", "link", "set", "c0", "up")
		tap.expect("after the cable is back", announce1)
		tap.expect("after the cable is back", announce2)
		tap.expect("and again", announce1)
		tap.send(question{}.arp())
		w.until("questions are answered again", func() bool { return w.sum(ipv4).Answers > 0 })
	})
}

func TestWireShortestCut(t *testing.T) {
	onWire(t, func(w *rig) {
		tap := w.tap("c0", neighbor.ARP())
		w.Set(claimsFor(vip4))
		w.until("all announcements are made", func() bool { return w.sum(ipv4).Announced == arpFrames })
		drain(tap)
		w.onClient("bash", "-c", "ip link set c0 down; ip link set c0 up")
		tap.expect("after a cut too short to be listed", announce1)
	})
}

func TestWireLinkDeletedAndMadeAgain(t *testing.T) {
	onWire(t, func(w *rig) {
		w.Set(claimsFor(vip4, vip6))
		run(w, "ip", "link", "del", "n0")
		w.until("the link is gone", func() bool { return len(w.Links()) == 0 })
		cable(w, "ip", "", w.client)
		tap := w.tap("c0", neighbor.ARP())
		w.until("the client hears again from the node", func() bool {
			tap.send(question{}.arp())
			return strings.HasPrefix(tap.receive(100*time.Millisecond), "ARP")
		})
		w.until("the solicited-node group is joined again", joined)
	})
}

func TestWireMACChanged(t *testing.T) {
	onWire(t, func(w *rig) {
		tap := w.tap("c0", neighbor.ARP())
		w.Set(claimsFor(vip4))
		w.until("all announcements are made", func() bool { return w.sum(ipv4).Announced == arpFrames })
		drain(tap)
		run(w, "ip", "link", "set", "n0", "address", "02:00:00:00:00:0b")
		tap.expect("after the change", strings.ReplaceAll(announce1, nodeMAC, "02:00:00:00:00:0b"))
		drain(tap)
		tap.send(question{}.arp())
		w.until("the answer names the new MAC", func() bool {
			return tap.receive(timeout) == strings.ReplaceAll(fmt.Sprintf(arpAnswer, "192.0.2.1"), nodeMAC, "02:00:00:00:00:0b")
		})
	})
}

func TestWireSetNilIsSilent(t *testing.T) {
	onWire(t, func(w *rig) {
		arp, ndp := w.tap("c0", neighbor.ARP()), w.tap("c0", neighbor.NDP())
		w.Set(claimsFor(vip4, vip6))
		w.until("both protocols speak", func() bool { return w.sum(ipv4).Announced > 0 && w.sum(ipv6).Announced > 0 })
		w.Set(nil)
		w.until("the sockets are closed", func() bool { return packetSockets() == 0 })
		drain(arp)
		drain(ndp)
		arp.send(question{}.arp())
		arp.send(question{dst: nodeMAC}.arp())
		ndp.send(question{}.ndp())
		ndp.send(question{dst: nodeMAC}.ndp())
		arp.silent("all is withdrawn, with announcements still planned")
		ndp.silent("all is withdrawn, with announcements still planned")
	})
}

func TestWireWithdrawalIsImmediate(t *testing.T) {
	onWire(t, func(w *rig) {
		tap := w.tap("c0", neighbor.ARP())
		w.Set(claimsFor(vip4, "192.0.2.110"))
		w.until("all announcements are made", func() bool { return w.sum(ipv4).Announced == 2*arpFrames })
		drain(tap)
		// The withdrawn address first: an answer to it would come first too.
		w.Set(claimsFor("192.0.2.110"))
		tap.send(question{}.arp())
		tap.send(question{target: "192.0.2.110"}.arp())
		tap.expect("one of two was withdrawn", strings.ReplaceAll(fmt.Sprintf(arpAnswer, "192.0.2.1"), vip4, "192.0.2.110"))
	})
}

func TestWireSetTwiceSendsNothing(t *testing.T) {
	onWire(t, func(w *rig) {
		arp, ndp := w.tap("c0", neighbor.ARP()), w.tap("c0", neighbor.NDP())
		w.Set(claimsFor(vip4, vip6))
		w.until("all announcements are made", func() bool { return w.sum(ipv4).Announced == arpFrames && w.sum(ipv6).Announced == 3 })
		drain(arp)
		drain(ndp)
		w.Set(claimsFor(vip6, vip4))
		arp.silent("the same again, in another order")
		ndp.silent("the same again, in another order")
		w.Set(claimsFor(vip4, vip6, "192.0.2.110"))
		arp.expect("a third claim is announced alone", strings.ReplaceAll(announce1, vip4, "192.0.2.110"))
	})
}

func TestWireLinksThatQualify(t *testing.T) {
	onWire(t, func(w *rig) {
		run(w, "ip", "link", "add", "pod0", "type", "veth", "peer", "name", "pod1")
		run(w, "ip", "link", "set", "pod0", "up")
		run(w, "ip", "addr", "add", "10.0.0.1/32", "dev", "pod0")
		run(w, "ip", "link", "add", "br0", "address", "02:00:00:00:00:0c", "type", "bridge")
		run(w, "ip", "addr", "add", "198.51.100.1/24", "dev", "br0")
		run(w, "ip", "addr", "add", "198.51.101.1/24", "dev", "pod1")
		run(w, "ip", "link", "set", "pod1", "master", "br0")
		run(w, "ip", "link", "set", "br0", "up")
		want := "[br0 02:00:00:00:00:0c up=false [198.51.100.0/24] n0 02:00:00:00:00:0a up=true [192.0.2.0/24 2001:db8::/64]]"
		text := func() string {
			var all []string
			for _, l := range w.Links() {
				all = append(all, fmt.Sprintf("%s %s up=%t %s", l.Name, l.MAC, l.Up, l.Prefixes))
			}
			return fmt.Sprint(all)
		}
		w.until("links are "+want, func() bool { return text() == want })

		run(w, "ip", "link", "set", "pod1", "up")
		w.until("the bridge has a carrier", func() bool { return w.up("br0") })
		w.Set([]announce.Claim{{Addr: netip.MustParseAddr(vip4), Links: announce.Links{Only: []string{"br*"}}}})
		w.until("the bridge speaks", func() bool { return w.sum(ipv4).Announced > 0 })
		tap := w.tap("c0", neighbor.ARP())
		tap.send(question{}.arp())
		tap.silent("claimed on another link only")
		if n := packetSockets(); n != 1 {
			w.Errorf("%d packet sockets are open on the node, want 1: on br0", n)
		}
	})
}

func TestWireGroups(t *testing.T) {
	onWire(t, func(w *rig) {
		base := groupsJoined(w.T)
		var claims []announce.Claim
		for a, i := netip.MustParseAddr("2001:db8::1:0"), 0; i < 3000; a, i = a.Next(), i+1 {
			claims = append(claims, announce.Claim{Addr: a})
		}
		// Two addresses that share their group, which must outlive one of them.
		claims = append(claims, claimsFor("2001:db8::a:9:1", "2001:db8::b:9:1")...)
		w.Set(claims)
		w.until("one socket's worth of groups and more are joined", func() bool { return groupsJoined(w.T) == base+3001 })
		w.Set(claimsFor("2001:db8::a:9:1"))
		w.until("all but the shared group are left", func() bool { return groupsJoined(w.T) == base+1 })
		w.Set(nil)
		w.until("all are left", func() bool { return groupsJoined(w.T) == base })
	})
}

func TestWireGroupsRefusedAtFirst(t *testing.T) {
	onWire(t, func(w *rig) {
		run(w, "ip", "link", "set", "n0", "mtu", "1200") // too small for IPv6, so that the kernel drops it
		w.Set(claimsFor(vip4, vip6))
		arp, ndp := w.tap("c0", neighbor.ARP()), w.tap("c0", neighbor.NDP())
		w.until("ARP speaks all the same", func() bool {
			arp.send(question{}.arp())
			return arp.receive(100*time.Millisecond) != ""
		})
		w.until("unicast solicitations are answered all the same", func() bool {
			ndp.send(question{dst: nodeMAC, group: vip6}.ndp()) // again: NDP begins again when IPv6 has gone
			return w.sum(ipv6).Answers > 0
		})
		if n := groupsJoined(w.T); n != 0 {
			w.Errorf("n0 is in %d groups, so nothing was refused", n)
		}
		run(w, "ip", "link", "set", "n0", "mtu", "1500")
		w.until("the group is joined when IPv6 is there", func() bool {
			b, err := os.ReadFile("/proc/thread-self/net/igmp6")
			must(err)
			return strings.Contains(string(b), "ff0200000000000000000001ff000100")
		})
	})
}

// groupsJoined counts the IPv6 groups that n0 is in.
func groupsJoined(t *testing.T) int {
	b, err := os.ReadFile("/proc/thread-self/net/igmp6")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), " n0 ")
}

// packetSockets counts the packet sockets in the node's namespace.
func packetSockets() int {
	b, err := os.ReadFile("/proc/thread-self/net/packet")
	must(err)
	return strings.Count(string(b), "\n") - 1
}

// drain throws away what is under way.
func drain(t tap) {
	for t.receive(100*time.Millisecond) != "" {
	}
}
