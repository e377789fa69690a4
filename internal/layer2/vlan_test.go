package layer2

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/neighbor"
)

// A VLAN is a link of its own: what is said there concerns no host outside, though the
// kernel shows it to the sockets of the interface that carries it, without its tag.
func TestWireVLANIsAnotherLink(t *testing.T) {
	withVLANs(t, func(t *testing.T) {
		onWire(t, func(w *rig) {
			run(w, "ip", "link", "add", "link", "n0", "name", "n0.10", "type", "vlan", "id", "10")
			run(w, "ip", "link", "set", "n0.10", "up")
			w.onClient("ip", "link", "add", "link", "c0", "name", "c0.10", "type", "vlan", "id", "10")
			w.onClient("ip", "link", "set", "c0.10", "up")
			only := announce.Links{Only: []string{"n0"}}
			claims := []announce.Claim{{Addr: netip.MustParseAddr(vip4), Links: only}, {Addr: netip.MustParseAddr(vip6), Links: only}}
			w.Set(claims)
			w.until("all announcements are made", func() bool { return w.sum(ipv4).Announced == arpFrames && w.sum(ipv6).Announced == 3 })
			for _, c := range []struct {
				proto  neighbor.Protocol
				vip    string
				ask    func(source string) []byte
				marked string
			}{
				{neighbor.ARP(), vip4, func(s string) []byte { return question{source: s}.arp() }, fmt.Sprintf(arpAnswer, "192.0.2.9")},
				{neighbor.NDP(), vip6, func(s string) []byte { return question{source: s}.ndp() }, fmt.Sprintf(ndpAnswer, clientMAC, "2001:db8::9", true)},
			} {
				outside, inside := w.tap("c0", c.proto), w.tap("c0.10", c.proto)
				mark, other := "192.0.2.9", "192.0.2.8"
				if c.vip == vip6 {
					mark, other = "2001:db8::9", "2001:db8::8"
				}
				drain(outside)
				inside.send(c.ask(other))
				outside.send(c.ask(mark))
				outside.expect("a question in the VLAN, and one outside", c.marked)
				inside.silent("in the VLAN")
				// Some host in the VLAN says that he has an address that is new outside.
				fresh := netip.MustParseAddr(c.vip).Next()
				station := neighbor.Station{MAC: []byte{2, 0, 0, 0, 0, 0x99}}
				w.Set(append(claims, announce.Claim{Addr: fresh, Links: only, NeedsDAD: true}))
				for w.state(fresh) != Announced {
					for _, f := range c.proto.Announce(fresh, station) {
						inside.send(f)
					}
					if w.state(fresh) == Conflict {
						t.Fatalf("%s is taken, by some host in the VLAN", fresh)
					}
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	})
}

// state returns how far the node is with an address; "": it does not claim it.
func (w *rig) state(addr netip.Addr) State {
	for _, s := range w.Addresses() {
		if s.Addr == addr {
			return s.State
		}
	}
	return ""
}
