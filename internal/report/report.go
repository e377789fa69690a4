// Package report writes the statuses of configuration objects, as package planner
// decides them. It also deletes L2Claims of addresses that no Service has, removes
// the controller's marks from Services that it no longer serves, and exports metrics.
// It also marks what dead speakers have reported. It runs beside the passes of the
// controller, which do not wait for it.
package report

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/leader"
	"github.com/steelyard-lb/steelyard/internal/planner"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

const (
	// rest is the pause between two reports, and retryAfter the one before a failed
	// write is repeated.
	rest       = 500 * time.Millisecond
	retryAfter = 2 * time.Second
	// parallel is how many writes are in flight at most.
	parallel = 8
	// writeTimeout limits one write.
	writeTimeout = 5 * time.Second
)

// Options are the sources of a Reporter, and its output.
type Options struct {
	Client        client.Client
	Direct        client.Reader // past the cache
	Log           *slog.Logger
	Class         string
	Finalizer     planner.Finalizer
	Configuration *cluster.Configuration
	Services      func(context.Context) ([]*corev1.Service, error)
	Leading       func() *leader.Term                              // nil: this replica does not lead
	Plan          func(*leader.Term) *planner.Summary              // of the term's last pass; nil: there was none yet
	Released      func() []types.NamespacedName                    // Services that are no longer ours, since the last call
	Planned       <-chan struct{}                                  // signals a new plan
	Presences     func() planner.Presences                         // of the speakers; nil: not known
	Programmed    func() map[intent.Ref]v1beta1.AdvertisementCount // of advertisements whose statuses are to show others
	Heard         <-chan struct{}                                  // signals other Presences, or counts
	Record        func(cluster.Event)                              // sends an event
	Count         func(kind string, err error)                     // called for every patch
}

// Reporter writes reports. Make one with New.
type Reporter struct {
	Options
	objects *objectMetrics

	term     *leader.Term           // of the fields below
	stale    planner.Stale          // what dead speakers have reported
	released []types.NamespacedName // Services to remove our marks from
	swept    bool                   // the Services that left without a leader have been searched for
	page     client.Continue        // where the search continues
}

// New returns a Reporter, which runs in its Loop.
func New(o Options) *Reporter {
	return &Reporter{Options: o, objects: &objectMetrics{leading: o.Leading}}
}

// Loop returns when to report.
func (r *Reporter) Loop() cluster.Loop {
	return cluster.Loop{
		Name: "reporter", Log: r.Log, Reconcile: r.Report, Triggers: []<-chan struct{}{r.Planned, r.Heard},
		MinInterval: func(time.Duration) time.Duration { return rest },
		Kinds: append(cluster.Kinds(), &v1beta1.AddressReservation{}, &v1beta1.AddressQuota{}, &v1beta1.BGPSession{}, &v1beta1.L2Claim{},
			&corev1.Node{}, &corev1.ConfigMap{}, &v1beta1.Speaker{}), // the last two have the prefixes of pools
		Ignore: func(before, after client.Object) bool {
			switch after.(type) {
			case *corev1.Node, *v1beta1.Speaker: // kubelets' heartbeats, and what nodes count
				return intent.Same(before, after)
			}
			return false
		},
	}
}

// Report makes one report. It returns after how long to repeat it; 0: never.
func (r *Reporter) Report(ctx context.Context) (time.Duration, error) {
	t := r.Leading()
	if t == nil {
		return 0, nil
	}
	if r.term != t {
		r.term, r.released, r.swept, r.stale = t, nil, false, planner.Stale{}
	}
	writes, again, planned, err := r.due(ctx, t)
	if err != nil || !planned {
		return 0, err
	}
	good := r.writeAll(t, writes)
	if !r.swept {
		if err := r.sweep(t); err != nil {
			r.Log.Warn("can't find the Services that have left; trying again", "err", err)
			good = false
		}
	}
	if !good || len(r.released) > 0 {
		again = retryAfter
	}
	return again, nil
}

// due reads the input of a report, and returns the writes that it needs, and after how long
// others are due; planned: there is a plan.
func (r *Reporter) due(ctx context.Context, t *leader.Term) (_ []write, again time.Duration, planned bool, _ error) {
	read, err := r.Configuration.Read(ctx)
	if err != nil {
		return nil, 0, false, err
	}
	reports, err := r.reports(ctx)
	if err != nil {
		return nil, 0, false, err
	}
	services, err := r.Services(ctx)
	if err != nil {
		return nil, 0, false, err
	}
	shown := map[netip.Addr]bool{}
	for _, svc := range services {
		for _, a := range intent.Holds(svc) {
			shown[a] = true
		}
	}
	plan := r.Plan(t)
	if plan == nil {
		return nil, 0, false, nil
	}
	r.objects.set(t, read)
	r.released = append(r.released, r.Released()...)
	stale, again := r.stale.Due(reports.Now, reports)
	if end := intent.PrefixesEnd(read.Objects.Pools); !end.IsZero() {
		again = wait.Soonest(again, max(end.Sub(reports.Now), time.Millisecond))
	}
	changes := slices.Concat(planner.Statuses(read, reports, plan), stale)
	return slices.Concat(r.statuses(changes), r.orphans(plan.Orphans(reports.Claims, shown)), r.cleanup()), again, true, nil
}

// reports returns what the speakers report.
func (r *Reporter) reports(ctx context.Context) (planner.Reports, error) {
	var nodes corev1.NodeList
	var speakers v1beta1.SpeakerList
	var sessions v1beta1.BGPSessionList
	var claims v1beta1.L2ClaimList
	var configMaps corev1.ConfigMapList
	for _, list := range []client.ObjectList{&nodes, &speakers, &sessions, &claims, &configMaps} {
		if err := cluster.List(ctx, r.Client, list); err != nil {
			return planner.Reports{}, err
		}
	}
	labels := make(map[string]map[string]string, len(nodes.Items))
	for i := range nodes.Items {
		labels[nodes.Items[i].Name] = nodes.Items[i].Labels
	}
	return planner.Reports{Now: time.Now(), ConfigMaps: configMaps.Items, Presences: r.Presences(), Programmed: r.Programmed(), Nodes: labels, Speakers: speakers.Items, Sessions: sessions.Items, Claims: claims.Items}, nil
}

// statuses returns the writes of statuses.
func (r *Reporter) statuses(changes []planner.StatusChange) []write {
	out := make([]write, len(changes))
	for i, c := range changes {
		patch := client.MergeFrom(c.Before)
		if c.Locked {
			patch = client.MergeFromWithOptions(c.Before, client.MergeFromWithOptimisticLock{})
		}
		out[i] = write{
			kind: c.Kind,
			what: fmt.Sprintf("write the status of %s %q", c.Kind, c.After.GetName()),
			do: func(ctx context.Context) error {
				turned := c.Turned() // the answer replaces After
				err := r.Client.Status().Patch(ctx, c.After, patch)
				if c.Locked && apierrors.IsConflict(err) {
					return nil // its speaker has written meanwhile
				}
				if err != nil {
					return err
				}
				for _, e := range turned {
					r.Record(cluster.Event{About: cluster.About(c.After), Type: e.Type, Reason: e.Reason, Action: e.Action, Message: e.Message})
				}
				return nil
			},
		}
		if c.Locked {
			out[i].failed = func() { r.stale.Failed(c.Before.GetUID()) }
		}
	}
	return out
}

// orphans returns the deletions of claims.
func (r *Reporter) orphans(claims []*v1beta1.L2Claim) []write {
	out := make([]write, len(claims))
	for i, c := range claims {
		out[i] = write{
			what: "delete L2Claim " + c.Name + ", whose address no Service has",
			do: func(ctx context.Context) error {
				return r.Client.Delete(ctx, c, client.Preconditions{UID: &c.UID, ResourceVersion: &c.ResourceVersion})
			},
		}
	}
	return out
}

// write is one write to the API server.
type write struct {
	kind   string // of the patched object; empty: it is not a patch
	what   string // for the log
	do     func(context.Context) error
	failed func() // called when the write fails, never concurrently; nil: nothing
}

// writeAll makes all writes, several at once, and reports whether all succeeded.
func (r *Reporter) writeAll(t *leader.Term, writes []write) bool {
	errs := make([]error, len(writes))
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, w := range writes {
		group.Go(func() error {
			ctx, cancel := t.WriteContext(writeTimeout)
			defer cancel()
			if errs[i] = ctx.Err(); errs[i] == nil {
				errs[i] = client.IgnoreNotFound(w.do(ctx)) // the object is gone: nothing is left to write
				if w.kind != "" {
					r.Count(w.kind, errs[i])
				}
			}
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	good := true
	for i, w := range writes {
		if errs[i] == nil {
			continue
		}
		good = false
		r.Log.Warn("can't "+w.what+"; trying again", "err", errs[i])
		if w.failed != nil {
			w.failed()
		}
	}
	return good
}
