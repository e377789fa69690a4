package intent

import (
	"cmp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
	"github.com/steelyard-lb/steelyard/internal/ipam"
)

// longestGrace is the longest graceTime that the schema lets in.
const longestGrace = 24 * time.Hour

// graceTime reads spec.graceTime. The schema lets nothing else in: a pool is no worse
// off with the default.
func graceTime(in v1beta1.Duration) time.Duration {
	d, err := time.ParseDuration(string(cmp.Or(in, v1beta1.DefaultGraceTime)))
	if err != nil || d < 0 || d > longestGrace {
		return DefaultGrace()
	}
	return d
}

// DefaultGrace is the graceTime of a pool of which nothing is known.
func DefaultGrace() time.Duration { return graceTime(v1beta1.DefaultGraceTime) }

// Kept returns what is kept at that time, as the statuses of pools say.
func Kept(pools []v1beta1.IPAddressPool, now time.Time) []ipam.Kept {
	var out []ipam.Kept
	for i := range pools {
		for _, k := range pools[i].Status.Kept {
			addr, err := parseAddr(k.Address)
			namespace, name, ok := strings.Cut(k.Service, "/")
			if err == nil && ok && k.Until.After(now) { // only the controller writes them
				out = append(out, ipam.Kept{Addr: addr, For: ipam.Key{Namespace: namespace, Name: name}, Until: k.Until.Time, Peak: int(k.Wanted)})
			}
		}
	}
	return out
}

// KeptStatus spells what is kept as it stands in the status of a pool: as much as it
// can hold, and of each namespace about as much.
func KeptStatus(kept []ipam.Kept) []v1beta1.KeptAddress {
	var out []v1beta1.KeptAddress
	for _, k := range slices.SortedFunc(slices.Values(ipam.Bounded(kept, v1beta1.MaxKept)), ipam.Kept.Compare) {
		out = append(out, v1beta1.KeptAddress{
			Address: k.Addr.String(), Service: k.For.String(), Until: metav1.NewTime(k.Until), Wanted: int32(k.Peak),
		})
	}
	return out
}
