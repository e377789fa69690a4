package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/steelyard-lb/steelyard/e2e/lab/hosts"
)

const (
	routerAS  = 64601
	clusterAS = 64512
	frrFolder = "/usr/lib/frr"
)

// The prefixes that the router accepts, with any longer length; it accepts
// nothing else and says nothing.
var acceptV4, acceptV6 = []string{"203.0.113.0/24", "10.99.0.0/16"}, []string{"2001:db8:113::/64"}

// startRouter configures and starts the routing daemons, and waits until they
// have read their configuration.
func (r *Rack) startRouter(ctx context.Context) error {
	switch r.Router {
	case "bird":
		conf, socket := r.path("bird.conf"), r.path("bird.ctl")
		if err := writeFile(conf, []byte(r.birdConfig())); err != nil {
			return err
		}
		argv := []string{"bird", "-f", "-c", conf, "-s", socket, "-P", r.path("bird.pid")}
		if err := r.table().Spawn(hosts.Process{Host: "router", Name: "bird", Argv: argv}); err != nil {
			return err
		}
		return r.untilFile(ctx, socket)
	case "frr":
		return r.startFRR(ctx)
	}
	return nil
}

// frrFolders are FRR's own folders of this rack: its pathspace is the name of
// the router's namespace, which nothing else in them can be called.
func frrFolders(name string) (etc, run string) {
	return filepath.Join("/etc/frr", name+"-router"), filepath.Join("/run/frr", name+"-router")
}

// RoutesCommand is what, on the rack's router, prints what it was offered for a prefix.
func (r *Rack) RoutesCommand(prefix netip.Prefix) ([]string, error) {
	switch r.Router {
	case "bird":
		return []string{"birdc", "-s", r.path("bird.ctl"), "show", "route", prefix.String(), "all"}, nil
	case "frr":
		family := "ipv4"
		if prefix.Addr().Is6() {
			family = "ipv6"
		}
		return []string{"vtysh", "-N", r.Name + "-router", "-c", "show bgp " + family + " unicast " + prefix.String()}, nil
	}
	return nil, fmt.Errorf("rack %s has no router that speaks BGP", r.Name)
}

func (r *Rack) startFRR(ctx context.Context) error {
	etc, socks := frrFolders(r.Name)
	for _, dir := range []string{etc, socks} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make FRR's folder: %w", err)
		}
	}
	// One file for each daemon, not one for all with vtysh: so a daemon that is
	// killed and started again has its configuration.
	files := map[string]string{"vtysh.conf": "", "zebra.conf": "hostname router\n", "bgpd.conf": r.frrConfig(), "bfdd.conf": frrBFD}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("write FRR's configuration: %w", err)
		}
	}
	if out, err := exec.CommandContext(ctx, "chown", "-R", "frr:frr", etc, socks).CombinedOutput(); err != nil {
		return fmt.Errorf("give FRR its folders: %w: %s", err, out)
	}
	for _, daemon := range []string{"zebra", "bfdd", "bgpd"} { // bgpd looks for the others when it starts
		argv := []string{
			filepath.Join(frrFolder, daemon), "-N", r.ns("router"), "-f", filepath.Join(etc, daemon+".conf"),
			"-i", filepath.Join(socks, daemon+".pid"), "--log", "stdout",
		}
		if err := r.table().Spawn(hosts.Process{Host: "router", Name: daemon, Argv: argv}); err != nil {
			return err
		}
		if err := r.untilFile(ctx, filepath.Join(socks, daemon+".vty")); err != nil {
			return err
		}
	}
	return nil
}

func (r *Rack) untilFile(ctx context.Context, file string) error {
	return r.table().Until(ctx, file, func(context.Context) error {
		_, err := os.Stat(file)
		return err
	})
}

// birdConfig has two passive sessions per node, one of each family. BFD is
// passive too: it begins with the first packet of a node.
func (o Options) birdConfig() string {
	var b strings.Builder
	fmt.Fprintf(&b, `log stderr all;
router id 192.0.2.1;
protocol device {}
protocol bfd {
	interface "eth0" { min rx interval 50 ms; min tx interval 50 ms; passive on; };
}
protocol kernel kernel4 { ipv4 { import none; export where source = RTS_BGP; }; merge paths on limit 64; }
protocol kernel kernel6 { ipv6 { import none; export where source = RTS_BGP; }; merge paths on limit 64; }
function heed_shutdown() { if (65535, 0) ~ bgp_community then bgp_local_pref = 0; }
template bgp node {
	passive on;
	graceful restart aware;
	bfd graceful;
}
`)
	for _, n := range o.nodes() {
		session := func(family, local string, node fmt.Stringer, accept []string) {
			fmt.Fprintf(&b, "protocol bgp %s_%s from node {\n\tlocal %s as %d;\n\tneighbor %s as %d;\n", n.Name, family[2:], local, routerAS, node, clusterAS)
			fmt.Fprintf(&b, "\t%s { import filter { if net !~ [ %s+ ] then reject; heed_shutdown(); accept; }; export none; };\n}\n", family, strings.Join(accept, "+, "))
		}
		session("ipv4", "192.0.2.1", n.V4.Addr(), acceptV4)
		session("ipv6", "2001:db8:2::1", n.V6.Addr(), acceptV6)
	}
	return b.String()
}

// frrBFD is what bgpd's sessions name as their BFD profile.
const frrBFD = `bfd
 profile node
  passive-mode
  transmit-interval 50
  receive-interval 50
 exit
exit
`

// frrConfig says in FRR's words what birdConfig says in BIRD's.
func (o Options) frrConfig() string {
	var b, v4, v6 strings.Builder
	fmt.Fprintf(&b, "hostname router\nfrr defaults datacenter\n")
	for _, p := range acceptV4 {
		fmt.Fprintf(&b, "ip prefix-list accept permit %s le 32\n", p)
	}
	for _, p := range acceptV6 {
		fmt.Fprintf(&b, "ipv6 prefix-list accept permit %s le 128\n", p)
	}
	fmt.Fprintf(&b, "ip prefix-list nothing deny any\nipv6 prefix-list nothing deny any\n")
	fmt.Fprintf(&b, "router bgp %d\n bgp router-id 192.0.2.1\n no bgp default ipv4-unicast\n", routerAS)
	for _, n := range o.nodes() {
		session := func(family *strings.Builder, node fmt.Stringer) {
			fmt.Fprintf(&b, " neighbor %s remote-as %d\n", node, clusterAS)
			for _, option := range []string{"passive", "graceful-restart-helper", "bfd profile node"} {
				fmt.Fprintf(&b, " neighbor %s %s\n", node, option)
			}
			fmt.Fprintf(family, "  neighbor %s activate\n  neighbor %[1]s prefix-list accept in\n  neighbor %[1]s prefix-list nothing out\n", node)
		}
		session(&v4, n.V4.Addr())
		session(&v6, n.V6.Addr())
	}
	fmt.Fprintf(&b, " address-family ipv4 unicast\n  maximum-paths 64\n%s exit-address-family\n", v4.String())
	fmt.Fprintf(&b, " address-family ipv6 unicast\n  maximum-paths 64\n%s exit-address-family\n", v6.String())
	return b.String()
}

// FRR is the configuration, in one file, of an FRR that plays the router of a
// rack with so many nodes.
func FRR(nodes int) string { return Options{Nodes: nodes}.frrConfig() + frrBFD }

// Peers returns the two BGPPeer objects that make the nodes call this router.
func (o Options) Peers() string {
	var b strings.Builder
	for _, p := range [][2]string{{"v4", "192.0.2.1"}, {"v6", "2001:db8:2::1"}} {
		fmt.Fprintf(&b, "apiVersion: steelyard.dev/v1beta1\nkind: BGPPeer\nmetadata:\n  name: router-%s\nspec:\n  myASN: %d\n  peerASN: %d\n  peerAddress: %q\n---\n",
			p[0], clusterAS, routerAS, p[1])
	}
	return strings.TrimSuffix(b.String(), "---\n")
}
