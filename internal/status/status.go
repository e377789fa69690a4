// Package status reports what a speaker does: in its L2Claims, BGPSessions and Speaker
// object, and in events about them. It writes after the announcements have changed, and only
// what differs.
//
// It decides when to write, and which changes deserve an event. It does not decide what the
// speaker announces: package failover does.
package status

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/bgp"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/failover"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/layer2"
	"github.com/steelyard-lb/steelyard/internal/membership"
	"github.com/steelyard-lb/steelyard/internal/overlay"
	"github.com/steelyard-lb/steelyard/internal/version"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

// Applied is a plan that the speaker has handed to its adapters.
type Applied struct {
	failover.Output
	Missing int  // how many nodes with a Speaker object have a speaker that is not alive
	Present int  // how many have one that is alive
	Offers  bool // Plan.Peerings are in force
	// NotForwarding: kube-proxy was asked, and does not report that it forwards.
	NotForwarding bool
	// Excluded says why this node must not announce anything, with the remedy; "": it may.
	Excluded string
}

const (
	// retryAfter is the pause after a report that failed.
	retryAfter = 2 * time.Second
	// resting is the shortest pause after a report: changes in a burst share reports.
	resting = 100 * time.Millisecond
	// restingShare: the pause is at least this many times the time that finding the changes
	// took, up to longestRest. So the more addresses there are, the more changes share a report.
	restingShare = 19
	longestRest  = time.Second
	// counting is the pause between two writes of a number: of this node's addresses, or of
	// the routes of a session.
	counting = 2 * time.Second
)

// Options are what a Reporter needs.
type Options struct {
	Client   client.Client
	Record   func(cluster.Event) // sends an event
	Log      *slog.Logger
	Node     string           // its name
	Cached   toolscache.Store // the L2Claims of the cache
	Claims   *overlay.Objects[*v1beta1.L2Claim]
	Links    *layer2.Announcer
	Sessions *bgp.Sessions
	Group    *membership.Group
	Host     *Host
	Plan     *atomic.Pointer[Applied] // the plan in force; it holds nil before the first
	Trigger  <-chan struct{}          // signaled when Plan has changed
	Restarts func() bool              // whether the others wait for this speaker when it stops
}

// Reporter writes L2Claims, BGPSessions and the Speaker object of this node, after the
// announcements have changed. Nothing that it waits for delays an announcement.
type Reporter struct {
	Options
	since time.Time // when it was made

	// What events have reported.
	reported map[string]bgp.State // by name of the peer
	clashes  map[announce.AttributeClash]bool

	yield   yield
	written map[netip.Addr]written // L2Claims that need no write
	counted map[string]time.Time   // when numbers were last written, by session; "": the Speaker's
	recount bool                   // a number must be written later
	looked  time.Duration          // how long the last report took to find the claims to write
	more    bool                   // the last report left claims to the next
	alive   map[string]bool        // as in the plan that is reported

	successions successions
}

// New returns a Reporter.
func New(o Options) *Reporter {
	return &Reporter{Options: o, since: time.Now(), counted: map[string]time.Time{}}
}

// Run reports changes until ctx ends; then it reports that this speaker stopped.
func (r *Reporter) Run(ctx context.Context) error {
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return r.stopped()
		case <-r.Trigger:
		case <-r.Sessions.Changed():
		case <-r.Links.StateChanged():
		case <-r.Host.changed:
		case <-retry.C:
		}
		if p := r.Plan.Load(); p != nil {
			r.recount = false
			if err := r.report(ctx, p); err != nil && ctx.Err() == nil {
				r.Log.Warn("can't write the status; trying again", "err", err)
				retry.Reset(retryAfter)
			} else if r.more {
				retry.Reset(resting)
			} else if r.recount {
				retry.Reset(counting)
			}
			wait.Sleep(ctx, max(resting, min(restingShare*r.looked, longestRest)))
		}
	}
}

// report brings every object up to date. If one write fails, the others are still made.
func (r *Reporter) report(ctx context.Context, d *Applied) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var node corev1.Node
	if err := r.Client.Get(ctx, client.ObjectKey{Name: r.Node}, &node); err != nil {
		return fmt.Errorf("read this speaker's Node: %w", err)
	}
	if !d.Offers { // the BGPSessions still have the state from before a restart
		return errors.Join(r.reportSpeaker(ctx, &node, d, nil), r.reportClaims(ctx, d))
	}
	states := withSuperseded(r.Sessions.States(), d.Plan.Superseded)
	r.reportClashes(ctx, d.Plan.Clashes)
	// The Speaker first: others need its links to choose this node as an owner.
	return errors.Join(r.reportSpeaker(ctx, &node, d, states), r.reportClaims(ctx, d), r.reportSessions(ctx, &node, states, d.Plan.Superseded))
}

// stopped reports that this speaker was stopped and did not crash.
func (r *Reporter) stopped() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	have := &v1beta1.Speaker{}
	if err := r.Client.Get(ctx, client.ObjectKey{Name: r.Node}, have); err != nil {
		return client.IgnoreNotFound(err)
	}
	after := have.DeepCopy()
	intent.SetCondition(&after.Status.Conditions, metav1.Condition{Type: v1beta1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonStopped})
	after.Status.Sessions = nil
	if r.Restarts() {
		intent.SetCondition(&after.Status.Conditions, metav1.Condition{
			Type: v1beta1.ConditionRestarting, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonRestarting,
			Message: fmt.Sprintf("the node keeps its addresses for %s; meanwhile another speaker answers for them", membership.Hold),
		})
	} else {
		after.Status.Addresses = 0
	}
	if err := r.Client.Status().Patch(ctx, after, client.MergeFrom(have)); err != nil {
		return fmt.Errorf("report in Speaker %q that it stopped: %w", r.Node, err)
	}
	return nil
}

// Doubted reports whether the controller has written into an object what it says of a node
// whose speaker is dead. This speaker, if it is that node's, is to report again.
func Doubted(o client.Object, node string) bool {
	switch x := o.(type) {
	case *v1beta1.BGPSession:
		return x.Status.Node == node && x.Status.State == v1beta1.SessionUnknown
	case *v1beta1.L2Claim:
		c := meta.FindStatusCondition(x.Status.Conditions, v1beta1.ConditionAnnounced)
		return x.Status.Node == node && c != nil && c.Reason == v1beta1.ReasonNodeNotLive
	}
	return false
}

// existing returns a copy of the cache's object, or a new object of that name.
func existing[T any, P interface {
	*T
	client.Object
	DeepCopy() *T
}](have P, name string) P {
	if have != nil {
		return have.DeepCopy()
	}
	out := P(new(T))
	out.SetName(name)
	return out
}

func timeOf(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	out := metav1.NewTime(t.Truncate(time.Second))
	return &out
}

// The longest lists in a status, as in the kinds' schemas. The schemas also apply to a process
// that has stolen a speaker's token.
const (
	maxLinks    = 256
	maxPrefixes = 32 // of one link
	// maxDeprecated is for those of them that are deprecated.
	maxDeprecated = 8
	maxServices   = 256
	maxStrict     = 1024

	maxHostAddresses = 64
	maxPorts         = 8
	maxGateways      = 16
	maxPrograms      = 16
	maxProgram       = 256 // bytes of one of their names
	// maxUnreachable is for unreachableSpeakers and sessionsDown.
	maxUnreachable = 256
)

// first returns at most n of a list, and of several with one key the first: the API server
// refuses a status with too many, or with one twice.
func first[T any, K comparable](n int, in []T, key func(T) K) []T {
	var out []T
	seen := map[K]bool{}
	for _, x := range in {
		if len(out) == n {
			break
		}
		if k := key(x); !seen[k] {
			seen[k], out = true, append(out, x)
		}
	}
	return out
}

// itself is the key of what is its own key.
func itself[T any](x T) T { return x }

// linksOf returns this node's links. A link on which this node reaches no member of its
// segment is down.
func linksOf(links []layer2.Link, segments map[netip.Prefix]membership.View) []v1beta1.SpeakerLink {
	var out []v1beta1.SpeakerLink
	for _, l := range first(maxLinks, links, func(l layer2.Link) string { return l.Name }) {
		link := v1beta1.SpeakerLink{Name: l.Name, MAC: l.MAC.String(), Up: l.Up, Unnumbered: l.Unnumbered}
		link.Up = l.Up && !slices.ContainsFunc(l.Prefixes, func(p netip.Prefix) bool { return segments[p].Isolated })
		for _, p := range first(maxPrefixes, l.Prefixes, itself) {
			link.Prefixes = append(link.Prefixes, p.String())
			if p.Addr().Is6() && !slices.ContainsFunc(l.Addrs, p.Contains) && len(link.Deprecated) < maxDeprecated {
				link.Deprecated = append(link.Deprecated, p.String())
			}
		}
		out = append(out, link)
	}
	return out
}

func (r *Reporter) reportSpeaker(ctx context.Context, node *corev1.Node, d *Applied, states []bgp.State) error {
	have := &v1beta1.Speaker{}
	switch err := r.Client.Get(ctx, client.ObjectKey{Name: r.Node}, have); {
	case apierrors.IsNotFound(err):
		have = nil
	case err != nil:
		return fmt.Errorf("read Speaker %q: %w", r.Node, err)
	}
	status := v1beta1.SpeakerStatus{
		Addresses: int32(len(d.Plan.Claims)),
		Sessions:  &v1beta1.SessionCount{Total: int32(len(states))},
		Version:   version.String(),
		Since:     timeOf(r.since),
		Host:      r.Host.facts.Load(),
	}
	for _, s := range states {
		if s.Session == bgp.Established {
			status.Sessions.Established++
		}
	}
	status.Links = linksOf(r.Links.Links(), r.Group.View().Segments)
	kernelAnswers, isolated := r.Links.KernelAnswers(), ""
	if r.Group.View().Isolated {
		isolated = "it hears no other speaker, and no gateway answers; so it answers for nothing"
	}
	notForwarding := ""
	if d.NotForwarding {
		notForwarding = "kube-proxy on the node does not report that it forwards: the node keeps its addresses, and takes those that no other node can"
	}
	return r.put(ctx, node, existing(have, r.Node), func(o client.Object) {
		s := o.(*v1beta1.Speaker)
		status.Addresses = r.count("", s.Status.Addresses, status.Addresses)
		status.Conditions = slices.Clone(s.Status.Conditions)
		for _, c := range []metav1.Condition{
			{Type: v1beta1.ConditionKernelAnswers, Reason: v1beta1.ReasonNoStrictARP, Message: kernelAnswers},
			{Type: v1beta1.ConditionIsolated, Reason: v1beta1.ReasonIsolated, Message: isolated},
			{Type: v1beta1.ConditionNotForwarding, Reason: v1beta1.ReasonNotForwarding, Message: notForwarding},
			{Type: v1beta1.ConditionRestarting},
		} {
			if c.Message == "" {
				meta.RemoveStatusCondition(&status.Conditions, c.Type)
				continue
			}
			c.Status = metav1.ConditionTrue
			intent.SetCondition(&status.Conditions, c)
		}
		intent.SetCondition(&status.Conditions, metav1.Condition{Type: v1beta1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonRunning})
		s.Status = status
	})
}

// count returns the number that an object is to say, which says before: at once if one of
// the two is 0, else once in counting.
func (r *Reporter) count(of string, before, now int32) int32 {
	if before == now || before == 0 || now == 0 {
		return now
	}
	if time.Since(r.counted[of]) < counting {
		r.recount = true
		return before
	}
	r.counted[of] = time.Now()
	return now
}

// put writes the status of an object that this node's speaker owns, if it differs, and
// creates the object if it does not exist.
func (r *Reporter) put(ctx context.Context, node *corev1.Node, obj client.Object, set func(client.Object)) error {
	if obj.GetUID() == "" {
		obj.SetOwnerReferences([]metav1.OwnerReference{cluster.OwnedBy(node)})
		if err := r.Client.Create(ctx, obj); err != nil {
			return fmt.Errorf("create %T %q: %w", obj, obj.GetName(), err)
		}
	}
	before := obj.DeepCopyObject().(client.Object)
	set(obj)
	if equality.Semantic.DeepEqual(before, obj) {
		return nil
	}
	if err := r.Client.Status().Patch(ctx, obj, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("patch the status of %T %q: %w", obj, obj.GetName(), err)
	}
	return nil
}
