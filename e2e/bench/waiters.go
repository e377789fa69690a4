package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fewWaiters measures, in a cluster with nothing else, how soon the address of
// a deleted Service reaches the one that waits for it.
func (b *bench) fewWaiters(ctx context.Context) error {
	if err := b.ready(ctx, 0); err != nil {
		return err
	}
	small := spec{pool: "small"}
	holders, err := b.serve(ctx, b.scaled(200), small)
	if err != nil {
		return err
	}
	var left []*entry
	b.fewTimes, left, err = b.waiters(ctx, holders.entries, b.scaled(20), small, "172.22.0.0/24")
	if err != nil {
		return err
	}
	return b.remove(ctx, left)
}

// manyWaiters measures the same in the large cluster: a /16 of which Services
// hold all that is not excluded. It prints what fewWaiters measured too.
func (b *bench) manyWaiters(ctx context.Context) error {
	if err := b.ready(ctx, b.scaled(full)); err != nil {
		return err
	}
	waits, left, err := b.waiters(ctx, b.held, b.scaled(200), spec{pool: "main"}, "172.20.0.0/16")
	if err != nil {
		return err
	}
	b.held = left
	rows := [][]string{{"an address that is freed reaches who waits", "waiters", "p50", "p99"}}
	for _, c := range []struct {
		held  int
		waits []time.Duration
	}{{b.scaled(200), b.fewTimes}, {len(b.held), waits}} {
		rows = append(rows, []string{fmt.Sprintf("full pool of %d", c.held), fmt.Sprint(len(c.waits)), ms(at(c.waits, 0.5)), ms(at(c.waits, 0.99))})
	}
	rows = append(rows, []string{"ratio", "", times([]float64{ratio(at(waits, 0.5), at(b.fewTimes, 0.5))}), times([]float64{ratio(at(waits, 0.99), at(b.fewTimes, 0.99))})})
	return table(rows)
}

// waiters closes a pool to all but those who hold its addresses, has n Services
// wait for it, and deletes n holders one by one. It returns how long each freed
// address took, from the request to delete its holder, to reach the oldest that
// waits; that it is the oldest is checked. It also returns who holds addresses
// then, oldest first, and opens the pool again.
func (b *bench) waiters(ctx context.Context, holders []*entry, n int, w spec, prefix string) ([]time.Duration, []*entry, error) {
	if err := b.exclude(ctx, w.pool, others(netip.MustParsePrefix(prefix), holders)); err != nil {
		return nil, nil, err
	}
	if err := b.settle(ctx); err != nil {
		return nil, nil, err
	}
	of := b.begin(n)
	// One after the other, so that their age is in the order of their names.
	if err := b.create(ctx, of, w, 1); err != nil {
		return nil, nil, err
	}
	if err := b.settle(ctx); err != nil {
		return nil, nil, err
	}
	var waits []time.Duration
	left := holders
	for i, e := range of.entries {
		if have := b.ledger.servedOf(of); have != i {
			return nil, nil, fmt.Errorf("%d addresses were free and %d Services were served", i, have)
		}
		gone := left[i*len(holders)/n-i] // evenly over all; i of them are gone already
		left = slices.DeleteFunc(slices.Clone(left), func(e *entry) bool { return e == gone })
		start := time.Now()
		if err := b.client.CoreV1().Services(namespace).Delete(ctx, gone.name, metav1.DeleteOptions{}); err != nil {
			return nil, nil, fmt.Errorf("delete a Service: %w", err)
		}
		if err := b.ledger.await(ctx, "waiting Services served", i+1, func() int { return len(of.served) }); err != nil {
			return nil, nil, err
		}
		if of.served[i] != e {
			return nil, nil, fmt.Errorf("service %s was served, and %s has waited longer", of.served[i].name, e.name)
		}
		waits = append(waits, e.served.Sub(start))
	}
	return waits, append(left, of.entries...), b.exclude(ctx, w.pool, nil)
}

// exclude sets what a pool excludes.
func (b *bench) exclude(ctx context.Context, pool string, ranges []string) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"exclude": ranges}})
	if err != nil {
		return fmt.Errorf("encode the edit of pool %s: %w", pool, err)
	}
	return kubectl(ctx, b.rack, "", "patch", "ipaddresspool", pool, "--type", "merge", "-p", string(patch))
}

// others returns the ranges of addresses in a prefix that no Service holds.
func others(prefix netip.Prefix, holders []*entry) []string {
	var held []netip.Addr
	for _, e := range holders {
		for _, a := range e.addrs {
			held = append(held, netip.MustParseAddr(a))
		}
	}
	slices.SortFunc(held, netip.Addr.Compare)
	var ranges []string
	free := prefix.Addr()
	for _, a := range held {
		if free.Less(a) {
			ranges = append(ranges, free.String()+"-"+a.Prev().String())
		}
		free = a.Next()
	}
	if last := plus(prefix.Addr(), 1<<(free.BitLen()-prefix.Bits())-1); !last.Less(free) {
		ranges = append(ranges, free.String()+"-"+last.String())
	}
	return ranges
}
