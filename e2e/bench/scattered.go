package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// scattered measures new Services in an IPv4 /8 and an IPv6 /64 where Services
// hold every second address from the start, beside a pool that is empty.
func (b *bench) scattered(ctx context.Context) error {
	if err := b.ready(ctx, 0); err != nil {
		return err
	}
	n := b.scaled(full / 2)
	both, err := b.serve(ctx, n, spec{
		families: []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol},
		addrs: func(i int) string {
			return fmt.Sprintf("%s,%s", plus(netip.MustParseAddr("10.0.0.0"), 2*i+1), plus(netip.MustParseAddr("fd00:be::"), 2*i+1))
		},
	})
	if err != nil {
		return err
	}
	cases := []struct {
		name string
		spec spec
		each []time.Duration
	}{
		{name: "empty /24 (the floor)", spec: spec{pool: "small"}},
		{name: fmt.Sprintf("IPv4 /8 with %d scattered", n), spec: spec{pool: "wide-v4"}},
		{name: fmt.Sprintf("IPv6 /64 with %d scattered", n), spec: spec{pool: "wide-v6", families: []corev1.IPFamily{corev1.IPv6Protocol}}},
	}
	for round := range b.rounds {
		fmt.Printf("  round %d of %d\n", round+1, b.rounds)
		for i := range cases {
			m, err := b.passing(ctx, b.scaled(200), cases[i].spec)
			if err != nil {
				return err
			}
			cases[i].each = append(cases[i].each, m.each())
		}
	}
	rows := [][]string{{fmt.Sprintf("burst of %d, by pool", b.scaled(200)), "time per Service, median", "ratio"}}
	for _, c := range cases {
		rows = append(rows, []string{c.name, ms(at(c.each, 0.5)), times([]float64{ratio(at(c.each, 0.5), at(cases[0].each, 0.5))})})
	}
	if err := table(rows); err != nil {
		return err
	}
	return b.remove(ctx, both.entries)
}

// plus returns the address n after a.
func plus(a netip.Addr, n int) netip.Addr {
	bytes := a.AsSlice()
	for i := len(bytes) - 1; n > 0; i-- {
		n += int(bytes[i])
		bytes[i], n = byte(n), n>>8
	}
	out, _ := netip.AddrFromSlice(bytes) // as long as a's
	return out
}
