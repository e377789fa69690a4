package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
)

// edit changes a pool that no Service is of, and counts what the controller
// does about it. The floor is the same wait without an edit.
func (b *bench) edit(ctx context.Context) error {
	if err := b.ready(ctx, b.scaled(full)); err != nil {
		return err
	}
	active, err := b.active(ctx)
	if err != nil {
		return err
	}
	rows := [][]string{{fmt.Sprintf("%d Services", len(b.held)), "Services written", "passes"}}
	for _, c := range []struct {
		what string
		do   func() error
	}{
		{"nothing happens (the floor)", func() error { return nil }},
		{"a pool is edited that no Service is of", func() error {
			return kubectl(ctx, b.rack, "", "patch", "ipaddresspool", "unused", "--type", "merge", "-p", `{"spec":{"addresses":["172.23.0.0/25"]}}`)
		}},
	} {
		written, passes := b.ledger.rewrites(b.held), 0
		if passes, err = b.passes(ctx, active); err != nil {
			return err
		}
		if err := c.do(); err != nil {
			return err
		}
		if err := b.settle(ctx); err != nil {
			return err
		}
		after, err := b.passes(ctx, active)
		if err != nil {
			return err
		}
		rows = append(rows, []string{c.what, fmt.Sprint(b.ledger.rewrites(b.held) - written), fmt.Sprint(after - passes)})
	}
	return table(rows)
}

// passCount is the metric that counts the controller's passes.
var passCount = regexp.MustCompile(`(?m)^steelyard_pass_duration_seconds_count(?:\{[^}]*\})? (\d+)$`)

// passes tells how many passes a replica of the controller has made.
func (b *bench) passes(ctx context.Context, controller string) (int, error) {
	page, err := b.rack.Command(ctx, "control", "curl", "-fsS", "http://"+b.rack.MetricsAddress(controller)+"/metrics").Output()
	if err != nil {
		return 0, fmt.Errorf("read the metrics of %s: %w", controller, err)
	}
	found := passCount.FindSubmatch(page)
	if found == nil {
		return 0, fmt.Errorf("%s doesn't tell how many passes it made: no steelyard_pass_duration_seconds_count", controller)
	}
	return strconv.Atoi(string(found[1]))
}
