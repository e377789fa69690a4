package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// What a large cluster of many tenants may have.
const (
	manyReservations = 2_000
	manyQuotas       = 200
)

// limits measures bursts of new Services in a large cluster, first without AddressReservations and
// AddressQuotas, then with many. One of the quotas counts all Services.
func (b *bench) limits(ctx context.Context) error {
	if err := b.ready(ctx, b.scaled(full)); err != nil {
		return err
	}
	n, reservations, quotas := b.scaled(500), b.scaled(manyReservations), b.scaled(manyQuotas)
	rows := [][]string{{fmt.Sprintf("burst of %d Services beside %d", n, len(b.held)), "p50", "p99", "Services/s", "controller's CPU"}}
	without, err := b.passings(ctx, &rows, "without reservations and quotas", n)
	if err != nil {
		return err
	}
	if err := kubectl(ctx, b.rack, limitsOf(reservations, quotas), "create", "-f", "-"); err != nil {
		return err
	}
	with, err := b.passings(ctx, &rows, fmt.Sprintf("with %d and %d", reservations, quotas), n)
	if err != nil {
		return err
	}
	if err := kubectl(ctx, b.rack, "", "delete", "addressreservations,addressquotas", "--all"); err != nil {
		return err
	}
	over := func(figure func(burst) time.Duration) string {
		var a, b []time.Duration
		for i := range with {
			a, b = append(a, figure(with[i])), append(b, figure(without[i]))
		}
		return times([]float64{ratio(at(a, 0.5), at(b, 0.5))})
	}
	return table(append(rows, []string{
		"ratio of the medians", over(func(m burst) time.Duration { return at(m.waits, 0.5) }), over(func(m burst) time.Duration { return at(m.waits, 0.99) }),
		over(burst.each), over(func(m burst) time.Duration { return m.used }),
	}))
}

// passings measures n new Services in each round, and adds a row for each.
func (b *bench) passings(ctx context.Context, to *[][]string, what string, n int) (out []burst, err error) {
	for range b.rounds {
		m, err := b.passing(ctx, n, spec{})
		if err != nil {
			return nil, err
		}
		out = append(out, m)
		*to = append(*to, []string{what, ms(at(m.waits, 0.5)), ms(at(m.waits, 0.99)), fmt.Sprintf("%.0f", float64(n)/m.whole.Seconds()), ms(m.used)})
	}
	return out, nil
}

// limitsOf returns reservations of an address each, and quotas for a namespace each, the first for
// that of the Services.
func limitsOf(reservations, quotas int) string {
	var out strings.Builder
	for i := range reservations {
		fmt.Fprintf(&out, "---\napiVersion: steelyard.dev/v1beta1\nkind: AddressReservation\nmetadata: {name: r%d}\nspec: {namespace: tenant-%d, services: [s%d], addresses: [172.20.%d.%d]}\n", i, i%quotas, i, 200+i/250, i%250+1)
	}
	for i := range quotas {
		of := fmt.Sprintf("tenant-%d", i)
		if i == 0 {
			of = namespace
		}
		fmt.Fprintf(&out, "---\napiVersion: steelyard.dev/v1beta1\nkind: AddressQuota\nmetadata: {name: q%d}\nspec: {namespaces: [%s], hard: [{addresses: 100000}, {addresses: 100000, ipAddressPools: [main]}]}\n", i, of)
	}
	return out.String()
}
