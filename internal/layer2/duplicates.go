package layer2

import (
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/neighbor"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// DuplicateOwners returns the speakers that announced an address of this node within
// DuplicateMemory, sorted by address.
func (a *Announcer) DuplicateOwners(now time.Time) []DuplicateOwner { return a.duplicates.Recent(now) }

// DuplicateOwnerHeard returns the channel that gets a value when DuplicateOwners has a
// new one, and while it is heard.
func (a *Announcer) DuplicateOwnerHeard() <-chan struct{} { return a.duplicateHeard }

// duplicateOwner handles a frame in which another speaker announces an address that
// this node answers for. A frame with a MAC of this node does not count. Where the
// speakers have keys, a frame counts only with a proof: any host can forge a MAC.
func (w *worker) duplicateOwner(m neighbor.Message) {
	addr, now := m.Holds, time.Now()
	if e := w.claims.Load().Of(addr); e == nil || !e.Own(w.role.link) || w.ours(m.Sender) {
		return
	}
	w.count.DuplicateOwners.Add(1)
	if keys := *w.keys.Load(); len(keys) > 0 {
		made, ok := m.Proven(keys, now)
		if !ok {
			w.count.Unproven.Add(1)
		}
		if !ok || !w.duplicates.Fresh(addr, m.Sender, made) {
			return
		}
	} else if string(m.Source) != string(m.Sender) {
		return // the frame came from another host
	}
	isNew, signal := w.duplicates.Hear(addr, m.Sender, now)
	if isNew && w.mayReport() {
		w.log.Info("another speaker announces an address of this node", "addr", addr, "mac", m.Sender.String())
	}
	if signal {
		wait.Signal(w.duplicateHeard)
	}
}

// SetKeys sets the keys that the speakers share. The first one proves this node's
// announcements; any of them may prove those of others. Without keys no proof is asked for.
func (a *Announcer) SetKeys(keys [][]byte) {
	if !slices.EqualFunc(keys, *a.keys.Load(), slices.Equal) {
		a.keys.Store(&keys)
	}
}

// announcement returns the frames that announce addr to all neighbors.
func (w *worker) announcement(addr netip.Addr) [][]byte {
	self := w.self
	if keys := *w.keys.Load(); len(keys) > 0 {
		self.Proof = neighbor.Prove(keys[0], self.MAC, addr, time.Now())
	}
	return w.proto.Announce(addr, self)
}
