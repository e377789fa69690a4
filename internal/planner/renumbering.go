package planner

import (
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// renumbering tells, for each pool that is being replaced, how far its Services are.
func (p Plan) renumbering(s Snapshot) map[string]*v1beta1.RenumberingStatus {
	if !p.config.Renumbers() { // usually
		return nil
	}
	out, unsettled := map[string]*v1beta1.RenumberingStatus{}, map[string]bool{}
	for i := range p.config.Pools {
		if pool := &p.config.Pools[i]; pool.Renumbering != "" {
			out[pool.Name] = &v1beta1.RenumberingStatus{Phase: pool.Renumbering}
		}
	}
	if len(out) == 0 {
		return nil
	}
	for i, x := range p.Services {
		shown := intent.Holds(x.Object)
		settled := slices.Equal(shown, p.Grants[i].Addrs)
		for name, has := range p.old(slices.Concat(shown, p.Grants[i].Addrs)) {
			unsettled[name] = unsettled[name] || !settled
			if !has {
				continue
			}
			if out[name].Services++; p.hasMoved(name, shown) {
				out[name].Moved++
			}
		}
	}
	for name, now := range out {
		if !unsettled[name] {
			now.Since = since(s, name, now.Phase)
		}
	}
	return out
}

// moving reports whether some Service does not show yet what a phase gives it: the status of the pool is to say
// when it does.
func (p Plan) moving() bool {
	for _, x := range p.moves {
		if x.Since == nil {
			return true
		}
	}
	return false
}

// old returns which of the pools that are being replaced addrs concern, and whether some of addrs are theirs.
func (p Plan) old(addrs []netip.Addr) map[string]bool {
	out := map[string]bool{}
	for _, a := range addrs {
		name := p.config.PoolOf(a)
		for i := range p.config.Pools {
			if pool := &p.config.Pools[i]; pool.Renumbering != "" && (pool.Name == name || pool.SuccessorName == name) {
				out[pool.Name] = out[pool.Name] || pool.Name == name
			}
		}
	}
	return out
}

// hasMoved reports whether addrs have as many of the successor of a pool as of the pool.
func (p Plan) hasMoved(pool string, addrs []netip.Addr) bool {
	count := func(of string, is4 bool) (n int) {
		for _, a := range addrs {
			if a.Is4() == is4 && p.config.PoolOf(a) == of {
				n++
			}
		}
		return n
	}
	i := slices.IndexFunc(p.config.Pools, func(x intent.Pool) bool { return x.Name == pool })
	to := p.config.Pools[i].SuccessorName
	return count(to, true) >= count(pool, true) && count(to, false) >= count(pool, false)
}

// since is since when all Services show what a phase gives them: as the status of the pool says, or from now on.
func since(s Snapshot, pool string, phase v1beta1.RenumberingPhase) *metav1.Time {
	for i := range s.Objects.Pools {
		before := s.Objects.Pools[i].Status.Renumbering
		if s.Objects.Pools[i].Name == pool && before != nil && before.Phase == phase && before.Since != nil {
			return before.Since
		}
	}
	return &metav1.Time{Time: s.Now.Truncate(time.Second)}
}
