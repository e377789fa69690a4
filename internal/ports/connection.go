package ports

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// established is the state of a TCP connection that is up, in the kernel's tables.
const established = "01"

// Connected returns which other program of this machine has a TCP connection with the port of
// a host, or has its own port of that number connected with the host; "": none has, or none
// can be seen. The program's end of the connection has the address local, unless that is
// invalid.
func Connected(host netip.AddrPort, local netip.Addr) string { return connected("/proc", host, local) }

func connected(proc string, host netip.AddrPort, local netip.Addr) string {
	for _, table := range []string{"tcp", "tcp6"} {
		for s := range sockets(filepath.Join(proc, "net", table)) {
			ours, known := endOf(s.local)
			theirs, alsoKnown := endOf(s.remote)
			if !known || !alsoKnown || s.state != established || s.inode == "0" || theirs.Addr() != host.Addr().WithZone("") ||
				theirs.Port() != host.Port() && ours.Port() != host.Port() || local.IsValid() && ours.Addr() != local.WithZone("") {
				continue // without an inode: no program has taken it yet
			}
			if holds(filepath.Join(proc, "self"), s.inode) {
				continue
			}
			if name := programOf(proc, s.inode); name != "" {
				return name
			}
			return fmt.Sprintf("a program of user %s; on the node, ss -tnp names it", s.user)
		}
	}
	return ""
}

// endOf reads an end of a connection: an address of one or four words, each in the byte order
// of the machine, and a port.
func endOf(text string) (netip.AddrPort, bool) {
	addr, port, _ := strings.Cut(text, ":")
	words, err := hex.DecodeString(addr)
	n, portErr := strconv.ParseUint(port, 16, 16)
	if err != nil || portErr != nil || len(words)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(words); i += 4 {
		binary.NativeEndian.PutUint32(words[i:], binary.BigEndian.Uint32(words[i:]))
	}
	a, ok := netip.AddrFromSlice(words)
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), ok
}
