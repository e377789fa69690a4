package ports

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTaken(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	of := OfUDP(uint16(udp.LocalAddr().(*net.UDPAddr).Port))
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	self := fmt.Sprintf("%s (process %d)", strings.TrimSpace(string(comm)), os.Getpid())
	for _, p := range []Port{{"tcp", tcp.Addr().String()}, of} {
		if have := p.Taken(ctx, 0); have != self {
			t.Errorf("%s: %q has it, want %q", p, have, self)
		}
	}
	time.AfterFunc(pause, func() { _ = tcp.Close(); _ = udp.Close() })
	for _, p := range []Port{{"tcp", tcp.Addr().String()}, of} {
		if have := p.Taken(ctx, time.Minute); have != "" {
			t.Errorf("%s: %q has it, and the port is free", p, have)
		}
	}
	if have := (Port{"tcp", "192.0.2.1:1"}).Taken(ctx, 0); have != "" {
		t.Errorf("an address that this machine does not have: %q", have)
	}
}

// In a container the programs of others can't be seen.
func TestAProgramThatCantBeSeen(t *testing.T) {
	proc := t.TempDir()
	if err := os.MkdirAll(filepath.Join(proc, "net"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := Port{"tcp", ":7474"}
	if have := p.holder(proc); have != unseen {
		t.Errorf("without tables: %s", have)
	}
	table := "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
		"   0: 0100007F:1D32 0100007F:9999 01 00000000:00000000 00:00000000 00000000     7        0 111 1\n" +
		"   1: 00000000:1D32 00000000:0000 0A 00000000:00000000 00:00000000 00000000   472        0 222 1\n"
	if err := os.WriteFile(filepath.Join(proc, "net", "tcp"), []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	if have := p.holder(proc); !strings.HasPrefix(have, "a program of user 472;") {
		t.Errorf("its user: %s", have)
	}
	if p.String() != "TCP 7474" {
		t.Error(p)
	}
}
