package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/internal/intent"
)

// unknown says that nothing of a kind has that name, and what else there is, the
// likeliest first.
func unknown(kind, name string, there []string) error {
	const most = 6
	there = slices.Clone(there)
	slices.SortFunc(there, func(a, b string) int {
		return cmp.Or(cmp.Compare(intent.Distance(name, a), intent.Distance(name, b)), cmp.Compare(a, b))
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
