package neighbor

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// What a speaker announces bears its proof; nothing else that is said in its name does.
func TestProof(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_123)
	station := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	old, key := []byte("old"), []byte("key")
	for _, c := range []struct {
		proto Protocol
		addr  netip.Addr
	}{{ARP(), netip.MustParseAddr("192.0.2.100")}, {NDP(), netip.MustParseAddr("2001:db8::100")}} {
		announced := func(s Station, addr netip.Addr) (out []Message) {
			for _, f := range c.proto.Announce(addr, s) {
				m, ok := c.proto.Read(f)
				if !ok || m.Holds != addr {
					t.Fatalf("%s: an announcement is read as %+v", c.proto.Name, m)
				}
				out = append(out, m)
			}
			return out
		}
		proof := Prove(key, station, c.addr, now)
		for _, m := range announced(Station{MAC: station, Proof: proof}, c.addr) {
			if at, ok := m.Proven([][]byte{old, key}, now.Add(MaxSkew)); !ok || !at.Equal(now) {
				t.Errorf("%s: an announcement proves %v, %t", c.proto.Name, at, ok)
			}
			for what, ok := range map[string]func() bool{
				"nothing without the key": func() bool { _, ok := m.Proven([][]byte{old}, now); return ok },
				"nothing later":           func() bool { _, ok := m.Proven([][]byte{key}, now.Add(MaxSkew+time.Millisecond)); return ok },
				"nothing of the future":   func() bool { _, ok := m.Proven([][]byte{key}, now.Add(-MaxSkew-time.Millisecond)); return ok },
				"nothing from elsewhere": func() bool {
					m := m
					m.Source = net.HardwareAddr{2, 0, 0, 0, 0, 2}
					_, ok := m.Proven([][]byte{key}, now)
					return ok
				},
			} {
				if ok() {
					t.Errorf("%s: want %s", c.proto.Name, what)
				}
			}
		}
		for what, m := range map[string][]Message{
			"another address": announced(Station{MAC: station, Proof: proof}, c.addr.Next()),
			"another station": announced(Station{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, Proof: proof}, c.addr),
			"no proof":        announced(Station{MAC: station}, c.addr),
		} {
			if _, ok := m[0].Proven([][]byte{key}, now); ok {
				t.Errorf("%s: %s is proven", c.proto.Name, what)
			}
		}
	}
}
