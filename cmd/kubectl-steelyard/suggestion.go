package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/api/v1beta1"
)

// suggestion names the annotation that was most likely meant by one of ours that
// means nothing.
func suggestion(name string) string {
	known := []string{v1beta1.AnnotationLoadBalancerIPs, v1beta1.AnnotationAddressPool, v1beta1.AnnotationAllowSharedIP}
	best, least := "", len(v1beta1.AnnotationAddressPool)/3
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return "there are " + strings.Join(known, ", ")
	}
	return "do you mean " + best + "?"
}

// unknown says that nothing of a kind has that name, and what else there is, the
// likeliest first.
func unknown(kind, name string, there []string) error {
	const most = 6
	there = slices.Clone(there)
	slices.SortFunc(there, func(a, b string) int {
		return cmp.Or(cmp.Compare(distance(name, a), distance(name, b)), cmp.Compare(a, b))
	})
	there = slices.Compact(there)
	are := "are"
	switch n := len(there); {
	case n == 0:
		return fmt.Errorf("there is no %s %q, and no other", kind, name)
	case n == 1:
		are = "is"
	case n > most:
		there = append(there[:most:most], fmt.Sprintf("and %d more", n-most))
	}
	return fmt.Errorf("there is no %s %q; there %s %s", kind, name, are, strings.Join(there, ", "))
}

// distance is how many letters must be added, dropped or changed to make b of a
// (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
