package simulation

import (
	"context"
	"errors"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/planner"
)

// writeTimeout is how long one write may take.
const writeTimeout = 5 * time.Second

// timeLeft returns for how long a write may take that begins now: it ends with the
// term at the latest. 0: it must not begin.
func (c *controller) timeLeft() time.Duration {
	if c.mutation.controller.endless {
		return writeTimeout
	}
	return max(0, min(writeTimeout, c.lease.until().Sub(c.clock())))
}

// send writes the status of a Service, as package controller's writer does.
func (c *controller) send(term int, x planner.Write) {
	c.busy++
	state := c.state
	done := func(out *corev1.Service, err error) {
		c.busy--
		if c.log != nil {
			c.logf("    %s hears of its write to %s: %v", c.id, x.Service.Name, err)
		}
		if state.Done(x, planner.Answer{Service: out, Err: err, Now: c.now}).Due {
			c.wake()
		}
	}
	c.in(c.within(0, 500*time.Microsecond), func() {
		timeLeft := c.timeLeft()
		if timeLeft == 0 || c.lease.term != term {
			done(nil, planner.ErrUnsent)
			return
		}
		if c.log != nil {
			c.logf("    %s writes %v to %s@%s: %s", c.id, x.Change.Addrs, x.Service.Name, x.Service.ResourceVersion, x.Change.Allocated.Message)
		}
		c.askWithin(timeLeft, func() (any, error) { return c.patch(x) }, func(v any, err error) {
			if errors.Is(err, errTimeout) {
				err = context.DeadlineExceeded
			}
			if answer := c.mutation.controller.answer; err != nil && answer != nil {
				err = answer(err)
			}
			out, _ := v.(*corev1.Service)
			done(out, err)
		})
	})
}

var serviceResource = schema.GroupResource{Resource: "services"}

// patch is what the API server makes of a write.
func (c *controller) patch(x planner.Write) (*corev1.Service, error) {
	name := keyName(x.Service)
	o := c.api.get(services, name)
	if o == nil {
		return nil, apierrors.NewNotFound(serviceResource, name)
	}
	now := o.value.(serviceValue).Service
	if now.ResourceVersion != x.Service.ResourceVersion && !c.mutation.controller.unversioned {
		return nil, apierrors.NewConflict(serviceResource, name, errors.New("it has been modified"))
	}
	out := now.DeepCopy()
	x.Change.Apply(out, c.state.Finalizer())
	if !x.Change.ConditionsOnly {
		out.ManagedFields = nil
	}
	return c.putService(out, c), nil
}

// putService stores a version of a Service, for a controller or, if that is nil, for
// another client.
func (w *world) putService(svc *corev1.Service, by *controller) *corev1.Service {
	name := keyName(svc)
	if svc.DeletionTimestamp != nil && len(svc.Finalizers) == 0 {
		w.dropService(name)
		return svc
	}
	svc.ResourceVersion = strconv.Itoa(w.api.version + 1)
	w.grants.change(w, name, svc, by)
	w.write(services, name, serviceValue{svc})
	if w.log != nil {
		w.logf("    %s@%s shows %v", name, svc.ResourceVersion, intent.Holds(svc))
	}
	return svc
}

func (w *world) dropService(name string) {
	w.grants.change(w, name, nil, nil)
	w.remove(services, name)
	w.logf("    %s is gone", name)
}

func keyName(svc *corev1.Service) string { return svc.Namespace + "/" + svc.Name }

// catchUp waits until the cache shows what a former leader may have written, as
// cluster.CatchUp does: it lists past the cache.
func (c *controller) catchUp(term int, then func(bool)) {
	if c.busy > 0 { // of a former term
		c.in(time.Millisecond, func() { c.catchUp(term, then) })
		return
	}
	c.state.Reset()
	if c.mutation.controller.rash {
		then(true)
		return
	}
	left := 4
	ok := true
	for _, k := range []kind{services, namespaces, pools, ads} {
		c.catchUpWith(term, k, func(good bool) {
			ok = ok && good
			if left--; left == 0 {
				then(ok && c.lease.leading() == term)
			}
		})
	}
}

// catchUpWith does so for one kind.
func (c *controller) catchUpWith(term int, k kind, then func(bool)) {
	c.askWithin(10*time.Second, func() (any, error) { return c.selected(k), nil }, func(v any, err error) {
		if err != nil {
			then(false)
			return
		}
		behind, start := v.([]*object), c.now
		var wait func()
		wait = func() {
			var still []*object
			for _, o := range behind {
				if x := c.cache.get(k, o.name); x == nil || x.version < o.version {
					still = append(still, o)
				}
			}
			behind = still
			switch {
			case c.lease.leading() != term:
				then(false)
			case len(behind) == 0:
				then(true)
			case c.now.Sub(start) > 2*time.Second:
				c.catchUpWith(term, k, then)
			default:
				c.in(10*time.Millisecond, wait)
			}
		}
		wait()
	})
}
