package main

import (
	"bytes"
	"context"
	"time"

	"github.com/spf13/cobra"
)

// watchEvery is how often a command that watches reads the cluster.
const watchEvery = 2 * time.Second

// clear has a terminal show an empty screen, from the top (ECMA-48 sections 8.3.21, 8.3.39).
const clearScreen = "\x1b[H\x1b[2J"

// watchable lets c run again and again with --watch, until it is interrupted. On a terminal
// it draws the answer in place of the last one; else it prints each that says something new.
func (t *tool) watchable(c *cobra.Command, find func(ctx context.Context, args []string) (answer, error)) *cobra.Command {
	var watch bool
	c.Flags().BoolVarP(&watch, "watch", "w", false, "go on, and print the answer again when it changes")
	return t.command(c, func(ctx context.Context, args []string) (answer, error) {
		a, err := find(ctx, args)
		if !watch {
			return a, err
		}
		var said []byte
		for ; err == nil; a, err = find(ctx, args) {
			if said, err = t.printNew(a, said); err != nil {
				return nil, err
			}
			select {
			case <-ctx.Done():
			case <-time.After(watchEvery):
			}
			if ctx.Err() != nil {
				return silent{a}, nil
			}
		}
		if ctx.Err() != nil {
			return silent{a}, nil
		}
		return nil, err
	})
}

// silent is an answer that was printed already.
type silent struct{ answer }

// printNew prints an answer, unless it says what was said before. It returns what it says.
// What is drawn tells how long ago something was, which does not count as new.
func (t *tool) printNew(a answer, said []byte) ([]byte, error) {
	says, err := encode(a)
	if err != nil {
		return nil, err
	}
	before := ""
	switch data := t.output == "json" || t.output == "yaml"; {
	case t.color && !data:
		before = clearScreen
	case bytes.Equal(says, said):
		return said, nil
	case said != nil && t.output == "yaml":
		before = "---\n"
	case said != nil && !data:
		before = "\n"
	}
	return says, t.printAfter(before, a)
}
