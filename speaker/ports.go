package main

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/steelyard-lb/steelyard/internal/ports"
)

// portTimeout is how long to wait for a port: the process before this one may still have it.
const portTimeout = 5 * time.Second

// withoutTaken returns the options without the parts whose ports another program has, and a
// sentence for each: a speaker that can't serve metrics announces all the same.
func (o options) withoutTaken(ctx context.Context, timeout time.Duration, log *slog.Logger) (options, []string) {
	var out []string
	taken := func(part string, p ports.Port) bool {
		by := p.Taken(ctx, timeout)
		if by == "" {
			return false
		}
		timeout = 0 // it has been waited for
		log.Error("a port is taken, going on without it", "port", p.String(), "part", part, "by", by)
		out = append(out, p.String()+" ("+part+"): "+by)
		return true
	}
	for _, x := range []struct {
		part string
		addr *string
	}{{"metrics", &o.metrics.Address}, {"health checks", &o.probes}, {"addresses for tools on the node", &o.debug}, {"profiles", &o.pprof}} {
		if _, _, err := net.SplitHostPort(*x.addr); err == nil && taken(x.part, ports.Port{Network: "tcp", Address: *x.addr}) {
			*x.addr = "0"
		}
	}
	if p := uint16(o.membershipPort); p != 0 {
		bfd, gossip := taken("BFD between speakers", ports.OfUDP(p)), taken("messages between speakers", ports.OfUDP(p+1))
		if bfd || gossip {
			o.membershipPort = 0
		}
	}
	return o, out
}
