package layer2

import (
	"maps"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/internal/layer2/link"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// routesAgain is how often to look at the kernel's routes where they matter: they
// may change without a word about links.
const routesAgain = 5 * time.Second

// order takes over which of several links in one subnet answers; links are the
// devices as they are told. It returns when to look again, at the latest at next.
func (a *Announcer) order(devices []link.Device, links []Link, next time.Duration) time.Duration {
	var before map[string][]string
	if link.Shared(devices) {
		next = min(next, routesAgain)
		routes, err := link.Routes()
		if err != nil {
			a.log.Warn("can't tell by which link the kernel sends, taking the first", "err", err)
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
		a.log.Info("another link in the same subnet answers in the place of this one", "link", name, "instead", others)
	}
	a.claims.Store(t.with(before))
	wait.Signal(a.turned) // an L2Claim names the links
	return next
}
