package layer2

import (
	"net"
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/internal/wait"
)

// Rivals returns the rivals that were heard lately, by address.
func (a *Announcer) Rivals(now time.Time) []Rival { return a.rivals.Lately(now) }

// Contested returns the channel that gets a value when a rival was heard.
func (a *Announcer) Contested() <-chan struct{} { return a.contested }

// contest takes in that somebody who is no stranger says that it has an address
// of this node's own. A station whose MAC is one of this node's is none.
func (w *worker) contest(addr netip.Addr, mac net.HardwareAddr) {
	if e := w.claims.Load().Of(addr); e == nil || !e.Own(w.role.link) || w.ours(mac) {
		return
	}
	w.count.Rivals.Add(1)
	isNew, tell := w.rivals.Hear(addr, mac, time.Now())
	if isNew && w.mayTell() {
		w.log.Info("another speaker says that it has an address of this node", "addr", addr, "mac", mac.String())
	}
	if tell {
		wait.Signal(w.contested)
	}
}
