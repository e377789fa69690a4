package kubeproxy

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// proxied is set in a child process whose environment names a proxy: Go reads that
// environment once per process.
const proxied = "STEELYARD_TEST_PROXIED"

// The environment's proxy is for other hosts: this node is asked directly. The test uses
// 0.0.0.0, which is this machine, because Go never uses a proxy for loopback addresses.
func TestThisNodeIsNeverAskedThroughAProxy(t *testing.T) {
	if os.Getenv(proxied) != "" {
		askAll(t)
		return
	}
	var asked atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer proxy.Close()
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	again.Env = append(os.Environ(), proxied+"=1", "NO_PROXY=", "no_proxy=",
		"HTTP_PROXY="+proxy.URL, "http_proxy="+proxy.URL, "HTTPS_PROXY="+proxy.URL, "https_proxy="+proxy.URL)
	if out, err := again.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the proxy was asked %d times, want once, by who may", n)
	}
}

// askAll sends each of the speaker's requests.
func askAll(t *testing.T) {
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("iptables")) }))
	defer node.Close()
	port := uint16(node.Listener.Addr().(*net.TCPAddr).Port)
	at := netip.AddrPortFrom(netip.IPv4Unspecified(), port)
	url := "http://" + at.String()
	if answer, err := http.Get(url); err != nil || answer.StatusCode != http.StatusBadGateway {
		t.Fatalf("the environment's proxy is not in force: %v", err)
	}
	if _, err := NewReadiness(url, "", nothing, nil, nil).Check(t.Context()); err != nil {
		t.Errorf("whether it forwards: %v", err)
	}
	if mode := ProxyMode(t.Context(), url); mode != "iptables" {
		t.Errorf("kube-proxy's mode: %q", mode)
	}
	if !healthy(t.Context(), at) {
		t.Error("a Service's health check port: not healthy")
	}
}

func TestARedirectIsNoAnswer(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was followed") }))
	defer elsewhere.Close()
	node := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusFound))
	defer node.Close()
	if _, err := get(t.Context(), node.URL, time.Second); err == nil || !strings.Contains(err.Error(), "302") {
		t.Errorf("it says %v", err)
	}
}
