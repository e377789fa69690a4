// Package hosts treats network namespaces as the hosts of a rack: it runs ip
// commands and programs in them, dials from them, and removes them. It does not
// know what a rack is; a group of hosts is a prefix of namespaces' names.
package hosts

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
)

// folder is where ip(8) keeps named network namespaces.
const folder = "/run/netns"

// List lists the namespaces whose names begin with prefix, sorted.
func List(prefix string) []string {
	entries, _ := os.ReadDir(folder) // absent: there is none
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	return names
}

// IP runs a batch of ip commands, in namespace ns unless it is empty.
func IP(ctx context.Context, ns, batch string) error {
	argv := []string{"ip", "-batch", "-"}
	if ns != "" {
		argv = []string{"ip", "-n", ns, "-batch", "-"}
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(batch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// Dial dials from inside a network namespace. addr must be one literal address:
// only then does the net package make the socket on the calling thread.
func Dial(ctx context.Context, ns, network, addr string) (net.Conn, error) {
	return within(ns, func() (net.Conn, error) { return new(net.Dialer).DialContext(ctx, network, addr) })
}

// Listen listens inside a network namespace, on one literal address. The namespace is
// one of this machine's by name, or by the path of its file, as /proc/1/ns/net.
func Listen(ctx context.Context, ns, network, addr string) (net.Listener, error) {
	return within(ns, func() (net.Listener, error) { return new(net.ListenConfig).Listen(ctx, network, addr) })
}

// within opens a socket in a network namespace: it belongs to the one that its
// thread was in when it was made.
func within[S any](ns string, open func() (S, error)) (S, error) {
	var none S
	runtime.LockOSThread()
	original, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return none, fmt.Errorf("find the own namespace: %w", err)
	}
	defer original.Close()
	path := ns
	if !filepath.IsAbs(path) {
		path = filepath.Join(folder, ns)
	}
	there, err := netns.GetFromPath(path)
	if err != nil {
		runtime.UnlockOSThread()
		return none, fmt.Errorf("open namespace %s: %w", ns, err)
	}
	defer there.Close()
	if err := netns.Set(there); err != nil {
		runtime.UnlockOSThread()
		return none, fmt.Errorf("enter namespace %s: %w", ns, err)
	}
	socket, err := open()
	if netns.Set(original) == nil {
		runtime.UnlockOSThread()
	} // else the thread stays locked, and ends with its goroutine
	return socket, err
}

// KillMarked kills every process that has a variable in its environment, as NAME=VALUE.
func KillMarked(variable string) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err == nil && slices.Contains(strings.Split(string(environment), "\x00"), variable) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // fails when it has just ended
		}
	}
}

// Remove deletes the namespaces with a prefix and kills what is in them.
// It repeats until none is left: a kubelet may have been busy making more.
func Remove(prefix string) error {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		names := List(prefix)
		if len(names) == 0 {
			return nil
		}
		killed := killIn(names)
		if killed == 0 {
			for _, ns := range names {
				if err := IP(context.Background(), "", "netns del "+ns+"\n"); err != nil {
					return fmt.Errorf("delete host %s: %w", ns, err)
				}
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("after 20 s there are still %d processes in %v", killed, names)
		}
	}
}

// killIn kills every process in the namespaces but this one; it tells how many
// it found alive.
func killIn(names []string) int {
	var spaces []os.FileInfo
	for _, ns := range names {
		if info, err := os.Stat(filepath.Join(folder, ns)); err == nil {
			spaces = append(spaces, info)
		}
	}
	found := 0
	entries, _ := os.ReadDir("/proc") // Linux without /proc has no rack
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		own, err := os.Stat(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil { // it has ended
			continue
		}
		for _, space := range spaces {
			if os.SameFile(own, space) {
				_ = syscall.Kill(pid, syscall.SIGKILL) // fails when it has just ended
				found++
			}
		}
	}
	return found
}
