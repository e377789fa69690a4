package node

import (
	"bytes"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/internal/static"
)

func TestTheAPIServerIsAsked(t *testing.T) {
	var status atomic.Int64
	status.Store(http.StatusOK)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) }))
	defer server.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	health := static.Health{URL: server.URL, CA: ca, ServerName: "example.com"}
	s := NewAPIServer(func() static.Health { return health }, slog.New(slog.DiscardHandler))
	ask := func() error {
		err := s.ask(t.Context(), health)
		s.record(err)
		return err
	}
	if s.Known() {
		t.Error("it is known before it was asked")
	}
	if err := ask(); err != nil || !s.Ready() {
		t.Errorf("ready: %v, %v", s.Ready(), err)
	}
	status.Store(http.StatusInternalServerError)
	for i := range failures {
		if !s.Ready() {
			t.Errorf("not ready after %d failures", i)
		}
		_ = ask() // it is not ready
	}
	if s.Ready() {
		t.Error("ready in spite of its answers")
	}
	status.Store(http.StatusForbidden)
	if err := ask(); err == nil || !strings.Contains(err.Error(), "anonymous") {
		t.Errorf("%v does not say what to do", err)
	}
	status.Store(http.StatusOK)
	if _ = ask(); !s.Ready() {
		t.Error("one good answer is not enough")
	}
	health.ServerName = "other"
	if err := ask(); err == nil {
		t.Error("a certificate for another name is good enough")
	}
	health.CA = "" // then it is not checked
	if err := ask(); err != nil {
		t.Error(err)
	}
	server.Close()
	if err := ask(); !errors.Is(err, syscall.ECONNREFUSED) || s.Ready() {
		t.Errorf("ready although nothing listens: %v", err)
	}
}

const file = `addresses: [192.0.2.10]
nodes: [{name: a, address: 192.0.2.11}]
health: {url: "http://127.0.0.1:6443/readyz"}
keyFile: `

func TestTheFileIsReadAgain(t *testing.T) {
	folder := t.TempDir()
	name, key := filepath.Join(folder, "claims.yaml"), filepath.Join(folder, "key")
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(key, strings.Repeat("k", 44))
	write(name, file+key)
	var log bytes.Buffer
	f, err := Open(name, "a", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	write(name, strings.Replace(file, "192.0.2.10", "192.0.2.11", 1)+key)
	for range 3 {
		f.reread()
	}
	if f.Config().Addrs[0] != netip.MustParseAddr("192.0.2.10") || strings.Count(log.String(), "own address of the node a") != 1 {
		t.Errorf("%v, %s", f.Config().Addrs, &log)
	}
	write(name, strings.Replace(file, "192.0.2.10", "192.0.2.12", 1)+key)
	f.reread()
	if f.Config().Addrs[0] != netip.MustParseAddr("192.0.2.12") || len(f.Changed()) != 1 {
		t.Errorf("%v, %s", f.Config().Addrs, &log)
	}
	<-f.Changed()
	write(key, strings.Repeat("n", 44))
	f.reread()
	if string(f.Config().Keys[0]) != strings.Repeat("n", 44) || len(f.Changed()) != 1 {
		t.Errorf("a new key is not seen")
	}
	if _, err := Open(filepath.Join(folder, "absent"), "a", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "--static-claims") {
		t.Errorf("%v does not name the flag", err)
	}
	// A file that is not there yet is waited for; one that is wrong is not.
	late := filepath.Join(folder, "late")
	time.AfterFunc(100*time.Millisecond, func() { write(late, file+key) })
	if _, err := Await(t.Context(), late, "a", slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
	if _, err := Await(t.Context(), late, "b", slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a file without this node is waited for")
	}
}

// onLoopback returns the addresses of the loopback interface, in a network namespace of the test.
func onLoopback(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("ip", "-o", "addr", "show", "dev", "lo").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestAddresses(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make a network namespace")
	}
	runtime.LockOSThread() // and the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	four, six := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10")
	all := []netip.Addr{four, six}
	var log bytes.Buffer
	a := NewAddresses(slog.New(slog.NewTextHandler(&log, nil)))
	a.apply(lifetime)
	a.Set(all, all)
	for range 2 { // the second time they are renewed
		a.apply(lifetime)
		for _, addr := range all {
			if got := onLoopback(t); !strings.Contains(got, addr.String()+"/") || !strings.Contains(got, "valid_lft 3sec") {
				t.Errorf("%s is missing, or for ever: %s", addr, got)
			}
		}
	}
	// Another process knows which are there by the file alone.
	b := NewAddresses(slog.New(slog.NewTextHandler(&log, nil)))
	b.Set(all, all[1:])
	b.apply(lifetime)
	if got := onLoopback(t); strings.Contains(got, "192.0.2.10/") || !strings.Contains(got, "2001:db8::10/") {
		t.Errorf("not only the second one is there: %s", got)
	}
	// An address that is no longer in the file goes at once.
	b.Set(all[:1], nil)
	b.apply(lifetime)
	if got := onLoopback(t); strings.Contains(got, "2001:db8::10/") {
		t.Errorf("an address stays that is in the file no more: %s", got)
	}
	b.Set(all, all)
	b.apply(lifetime)
	time.Sleep(lifetime + 1500*time.Millisecond)
	if got := onLoopback(t); strings.Contains(got, "2001:db8::10/") || strings.Contains(got, "192.0.2.10/") {
		t.Errorf("the addresses outlive the process: %s", got)
	}
	if log.Len() > 0 {
		t.Error(&log)
	}
}
