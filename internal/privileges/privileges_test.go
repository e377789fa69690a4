package privileges

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"

	"github.com/steelyard-lb/steelyard/internal/membership/network"
)

// with runs f on a thread that has only these capabilities, in a new network namespace that
// has only a link x0 with carrier. The thread ends with f, so that no other goroutine uses it.
func with(t *testing.T, capabilities []uint, f func(t *testing.T)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make a network namespace")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("make a network namespace: %v", err)
			return
		}
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "x0"}, PeerName: "x1"}
		if err := netlink.LinkAdd(pair); err != nil {
			t.Errorf("make a link: %v", err)
			return
		}
		for _, name := range []string{"x0", "x1"} {
			l, err := netlink.LinkByName(name)
			if err != nil {
				t.Error(err)
				return
			}
			if err := netlink.LinkSetUp(l); err != nil {
				t.Error(err)
				return
			}
		}
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var sets [2]unix.CapUserData
		for _, c := range capabilities {
			sets[c/32].Effective |= 1 << (c % 32)
			sets[c/32].Permitted |= 1 << (c % 32)
		}
		if err := unix.Capset(&header, &sets[0]); err != nil {
			t.Errorf("give capabilities up: %v", err)
			return
		}
		f(t)
	}()
	<-done
}

// listen opens a socket as package layer2 does for ARP.
func listen() error {
	ifi, err := net.InterfaceByName("x0")
	if err != nil {
		return err
	}
	conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ARP, nil)
	if err != nil {
		return err
	}
	return conn.Close()
}

// restore does what package network does when a link went down and up again.
func restore() error {
	l, err := netlink.LinkByName("x0")
	if err != nil {
		return err
	}
	return netlink.NeighSet(&netlink.Neigh{
		LinkIndex: l.Attrs().Index, IP: net.IPv4(192, 0, 2, 9), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}, State: netlink.NUD_STALE,
	})
}

// watch runs what package network runs all the time, for a moment.
func watch() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	return network.NewNeighbors(slog.New(slog.DiscardHandler)).Run(ctx)
}

// Each capability is needed for its use, both suffice, and the speaker reports a missing one.
func TestEachPrivilegeIsNeeded(t *testing.T) {
	for _, c := range []struct {
		name                      string
		has                       []uint
		listens, restores, starts bool
		logs                      string
	}{
		{"both", []uint{unix.CAP_NET_RAW, unix.CAP_NET_ADMIN}, true, true, true, ""},
		{"without NET_ADMIN it starts and logs that", []uint{unix.CAP_NET_RAW}, true, false, true, "capability=NET_ADMIN"},
		{"without NET_RAW it does not start", []uint{unix.CAP_NET_ADMIN}, false, true, false, ""},
		{"none", nil, false, false, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			with(t, c.has, func(t *testing.T) {
				if err := listen(); (err == nil) != c.listens {
					t.Errorf("listen for ARP: want success %v, have %v", c.listens, err)
				}
				if err := restore(); (err == nil) != c.restores {
					t.Errorf("restore a neighbor: want success %v, have %v", c.restores, err)
				}
				if err := watch(); err != nil {
					t.Errorf("watch the neighbors: want success with any capabilities, have %v", err)
				}
				var logged bytes.Buffer
				err := Check(slog.New(slog.NewTextHandler(&logged, nil)))
				if (err == nil) != c.starts || err != nil && !strings.Contains(err.Error(), "NET_RAW") {
					t.Errorf("check: want success %v, have %v", c.starts, err)
				}
				if c.logs == "" && logged.Len() > 0 || !strings.Contains(logged.String(), c.logs) {
					t.Errorf("check: want a warning with %q, have %q", c.logs, logged.String())
				}
			})
		})
	}
}

// The installation gives the speaker the capabilities that it needs, and no others.
func TestTheInstallationGivesTheseCapabilities(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "config", "speaker", "daemonset.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var set appsv1.DaemonSet
	if err := yaml.Unmarshal(text, &set); err != nil {
		t.Fatal(err)
	}
	given := set.Spec.Template.Spec.Containers[0].SecurityContext.Capabilities
	if len(given.Drop) != 1 || given.Drop[0] != "ALL" || len(given.Add) != len(privileges) {
		t.Errorf("want all capabilities dropped and %d added, have %v", len(privileges), given)
	}
	for i, p := range privileges {
		if i < len(given.Add) && string(given.Add[i]) != p.name {
			t.Errorf("want %s added, have %s", p.name, given.Add[i])
		}
	}
}
