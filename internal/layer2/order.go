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

// order tells the table of claims which of several links in one subnet answers, and which
// links have no address. links are the devices as they are published. It returns when to
// look again, at the latest after next.
func (a *Announcer) order(devices []link.Device, links []Link, next time.Duration) time.Duration {
	var facts linkFacts
	for _, l := range links {
		if l.Unnumbered {
			if facts.unnumbered == nil {
				facts.unnumbered = map[string]bool{}
			}
			facts.unnumbered[l.Name] = true
		}
	}
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
		facts.before = link.Before(devices, routes)
	}
	a.setting.Lock()
	defer a.setting.Unlock()
	t := a.claims.Load()
	if maps.EqualFunc(t.facts.before, facts.before, slices.Equal) && maps.Equal(t.facts.unnumbered, facts.unnumbered) {
		return next
	}
	for name, others := range facts.before {
		a.log.Info("another link in the same subnet answers instead of this one", "link", name, "instead", others)
	}
	a.claims.Store(t.with(facts))
	wait.Signal(a.stateChanged) // an L2Claim names the links
	return next
}
