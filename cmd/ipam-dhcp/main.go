// Command ipam-dhcp is an IPAM in front of DHCP: it serves steelyard.ipam.v1 (api/ipam/v1) to
// Steelyard's controller, and leases each address from a DHCP server on a link of the machine that
// it runs on, by DHCPv4 or DHCPv6. It keeps nothing: another one, on another machine, goes on.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/steelyard-lb/steelyard/internal/logs"
	"github.com/steelyard-lb/steelyard/internal/source/adapter"
	"github.com/steelyard-lb/steelyard/internal/version"
)

// options are the flags.
type options struct {
	adapter.Options
	links map[string]string // by pool
}

func main() {
	o := options{links: map[string]string{}}
	flag.Func("pool", "the network interface by which the DHCP server of a pool is reached, such as lan=eth0, or the subnet that it has an address in, such as lan=192.0.2.0/24; repeat it for further pools", o.addPool)
	o.Main("ipam-dhcp", func(ctx context.Context, args []string, out io.Writer) error { return run(ctx, o, args, out) })
}

// addPool reads a flag --pool.
func (o *options) addPool(text string) error {
	pool, link, ok := strings.Cut(text, "=")
	if !ok || pool == "" || link == "" {
		return errors.New("write NAME=INTERFACE or NAME=SUBNET")
	}
	if _, twice := o.links[pool]; twice {
		return fmt.Errorf("pool %s is there twice", pool)
	}
	o.links[pool] = link
	return nil
}

// run serves until ctx ends.
func run(ctx context.Context, o options, args []string, out io.Writer) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown argument %q: see -help", args[0])
	}
	if len(o.links) == 0 {
		return errors.New("there is no pool: give --pool NAME=INTERFACE")
	}
	for pool, link := range o.links {
		var err error
		if o.links[pool], err = named(link); err != nil {
			return fmt.Errorf("--pool %s: %w", pool, err)
		}
	}
	w, err := openWires(slices.Compact(slices.Sorted(maps.Values(o.links))))
	if err != nil {
		return err
	}
	s := newServer(logs.New(out, slog.LevelInfo, logs.Text), o.links, w)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.run(ctx) })
	group.Go(func() error {
		return adapter.Serve(ctx, o.Options, s, func() {
			s.log.Info("ipam-dhcp serves", "version", version.String(), "listen", o.Listen)
		})
	})
	return group.Wait()
}
