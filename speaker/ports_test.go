package main

import (
	"log/slog"
	"net"
	"strings"
	"testing"
)

// A port that another program has costs the part that needs it, and nothing else.
func TestPortsThatAreTaken(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	log := slog.New(slog.DiscardHandler)
	o := options{probes: "127.0.0.1:0", debug: "0", pprof: "0", membershipPort: uint(udp.LocalAddr().(*net.UDPAddr).Port) - 1}
	o.metrics.Address = tcp.Addr().String()
	have, sentences := o.withoutTaken(t.Context(), 0, log)
	if have.metrics.Address != "0" || have.membershipPort != 0 || have.probes != o.probes {
		t.Errorf("have %+v", have)
	}
	if text := strings.Join(sentences, "\n"); len(sentences) != 2 || !strings.Contains(text, "(metrics): ") || !strings.Contains(text, "(messages between speakers): ") {
		t.Errorf("sentences %q", sentences)
	}
	o = options{probes: "127.0.0.1:0", debug: "0", pprof: "0"}
	o.metrics.Address = "0"
	if have, sentences := o.withoutTaken(t.Context(), 0, log); len(sentences) > 0 || have.probes != o.probes {
		t.Errorf("all are free: %+v, %q", have, sentences)
	}
}
