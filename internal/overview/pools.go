package overview

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// pool is the usage of one family of an IPAddressPool.
type pool struct {
	Name, Family             string
	Assigned, Capacity, Free string
	Kept                     string  // kept for Services that were deleted; "": none
	Percent                  float64 // of the bar
	Share                    string  // the percentage as text
	Fullness                 string  // "", nearly or full
	Mark                     Mark
}

// nearlyFull is the share from which a pool counts as nearly full. An alert has the
// same.
const nearlyFull = 0.9

// poolsOf returns a row for each family of each pool, and for each pool without a
// status.
func poolsOf(pools []v1beta1.IPAddressPool) table[pool] {
	var rows []pool
	for i := range pools {
		p := &pools[i]
		mark := wait("Not judged yet")
		if c := meta.FindStatusCondition(p.Status.Conditions, v1beta1.ConditionAccepted); c != nil {
			if mark = good("Accepted"); c.Status != "True" {
				mark = bad(c.Reason)
			}
		}
		before := len(rows)
		for _, f := range []struct {
			name  string
			usage *v1beta1.PoolUsage
		}{{"IPv4", p.Status.IPv4}, {"IPv6", p.Status.IPv6}} {
			if f.usage != nil {
				rows = append(rows, usageOf(p.Name, f.name, f.usage, mark))
			}
		}
		if len(rows) == before {
			rows = append(rows, pool{Name: p.Name, Mark: mark})
		}
	}
	slices.SortStableFunc(rows, func(a, b pool) int { return strings.Compare(a.Name, b.Name) })
	return tableOf("ipaddresspools", rows)
}

func usageOf(name, family string, u *v1beta1.PoolUsage, mark Mark) pool {
	out := pool{Name: name, Family: family, Mark: mark, Assigned: short(u.Assigned), Capacity: short(u.Capacity), Free: short(u.Available)}
	if u.Kept != "" {
		out.Kept = short(u.Kept)
	}
	assigned, ok1 := new(big.Rat).SetString(u.Assigned)
	capacity, ok2 := new(big.Rat).SetString(u.Capacity)
	if !ok1 || !ok2 || capacity.Sign() <= 0 {
		return out
	}
	share, _ := new(big.Rat).Quo(assigned, capacity).Float64()
	out.Percent = 100 * min(max(share, 0), 1)
	switch {
	case assigned.Sign() == 0:
		out.Share = "0 %"
	case share < 0.01:
		out.Share = "less than 1 %"
	case share > 0.99 && share < 1:
		out.Share = "more than 99 %"
	default:
		out.Share = fmt.Sprintf("%.0f %%", 100*share)
	}
	switch {
	case share >= 1:
		out.Fullness = "full"
	case share >= nearlyFull:
		out.Fullness = "nearly full"
	}
	return out
}

// superscripts replaces the digits of an exponent.
var superscripts = strings.NewReplacer("0", "⁰", "1", "¹", "2", "²", "3", "³", "4", "⁴", "5", "⁵", "6", "⁶", "7", "⁷", "8", "⁸", "9", "⁹")

// short formats a decimal number for a quick look: with commas, or as a power of ten
// from ten million on.
func short(decimal string) string {
	n, ok := new(big.Int).SetString(decimal, 10)
	if !ok {
		return cmp.Or(decimal, "?")
	}
	digits := n.String()
	if len(digits) > 7 {
		f, _ := new(big.Float).SetInt(n).Float64()
		mantissa, exponent, _ := strings.Cut(fmt.Sprintf("%.1e", f), "e+")
		return mantissa + " × 10" + superscripts.Replace(strings.TrimLeft(exponent, "0"))
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
