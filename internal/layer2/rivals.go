package layer2

import (
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/neighbor"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// Rivals returns the rivals that were heard lately, by address.
func (a *Announcer) Rivals(now time.Time) []Rival { return a.rivals.Lately(now) }

// Contested returns the channel that gets a value when a rival was heard.
func (a *Announcer) Contested() <-chan struct{} { return a.contested }

// contest takes in that somebody who is no stranger says that it has an address
// of this node's own. A station whose MAC is one of this node's is none. Where the
// speakers have keys only who proves it is believed: anybody can speak in a node's name.
func (w *worker) contest(m neighbor.Message) {
	addr, now := m.Holds, time.Now()
	if e := w.claims.Load().Of(addr); e == nil || !e.Own(w.role.link) || w.ours(m.Sender) {
		return
	}
	w.count.Rivals.Add(1)
	if keys := *w.keys.Load(); len(keys) > 0 {
		made, ok := m.Proven(keys, now)
		if !ok {
			w.count.Unproven.Add(1)
		}
		if !ok || !w.rivals.Fresh(addr, m.Sender, made) {
			return
		}
	} else if string(m.Source) != string(m.Sender) {
		return // nor is it where that speaker is
	}
	isNew, tell := w.rivals.Hear(addr, m.Sender, now)
	if isNew && w.mayTell() {
		w.log.Info("another speaker says that it has an address of this node", "addr", addr, "mac", m.Sender.String())
	}
	if tell {
		wait.Signal(w.contested)
	}
}

// SetKeys tells the keys by which speakers know one another: the first proves what
// this node announces, any may prove what others do. Without keys everybody is believed.
func (a *Announcer) SetKeys(keys [][]byte) {
	if !slices.EqualFunc(keys, *a.keys.Load(), slices.Equal) {
		a.keys.Store(&keys)
	}
}

// announcement returns the frames that tell all neighbors where addr is.
func (w *worker) announcement(addr netip.Addr) [][]byte {
	self := w.self
	if keys := *w.keys.Load(); len(keys) > 0 {
		self.Proof = neighbor.Prove(keys[0], self.MAC, addr, time.Now())
	}
	return w.proto.Announce(addr, self)
}
