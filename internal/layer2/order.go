package layer2

import (
	"maps"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/layer2/link"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// routesInterval is how often to read the kernel's routes where they matter: they
// can change without a change of links.
const routesInterval = 5 * time.Second

// order decides which of several links in one subnet answers. links are the devices
// as they are published. It returns when to look again, at the latest after next.
func (a *Announcer) order(devices []link.Device, links []Link, next time.Duration) time.Duration {
	var before map[string][]string
	if link.Shared(devices) {
		next = min(next, routesInterval)
		routes, err := link.Routes()
		if err != nil {
			a.log.Warn("cannot read by which link the kernel sends, taking the first", "err", err)
		}
		devices = slices.Clone(devices)
		for i := range devices {
			devices[i].Link = links[i] // a short cut moves nothing
		}
		before = link.Before(devices, routes)
	}
	a.setting.Lock()
	defer a.setting.Unlock()
	t := a.claims.Load()
	if maps.EqualFunc(t.before, before, slices.Equal) {
		return next
	}
	for name, others := range before {
		a.log.Info("another link in the same subnet answers instead of this one", "link", name, "instead", others)
	}
	a.claims.Store(t.with(before))
	wait.Signal(a.stateChanged) // an L2Claim names the links
	return next
}
