package lab

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/steelyard-lb/steelyard/e2e/lab/hosts"
)

// staticAddresses are the addresses of the API servers on the nodes; the static kubeconfig leads to
// the first. The last is for routes.
var staticAddresses = []string{"192.0.2.10", "2001:db8:2::10", "203.0.113.254"}

func (o Options) checkControlPlanes() error {
	if o.ControlPlanes < 0 || o.ControlPlanes > o.Nodes {
		return fmt.Errorf("%d control planes: want 0 to %d, as many as there are nodes", o.ControlPlanes, o.Nodes)
	}
	return nil
}

// controlPlanes are the nodes with an API server.
func (o Options) controlPlanes() []Host { return o.nodes()[:o.ControlPlanes] }

// etcdListens is the address at which etcd listens for API servers.
func (o Options) etcdListens() string {
	if o.ControlPlanes > 0 {
		return "0.0.0.0"
	}
	return "127.0.0.1"
}

// startControlPlanes starts an API server on each of the first nodes, and beside it the speaker
// that announces the address of all.
func (r *Rack) startControlPlanes() error {
	if r.ControlPlanes == 0 {
		return nil
	}
	if err := r.writeStaticClaims(); err != nil {
		return err
	}
	var all []hosts.Process
	for _, n := range r.controlPlanes() {
		all = append(all, r.apiServer(n.Name, n.V4.Addr().String(), "192.0.2.3"), hosts.Process{
			Host: n.Name, Name: "static", Privileges: &hosts.Privileges{Capabilities: []string{"NET_ADMIN", "NET_RAW"}},
			Argv: []string{
				filepath.Join(r.Bin, "speaker"), "--static-claims", r.path("static-claims.yaml"), "--node-name", n.Name, "--membership-port", "7484",
				"--health-probe-bind-address", "127.0.0.1:7487", "--metrics-bind-address", "127.0.0.1:7488", "--debug-bind-address", "127.0.0.1:7489",
			},
		})
	}
	return r.table().SpawnAll(all)
}

// writeStaticClaims writes the file of claims, and the key that it names. A story may replace it.
func (r *Rack) writeStaticClaims() error {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails, by its documentation
	if err := writeFile(r.path("static-claims.key"), []byte(base64.StdEncoding.EncodeToString(key)+"\n")); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "addresses: [%q, %q]\ninterfaces: [eth0]\nkeyFile: %s\n", staticAddresses[0], staticAddresses[1], r.path("static-claims.key"))
	fmt.Fprintf(&b, "health: {url: \"https://127.0.0.1:6443/readyz\", caFile: %s}\nnodes:\n", r.path("ca.crt"))
	for _, n := range r.controlPlanes() {
		fmt.Fprintf(&b, "- {name: %s, address: %q}\n", n.Name, n.V4.Addr())
	}
	return writeFile(r.path("static-claims.yaml"), []byte(b.String()))
}
