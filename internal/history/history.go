// Package history remembers which Services had the addresses of pools, and which nodes answered
// for them, and tells it as one list. It is pure: it reads no clock, and does no I/O. What it
// remembers is bounded, and stands in the statuses of IPAddressPools and L2Claims.
package history

import (
	"cmp"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// Trail has the last changes of who has the addresses of each pool, by its name, newest first: at
// most v1beta1.MaxHistory, and v1beta1.MaxHistoryOfAddress of one address. A nil Trail has none,
// and takes none.
type Trail map[string][]v1beta1.AddressChange

// Remembered returns what the statuses of pools remember.
func Remembered(pools []v1beta1.IPAddressPool) Trail {
	out := Trail{}
	for i := range pools {
		if of := pools[i].Status.History; len(of) > 0 {
			out[pools[i].Name] = slices.Clone(of)
		}
	}
	return out
}

// At is a time as an AddressChange has it, to the microsecond.
func At(t time.Time) metav1.MicroTime { return metav1.NewMicroTime(t.Truncate(time.Microsecond)) }

// Add remembers a change of an address of that pool, unless the last one of the same address and
// Service is the same: a write that failed is made again.
func (t Trail) Add(pool string, c v1beta1.AddressChange) {
	if t == nil {
		return
	}
	before, of := t[pool], 1
	out := make([]v1beta1.AddressChange, 1, len(before)+1)
	out[0] = c
	known := false // what the same Service had before
	for _, x := range before {
		if x.Address == c.Address {
			if x.Service == c.Service && !known {
				if known = true; x.Change == c.Change {
					return
				}
			}
			if of++; of > v1beta1.MaxHistoryOfAddress {
				continue
			}
		}
		if len(out) < v1beta1.MaxHistory {
			out = append(out, x)
		}
	}
	t[pool] = out
}

// Forget takes out a change that Add remembered and that did not come true. What Add left out
// for it stays out.
func (t Trail) Forget(pool string, c v1beta1.AddressChange) {
	if i := slices.IndexFunc(t[pool], func(x v1beta1.AddressChange) bool { return same(x, c) }); i >= 0 {
		t[pool] = slices.Delete(slices.Clone(t[pool]), i, i+1)
	}
}

func same(a, b v1beta1.AddressChange) bool {
	return a.At.Equal(&b.At) && a.Address == b.Address && a.Service == b.Service && a.Change == b.Change
}

// Was returns the Service that lost the address last, as far as is known; "": none but that one.
func (t Trail) Was(pool, address, service string) string {
	for _, x := range t[pool] {
		if x.Address == address && x.Service != service && x.Change == v1beta1.ChangeReleased {
			return x.Service
		}
	}
	return ""
}

// Keep forgets the pools that are not there any more.
func (t Trail) Keep(there func(pool string) bool) {
	maps.DeleteFunc(t, func(pool string, _ []v1beta1.AddressChange) bool { return !there(pool) })
}

// Succeed returns the former owners that an L2Claim is to show when its owner gives way to another
// one at that time, and for that reason: the owner, and those before it.
func Succeed(of v1beta1.L2ClaimStatus, at time.Time, reason string) []v1beta1.FormerOwner {
	if of.Node == "" {
		return of.FormerOwners
	}
	out := append([]v1beta1.FormerOwner{{Node: of.Node, Since: of.Since, Until: At(at), Reason: reason}}, of.FormerOwners...)
	return out[:min(len(out), v1beta1.MaxFormerOwners)]
}

// Entry is one change in the life of an address.
type Entry struct {
	At      time.Time
	Address string
	Change  string // v1beta1.ChangeGranted, v1beta1.ChangeReleased, or Owned
	Service string // that got or lost it; of Owned that had it; "": not known
	Was     string // of a grant the Service that lost it last; "": not known
	Node    string // that became its owner, or answered for it when it was released; "": none
	From    string // the owner before; "": none, or not known
	Pool    string // that it is of; "": not known
	Reason  string // "": not known
	Source  Source
}

// Owned: the node became the owner of the address.
const Owned = "Owned"

// Source is where an Entry is from.
type Source string

// The sources, the best first.
const (
	FromPool  Source = "pool"  // status.history of an IPAddressPool
	FromClaim Source = "claim" // an L2Claim
	FromEvent Source = "event"
)

// EntryOf is a change of that pool as an Entry.
func EntryOf(pool string, c v1beta1.AddressChange) Entry {
	return Entry{At: c.At.Time, Address: c.Address, Change: c.Change, Service: c.Service, Node: c.Node, Pool: pool, Reason: c.Reason, Source: FromPool}
}

// Message is what each line of the log about an Entry says.
const Message = "address changed"

// Log are the keys and values of a line of the log. The keys are always the same.
func (e Entry) Log() []any {
	return []any{"address", e.Address, "change", e.Change, "service", e.Service, "was", e.Was, "node", e.Node, "from", e.From, "pool", e.Pool, "reason", e.Reason}
}

// compare orders entries by time, then a release before a grant, and a grant before an owner.
func (e Entry) compare(f Entry) int {
	order := []string{v1beta1.ChangeReleased, v1beta1.ChangeGranted, Owned}
	return cmp.Or(e.At.Compare(f.At), cmp.Compare(slices.Index(order, e.Change), slices.Index(order, f.Change)),
		cmp.Compare(e.Address, f.Address), cmp.Compare(e.Service, f.Service), cmp.Compare(e.Node, f.Node))
}
