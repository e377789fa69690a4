// Package nullroute prevents routing loops between this node and a router. The router sends
// the node all packets for an advertised prefix. kube-proxy takes those for a Service's
// port. The others would follow the default route back to the router, until their TTL ends.
// RFC 4632 §5.1 requires the router that advertises an aggregate to discard packets for which
// it has no more specific route; this package does that for the node.
//
// Each prefix has an unreachable route, in a separate table. The kernel looks there only for
// packets that this node forwards, and only if the main table has nothing better than a
// default route. So the routes never affect the node's own packets, its subnets and the
// routes of Pods.
//
// The package decides which kernel rules and routes the given prefixes need. It does not
// decide which prefixes are advertised.
package nullroute

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// DefaultTable is the default routing table. Other programs mostly use the numbers 1 to
// 1000 and 2004 (distributions, Cilium, OVN, VRFs).
const DefaultTable = 7478

const (
	// retryAfter is the pause after a failure.
	retryAfter = 5 * time.Second
	// resyncInterval is how often the kernel's tables are compared with the wanted state:
	// other programs may flush them, as systemd-networkd does.
	resyncInterval = 30 * time.Second
)

// kernel is what Routes needs of the kernel. Adding what exists, and deleting what does
// not, is no error.
type kernel interface {
	// ours returns all rules and routes with our mark, in all tables.
	ours() (kernelState, error)
	// in returns those in one table, and whether another program uses it.
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
	cleared bool                           // routes that a former process left in other tables are removed
	known   *kernelState                   // the kernel's state as last read or set; nil: it must be read
	read    time.Time                      // when it was last read
	problem atomic.Pointer[string]
}

// New returns Routes that use a routing table; 0: there are none, and Run only removes
// those that a former process left.
func New(log *slog.Logger, table int) *Routes { return newRoutes(log, table, newNetlink()) }

func newRoutes(log *slog.Logger, table int, k kernel) *Routes {
	r := &Routes{log: log, kernel: k, table: table, wake: make(chan struct{}, 1)}
	if table == 0 {
		r.want.Store(&[]netip.Prefix{})
	}
	return r
}

// Set sets the prefixes that this node advertises. It returns at once; Run does the work.
// Setting the same again does nothing. Routes that a former process left stay until the
// first Set.
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

// Problem returns why routes are missing; "": none is.
func (r *Routes) Problem() string {
	if p := r.problem.Load(); p != nil {
		return *p
	}
	return ""
}

// Run keeps the routes until ctx ends, and then removes them: if the speaker does not
// return, nothing else would. If it does return, it adds them again.
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
		// Each sync compares all prefixes, so changes in a burst are grouped.
		select {
		case <-ctx.Done():
		case <-time.After(min(9*time.Since(start), time.Second)):
		}
	}
}

// sync brings the kernel's routes to the wanted state. It returns the problem, or "".
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
			r.log.Warn("can't prevent routing loops of packets for announced addresses", "table", r.table, "problem", problem)
		} else {
			r.log.Info("null routes are in force again", "table", r.table)
		}
		r.problem.Store(&problem)
	}
	return problem
}

// foreign reports whether rules and routes with our mark that name a table are a former
// process's.
func (r *Routes) foreign(table int) bool {
	return r.table == 0 || table != r.table && table != mainTable
}

// keep has the kernel hold routes for want alone, or returns which other program prevents
// that. It reads the kernel's state once in resyncInterval, and assumes in between that the
// state is what it has set.
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
	r.known = nil // until all changes are made
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

// clear removes the rules and routes with our mark in all tables for which in returns true.
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
