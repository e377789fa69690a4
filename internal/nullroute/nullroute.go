// Package nullroute keeps packets from going in circles between this node and a
// router. A router sends the node what is for an announced prefix. kube-proxy takes
// what is for a Service's port; the rest has no other way than the default route,
// back to the router, until its TTL ends. RFC 4632 section 5.1 has who announces an
// aggregate discard what it has no better route for; so does this package.
//
// For each prefix there is an unreachable route, in a table of its own. It is asked
// only for what this node forwards, and only where the main table knows nothing
// better than a default route. So the node's own packets, its subnets and the Pods'
// routes are not concerned, whatever is announced.
package nullroute

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// DefaultTable is the routing table unless another one is chosen. Numbers in use by
// others are 1 to 1000 and 2004 (distributions, Cilium, OVN, VRFs), mostly.
const DefaultTable = 7478

const (
	// retryAfter is the pause after a failure.
	retryAfter = 5 * time.Second
	// resyncInterval is how often the kernel's tables are compared with what is wanted:
	// others may flush them, as systemd-networkd does.
	resyncInterval = 30 * time.Second
)

// kernel is what Routes needs of the kernel. Adding what is there, and deleting what
// is not, is no error.
type kernel interface {
	// ours returns all rules and routes that bear our mark, in every table.
	ours() (kernelState, error)
	// in returns the same for one table, and whether another program uses it.
	in(table int) (kernelState, error)
	do(change) error
}

// Routes keeps null routes for prefixes. Make one with New.
type Routes struct {
	log     *slog.Logger
	kernel  kernel
	table   int
	want    atomic.Pointer[[]netip.Prefix] // sorted; nil: not known yet
	wake    chan struct{}                  // buffered 1
	cleared bool                           // what a former process left in other tables is gone
	known   *kernelState                   // what the kernel has, as far as this process has seen to it; nil: it is to be read
	read    time.Time                      // when that was last read
	problem atomic.Pointer[string]
}

// New returns Routes that use a routing table; 0: there are to be none, and Run
// only removes those of a process that was before.
func New(log *slog.Logger, table int) *Routes { return newRoutes(log, table, newNetlink()) }

func newRoutes(log *slog.Logger, table int, k kernel) *Routes {
	r := &Routes{log: log, kernel: k, table: table, wake: make(chan struct{}, 1)}
	if table == 0 {
		r.want.Store(&[]netip.Prefix{})
	}
	return r
}

// Set says which prefixes this node announces. It returns at once, and Run does the
// work. The same again does nothing. Before the first Set the routes that a former
// process left stay as they are.
func (r *Routes) Set(prefixes []netip.Prefix) {
	if r.table == 0 {
		return
	}
	want := make([]netip.Prefix, len(prefixes))
	for i, p := range prefixes {
		want[i] = p.Masked()
	}
	if !slices.IsSortedFunc(want, netip.Prefix.Compare) {
		slices.SortFunc(want, netip.Prefix.Compare)
	}
	want = slices.Compact(want)
	if old := r.want.Load(); old != nil && slices.Equal(*old, want) {
		return
	}
	r.want.Store(&want)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Problem returns the reason for which routes are missing; "": all are there.
func (r *Routes) Problem() string {
	if p := r.problem.Load(); p != nil {
		return *p
	}
	return ""
}

// Run keeps the routes until ctx ends. Then it removes them: if this node's speaker
// comes back it makes them again, and without it nothing would remove them.
func (r *Routes) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return r.clear(func(int) bool { return true })
		case <-r.wake:
		case <-timer.C:
		}
		next, start := resyncInterval, time.Now()
		if problem := r.sync(); problem != "" {
			next = retryAfter
		}
		timer.Reset(next)
		// All prefixes are looked through each time: the changes of a burst share some looks.
		select {
		case <-ctx.Done():
		case <-time.After(min(9*time.Since(start), time.Second)):
		}
	}
}

// sync makes the kernel's routes the wanted ones. It returns the problem, or "".
func (r *Routes) sync() string {
	want := r.want.Load()
	if want == nil {
		return ""
	}
	problem, err := "", error(nil)
	if !r.cleared {
		err = r.clear(r.foreign)
		r.cleared = err == nil
	}
	if err == nil && r.table != 0 {
		problem, err = r.keep(*want)
	}
	if err != nil {
		problem = err.Error()
	}
	if problem != r.Problem() {
		if problem != "" {
			r.log.Warn("can't keep packets for announced addresses from going in circles", "table", r.table, "problem", problem)
		} else {
			r.log.Info("null routes are in force again", "table", r.table)
		}
		r.problem.Store(&problem)
	}
	return problem
}

// foreign reports whether rules and routes of ours that name a table are not those
// of this process.
func (r *Routes) foreign(table int) bool {
	return r.table == 0 || table != r.table && table != mainTable
}

// keep has the kernel hold routes for want alone, or says who keeps it from that. What
// the kernel has is read now and then; between, it is what was set.
func (r *Routes) keep(want []netip.Prefix) (problem string, err error) {
	if r.known == nil || time.Since(r.read) >= resyncInterval {
		have, err := r.kernel.in(r.table)
		if err != nil {
			return "", err
		}
		slices.SortFunc(have.routes, route.compare)
		r.known, r.read = &have, time.Now()
	}
	have := *r.known
	r.known = nil // unless all is done
	if have.taken != "" {
		problem, want = have.taken+": nothing of that is touched; set --null-route-table to a number that no program uses", nil
	}
	for _, c := range changes(have, want, r.table) {
		if err := r.kernel.do(c); err != nil {
			return "", err
		}
	}
	if problem == "" {
		now := holding(want, r.table)
		r.known = &now
	}
	return problem, nil
}

// clear removes all that bears our mark in tables of a kind.
func (r *Routes) clear(in func(table int) bool) error {
	have, err := r.kernel.ours()
	if err != nil {
		return err
	}
	have.rules = slices.DeleteFunc(have.rules, func(x rule) bool { return !in(x.table) })
	have.routes = slices.DeleteFunc(have.routes, func(x route) bool { return !in(x.table) })
	slices.SortFunc(have.routes, route.compare)
	for _, c := range changes(have, nil, 0) {
		if err := r.kernel.do(c); err != nil {
			return err
		}
	}
	return nil
}
