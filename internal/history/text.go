package history

import (
	"fmt"
	"net/netip"
	"regexp"
	"time"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/intent"
)

// ReleasedText is the message of the event on a pool that a Service lost an address.
func (e Entry) ReleasedText() string {
	text := fmt.Sprintf("Service %s lost %s (%s)", e.Service, e.Address, e.Reason)
	if e.Node != "" {
		text += fmt.Sprintf("; node %s answered for it", e.Node)
	}
	return text
}

// OwnedText is the message of the event on a Service that another node answers for its address.
func (e Entry) OwnedText() string {
	text := fmt.Sprintf("node %s answers for %s", e.Node, e.Address)
	if e.From != "" {
		text += fmt.Sprintf(", after node %s (%s)", e.From, e.Reason)
	}
	return text
}

var (
	releasedText = regexp.MustCompile(`^Service ([a-z0-9-]+/[a-z0-9.-]+) lost ([0-9a-f:.]+) \((\w+)\)(?:; node ([a-z0-9.-]+) answered for it)?`)
	ownedText    = regexp.MustCompile(`^node ([a-z0-9.-]+) answers for ([0-9a-f:.]+), after node ([a-z0-9.-]+)(?: \((\w+)\))?`)
)

// Event is an Event of Kubernetes that one of the programs has sent, as far as it matters here.
type Event struct {
	At      time.Time
	About   string // the object: a Service as namespace/name, or the name of a pool
	Reason  string
	Message string
}

// Entries reads what an event says of who has which address: what others write into it counts for
// no more than an event does.
func (v Event) Entries() (out []Entry) {
	switch v.Reason {
	case v1beta1.ReasonAssigned:
		for _, o := range intent.OriginsIn(v.Message) {
			out = append(out, Entry{Address: o.Addr.String(), Change: v1beta1.ChangeGranted, Service: v.About, Pool: o.Pool, Reason: v.Reason})
		}
	case v1beta1.ReasonReleased:
		if m := releasedText.FindStringSubmatch(v.Message); m != nil {
			out = append(out, Entry{Address: m[2], Change: v1beta1.ChangeReleased, Service: m[1], Node: m[4], Pool: v.About, Reason: m[3]})
		}
	case v1beta1.ReasonAnnounced:
		if m := ownedText.FindStringSubmatch(v.Message); m != nil {
			out = append(out, Entry{Address: m[2], Change: Owned, Service: v.About, Node: m[1], From: m[3], Reason: m[4]})
		}
	}
	for i := range out {
		if _, err := netip.ParseAddr(out[i].Address); err != nil {
			return nil
		}
		out[i].At, out[i].Source = v.At, FromEvent
	}
	return out
}
