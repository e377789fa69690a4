package failover

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// A node that was cut off, or stood still, believes nothing until it has heard all
// that it missed.
func TestPhases(t *testing.T) {
	mine := map[netip.Addr]string{addr: self, addr2: "y"}
	t.Run("isolated, then back with the API server", func(t *testing.T) {
		d := newFixture()
		d.claim(mine)
		expect(t, "at first", d.step(0), "answers 192.0.2.1, Synced")
		d.Members.Isolated = true
		expect(t, "cut off", d.step(time.Second), "Isolated")
		d.Members.Isolated = false
		o := d.step(time.Second)
		expect(t, "back", o, "probes 192.0.2.1, Resyncing")
		if !o.Resync {
			t.Error("it does not read what it has missed")
		}
		d.API = API{Reachable: true, WasSynced: true}
		expect(t, "the API server is heard, but not for long", d.step(time.Second), "probes 192.0.2.1, Resyncing")
		d.back()
		expect(t, "all was heard", d.step(time.Second), "probes 192.0.2.1, Synced")
		d.probed(addr, "")
		expect(t, "no host has it", d.step(0), "answers 192.0.2.1, Synced")
	})
	t.Run("isolated, and another took its address and could not write that yet", func(t *testing.T) {
		d := newFixture()
		d.claim(mine)
		d.step(0)
		d.away()
		d.Members.Isolated = true
		d.step(time.Second)
		d.Members.Isolated = false
		d.step(time.Second)
		d.probed(addr, "y")
		expect(t, "back", d.step(time.Second), "probes 192.0.2.1, Resyncing")
		d.back()
		d.probed(addr, "y")
		expect(t, "all was heard, and the other has it", d.step(time.Second), "probes 192.0.2.1, Synced")
		d.claim(map[netip.Addr]string{addr: "y", addr2: "y"})
		expect(t, "the other has written that", d.step(time.Second), "Synced")
	})
	t.Run("isolated, then back without the API server: it probes all that it might come to have", func(t *testing.T) {
		d := newFixture()
		d.claim(mine)
		d.step(0)
		d.away()
		d.Members.Isolated = true
		d.step(time.Second)
		d.Members.Isolated = false
		expect(t, "back", d.step(time.Second), "probes 192.0.2.1, Resyncing")
		o := d.step(probeAllAfter - time.Millisecond)
		expect(t, "the API server may yet answer", o, "probes 192.0.2.1, Resyncing")
		if o.Wake > 3*time.Millisecond {
			t.Errorf("it wakes after %v", o.Wake)
		}
		expect(t, "it does not", d.step(time.Millisecond), "probes 192.0.2.1, probes 192.0.2.2, Resyncing")
		d.probed(addr, "")
		d.probed(addr2, "y")
		expect(t, "no host has the one", d.step(0), "answers 192.0.2.1, probes 192.0.2.2, Resyncing")
		d.Now = d.Now.Add(time.Second)
		d.dead("x") // so that this node is to have it
		d.dead("y")
		expect(t, "who had the other is dead", d.step(0), "answers 192.0.2.1, answers 192.0.2.2 unconfirmed, Resyncing")
	})
	t.Run("stalled", func(t *testing.T) {
		d := newFixture()
		d.claim(mine)
		d.step(0)
		d.Stalls++
		o := d.step(time.Second)
		expect(t, "the process stood still", o, "Stalled")
		if !o.Resync || !slices.Contains(o.Events, Event{Kind: ProcessStalled}) || !slices.Contains(o.Events, Event{Kind: AddressReleased, Addr: addr}) {
			t.Errorf("resync %t, events %v", o.Resync, o.Events)
		}
		d.away()
		d.probed(addr, "")
		o = d.step(stallRecovery - time.Millisecond)
		expect(t, "others have time to take what it had", o, "probes 192.0.2.2, Stalled")
		if o.Wake == 0 {
			t.Error("it does not wake")
		}
		d.probed(addr, "")
		d.dead("x")
		d.dead("y")
		expect(t, "then it takes what no host has, and not what a dead node had", d.step(time.Millisecond), "answers 192.0.2.1, probes 192.0.2.2, Resyncing")
	})
	t.Run("stalled, and the API server is reachable again", func(t *testing.T) {
		d := newFixture()
		d.claim(mine)
		d.step(0)
		d.Stalls++
		d.step(0)
		d.API = API{Reachable: true, WasSynced: true}
		expect(t, "reachable: it probes", d.step(time.Millisecond), "probes 192.0.2.1, Resyncing")
		d.back()
		expect(t, "all was heard", d.step(time.Millisecond), "probes 192.0.2.1, Synced")
		d.probed(addr, "")
		expect(t, "no host has it", d.step(time.Millisecond), "answers 192.0.2.1, Synced")
		d.Stalls++
		expect(t, "another one", d.step(time.Millisecond), "Stalled")
	})
	t.Run("what was probed before is void", func(t *testing.T) {
		d := newFixture()
		d.claim(mine)
		d.away()
		d.probed(addr, "")
		d.Members.Isolated = true
		d.step(time.Millisecond)
		d.Members.Isolated = false
		expect(t, "back", d.step(time.Millisecond), "probes 192.0.2.1, Resyncing")
		if after := d.step(0).Probe[addr].After; !after.After(d.Probes[addr].Asked) {
			t.Error("the old result is not asked for again")
		}
	})
}
