package main

import (
	"context"
	"fmt"
	"time"
)

// memory reads the memory of the controller just after the large burst, when it
// has come to rest, and that of a standby.
func (b *bench) memory(ctx context.Context) error {
	if err := b.hold(ctx, b.scaled(full)); err != nil {
		return err
	}
	rows := [][]string{{fmt.Sprintf("memory, %d Services", len(b.held)), "resident", "at most so far"}}
	read := func(what, controller string) error {
		pid, err := b.pid(controller)
		if err != nil {
			return err
		}
		now, peak, err := resident(pid)
		rows = append(rows, []string{what, now, peak})
		return err
	}
	active, err := b.active(ctx)
	if err != nil {
		return err
	}
	if err := read("controller, when the last is served", active); err != nil {
		return err
	}
	const rest = 30 * time.Second
	fmt.Printf("  rest for %s\n", rest)
	if err := pause(ctx, rest); err != nil {
		return err
	}
	if err := read(fmt.Sprintf("controller, %s later", rest), active); err != nil {
		return err
	}
	if err := b.together(); err != nil {
		return err
	}
	if err := b.settle(ctx); err != nil {
		return err
	}
	_, others, err := b.standbys(ctx)
	if err != nil {
		return err
	}
	for _, name := range others {
		if err := read("a standby, just started", name); err != nil {
			return err
		}
	}
	if err := b.alone(ctx); err != nil {
		return err
	}
	return table(rows)
}
