package layer2

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/neighbor"
)

// speaking waits until both protocols have begun.
func (w *rig) speaking() {
	w.Helper()
	w.until("both protocols speak", func() bool { return w.sum(ipv4).Announced > 0 && w.sum(ipv6).Announced > 0 })
}

// TestWireFilterIsReplacedUnderLoad: while other addresses come and go, no
// question for one that stays is lost.
func TestWireFilterIsReplacedUnderLoad(t *testing.T) {
	onWire(t, func(w *rig) {
		tap := w.tap("c0", neighbor.ARP())
		w.Set(claimsFor(vip4))
		w.until("ARP speaks", func() bool { return w.sum(ipv4).Announced > 0 })
		var addrs []string
		for a, i := netip.MustParseAddr("198.51.100.1"), 0; i < 100; a, i = a.Next(), i+1 {
			addrs = append(addrs, a.String())
		}
		const rounds = 200
		for i := range rounds {
			w.Set(claimsFor(append(addrs[:i%100:i%100], vip4)...))
			// From ever other stations, so that none asks too often.
			from := fmt.Sprintf("02:00:00:00:01:%02x", i)
			tap.send(question{mac: from}.arp())
			for answered := false; !answered; {
				f := tap.frame(timeout)
				if f == nil {
					w.Fatalf("question %d was not answered", i)
				}
				answered = strings.HasPrefix(describe(f), "ARP reply to "+from)
			}
		}
		if s := w.sum(ipv4); s.Requests != rounds || s.Answers != rounds {
			w.Errorf("counted %+v, want %d questions", s, rounds)
		}
	})
}

func TestWireForeignFramesWakeNoHost(t *testing.T) {
	onWire(t, func(w *rig) {
		arp, ndp := w.tap("c0", neighbor.ARP()), w.tap("c0", neighbor.NDP())
		w.Set(claimsFor(vip4, vip6))
		w.speaking()
		for range 5000 {
			arp.send(question{target: "192.0.2.102"}.arp())
			ndp.send(question{target: "2001:db8::102", dst: nodeMAC}.ndp())
		}
		arp.send(question{}.arp())
		w.until("the next question is answered", func() bool { return w.sum(ipv4).Answers == 1 })
		if n := w.sum(ipv4).Frames + w.sum(ipv6).Frames; n != 1 {
			w.Errorf("%d frames woke us, want 1", n)
		}
	})
}

// A machine that runs Linux has the addresses already.
func TestWireForeignHostHasTheAddress(t *testing.T) {
	onWire(t, func(w *rig) {
		w.onClient("ip", "addr", "add", vip4+"/32", "dev", "c0")
		w.onClient("ip", "addr", "add", vip6+"/128", "dev", "c0", "nodad")
		w.Set(newClaims(vip4, vip6, "192.0.2.110"))
		w.until("both are taken, and the third is not", func() bool {
			return standing(w.Announcer) == vip4+" Conflict "+clientMAC+" n0, 192.0.2.110 Announced, "+vip6+" Conflict "+clientMAC+" n0"
		})
	})
}

// RFC 4862 section 5.4.4: who looks for duplicates hears of us.
func TestWireOursIsFoundByOthers(t *testing.T) {
	onWire(t, func(w *rig) {
		w.Set(claimsFor(vip4, vip6))
		w.speaking()
		w.onClient("ip", "addr", "add", vip6+"/128", "dev", "c0")
		w.until("the client's kernel finds that its address is a duplicate", func() bool {
			return strings.Contains(w.onClient("ip", "addr", "show", "dev", "c0"), "dadfailed")
		})
	})
}

// TestWireBounces: after each of 20 bounces the switch hears from us which
// groups we are in, and a solicitation to the group is answered.
func TestWireBounces(t *testing.T) {
	onWire(t, func(w *rig) {
		w.Set(claimsFor(vip4, vip6))
		w.speaking()
		ndp := w.tap("c0", neighbor.NDP())
		for i := range 20 {
			w.onClient("ip", "link", "set", "c0", "down")
			if i%4 == 0 { // else it comes back before any host has noticed
				w.until("the link is seen down", func() bool { return !w.up("n0") })
			}
			w.onClient("ip", "link", "set", "c0", "up")
			w.until("the link is seen up", func() bool { return w.up("n0") })
			ndp.report("ff0200000000000000000001ff000100")
			w.until("a solicitation to the group is answered", func() bool {
				ndp.send(question{}.ndp())
				return strings.Contains(ndp.receive(100*time.Millisecond), "target="+vip6)
			})
		}
	})
}

// report waits for a report of the membership in a group (RFC 3810 section 5.2).
func (t tap) report(group string) {
	t.Helper()
	must(t.SetReadDeadline(time.Now().Add(timeout)))
	f := make([]byte, neighbor.MaxFrame)
	for {
		n, _, err := t.ReadFrom(f)
		if err != nil && strings.Contains(err.Error(), "network is down") {
			continue // said once for each bounce
		}
		if err != nil {
			t.Fatalf("no report of the group %s: %v", group, err)
		}
		const hopByHop, typeReport = 0, 143
		if n > 62 && f[13] == 0xdd && f[20] == hopByHop && f[62] == typeReport && strings.Contains(hex.EncodeToString(f[:n]), group) {
			return
		}
	}
}

// joined says whether n0 is in the group of vip6.
func joined() bool {
	b, err := os.ReadFile("/proc/thread-self/net/igmp6")
	must(err)
	return strings.Contains(string(b), "ff0200000000000000000001ff000100")
}

func TestWireLinkOfOneFamily(t *testing.T) {
	for family, own := range map[string]string{"IPv6": "192.0.2.11/24", "IPv4": "2001:db8::11/64"} {
		t.Run("only "+family, func(t *testing.T) {
			onWire(t, func(w *rig) {
				run(w, "ip", "addr", "del", own, "dev", "n0")
				w.until("the address is gone", func() bool { return len(w.Links()) == 1 && len(w.Links()[0].Prefixes) == 1 })
				arp, ndp := w.tap("c0", neighbor.ARP()), w.tap("c0", neighbor.NDP())
				w.Set(claimsFor(vip4, vip6))
				w.speaking()
				arp.send(question{}.arp())
				ndp.send(question{}.ndp())
				w.until("both families are answered", func() bool { return w.sum(ipv4).Answers == 1 && w.sum(ipv6).Answers == 1 })
			})
		})
	}
}

// RFC 4861 section 7.2.4: the Router flag tells whether the node forwards.
func TestWireRouterFlag(t *testing.T) {
	onWire(t, func(w *rig) {
		ndp := w.tap("c0", neighbor.NDP())
		w.Set(claimsFor(vip6))
		for _, forwarding := range []string{"1", "0"} {
			must(os.WriteFile("/proc/sys/net/ipv6/conf/n0/forwarding", []byte(forwarding), 0o644))
			w.until("the flag follows forwarding="+forwarding, func() bool {
				ndp.send(question{}.ndp())
				return strings.Contains(ndp.receive(100*time.Millisecond), fmt.Sprintf("router=%t", forwarding == "1"))
			})
		}
	})
}

// TestWireMalformed: cut short, or prolonged, nothing stops the worker.
func TestWireMalformed(t *testing.T) {
	onWire(t, func(w *rig) {
		arp, ndp := w.tap("c0", neighbor.ARP()), w.tap("c0", neighbor.NDP())
		w.Set(claimsFor(vip4, vip6))
		w.speaking()
		broken := question{edit: flip(56)}.ndp()
		for n := ethernetHeader; n < len(broken); n++ {
			ndp.send(broken[:n])
		}
		request := question{}.arp()
		for n := ethernetHeader; n < ethernetHeader+28; n++ {
			arp.send(request[:n])
		}
		ndp.send(broken)
		arp.send(question{mac: "ff:ff:ff:ff:ff:ff"}.arp())
		arp.send(question{}.arp())
		ndp.send(question{}.ndp())
		w.until("the next questions are answered", func() bool { return w.sum(ipv4).Answers == 1 && w.sum(ipv6).Answers == 1 })
		if w.sum(ipv4).Malformed == 0 || w.sum(ipv6).Malformed == 0 {
			w.Errorf("nothing counts as malformed: %+v", w.Stats())
		}
	})
}

const ethernetHeader = 14

// kube-proxy's mode ipvs is known by its link, and strictARP by two sysctls.
func TestWireKernelAnswers(t *testing.T) {
	onWire(t, func(w *rig) {
		if reason := w.KernelAnswers(); reason != "" {
			w.Errorf("without kube-ipvs0: %s", reason)
		}
		run(w, "ip", "link", "add", "kube-ipvs0", "type", "bridge")
		w.until("it is seen that the kernel answers", func() bool { return w.KernelAnswers() != "" })
		must(os.WriteFile("/proc/sys/net/ipv4/conf/all/arp_ignore", []byte("1"), 0o644))
		must(os.WriteFile("/proc/sys/net/ipv4/conf/all/arp_announce", []byte("2"), 0o644))
		run(w, "ip", "addr", "add", "10.96.0.1/32", "dev", "kube-ipvs0")
		w.until("it is seen that it does not any more", func() bool { return w.KernelAnswers() == "" })
	})
}
