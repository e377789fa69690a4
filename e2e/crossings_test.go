package e2e

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// circling is for how long a packet is followed: 255 times across a rack takes a few
// milliseconds.
const circling = time.Second

// crossings sends one packet to a port that no Service has, and counts how often it
// crosses the router's link.
func (s *story) crossings(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: crossings HOST ADDRESS")
	}
	const discard, errors4, errors6 = "9", "icmp[0] == 3 or icmp[0] == 11", "icmp6 and (ip6[40] == 1 or ip6[40] == 3)"
	heard, stop := s.sniff(ts, "router", "udp port "+discard+" or "+errors4+" or ("+errors6+")")
	addr := strings.Trim(args[1], "[]")
	send := fmt.Sprintf("sysctl -qw net.ipv4.ip_default_ttl=255 net.ipv6.conf.eth0.hop_limit=255 && echo > /dev/udp/%s/%s", addr, discard)
	if out, err := onHost(context.Background(), s, args[0], "bash", "-c", send).CombinedOutput(); err != nil {
		ts.Fatalf("send a packet: %v: %s", err, out)
	}
	time.Sleep(circling)
	stop()
	ts.Logf("%s", strings.Join(heard.lines[:min(len(heard.lines), 8)], "\n"))
	fmt.Fprintln(ts.Stdout(), len(heard.lines))
}
