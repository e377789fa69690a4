// Command bench measures the built programs on racks, each figure beside a
// floor that is measured in the same run, and prints tables. Nothing passes or
// fails: compare the ratios, for the times depend on the machine.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/steelyard-lb/steelyard/e2e/lab"
)

func main() {
	size := flag.Int("services", 500, "how many Services a burst has")
	rounds := flag.Int("rounds", 3, "how often each figure is measured")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *size, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, size, rounds int) error {
	if err := onRack(ctx, lab.Options{Name: "bench1", Nodes: 1, Router: "none"}, func(r *lab.Rack) error {
		return bursts(ctx, r, size, rounds)
	}); err != nil {
		return err
	}
	return onRack(ctx, lab.Options{Name: "bench2", Nodes: 3, Router: "none"}, func(r *lab.Rack) error {
		return outages(ctx, r, rounds)
	})
}

// onRack runs do on a rack of its own.
func onRack(ctx context.Context, o lab.Options, do func(*lab.Rack) error) error {
	if err := lab.Down(o.Name); err != nil { // what an aborted run left
		return err
	}
	defer func() {
		if err := lab.Down(o.Name); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}()
	fmt.Printf("rack %s: %d nodes\n", o.Name, o.Nodes)
	r, err := lab.Up(ctx, o, os.Stderr)
	if err != nil {
		return err
	}
	return do(r)
}

// table prints rows in columns.
func table(rows [][]string) error {
	fmt.Println()
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		for _, cell := range row {
			fmt.Fprint(t, cell, "\t")
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Println()
	return nil
}

func ms(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }
