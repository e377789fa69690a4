package ports

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/prometheus/procfs"
)

// established is the state of a TCP connection that is up, in the kernel's tables.
const established = 1

// Connected returns which other program of this machine has a TCP connection with the port of
// a host, or has its own port of that number connected with the host; "": none has. The
// program's end of the connection has the address local, unless that is invalid.
func Connected(host netip.AddrPort, local netip.Addr) (string, error) {
	return connected("/proc", host, local)
}

func connected(proc string, host netip.AddrPort, local netip.Addr) (string, error) {
	fs, err := procfs.NewFS(proc)
	if err != nil {
		return "", fmt.Errorf("read the kernel's tables: %w", err)
	}
	four, err := fs.NetTCP()
	if err != nil {
		return "", fmt.Errorf("read the kernel's connections: %w", err)
	}
	six, err := fs.NetTCP6()
	if err != nil && !os.IsNotExist(err) { // without IPv6 there is no such table
		return "", fmt.Errorf("read the kernel's connections: %w", err)
	}
	for _, c := range append(four, six...) { // without an inode: no program has taken it yet
		theirs, _ := netip.AddrFromSlice(c.RemAddr)
		ours, _ := netip.AddrFromSlice(c.LocalAddr)
		port := uint64(host.Port())
		if c.St != established || c.Inode == 0 || theirs.Unmap() != host.Addr().WithZone("") || c.RemPort != port && c.LocalPort != port ||
			local.IsValid() && ours.Unmap() != local.WithZone("") {
			continue
		}
		inode := strconv.FormatUint(c.Inode, 10)
		if holds(filepath.Join(proc, "self"), inode) {
			continue
		}
		if name := programOf(proc, inode); name != "" {
			return name, nil
		}
		return fmt.Sprintf("a program of user %d; on the node, ss -tnp names it", c.UID), nil
	}
	return "", nil
}
