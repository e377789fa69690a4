// Package ports finds out which of the ports that a program wants another program on this
// machine has, and which program that is. It decides nothing.
package ports

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Port is a port to listen on.
type Port struct {
	Network string // tcp or udp
	Address string // host:port, as net.Listen takes it
}

// String returns it as in TCP 7474.
func (p Port) String() string {
	_, port, _ := net.SplitHostPort(p.Address)
	return strings.ToUpper(p.Network) + " " + port
}

// Taken tries to listen, for at most timeout, since the process before this one may be about
// to end. It returns which program has the port; "": the port is free, or the reason is
// another one, and the part that listens there reports it.
func (p Port) Taken(ctx context.Context, timeout time.Duration) string {
	for end := time.Now().Add(timeout); ; {
		err := p.listen(ctx)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return ""
		}
		if ctx.Err() != nil || !time.Now().Before(end) {
			return p.holder("/proc")
		}
		time.Sleep(pause)
	}
}

const pause = 250 * time.Millisecond

func (p Port) listen(ctx context.Context) error {
	var config net.ListenConfig
	if p.Network == "udp" {
		c, err := config.ListenPacket(ctx, "udp", p.Address)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", p, err)
		}
		return c.Close()
	}
	l, err := config.Listen(ctx, "tcp", p.Address)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", p, err)
	}
	return l.Close()
}

// holder names the program that has the port, by the kernel's tables. In a container the
// programs of others can't be seen: then it says whose they are.
func (p Port) holder(proc string) string {
	_, text, _ := net.SplitHostPort(p.Address)
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return unseen
	}
	for _, table := range []string{p.Network, p.Network + "6"} {
		inode, user := socketOf(filepath.Join(proc, "net", table), p.Network, uint16(port))
		switch name := programOf(proc, inode); {
		case inode == "":
		case name != "":
			return name
		default:
			return fmt.Sprintf("a program of user %s; on the node, ss -lntup names it", user)
		}
	}
	return unseen
}

const unseen = "another program; on the node, ss -lntup names it"

// listening is the state of a listening TCP socket in the kernel's tables; one of UDP that is
// not connected has the state of a closed one.
var listening = map[string]string{"tcp": "0A", "udp": "07"}

// socketOf returns the inode and the user of the socket that listens on the port.
func socketOf(table, network string, port uint16) (inode, user string) {
	for s := range sockets(table) {
		if strings.HasSuffix(s.local, fmt.Sprintf(":%04X", port)) && s.state == listening[network] {
			return s.inode, s.user
		}
	}
	return "", ""
}

// socket is a line of the kernel's tables of sockets (proc_pid_net(5)).
type socket struct{ local, remote, state, user, inode string }

// sockets yields those of a table; without one there are none.
func sockets(table string) iter.Seq[socket] {
	return func(yield func(socket) bool) {
		file, err := os.Open(table)
		if err != nil {
			return
		}
		defer file.Close()
		for lines := bufio.NewScanner(file); lines.Scan(); {
			f := strings.Fields(lines.Text())
			if len(f) > 9 && !yield(socket{f[1], f[2], f[3], f[7], f[9]}) {
				return
			}
		}
	}
}

// programOf returns the program that has the socket, and its process; "": it can't be seen.
func programOf(proc, inode string) string {
	processes, err := filepath.Glob(filepath.Join(proc, "[0-9]*"))
	if err != nil || inode == "" {
		return ""
	}
	for _, of := range processes {
		if !holds(of, inode) {
			continue
		}
		name, err := os.ReadFile(filepath.Join(of, "comm"))
		if err == nil {
			return fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), filepath.Base(of))
		}
	}
	return ""
}

// holds reports whether a process has a socket. Of a process that can't be looked at it
// reports false.
func holds(process, inode string) bool {
	links, err := filepath.Glob(filepath.Join(process, "fd", "*"))
	return err == nil && slices.ContainsFunc(links, func(l string) bool {
		to, err := os.Readlink(l)
		return err == nil && to == "socket:["+inode+"]"
	})
}

// OfUDP returns the UDP port of that number on all addresses.
func OfUDP(port uint16) Port {
	return Port{"udp", netip.AddrPortFrom(netip.IPv6Unspecified(), port).String()}
}
