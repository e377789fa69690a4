// Command ipam-file is the reference IPAM: it serves steelyard.ipam.v1 (api/ipam/v1) to
// Steelyard's controller, from ranges that are given as flags, and keeps in a file who has which
// address. Adapters to other address managements can be made after it; it is also of use where
// none is there. One process serves a file.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/steelyard-lb/steelyard/internal/ipam"
	"github.com/steelyard-lb/steelyard/internal/printable"
	"github.com/steelyard-lb/steelyard/internal/source/adapter"
	"github.com/steelyard-lb/steelyard/internal/version"
)

// options are the flags.
type options struct {
	adapter.Options
	file  string
	pools map[string][]ipam.Range
}

func main() {
	o := options{pools: map[string][]ipam.Range{}}
	flag.StringVar(&o.file, "file", "ipam.json", "file that keeps who has which address; its folder must be writable")
	flag.Func("pool", "ranges of a pool, such as lan=192.0.2.100-192.0.2.109,2001:db8::/120; repeat it for further pools", o.addPool)
	o.Main("ipam-file", func(ctx context.Context, args []string, out io.Writer) error { return run(ctx, o, args, out) })
}

// addPool reads a flag --pool.
func (o *options) addPool(text string) error {
	name, ranges, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return errors.New("write NAME=RANGE,RANGE")
	}
	for part := range strings.SplitSeq(ranges, ",") {
		r, err := parseRange(part)
		if err != nil {
			return err
		}
		o.pools[name] = append(o.pools[name], r)
	}
	return nil
}

// parseRange reads a CIDR, a range first-last or an address.
func parseRange(text string) (ipam.Range, error) {
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return ipam.Range{}, fmt.Errorf("read a range: %w", err)
		}
		return ipam.RangeOf(p.Masked()), nil
	}
	first, last, two := strings.Cut(text, "-")
	if !two {
		last = first
	}
	a, err := netip.ParseAddr(first)
	if err != nil {
		return ipam.Range{}, fmt.Errorf("read a range: %w", err)
	}
	b, err := netip.ParseAddr(last)
	if err != nil {
		return ipam.Range{}, fmt.Errorf("read a range: %w", err)
	}
	if a.BitLen() != b.BitLen() || b.Less(a) {
		return ipam.Range{}, fmt.Errorf("%s is no range", text)
	}
	return ipam.Range{First: a, Last: b}, nil
}

// run serves until ctx ends.
func run(ctx context.Context, o options, args []string, out io.Writer) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown argument %q: see -help", args[0])
	}
	if len(o.pools) == 0 {
		return errors.New("there is no pool: give --pool NAME=RANGES")
	}
	s, err := open(o.file, o.pools)
	if err != nil {
		return err
	}
	return adapter.Serve(ctx, o.Options, s, func() {
		fmt.Fprintf(out, "ipam-file %s serves on %s from %s\n", version.String(), printable.Word(o.Listen), printable.Word(o.file))
	})
}
