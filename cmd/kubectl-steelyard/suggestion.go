package main

import (
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
