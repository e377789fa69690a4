package lab

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/e2e/lab/hosts"
)

// TestHosts builds hosts, cables and one process, without Kubernetes.
func TestHosts(t *testing.T) {
	id := make([]byte, 3)
	_, _ = rand.Read(id)
	o, err := Options{Name: "t" + hex.EncodeToString(id), Nodes: 1, Router: "none"}.complete()
	if err != nil {
		t.Fatal(err)
	}
	r := &Rack{Options: o}
	if err := r.checkMachine(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := Down(r.Name); err != nil {
			t.Error(err)
		}
	})
	if err := r.claim(); err != nil {
		t.Fatal(err)
	}
	if err := r.buildNetwork(t.Context()); err != nil {
		t.Fatal(err)
	}
	carrier := func(want string) {
		t.Helper()
		eventually(t, "carrier "+want, func() bool {
			out, _ := r.Command(t.Context(), "node1", "cat", "/sys/class/net/eth0/carrier").Output()
			return strings.TrimSpace(string(out)) == want
		})
	}
	carrier("1")
	if err := r.Cut("node1"); err != nil {
		t.Fatal(err)
	}
	carrier("0")
	if err := r.Join("node1"); err != nil {
		t.Fatal(err)
	}
	carrier("1")
	if out, err := r.Command(t.Context(), "node1", "ip", "-6", "addr", "show", "dev", "eth0").Output(); err != nil || !strings.Contains(string(out), "2001:db8:2::11/64") {
		t.Errorf("the IPv6 address did not outlive the cut: %s %v", out, err)
	}
	processes(t, r)
	if err := Down(r.Name); err != nil {
		t.Fatal(err)
	}
	if left := hosts.List(r.Name + "-"); left != nil {
		t.Errorf("Down left namespaces %v", left)
	}
	if _, err := os.Stat(r.path()); !os.IsNotExist(err) {
		t.Errorf("Down left %s: %v", r.path(), err)
	}
	var none *NotFoundError
	if _, err := Open(r.Name); !errors.As(err, &none) {
		t.Errorf("after Down, Open says %v", err)
	}
}

// processes starts one, stops it, goes on with it, kills it, starts it again.
func processes(t *testing.T, r *Rack) {
	t.Helper()
	if err := r.table().Spawn(hosts.Process{Host: "client", Name: "idle", Argv: []string{"sleep", "1000"}}); err != nil {
		t.Fatal(err)
	}
	state := func(want string) hosts.Process {
		t.Helper()
		var p hosts.Process
		eventually(t, "process "+want, func() bool {
			var err error
			if p, err = r.table().Process("client", "idle"); err != nil {
				t.Fatal(err)
			}
			return p.State() == want
		})
		return p
	}
	first := state("running")
	for _, s := range []struct {
		sig  syscall.Signal
		want string
	}{{syscall.SIGSTOP, "stopped"}, {syscall.SIGCONT, "running"}, {syscall.SIGTERM, "dead"}} {
		if err := r.Kill("client", "idle", s.sig); err != nil {
			t.Fatal(err)
		}
		state(s.want)
	}
	if err := r.table().CheckAlive(); err == nil {
		t.Error("CheckAlive does not see the dead process")
	}
	if err := r.Start("client", "idle"); err != nil {
		t.Fatal(err)
	}
	if second := state("running"); second.PID == first.PID {
		t.Errorf("process %d is there again", first.PID)
	}
	if err := r.Start("client", "idle"); err == nil {
		t.Error("a running process was started twice")
	}
	if err := r.Kill("client", "busy", syscall.SIGKILL); err == nil || !strings.Contains(err.Error(), "client idle") {
		t.Errorf("an unknown process is answered with %v", err)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still no %s after 5 s", what)
		}
	}
}
