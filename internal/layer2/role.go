package layer2

import (
	"github.com/steelyard-lb/steelyard/internal/layer2/link"
)

// role is what one worker does: one family's protocol on one link. A link that
// changed, or lost its carrier, makes another role: then all addresses are announced
// and all groups are joined again.
type role struct {
	family family
	link   string
	index  int    // of the interface, in the kernel
	mac    string // 6 raw bytes
	epoch  uint32 // of the device
	inet6  bool   // the kernel speaks IPv6 on it
	router bool   // it forwards IPv6
}

// roles returns the roles that the claims need on these devices.
func roles(devices []link.Device, t *table) map[role]bool {
	wanted := map[role]bool{}
	for _, d := range devices {
		if !d.Up {
			continue
		}
		r := role{link: d.Name, index: d.Index, mac: string(d.MAC), epoch: d.Epoch}
		if r.family = ipv4; t.Has(d.Name, ipv4) {
			wanted[r] = true
		}
		if r.family = ipv6; t.Has(d.Name, ipv6) {
			r.inet6, r.router = d.IPv6, d.Router
			wanted[r] = true
		}
	}
	return wanted
}
