package ports

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"iter"
	"net/netip"
	"path/filepath"
	"slices"
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
	for c := range connections(proc, host.Port()) {
		if c.state != established || c.theirs.Addr() != host.Addr().WithZone("") || local.IsValid() && c.ours.Addr() != local.WithZone("") {
			continue
		}
		if name := c.other(proc); name != "" {
			return name
		}
	}
	return ""
}

// Use is another program's use of a TCP port.
type Use struct {
	Program string
	Ours    netip.Addr // the end of its connection on this machine; invalid: it listens
	Theirs  netip.Addr // the other end
}

// Uses returns how other programs of this machine use a TCP port: each that listens on it, and
// each connection whose own end or other end has it.
func Uses(port uint16) []Use { return uses("/proc", port) }

func uses(proc string, port uint16) (out []Use) {
	for c := range connections(proc, port) {
		u := Use{Ours: c.ours.Addr(), Theirs: c.theirs.Addr()}
		switch {
		case c.state == listening["tcp"] && c.ours.Port() == port:
			u.Ours, u.Theirs = netip.Addr{}, netip.Addr{}
		case c.state != established:
			continue
		}
		if u.Program = c.other(proc); u.Program != "" && !slices.Contains(out, u) {
			out = append(out, u)
		}
	}
	slices.SortFunc(out, func(a, b Use) int {
		return cmp.Or(a.Theirs.Compare(b.Theirs), a.Ours.Compare(b.Ours), cmp.Compare(a.Program, b.Program))
	})
	return out
}

// connection is a TCP socket and its ends.
type connection struct {
	socket
	ours, theirs netip.AddrPort
}

// connections yields the TCP sockets of programs of which one end has the port. One without
// an inode no program has taken yet.
func connections(proc string, port uint16) iter.Seq[connection] {
	return func(yield func(connection) bool) {
		for _, table := range []string{"tcp", "tcp6"} {
			for s := range sockets(filepath.Join(proc, "net", table)) {
				ours, known := endOf(s.local)
				theirs, alsoKnown := endOf(s.remote)
				if known && alsoKnown && s.inode != "0" && (ours.Port() == port || theirs.Port() == port) && !yield(connection{s, ours, theirs}) {
					return
				}
			}
		}
	}
}

// other returns the program that has the connection; "" if that is this one.
func (c connection) other(proc string) string {
	if holds(filepath.Join(proc, "self"), c.inode) {
		return ""
	}
	if name := programOf(proc, c.inode); name != "" {
		return name
	}
	return fmt.Sprintf("a program of user %s; on the node, ss -tnp names it", c.user)
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
