package status

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/announce"
	"github.com/steelyard-lb/steelyard/internal/cluster"
	"github.com/steelyard-lb/steelyard/internal/history"
	"github.com/steelyard-lb/steelyard/internal/intent"
	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/layer2"
	"github.com/steelyard-lb/steelyard/internal/wait"
)

const (
	// parallel is how many L2Claims are written concurrently.
	parallel = 4
	// longestReport: a report starts no writes of new addresses' claims after this time.
	longestReport = 2 * time.Second
	// longestYield limits the pause after a write.
	longestYield = time.Second
	// slower: with each write the quickest time grows by this fraction, so that an API
	// server that has become slower for good does not count as busy for ever.
	slower = 1024
)

// yield paces a writer, so that a busy API server first serves requests for which people
// wait. The pause after a write is as long as the write took, times the ratio of that time
// to the quickest write's. The zero value is ready to use.
type yield struct {
	mu       sync.Mutex
	quickest time.Duration
}

// after returns the pause after a write that took so long. After an urgent write, which
// moves an address, the pause is as long as the write took, without the factor.
func (y *yield) after(took time.Duration, urgent bool) time.Duration {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.quickest += y.quickest / slower; y.quickest == 0 || took < y.quickest {
		y.quickest = max(took, 1)
	}
	pause := took
	if !urgent {
		pause = time.Duration(float64(took) * float64(took) / float64(y.quickest))
	}
	return min(pause, longestYield)
}

// written is the state of a claim that had nothing left to write.
type written struct {
	version  string // of the claim
	want     v1beta1.L2ClaimStatus
	standing layer2.AddressStatus
}

func (w written) equal(x written) bool {
	return w.version == x.version && reflect.DeepEqual(w.standing, x.standing) && w.want.Pool == x.want.Pool && slices.Equal(w.want.Links, x.want.Links) && slices.Equal(w.want.Services, x.want.Services)
}

// reportClaims enters this node in the L2Claims of the addresses that it answers for. In
// those of addresses that it released, and no other node took, it writes the reason.
func (r *Reporter) reportClaims(ctx context.Context, d *Applied) error {
	begin := time.Now()
	have := cluster.Claims(r.Cached, r.Claims, begin)
	r.alive = d.Alive
	r.successions.keep(d.Claimed)
	named := func(c *v1beta1.L2Claim) bool { return c.Spec.Node == r.Node }
	if len(d.Plan.Claims) == 0 && !slices.ContainsFunc(have, named) {
		r.written, r.more, r.looked = nil, false, time.Since(begin)
		return nil // as on most nodes, most of the time
	}
	byName := make(map[string]*v1beta1.L2Claim, len(have))
	for _, c := range have {
		byName[c.Name] = c
	}
	users := usersOf(d)
	due := r.due(d, users)
	said, errs := r.writeClaims(ctx, begin, d.Plan.Claims, byName, due)
	r.written = make(map[netip.Addr]written, len(said))
	for i, w := range said {
		if w.version != "" {
			r.written[d.Plan.Claims[i].Addr] = w
		}
	}
	for _, c := range have {
		errs = append(errs, r.reportUnannounced(ctx, c, d, users))
	}
	return joinErrors(errs)
}

// writeClaims writes the claims that are due, several concurrently, and first those that
// move an address. Writes that have not started after longestReport are left to the next
// report. It returns the known state of each claim.
func (r *Reporter) writeClaims(ctx context.Context, begin time.Time, claims []announce.Claim, byName map[string]*v1beta1.L2Claim, due func(announce.Claim, *v1beta1.L2Claim) (written, bool)) ([]written, []error) {
	errs, said := make([]error, len(claims)), make([]written, len(claims))
	var moves, added []func() // each includes its pause
	for i, c := range claims {
		claim := byName[intent.ClaimName(c.Addr)]
		want, ok := due(c, claim)
		if !ok {
			continue
		}
		if claim != nil {
			want.version = claim.ResourceVersion
		}
		if was, ok := r.written[c.Addr]; ok && was.equal(want) {
			said[i] = was
			continue
		}
		isNew := claim == nil || intent.NeedsDAD(claim)
		write := func() {
			start, wrote := time.Now(), false
			if wrote, errs[i] = r.reportClaim(ctx, claim, want.want, want.standing); wrote {
				wait.Sleep(ctx, r.yield.after(time.Since(start), !isNew))
			} else if errs[i] == nil && claim != nil {
				said[i] = want
			}
		}
		if isNew {
			added = append(added, write)
		} else {
			moves = append(moves, write)
		}
	}
	var group errgroup.Group
	group.SetLimit(parallel)
	start := time.Now()
	r.looked = start.Sub(begin)
	for i, write := range slices.Concat(moves, added) {
		if r.more = i >= len(moves) && time.Since(start) > longestReport; r.more {
			break
		}
		group.Go(func() error { write(); return nil })
	}
	_ = group.Wait() // the errors are in errs
	return said, errs
}

// due returns a function that returns what to write into the claim for c, and whether
// anything must be written. claim is nil if there is none.
func (r *Reporter) due(d *Applied, users map[netip.Addr]users) func(c announce.Claim, claim *v1beta1.L2Claim) (written, bool) {
	links := r.Links.Links()
	standings := map[netip.Addr]layer2.AddressStatus{}
	for _, s := range r.Links.Addresses() {
		standings[s.Addr] = s
	}
	return func(c announce.Claim, claim *v1beta1.L2Claim) (written, bool) {
		if claim != nil && claim.Spec.Node != r.Node && claim.Spec.Node != d.Owners[c.Addr] {
			return written{}, false // another node became the owner since the plan was made; the next pass handles that
		}
		standing, ok := standings[c.Addr]
		if !ok || d.Unconfirmed[c.Addr] {
			return written{}, false // withdrawn since the plan was made, or another node may have it
		}
		return written{want: r.claimStatus(standing, users[c.Addr], links), standing: standing}, true
	}
}

// joinErrors joins the first three errors, and counts the others.
func joinErrors(errs []error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) > 3 {
		errs = append(errs[:3:3], fmt.Errorf("and %d more", len(errs)-3))
	}
	return errors.Join(errs...)
}

// users are the Services of an address, by name, and the pool that it is from.
type users struct {
	keys []ipam.Key
	pool string
}

// usersOf returns the users of each address.
func usersOf(d *Applied) map[netip.Addr]users {
	out := map[netip.Addr]users{}
	for _, v := range d.Plan.Results {
		for _, o := range v.Layer2 {
			out[o.Addr] = users{append(out[o.Addr].keys, v.Key), o.Pool}
		}
	}
	return out
}

// claimStatus returns the status of a claim without Since and the conditions.
func (r *Reporter) claimStatus(standing layer2.AddressStatus, u users, links []layer2.Link) v1beta1.L2ClaimStatus {
	s := v1beta1.L2ClaimStatus{Node: r.Node, Pool: u.pool}
	for _, l := range links {
		if slices.Contains(standing.Links, l.Name) {
			s.Links = append(s.Links, v1beta1.ClaimLink{Name: l.Name, MAC: l.MAC.String()})
		}
	}
	s.Links = first(maxLinks, s.Links, func(l v1beta1.ClaimLink) string { return l.Name })
	for _, key := range first(maxServices, u.keys, itself) {
		s.Services = append(s.Services, key.String())
	}
	if len(s.Services) > 0 {
		s.Service = s.Services[0]
	}
	return s
}

// reportClaim writes one claim, and reports whether that was necessary. When an address has
// moved to this node, or could not be announced before, it records an event on each Service.
// The controller has an event for a new address, and one for an address that is not announced.
func (r *Reporter) reportClaim(ctx context.Context, have *v1beta1.L2Claim, want v1beta1.L2ClaimStatus, standing layer2.AddressStatus) (wrote bool, err error) {
	claim, wrote, err := r.nameNode(ctx, have, standing.Addr)
	if err != nil || standing.State == layer2.Probing {
		return wrote, err // the result of probing is reported later
	}
	before := claim.Status.DeepCopy()
	owned := r.succeed(&want, *before, standing.Addr)
	announced := metav1.Condition{Type: v1beta1.ConditionAnnounced, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAnnounced}
	conflict := conflictOf(standing, r.Node)
	if standing.State == layer2.Conflict {
		want.Links = nil
		announced.Status, announced.Reason, announced.Message = metav1.ConditionFalse, v1beta1.ReasonAddressConflict, conflict
	}
	starts := standing.State == layer2.Announced && before.Node != "" && (before.Node != r.Node || intent.NeedsDAD(claim))
	said, err := r.writeClaim(ctx, claim, want, announced, conflict)
	if err != nil || !said {
		return wrote, err
	}
	if before.Node != r.Node {
		r.successions.done(standing.Addr)
		r.Log.Info(history.Message, owned.Log()...)
	}
	if starts {
		r.serviceEvents(ctx, claim, owned.OwnedText())
	}
	return true, nil
}

// nameNode names this node as the owner in the claim. It returns the claim, and whether that
// had to be written.
func (r *Reporter) nameNode(ctx context.Context, have *v1beta1.L2Claim, addr netip.Addr) (claim *v1beta1.L2Claim, wrote bool, err error) {
	claim = &v1beta1.L2Claim{}
	claim.Name, claim.Spec.Address = intent.ClaimName(addr), v1beta1.IPAddress(addr.String())
	if have != nil {
		claim = have.DeepCopy()
	}
	if claim.Spec.Node == r.Node {
		return claim, false, nil
	}
	before := claim.DeepCopy()
	claim.Spec.Node = r.Node
	if have == nil {
		err = r.Client.Create(ctx, claim)
	} else {
		err = r.Client.Patch(ctx, claim, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	}
	if err != nil {
		return nil, false, fmt.Errorf("name this node in L2Claim %q: %w", claim.Name, err)
	}
	r.Claims.RecordCreate(claim.DeepCopy(), time.Now())
	r.successions.named(addr, r.successionOf(before.Spec.Node))
	return claim, true, nil
}

// conflictOf describes the foreign hosts that have the address; "" if there are none.
func conflictOf(s layer2.AddressStatus, node string) string {
	if len(s.Foreign) == 0 {
		return ""
	}
	first := s.Foreign[0]
	text := intent.ConflictText(first.MAC.String(), first.Link, node, s.Addr)
	for i, f := range s.Foreign[1:] {
		text += [...]string{" (and so have ", ", "}[min(i, 1)] + f.MAC.String()
	}
	if len(s.Foreign) > 1 {
		text += ")"
	}
	if s.State == layer2.Conflict {
		return text + ", so that it is not announced"
	}
	return text + " as well"
}

// reportUnannounced writes into a claim that names this node why it does not answer for the
// address, if no other node does either.
func (r *Reporter) reportUnannounced(ctx context.Context, c *v1beta1.L2Claim, d *Applied, users map[netip.Addr]users) error {
	addr, err := netip.ParseAddr(string(c.Spec.Address))
	if err != nil || c.Spec.Node != r.Node || c.Status.Node != r.Node || d.Claimed[addr] || len(users[addr].keys) == 0 {
		return nil // another node reports it, or the controller is about to delete it
	}
	o := d.Plan.Of(users[addr].keys[0]).Of(addr)
	if o.Owner != "" {
		return nil // the owner will report it
	}
	want := *c.Status.DeepCopy()
	want.Links = nil
	message := "no node can announce the address; this is the reason of node " + r.Node
	if o.Reason == announce.NodeExcluded && d.Excluded != "" {
		message += ": " + d.Excluded
	}
	_, err = r.writeClaim(ctx, c.DeepCopy(), want, metav1.Condition{
		Type: v1beta1.ConditionAnnounced, Status: metav1.ConditionFalse, Reason: string(o.Reason), Message: message,
	}, "")
	return err
}

// writeClaim patches the status of a claim if it differs, and reports whether it did. If the
// claim has another owner by now, that owner's concurrent write counts.
func (r *Reporter) writeClaim(ctx context.Context, claim *v1beta1.L2Claim, want v1beta1.L2ClaimStatus, announced metav1.Condition, conflict string) (bool, error) {
	before := claim.DeepCopy()
	want.Conditions = slices.Clone(claim.Status.Conditions)
	announced.ObservedGeneration = claim.Generation
	intent.SetCondition(&want.Conditions, announced)
	if conflict == "" {
		meta.RemoveStatusCondition(&want.Conditions, v1beta1.ConditionConflict)
	} else {
		intent.SetCondition(&want.Conditions, metav1.Condition{
			Type: v1beta1.ConditionConflict, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAddressConflict, Message: conflict, ObservedGeneration: claim.Generation,
		})
	}
	claim.Status = want
	if equality.Semantic.DeepEqual(before.Status, claim.Status) {
		return false, nil
	}
	err := r.Client.Status().Patch(ctx, claim, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	switch {
	case apierrors.IsConflict(err) && announced.Status == metav1.ConditionFalse, apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("patch the status of L2Claim %q: %w", claim.Name, err)
	}
	r.Claims.RecordWrite(claim)
	return true, nil
}

// serviceEvents records on each Service of a claim's address that this node answers for it.
func (r *Reporter) serviceEvents(ctx context.Context, of *v1beta1.L2Claim, note string) {
	for _, name := range of.Status.Services {
		ns, n, _ := strings.Cut(name, "/")
		svc := &corev1.Service{}
		if err := r.Client.Get(ctx, client.ObjectKey{Namespace: ns, Name: n}, svc); err != nil {
			continue // deleted meanwhile
		}
		r.Record(cluster.Event{About: cluster.About(svc), Type: corev1.EventTypeNormal, Reason: v1beta1.ReasonAnnounced, Action: "Announce", Detail: string(of.Spec.Address), Message: note})
	}
}
