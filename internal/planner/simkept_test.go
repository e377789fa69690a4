package planner

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// promises is what the sim knows of addresses that are kept, without a look at the
// controller: which Services must not get each address, and which address a Service that is created again must get.
// It forgets what is in doubt.
type promises struct {
	grace   time.Duration
	blind   bool // the controller has not looked yet
	doubt   bool // pools have changed: who has what is not known until all is at rest
	kept    map[netip.Addr]promise
	back    map[types.UID]promise
	tainted map[netip.Addr]bool // another client wrote it into a status
	checked map[string]int
}

type promise struct {
	name  string
	addr  netip.Addr
	until time.Time
}

// again has no promises; addresses are tainted by what others write from now on.
func (p *promises) again() {
	p.doubt = false
	p.kept, p.back, p.tainted = map[netip.Addr]promise{}, map[types.UID]promise{}, map[netip.Addr]bool{}
}

// change takes in that a Service becomes another version, or comes, or goes.
func (p *promises) change(name string, before, after *corev1.Service, c *intent.Config) {
	is := func(svc *corev1.Service) bool { return svc != nil && svc.Spec.Type == corev1.ServiceTypeLoadBalancer }
	if is(before) && !is(after) || before != nil && after != nil && before.UID != after.UID {
		delete(p.back, before.UID)
		for _, o := range intent.Origins(before) {
			moves := len(c.Pools) > 0 && c.PoolOf(o.Addr) == ""
			if !moves && !p.doubt && !p.blind && slices.Contains(intent.Holds(before), o.Addr) && !p.tainted[o.Addr] && p.grace > 0 && o.Until.IsZero() && !asks(before) { // it may be about to move
				p.kept[o.Addr] = promise{name, o.Addr, time.Now().Add(p.grace - time.Second)}
			}
		}
	}
	if is(after) && !is(before) {
		for a, x := range p.kept {
			if x.name == name {
				if delete(p.kept, a); !asks(after) {
					p.back[after.UID] = x
				}
			}
		}
	}
}

func asks(svc *corev1.Service) bool {
	return svc.Annotations[v1beta1.AnnotationLoadBalancerIPs] != "" || svc.Annotations[v1beta1.AnnotationAddressPool] != ""
}

// broken says which promise a write breaks, or "".
func (p *promises) broken(svc *corev1.Service, addrs []netip.Addr) string {
	gains := slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return slices.Contains(intent.Holds(svc), a) })
	for _, a := range gains {
		if x, kept := p.kept[a]; kept && x.name != svc.Name && !p.tainted[a] && time.Now().Before(x.until) {
			return fmt.Sprintf("%s is written to %s while it is kept for %s", a, svc.Name, x.name)
		}
	}
	x, promised := p.back[svc.UID]
	if !promised || len(gains) == 0 {
		return ""
	}
	delete(p.back, svc.UID)
	if p.tainted[x.addr] || !time.Now().Before(x.until) {
		return ""
	}
	if p.checked["got back"]++; !slices.Contains(gains, x.addr) {
		return fmt.Sprintf("%s had %s before it was created again, and gets %v", svc.Name, x.addr, gains)
	}
	return ""
}

// report has the statuses of the pools say what a plan keeps, a while later.
func (s *sim) report(p Plan) {
	s.reports++
	n, kept := s.reports, p.keptIn()
	s.in(500*time.Millisecond, func() {
		if n != s.reports {
			return
		}
		pools := slices.Clone(s.config.Objects.Pools)
		for i := range pools {
			pools[i].Status.Kept = intent.KeptStatus(kept[pools[i].Name])
			pools[i].Status.Conflicts = p.conflicts.Status(func(a netip.Addr) bool { return p.config.PoolOf(a) == pools[i].Name })
		}
		s.config.Objects.Pools = pools
	})
}

// arriveIn has a write arrive later, whose answer is lost.
func (s *sim) arriveIn(d time.Duration, svc *corev1.Service, c Change) {
	s.unanswered++
	s.in(d, func() {
		s.unanswered--
		_, _ = s.arrive(svc, c)
	})
}

// restart has another controller take over, as soon as nothing is under way and the
// cache shows all. It knows of what was kept only what the statuses of pools say.
func (s *sim) restart() {
	quiet := !s.passing && s.unanswered == 0 && s.underway == 0 && len(s.cache) == len(s.there)
	for name, svc := range s.there {
		quiet = quiet && s.cache[name] != nil && s.cache[name].ResourceVersion == svc.ResourceVersion
	}
	if !quiet {
		s.in(200*time.Millisecond, s.restart)
		return
	}
	s.logf("restart")
	s.checkedPromises("restart")
	s.reports++ // what was to be reported is not any more
	said := map[netip.Addr]bool{}
	for _, k := range intent.Kept(s.config.Objects.Pools, time.Now()) {
		said[k.Addr] = true
	}
	for a := range s.promises.kept {
		if !said[a] {
			delete(s.promises.kept, a)
		}
	}
	clear(s.promises.back)
	s.controller()
	s.wake()
}

func (s *sim) checkedPromises(what string) { s.promises.checked[what]++ }

// controller makes a controller that knows nothing yet.
func (s *sim) controller() {
	s.promises.blind = true
	s.state = New(nil, Finalizer{})
}

// replacePools takes all pools away for a while. A controller that has not read their
// statuses yet can't know what they kept: no replica does any more.
func (s *sim) replacePools() {
	if s.promises.blind {
		clear(s.promises.kept)
		clear(s.promises.back)
	}
	generation := s.resized
	s.promises.doubt = s.promises.doubt || s.promises.grace == 0
	s.config.Configured = readyMade(intent.Objects{})
	s.wake()
	s.in(s.upTo(3*time.Second), func() {
		if s.resized == generation { // else there are others already
			s.config.Configured = readyMade(intent.Objects{Pools: s.pools})
			s.wake()
		}
	})
}

func readyMade(o intent.Objects) intent.Configured {
	return intent.Configured{Objects: o, Config: parsed(o)}
}
