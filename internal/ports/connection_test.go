package ports

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tables writes the kernel's tables: node and router are 192.0.2.11 and 192.0.2.1, 2001:db8::b
// and 2001:db8::1.
func tables(t *testing.T, four, six string) (proc string) {
	t.Helper()
	proc = t.TempDir()
	if err := os.MkdirAll(filepath.Join(proc, "net"), 0o755); err != nil {
		t.Fatal(err)
	}
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	for name, lines := range map[string]string{"tcp": four, "tcp6": six} {
		if err := os.WriteFile(filepath.Join(proc, "net", name), []byte(head+lines), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return proc
}

func TestUses(t *testing.T) {
	const rest = " 00000000:00000000 00:00000000 00000000   472        0 4242 1\n"
	for _, c := range []struct{ name, four, six, want string }{
		{"no program does", "   0: 0B0200C0:9999 010200C0:00B4 01" + rest, "", ""},
		{"it listens", "   0: 00000000:00B3 00000000:0000 0A" + rest, "", "listens"},
		{"it listens on both", "   0: 00000000:00B3 00000000:0000 0A" + rest, "   0: 00000000000000000000000000000000:00B3 00000000000000000000000000000000:0000 0A" + rest, "listens"},
		{"it dialed", "   0: 0B0200C0:9999 010200C0:00B3 01" + rest, "", "192.0.2.11>192.0.2.1"},
		{"the router dialed", "   0: 0B0200C0:00B3 010200C0:9999 01" + rest, "", "192.0.2.11>192.0.2.1"},
		{"it only tries", "   0: 0B0200C0:9999 010200C0:00B3 02" + rest, "", ""},
		{"it listens elsewhere", "   0: 00000000:00B4 00000000:0000 0A" + rest, "", ""},
		{"no program has taken it", "   0: 0B0200C0:9999 010200C0:00B3 01 00000000:00000000 00:00000000 00000000   472        0 0 1\n", "", ""},
		{"two routers, one of them by IPv6", "   0: 0B0200C0:9999 010200C0:00B3 01" + rest,
			"   0: B80D01200000000000000000" + "0B000000:9999 B80D01200000000000000000" + "01000000:00B3 01" + rest, "192.0.2.11>192.0.2.1 2001:db8::b>2001:db8::1"},
	} {
		var got []string
		for _, u := range uses(tables(t, c.four, c.six), 179) {
			if u.Program != "a program of user 472; on the node, ss -tnp names it" {
				t.Errorf("%s: it is %q", c.name, u.Program)
			}
			if !u.Ours.IsValid() {
				got = append(got, "listens")
				continue
			}
			got = append(got, u.Ours.String()+">"+u.Theirs.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestConnected(t *testing.T) {
	const rest = " 00000000:00000000 00:00000000 00000000   472        0 4242 1\n"
	router4, router6 := netip.MustParseAddrPort("192.0.2.1:179"), netip.MustParseAddrPort("[2001:db8::1]:179")
	for _, c := range []struct {
		name      string
		four, six string
		host      netip.AddrPort
		local     string
		connected bool
	}{
		{"it dialed", "   0: 0B0200C0:9999 010200C0:00B3 01" + rest, "", router4, "192.0.2.11", true},
		{"the router dialed", "   0: 0B0200C0:00B3 010200C0:9999 01" + rest, "", router4, "192.0.2.11", true},
		{"whatever its address", "   0: 0B0200C0:9999 010200C0:00B3 01" + rest, "", router4, "", true},
		{"from another address", "   0: 0C0200C0:9999 010200C0:00B3 01" + rest, "", router4, "192.0.2.11", false},
		{"to another port", "   0: 0B0200C0:9999 010200C0:00B4 01" + rest, "", router4, "192.0.2.11", false},
		{"with another host", "   0: 0B0200C0:9999 020200C0:00B3 01" + rest, "", router4, "192.0.2.11", false},
		{"it only tries", "   0: 0B0200C0:9999 010200C0:00B3 02" + rest, "", router4, "192.0.2.11", false},
		{"IPv6", "", "   0: B80D01200000000000000000" + "0B000000:9999 B80D01200000000000000000" + "01000000:00B3 01" + rest, router6, "2001:db8::b", true},
		{"IPv4 on a socket of both", "", "   0: 0000000000000000FFFF00000B0200C0:9999 0000000000000000FFFF0000010200C0:00B3 01" + rest, router4, "192.0.2.11", true},
		{"nothing", "", "", router4, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var local netip.Addr
			if c.local != "" {
				local = netip.MustParseAddr(c.local)
			}
			got := connected(tables(t, c.four, c.six), c.host, local)
			if (got != "") != c.connected || c.connected && !strings.HasPrefix(got, "a program of user 472;") {
				t.Errorf("%q", got)
			}
		})
	}
}

// What this process is connected with counts for none.
func TestOwnConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := Connected(l.Addr().(*net.TCPAddr).AddrPort(), netip.Addr{}); got != "" {
		t.Errorf("%q", got)
	}
}
