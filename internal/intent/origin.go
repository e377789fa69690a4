package intent

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// The condition Allocated records which pool an address came from. An annotation says so
// too, but a tenant who may edit Services may write that; he may not write the status.
// The condition decides what a Service keeps when its pool is gone, until when, and what
// is kept for the Service itself when it is deleted.

// Origin is an address that a Service was given, and its pool.
type Origin struct {
	Addr  netip.Addr
	Pool  string
	Node  string    // the node whose own address it was when the Service got it, which alone announces it; "": none's
	Until time.Time // the pool is gone, and the Service keeps the address until then; zero: that is not said
}

// ownAddress is how a message begins to say that an address is a node's own.
const ownAddress = " (an address of node "

// OriginsText puts origins into the words with which the message of the condition
// Allocated begins.
func OriginsText(origins []Origin) string {
	parts := make([]string, len(origins))
	for i, o := range origins {
		parts[i] = o.Addr.String()
		if i+1 < len(origins) && o.sameSource(origins[i+1]) {
			continue
		}
		parts[i] += fmt.Sprintf(" of IPAddressPool \"%s\"", o.Pool)
		if o.Node != "" {
			parts[i] += fmt.Sprintf(ownAddress+"%s, which alone announces it)", o.Node)
		}
		if !o.Until.IsZero() {
			parts[i] += fmt.Sprintf(" (which is gone: kept until %s)", o.Until.UTC().Format(time.RFC3339))
		}
	}
	return strings.Join(parts, ", ")
}

// sameSource reports whether one text tells of o and of the next one, so that the message has room for
// all addresses that a Service may have.
func (o Origin) sameSource(next Origin) bool {
	return o.Addr.Is4() == next.Addr.Is4() && o.Pool == next.Pool && o.Node == next.Node && o.Until.Equal(next.Until)
}

// Origins reads what OriginsText has written on svc.
func Origins(svc *corev1.Service) []Origin {
	c := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAllocated)
	if c == nil || c.Status != "True" {
		return nil
	}
	return OriginsIn(c.Message)
}

// OriginsIn reads what OriginsText has written at the start of a text.
func OriginsIn(text string) (out []Origin) {
	for {
		m := originText.FindStringSubmatch(text)
		if m == nil {
			return out
		}
		o := Origin{Pool: m[2]}
		var err error
		o.Node = m[3]
		if m[4] != "" {
			if o.Until, err = time.Parse(time.RFC3339, m[4]); err != nil {
				return out
			}
		}
		for addr := range strings.SplitSeq(m[1], ", ") {
			if o.Addr, err = parseAddr(addr); err != nil {
				return out
			}
			out = append(out, o)
		}
		if m[5] == "" {
			return out
		}
		text = text[len(m[0]):]
	}
}

// PoolDeleted reports whether svc has an address whose pool is deleted, by its condition.
func PoolDeleted(svc *corev1.Service) bool {
	return slices.ContainsFunc(Origins(svc), func(o Origin) bool { return !o.Until.IsZero() })
}

// OwnAddressOf returns the node whose own address a was when svc got it; "": none's.
func OwnAddressOf(svc *corev1.Service, a netip.Addr) string {
	if c := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAllocated); c == nil || !strings.Contains(c.Message, ownAddress) {
		return "" // as of nearly all Services, each of which is asked in every pass
	}
	for _, o := range Origins(svc) {
		if o.Addr == a {
			return o.Node
		}
	}
	return ""
}

// originText is the origin of some addresses at the start of a message, and the comma before the next.
var originText = regexp.MustCompile(`^([0-9a-f:.]+(?:, [0-9a-f:.]+)*) of IPAddressPool "([a-z0-9.-]+)"(?: \(an address of node ([a-z0-9.-]+), which alone announces it\))?(?: \(which is gone: kept until ([0-9TZ:-]+)\))?(, )?`)

// Gone returns those of origins whose pool is not there any more, or has no addresses since its prefix is not
// known yet, and that no other one holds.
func (c Config) Gone(origins []Origin) []Origin {
	if len(origins) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(origins), func(o Origin) bool {
		i, there := c.named[o.Pool]
		there = there && (c.Pools[i].prefixes.hosts == nil || c.Pools[i].prefixes.current.IsValid())
		return there || c.PoolOf(o.Addr) != ""
	})
}

// goneOf returns the pool that svc has a of and that is gone, so that the address goes
// on being announced until the Service loses it; "": there is none.
func (c Config) goneOf(svc *corev1.Service, a netip.Addr) string {
	for _, o := range c.Gone(Origins(svc)) {
		if o.Addr == a {
			return o.Pool
		}
	}
	return ""
}
